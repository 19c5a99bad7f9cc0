"""Recognition by connectionist temporal classification: wav2vec 2.0, Wav2Vec2-BERT, MMS and their like.

Source: Graves et al., "Connectionist temporal classification", ICML 2006.
"""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForCTC,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2CTCTokenizer,
)

from recipes.schema import Train, UserError
from train.families import Example, Samples, Skip, letters_of, new_model, pretrained, pretrained_model, quantised

_SPECIAL = ["<pad>", "<unk>", "|"]  # CTC's blank is `<pad>`; `|` stands for a space


class Ctc:
    """A `transformers` CTC model with a tokenizer of letters. Hears 16 kHz."""

    rate_hz = 16_000
    recognises = True

    def __init__(self, settings: Train, processor: Path | None = None, letters: Iterable[str] = ()) -> None:
        base, revision, language = settings.base, settings.revision, settings.mms_adapter
        if base:
            self.model = pretrained_model(AutoModelForCTC, base, revision, **quantised(settings))
            options = {}
            if language:
                _take_on(self.model, language, base, revision)
                options = {"target_lang": language}
            self.features = pretrained(AutoFeatureExtractor.from_pretrained, base, revision)
            source, at = (str(processor), None) if processor else (base, revision)
            self.tokenizer = pretrained(Wav2Vec2CTCTokenizer.from_pretrained, source, at, **options)
            _grow_head(self.model, len(self.tokenizer))
        else:
            self.features = SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2)
            self.tokenizer = letter_tokenizer(letters)
            given = {"model_type": "wav2vec2-bert", **settings.config}
            kind = type(AutoConfig.for_model(given.pop("model_type")))
            given |= {"vocab_size": len(self.tokenizer), "pad_token_id": 0}
            self.model = new_model(AutoModelForCTC.from_config, kind, given)
        self.model.config.ctc_zero_infinity = True
        self.model.config.ctc_loss_reduction = "mean"  # which `weight` counts on; many bases say "sum"
        self.input_name = self.features.model_input_names[0]  # input_values or input_features
        self.lora_targets = ["linear_q", "linear_k", "linear_v", "linear_out"]
        self.lora_targets += ["q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense"]
        self._grown = False
        self._whole = ["adapter_layer", "lm_head"] if language else []

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        known = set(self.tokenizer.get_vocab())
        if new := [letter for letter in letters_of(texts) if letter not in known]:
            self.tokenizer.add_tokens(new)
            _grow_head(self.model, len(self.tokenizer))
            self._grown = True
        return {}

    def unknown(self, texts: Iterable[str]) -> list[str]:
        known = self.tokenizer.get_vocab()
        return [letter for letter in letters_of(texts) if letter not in known]

    def fully_trained(self) -> list[str]:
        return self._whole or (["lm_head"] if self._grown else [])

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        labels = np.asarray(self.tokenizer(text).input_ids, dtype=np.int64)
        inputs = self._features(samples)
        needed = len(labels) + int((labels[1:] == labels[:-1]).sum())
        if not 0 < needed <= (frames := self._frames(inputs)):
            raise Skip(f"{needed} letters do not fit into {frames} frames: transcript longer than the speech")
        return {"inputs": inputs, "labels": labels}

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        key = "input_features" if examples[0]["inputs"].ndim == 2 else "input_values"
        batch = self.features.pad([{key: example["inputs"]} for example in examples], return_tensors="pt")
        if "attention_mask" in batch:  # models with group norm were trained without, on zeros
            batch["attention_mask"] = batch["attention_mask"].long()
        labels = [torch.from_numpy(np.array(example["labels"])) for example in examples]
        batch["labels"] = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
        return dict(batch)

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        loss: torch.Tensor = self.model(**batch).loss
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return len(batch["labels"])

    def voice(self, samples: Samples) -> Samples:
        return np.zeros(0, np.float32)

    def emissions(self, samples: Samples) -> NDArray[np.float32]:
        """Log probabilities of letters over time: float32 (frames, letters)."""
        batch = self.collate([{"inputs": self._features(samples), "labels": np.zeros(1, np.int64)}])
        batch.pop("labels")
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            logits = self.model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits[0]
        return np.asarray(logits.log_softmax(-1).float().cpu())

    def transcribe(self, samples: Samples, language: str) -> str:
        """Greedy decoding: the likeliest letter of each frame, repeats and blanks removed.

        Sound that is shorter than a frame is filled up with silence.
        """
        filled = np.pad(samples, (0, max(0, self._fewest_samples - len(samples))))
        text: str = self.tokenizer.decode(self.emissions(filled).argmax(-1))
        return " ".join(text.replace("<unk>", " ").split())

    def synthesise(self, text: str, voice: Samples) -> Samples:
        raise TypeError("a CTC model recognises speech, it does not generate it")

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.features.save_pretrained(folder)

    @property
    def _fewest_samples(self) -> int:
        """What makes a frame."""
        return self.rate_hz // 20

    def _features(self, samples: Samples) -> NDArray[np.float32]:
        if len(samples) < self._fewest_samples:
            raise Skip("shorter than 0.05 s")
        values = self.features(samples, sampling_rate=self.rate_hz, return_tensors="np")
        return np.asarray(values[self.input_name][0], dtype=np.float32)

    def _frames(self, inputs: NDArray[Any]) -> int:
        if inputs.ndim == 2:  # feature frames, as they are
            return len(inputs)
        return int(self.model._get_feat_extract_output_lengths(len(inputs)))


def letter_tokenizer(texts: Iterable[str]) -> Wav2Vec2CTCTokenizer:
    """A tokenizer of single letters: those of the texts."""
    vocabulary = {token: index for index, token in enumerate(_SPECIAL + letters_of(texts))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocab.json")
        path.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        special = {"pad_token": "<pad>", "unk_token": "<unk>", "word_delimiter_token": "|"}
        return Wav2Vec2CTCTokenizer(str(path), **special, bos_token=None, eos_token=None)


def _take_on(model: Any, language: str, base: str, revision: str | None) -> None:
    """Give an MMS model the adapter and the output layer of a language: two small layers in each of its own.

    Source: Pratap et al., "Scaling speech technology to 1,000+ languages", 2023, section 5.
    """
    if getattr(model.config, "adapter_attn_dim", None) is None:
        raise UserError(f"train.mms_adapter: {base} is no MMS model: it has no adapters of languages")

    def load(name: str, revision: str, trust_remote_code: bool) -> None:
        model.load_adapter(language, revision=revision, use_safetensors=True)

    pretrained(load, base, revision)


def _grow_head(model: Any, size: int) -> None:
    """Give the output layer `size` rows; new ones start at zero, with a bias that keeps them unlikely."""
    old = model.lm_head
    if old.out_features >= size:
        return
    head = torch.nn.Linear(old.in_features, size).to(old.weight)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(float(old.bias.min()) - 1.0)
        head.weight[: old.out_features] = old.weight
        head.bias[: old.out_features] = old.bias
    model.lm_head = head
    model.config.vocab_size = size
