"""The published weights, in Mistral AI's own layout, as a model: `params.json` and `consolidated.safetensors`."""

import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers.utils.hub import cached_file

from train.voxtral_tts.acoustic import Tensor
from train.voxtral_tts.config import VoxtralTtsConfig, config_of
from train.voxtral_tts.model import VoxtralTtsModel

WEIGHTS = "consolidated.safetensors"
# Names in the file → names here. What none of them knows is left as it is.
_NAMES = {
    r"mm_audio_embeddings\.tok_embeddings\.": "language_model.embed_tokens.",
    r"mm_audio_embeddings\.audio_codebook_embeddings\.embeddings\.": "audio_embeddings.",
    r"norm\.": "language_model.norm.",
    r"layers\.(\d+)\.attention_norm\.": r"language_model.layers.\1.input_layernorm.",
    r"layers\.(\d+)\.ffn_norm\.": r"language_model.layers.\1.post_attention_layernorm.",
    r"layers\.(\d+)\.attention\.w([qkvo])\.": r"language_model.layers.\1.self_attn.\2_proj.",
    r"layers\.(\d+)\.feed_forward\.w1\.": r"language_model.layers.\1.mlp.gate_proj.",
    r"layers\.(\d+)\.feed_forward\.w2\.": r"language_model.layers.\1.mlp.down_proj.",
    r"layers\.(\d+)\.feed_forward\.w3\.": r"language_model.layers.\1.mlp.up_proj.",
}
# An encoder that somebody put back into the file, and numbers that follow from the sizes.
_UNUSED = ("audio_tokenizer.input_proj.", "audio_tokenizer.encoder_blocks.", "acoustic_transformer.time_embedding.")
_BOOK = "audio_tokenizer.quantizer.semantic_codebook."
_LENGTH, _DIRECTION = (f".parametrizations.weight.original{n}" for n in (0, 1))


def is_published(name: str, revision: str | None = None, trust_remote_code: bool = False) -> bool:
    """Whether a folder, or a repository on the hub, has the published layout."""
    return _file(name, "params.json", revision, required=False) is not None


def load(name: str, revision: str | None = None, trust_remote_code: bool = False, **options: Any) -> VoxtralTtsModel:
    """The model with the published weights, in float32. Raises ValueError when they are those of another one."""
    params = json.loads(Path(str(_file(name, "params.json", revision))).read_text(encoding="utf-8"))
    config = config_of(params)
    weights = ours(load_file(str(_file(name, WEIGHTS, revision))), config)
    options |= {"config": config, "state_dict": weights, "dtype": "float32", "output_loading_info": True}
    read: Any = VoxtralTtsModel.from_pretrained
    model, found = read(None, **options)
    for what in ("missing_keys", "unexpected_keys"):
        if found[what]:
            raise ValueError(f"{WEIGHTS}: {what.replace('_', ' ')}, the first of them {min(found[what])}")
    return model  # type: ignore[no-any-return]


def ours(weights: dict[str, Tensor], config: VoxtralTtsConfig) -> dict[str, Tensor]:
    """The weights of the file under the names of `VoxtralTtsModel`.

    Queries and keys change their rows' order (see `halved`); convolutions and the codebook become whole.
    """
    text: Any = config.text_config
    heads = {"q": text.num_attention_heads, "k": text.num_key_value_heads}
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name.startswith((*_UNUSED, _BOOK)) or name.endswith(_LENGTH):
            continue
        if name.endswith(_DIRECTION):
            whole = name.removesuffix(_DIRECTION)
            found[f"{whole}.weight"] = unsplit(weights[whole + _LENGTH], weight)
        elif asks := re.fullmatch(r"layers\.\d+\.attention\.w([qk])\.weight", name):
            found[_renamed(name)] = halved(weight, heads[asks[1]])
        else:
            found[_renamed(name)] = weight
    if f"{_BOOK}embedding_sum" in weights:
        used = weights[f"{_BOOK}cluster_usage"].float().clamp(min=1e-5)
        found["audio_tokenizer.semantic_codebook.weight"] = weights[f"{_BOOK}embedding_sum"].float() / used[:, None]
    return found


def halved(weight: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys for rotation by halves, from those for rotation by neighbours.

    Mistral turns numbers 2i and 2i + 1 of a head together, `transformers` i and i + half: Su et al., "RoFormer",
    2021, in two orders. Scores do not change, as queries and keys are put in order alike.
    """
    return weight.view(heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def unsplit(length: Tensor, direction: Tensor) -> Tensor:
    """A convolution's weights from their lengths and directions, one a row: Salimans and Kingma, NeurIPS 2016."""
    rows = direction.float()
    whole: Tensor = length.float() * rows / rows.flatten(1).norm(dim=1)[:, None, None]
    return whole


def _renamed(name: str) -> str:
    for theirs, here in _NAMES.items():
        if (match := re.match(theirs, name)) is not None:
            return match.expand(here) + name[match.end() :]
    return name


def _file(name: str, file: str, revision: str | None, required: bool = True) -> str | None:
    found: str | None = cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=required)
    return found
