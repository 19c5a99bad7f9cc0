"""Speech generation with Voxtral TTS: a language model goes on from a voice and a text with frames of codes.

Source: Liu et al., "Voxtral TTS", Mistral AI, 2026 (arXiv 2603.25551). The network is in `train.voxtral_tts`. The
published weights can speak and cannot hear: what turns recordings into codes is `train.codec`, which the user brings.
"""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from recipes.schema import Train, UserError
from train.families import Example, Samples, Skip, answers, letters, pretrained, pretrained_model, quantised
from train.voxtral_tts import published
from train.voxtral_tts.encoder import Encoder
from train.voxtral_tts.model import VoxtralTtsModel

_EMBEDDING = "language_model.embed_tokens"
_LETTERS = 300  # of a text spoken in one go: about 20 s
_FRAMES_A_LETTER = 5.0  # 0.4 s: slower than anybody speaks
_END = -1  # of audio, in place of the codes of a frame


class VoxtralTts:
    """Our own VoxtralTtsModel, from published weights or from those that training whole has saved. 24 kHz."""

    recognises = False
    lora_targets = (
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        *("wq", "wk", "wv", "wo", "w1", "w2", "w3"),  # of the acoustic transformer
    )

    def __init__(self, settings: Train, processor: Path | None = None) -> None:
        if not settings.base:
            raise UserError("train.base: Voxtral TTS needs a base model, for its tokenizer if for nothing else")
        base, revision = settings.base, settings.revision
        options = quantised(settings)
        if options:
            whole = ["audio_tokenizer", "semantic_codebook_output", "acoustic_codebook_output"]
            options["quantization_config"].llm_int8_skip_modules = whole
        if pretrained(published.is_published, base, revision):
            self.model = pretrained(published.load, base, revision, **options)
        else:
            self.model = pretrained_model(VoxtralTtsModel, base, revision, **options)
        source, at = (str(processor), None) if processor else (base, revision)
        self.tokenizer = pretrained(PreTrainedTokenizerFast.from_pretrained, source, at)
        self._grow(len(self.tokenizer))
        names = ("<s>", "[AUDIO]", "[BEGIN_AUDIO]", "[NEXT_AUDIO_TEXT]", "[REPEAT_AUDIO_TEXT]")
        self._start, self._frame, self._begin, self._next, self._repeat = answers.special(
            self.tokenizer, source, *names
        )
        config = self.core.config
        self.rate_hz: int = config.codec.sampling_rate
        self._most: int = config.text_config.max_position_embeddings
        self._count = config.codes.count
        self.stopped = True
        self.core.audio_tokenizer.requires_grad_(False)  # what codes mean stays
        # As the authors did, so that words that are rare in the recordings are not forgotten (section 3.1).
        self.core.get_input_embeddings().requires_grad_(False)
        self._encoder = Encoder(str(settings.codec), config.codes, config.codec.hop)

    @property
    def core(self) -> Any:
        """The model itself, under whatever wraps it."""
        return next(m for m in self.model.modules() if isinstance(m, VoxtralTtsModel))

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        new = letters.add_letters(self.tokenizer, texts)
        if not new:
            return {}
        self._grow(len(self.tokenizer))
        rows = self.core.get_input_embeddings().weight
        letters.start_rows(rows, new)
        rows.requires_grad_(True)
        return {_EMBEDDING: sorted(new)}

    def unknown(self, texts: Iterable[str]) -> list[str]:
        return letters.unknown(self.tokenizer, texts)

    def fully_trained(self) -> list[str]:
        return []

    def prompt(self, speaker: str, text: str, samples: Samples) -> Samples:
        """The clip's codes, a frame after another: (frames × codes,). Its text is not wanted."""
        return np.asarray(self._encoder(samples).ravel(), dtype=np.float32)

    def voice(self, samples: Samples) -> Samples:
        return self.prompt("", "", samples)

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        if len(samples) < self.rate_hz // 20:
            raise Skip("shorter than 0.05 s")
        codes, shown = self._encoder(samples), self._shown(voice)
        if np.array_equal(shown, codes):  # not its own voice: the model would learn to copy
            shown = shown[:0]
        ids = self._prefix(text, len(shown))
        if len(ids) + len(codes) > self._most:
            shown = shown[:0]
            ids = self._prefix(text, 0)
        if (count := len(ids) + len(codes)) > self._most:
            raise Skip(
                f"{count} letters and frames of {len(samples) / self.rate_hz:.1f} s; the model holds {self._most}"
            )
        return {
            "ids": np.array([*ids, *[self._frame] * len(codes)], dtype=np.int64),
            "codes": np.concatenate([self._closed(shown), codes]).astype(np.int16),
            "learnt": np.array([len(codes)], dtype=np.int64),
        }

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        """`codes`: frames of all rows one after another; the rest: (batch, length), labels for each code."""
        rows = [torch.from_numpy(np.array(example["ids"])) for example in examples]
        pad = torch.nn.utils.rnn.pad_sequence
        ids = pad(rows, batch_first=True, padding_value=self._start)
        labels = torch.full((*ids.shape, self._count), -100)
        for row, example in enumerate(examples):
            count, last = int(example["learnt"][0]), len(example["ids"]) - 1
            targets = torch.from_numpy(example["codes"][-count:].astype(np.int64))
            targets[:, 0] += 1
            labels[row, last - count : last] = targets
            labels[row, last, 0] = 0  # the end
        codes = np.concatenate([example["codes"] for example in examples]).astype(np.int64)
        return {
            "input_ids": ids,
            "attention_mask": pad([torch.ones_like(row) for row in rows], batch_first=True),
            "heard": ids == self._frame,
            "codes": torch.from_numpy(codes),
            "labels": labels,
        }

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross entropy of the semantic codes, and what the flow's velocities are off by."""
        loss: torch.Tensor = self.model(**batch)["loss"]
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return float((batch["labels"][..., 0] != -100).sum())

    def transcribe(self, samples: Samples, language: str) -> str:
        raise TypeError("Voxtral TTS generates speech, it does not recognise it")

    def synthesise(self, text: str, voice: Samples) -> Samples:
        """Text longer than about 20 s is spoken in pieces, cut between words."""
        self.stopped = True
        return np.concatenate([self._speak(piece, voice) for piece in textwrap.wrap(text, _LETTERS) or [""]])

    def save_processor(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)

    def _speak(self, text: str, voice: Samples) -> Samples:
        core, shown = self.core, self._shown(voice)
        device = next(core.parameters()).device
        ids = torch.tensor([self._prefix(text, len(shown))], device=device)
        codes = torch.from_numpy(self._closed(shown)).to(device)
        most = min(int(_FRAMES_A_LETTER * (len(text) + 3)), self._most - ids.shape[1])
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.inference_mode():
            torch.manual_seed(0)  # frames are drawn from noise: from one seed, so that a result repeats
            frames = list(core.frames(ids, ids == self._frame, codes, max(most, 1)))
            self.stopped &= len(frames) < max(most, 1)
            if not frames:
                return np.zeros(self.rate_hz // 10, np.float32)  # nothing was said: a tenth of a second of it
            return np.asarray(core.audio_tokenizer(torch.stack(frames)).float().cpu())

    def _prefix(self, text: str, shown: int) -> list[int]:
        """Ids up to where speech begins: the voice, where there is one, with the end of it; then the text."""
        voice = [self._frame] * (shown + 1) if shown else []
        spelled = letters.tokens_of(self.tokenizer, text)
        return [self._start, self._begin, *voice, self._next, *spelled, self._repeat, self._begin]

    def _shown(self, voice: Samples) -> NDArray[np.int64]:
        """The frames of a prompt: (frames, codes)."""
        return voice.astype(np.int64).reshape(-1, self._count)

    def _closed(self, shown: NDArray[np.int64]) -> NDArray[np.int64]:
        """A voice with the end of audio after it; nothing where there is none."""
        return np.pad(shown, ((0, 1 if len(shown) else 0), (0, 0)), constant_values=_END)

    def _grow(self, size: int) -> None:
        core = self.core
        core.set_input_embeddings(letters.grown(core.get_input_embeddings(), size))
        core.config.text_config.vocab_size = core.get_input_embeddings().num_embeddings
