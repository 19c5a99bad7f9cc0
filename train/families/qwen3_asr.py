"""Recognition with Qwen3-ASR: an encoder of 12.5 frames a second in front of a Qwen3 language model.

Source: Qwen team, "Qwen3-ASR technical report", 2026 (arXiv 2601.21337). The answer is prefilled with the language:
it knows Arabic, and neither Darija nor Tamazight, so Arabic stands for both until it has been trained.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3ASRFeatureExtractor,
    Qwen3ASRForConditionalGeneration,
)

from recipes.schema import Train, UserError
from train.families import Example, Samples, answers, in_pieces, letters, pretrained, pretrained_model, quantised

_EMBEDDING = "language_model.embed_tokens"
_BEFORE = "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n<|audio_start|>"
_TOKENS_A_S = 13  # of sound, at most
_AT_ONCE_S = 30  # so that even an answer letter by letter ends before it is cut off
_AFTER = "<|audio_end|><|im_end|>\n<|im_start|>assistant\nlanguage Arabic<asr_text>"


class Qwen3Asr:
    """`transformers`' Qwen3ASRForConditionalGeneration. Hears 16 kHz."""

    rate_hz = 16_000
    recognises = True
    lora_targets = (
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        *("out_proj", "fc1", "fc2", "linear_1", "linear_2"),
    )

    def __init__(self, settings: Train, processor: Path | None = None) -> None:
        if not settings.base:
            raise UserError("train.base: Qwen3-ASR needs a base model, for its tokenizer if for nothing else")
        base, revision = settings.base, settings.revision
        self.model = pretrained_model(Qwen3ASRForConditionalGeneration, base, revision, **quantised(settings))
        self.features = pretrained(Qwen3ASRFeatureExtractor.from_pretrained, base, revision)
        source, at = (str(processor), None) if processor else (base, revision)
        self.tokenizer = pretrained(PreTrainedTokenizerFast.from_pretrained, source, at)
        if self.model.get_input_embeddings().num_embeddings < len(self.tokenizer):
            self.model.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        names = ("<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_pad|>", "<|audio_end|>", "<asr_text>")
        _, self._end, _, self._heard, _, _ = answers.special(self.tokenizer, source, *names)
        self._before, self._after = (letters.tokens_of(self.tokenizer, part) for part in (_BEFORE, _AFTER))
        self.stopped = True
        self._most = self.model.config.text_config.max_position_embeddings

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        return answers.add_letters(self.model, self.tokenizer, texts, _EMBEDDING)

    def unknown(self, texts: Iterable[str]) -> list[str]:
        return letters.unknown(self.tokenizer, texts)

    def fully_trained(self) -> list[str]:
        return []

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        inputs, mask = self._features(samples)
        answer = [*letters.tokens_of(self.tokenizer, text), self._end]
        return {"inputs": inputs, "mask": mask} | answers.encoded(self._prompt(mask), answer, self._most)

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        longest = max(len(example["mask"]) for example in examples)

        def pad(name: str, kind: Any) -> torch.Tensor:
            return torch.stack([_padded(np.array(example[name], kind), longest) for example in examples])

        batch = {"input_features": pad("inputs", np.float32), "input_features_mask": pad("mask", np.int64)}
        return batch | answers.collated(examples, self._end)

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        loss: torch.Tensor = self.model(**batch, use_cache=False).loss
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return float((batch["labels"] != -100).sum())

    def voice(self, samples: Samples) -> Samples:
        return np.zeros(0, np.float32)

    def transcribe(self, samples: Samples, language: str) -> str:
        """Greedy decoding of a recording; a long one in pieces, cut where it is quiet."""
        heard = [self._transcribe(piece) for piece in in_pieces(samples, self.most_samples, self.rate_hz)]
        self.stopped = all(stopped for _, stopped in heard)
        return " ".join(text for text, _ in heard if text)

    def _transcribe(self, samples: Samples) -> tuple[str, bool]:
        """One clip as text, and whether it came to an end by itself."""
        inputs, mask = self._features(samples)
        sound = {
            "input_features": torch.from_numpy(inputs)[None].float(),
            "input_features_mask": torch.from_numpy(mask)[None],
        }
        asked = self._prompt(mask), sound, [self._end], self._most
        return answers.answered(self.model, self.tokenizer, *asked)

    def synthesise(self, text: str, voice: Samples) -> Samples:
        raise TypeError("Qwen3-ASR recognises speech, it does not generate it")

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.features.save_pretrained(folder)

    @property
    def most_samples(self) -> int:
        """What is heard at once: half of what the model holds is for the answer."""
        room: int = (self._most - len(self._before) - len(self._after)) // 2
        return min(_AT_ONCE_S, max(1, room // _TOKENS_A_S)) * self.rate_hz

    def _prompt(self, mask: Any) -> list[int]:
        """The tokens before the text, with one for each 80 ms of sound."""
        heard = mask.reshape(-1, 2 * self.model.config.audio_config.n_window).sum(1)
        for _ in range(3):  # convolutions, each of which halves a second's frames
            heard = np.where(heard > 0, (heard - 1) // 2 + 1, 0)
        return [*self._before, *[self._heard] * int(heard.sum()), *self._after]

    def _features(self, samples: Samples) -> tuple[Any, Any]:
        """Log mels up to a whole second, float16 (bins, frames), and which frames are sound, int64 (frames,)."""
        found = self.features(
            samples,
            sampling_rate=self.rate_hz,
            padding=True,
            n_window=self.model.config.audio_config.n_window,
            return_attention_mask=True,
            return_tensors="np",
        )
        return np.asarray(found.input_features[0], np.float16), np.asarray(found.attention_mask[0], np.int64)


def _padded(values: Any, frames: int) -> torch.Tensor:
    return torch.nn.functional.pad(torch.from_numpy(values), (0, frames - values.shape[-1]))
