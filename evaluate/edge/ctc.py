"""A CTC recogniser as one network: from sound (wav2vec 2.0, MMS) or mel bands (Wav2Vec2-BERT) to letters."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate.edge import graphs
from recipes.schema import UserError

# The convolutions that take in the sound stay float: they hold a twentieth of the weights, and all layers behind them
# hear their errors.
QUANTISED = {"model.onnx": ("MatMul",)}
_KINDS = ("wav2vec2", "wav2vec2-bert")


class Recogniser(torch.nn.Module):
    """The sound, (1, samples), or its bands, (1, frames, bands): scores, (1, frames, letters)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model(given).logits
        return found


def export(family: Any, folder: Path, voice: Any = None) -> dict[str, Any]:
    """Write the network of a recogniser of ours. Returns what run.py has to know.

    Raises UserError for a model of another kind than those that were tried.
    """
    kind, features = family.model.config.model_type, family.features
    if kind not in _KINDS:
        raise UserError(f"train.base: CTC models are exported of the kinds {', '.join(_KINDS)}; this is {kind}")
    model = copy.deepcopy(family.model).cpu().float()
    banks = family.input_name == "input_features"
    if banks:
        example, name, axes = torch.zeros(1, 50, features.num_mel_bins * features.stride), "bands", {1: "frames"}
        np.savez(folder / "filters.npz", filters=features.mel_filters, window=features.window)
    else:
        example, name, axes = torch.randn(1, 16_000), "sound", {1: "samples"}
    graphs.write(folder / "model.onnx", Recogniser(model), [example], [name], ["scores"], {name: axes})
    tokenizer = family.tokenizer
    shown = {tokenizer.pad_token: "", tokenizer.word_delimiter_token: " ", "<unk>": " "}
    tokens = tokenizer.convert_ids_to_tokens(list(range(model.config.vocab_size)))
    return {
        "rate_hz": family.rate_hz,
        "bank": banks,
        "hop": 160,
        "levelled": bool(getattr(features, "do_normalize", False)),
        "tokens": [shown.get(token, token or "") for token in tokens],
    }
