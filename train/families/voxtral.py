"""Recognition with Voxtral: Whisper's encoder in front of a language model, asked to transcribe.

Source: Liu et al., "Voxtral", Mistral AI, 2025 (arXiv 2507.13264); the prompt is that of `mistral_common`'s
transcription request without a language, which leaves it to the model: neither Darija nor Tamazight has a code there.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, VoxtralForConditionalGeneration, WhisperFeatureExtractor

from recipes.schema import Train, UserError
from train.families import (
    Example,
    Samples,
    Skip,
    answers,
    in_pieces,
    letters,
    pretrained,
    pretrained_model,
    quantised,
)

_EMBEDDING = "language_model.embed_tokens"
_FRAMES_A_TOKEN = 8  # the encoder halves 100 frames a second, the projector takes four at a time: 12.5 tokens


class Voxtral:
    """`transformers`' VoxtralForConditionalGeneration. Hears 16 kHz, one window (30 s as published)."""

    rate_hz = 16_000
    recognises = True
    lora_targets = (
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        *("out_proj", "fc1", "fc2", "linear_1", "linear_2"),
    )

    def __init__(self, settings: Train, processor: Path | None = None) -> None:
        if not settings.base:
            raise UserError("train.base: Voxtral needs a base model, for its tokenizer if for nothing else")
        base, revision = settings.base, settings.revision
        self.model = pretrained_model(VoxtralForConditionalGeneration, base, revision, **quantised(settings))
        self.features = pretrained(WhisperFeatureExtractor.from_pretrained, base, revision)
        # Not the library `mistral_common`, whose tokenizers take no new tokens: `tekken.json` is converted.
        source, at = (str(processor), None) if processor else (base, revision)
        self.tokenizer = pretrained(PreTrainedTokenizerFast.from_pretrained, source, at)
        if self.model.get_input_embeddings().num_embeddings < len(self.tokenizer):
            self.model.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        self._window = 2 * self.model.config.audio_config.max_source_positions  # in frames of 10 ms
        names = ("<s>", "[INST]", "[BEGIN_AUDIO]", "[AUDIO]", "[/INST]", "[TRANSCRIBE]", "</s>", "<pad>")
        ids = answers.special(self.tokenizer, source, *names)
        start, ask, sound, heard, asked, transcribe, self._end, self._padding = ids
        self._prompt = [start, ask, sound, *[heard] * (self._window // _FRAMES_A_TOKEN), asked, transcribe]
        self.stopped = True
        self._most = self.model.config.text_config.max_position_embeddings

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        return answers.add_letters(self.model, self.tokenizer, texts, _EMBEDDING)

    def unknown(self, texts: Iterable[str]) -> list[str]:
        return letters.unknown(self.tokenizer, texts)

    def fully_trained(self) -> list[str]:
        return []

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        inputs = self._features(samples)
        answer = [*letters.tokens_of(self.tokenizer, text), self._end]
        return {"inputs": inputs} | answers.encoded(self._prompt, answer, self._most)

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        inputs = torch.stack([torch.from_numpy(np.array(example["inputs"], np.float32)) for example in examples])
        return {"input_features": inputs} | answers.collated(examples, self._padding)

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        loss: torch.Tensor = self.model(**batch, use_cache=False).loss
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return float((batch["labels"] != -100).sum())

    def voice(self, samples: Samples) -> Samples:
        return np.zeros(0, np.float32)

    def transcribe(self, samples: Samples, language: str) -> str:
        """Greedy decoding of a recording; beyond the window in pieces, cut where it is quiet."""
        heard = [self._transcribe(piece) for piece in in_pieces(samples, self.most_samples, self.rate_hz)]
        self.stopped = all(stopped for _, stopped in heard)
        return " ".join(text for text, _ in heard if text)

    def _transcribe(self, samples: Samples) -> tuple[str, bool]:
        """One clip as text, and whether it came to an end by itself."""
        sound = {"input_features": torch.from_numpy(self._features(samples))[None].float()}
        asked = self._prompt, sound, [self._end], self._most
        return answers.answered(self.model, self.tokenizer, *asked)

    def synthesise(self, text: str, voice: Samples) -> Samples:
        raise TypeError("Voxtral recognises speech, it does not generate it")

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.features.save_pretrained(folder)

    @property
    def most_samples(self) -> int:
        """What the encoder hears at once."""
        return int(self._window * self.features.hop_length)

    def _features(self, samples: Samples) -> Any:
        """Log mels of one window, silence after the clip: float16 (bins, frames)."""
        room = self.most_samples
        if len(samples) > room:
            window_s = room / self.rate_hz
            raise Skip(f"{len(samples) / self.rate_hz:.1f} s; Voxtral hears {window_s:g} s at once")
        whole = np.pad(samples, (0, room - len(samples)))
        values = self.features(whole, sampling_rate=self.rate_hz, padding=False, truncation=False)
        return np.asarray(values.input_features[0], dtype=np.float16)
