"""Speech generation with FastSpeech2Conformer: durations, pitch and energy are learnt, frames come at once.

Source: Ren et al., "FastSpeech 2", ICLR 2021; Guo et al., "Recent developments on ESPnet toolkit boosted
by Conformer", ICASSP 2021. Letter durations come from a CTC recogniser's forced alignment (`train.aligner`).
Speech comes back by Griffin-Lim.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import FastSpeech2ConformerConfig, FastSpeech2ConformerModel

from recipes.schema import Train, UserError
from train.families import Example, Samples, Skip, letters_of, new_model, pretrained_model, spread
from train.speech import Front, griffin_lim, letter_frames, mel, pitch, voice_statistics

_PAD, _UNKNOWN, _SILENCE = 0, 1, 2  # silence: before, between and after words
_PROCESSOR = "twiza_processor.json"


class FastSpeech2:
    """`transformers`' FastSpeech2Conformer over letters, with a voice given as 64 numbers."""

    recognises = False
    lora_targets = (
        *("linear_q", "linear_k", "linear_v", "linear_out", "conv1", "conv2"),
        *("pointwise_conv1", "pointwise_conv2", "projection", "feat_out"),
        *("conv", "linear", "pitch_embed.conv", "energy_embed.conv"),
    )

    def __init__(self, settings: Train, processor: Path | None = None, letters: Iterable[str] = ()) -> None:
        self._aligner_name = settings.aligner
        self._aligner: Any = None
        if settings.base:
            self.model = pretrained_model(FastSpeech2ConformerModel, settings.base, settings.revision)
            self.letters, self.front = _read_processor(processor or Path(settings.base))
            _grow_embedding(self.model, 3 + len(self.letters))
        else:
            self.letters = letters_of(letters)
            self.front = Front()
            fixed = {"vocab_size": 3 + len(self.letters), "speaker_embed_dim": 64, "num_mel_bins": 80}
            given = settings.config | fixed
            self.model = new_model(FastSpeech2ConformerModel, FastSpeech2ConformerConfig, given)
        self.rate_hz = self.front.rate_hz

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        first = 3 + len(self.letters)
        self.letters += [letter for letter in letters_of(texts) if letter not in self.letters]
        new = list(range(first, 3 + len(self.letters)))
        _grow_embedding(self.model, 3 + len(self.letters))
        return {"encoder.embed": new} if new else {}

    def unknown(self, texts: Iterable[str]) -> list[str]:
        return [letter for letter in letters_of(texts) if letter not in self.letters]

    def fully_trained(self) -> list[str]:
        return []

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        if len(samples) < self.front.n_fft:
            raise Skip(f"shorter than {self.front.n_fft / self.rate_hz:.2f} s")
        frames = mel(samples, self.front)
        durations = self._durations(text, samples, len(frames))
        starts = np.concatenate([[0], np.cumsum(durations)[:-1]])
        octaves = pitch(samples, self.front)[: len(frames)]
        return {
            "ids": self._ids(text),
            "mel": frames,
            "durations": durations,
            "pitch": _per_letter(octaves, starts, durations),
            "energy": _per_letter(frames.mean(1), starts, durations),
            "voice": voice,
        }

    def collate(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        def pad(name: str, value: float) -> torch.Tensor:
            rows = [torch.from_numpy(np.array(example[name])) for example in examples]
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

        ids = pad("ids", _PAD)
        return {
            "input_ids": ids,
            "attention_mask": (ids != _PAD).long(),
            "spectrogram_labels": pad("mel", -100),
            "duration_labels": pad("durations", 0),
            "pitch_labels": pad("pitch", 0)[..., None],
            "energy_labels": pad("energy", 0)[..., None],
            "speaker_embedding": pad("voice", 0),
        }

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        # The model returns a loss only in training mode; for validation its top and its duration
        # predictor are told so while dropout and batch statistics stay as in use.
        core = self.core
        asked = core.training, core.duration_predictor.training
        core.training = core.duration_predictor.training = True
        try:
            loss: torch.Tensor = self.model(**batch).loss
        finally:
            core.training, core.duration_predictor.training = asked
        return loss

    def weight(self, batch: dict[str, torch.Tensor]) -> float:
        return float((batch["spectrogram_labels"][..., 0] != -100).sum())

    @property
    def core(self) -> FastSpeech2ConformerModel:
        """The model itself, under whatever wraps it."""
        return next(m for m in self.model.modules() if isinstance(m, FastSpeech2ConformerModel))

    def voice(self, samples: Samples) -> Samples:
        return voice_statistics(samples, self.front)

    def attention(self, text: str, samples: Samples, voice: Samples) -> tuple[list[str], NDArray[np.float32]]:
        """The durations that it gives the letters."""
        counts = self._generated(text, voice).duration_outputs[0].cpu().numpy()
        return list(f" {text} "), spread(np.asarray(counts, np.int64))

    def transcribe(self, samples: Samples, language: str) -> str:
        raise TypeError("FastSpeech2 generates speech, it does not recognise it")

    def synthesise(self, text: str, voice: Samples) -> Samples:
        return griffin_lim(np.asarray(self._generated(text, voice).spectrogram[0].float().cpu()), self.front)

    def _generated(self, text: str, voice: Samples) -> Any:
        device = next(self.model.parameters()).device
        ids = torch.from_numpy(self._ids(text))[None].to(device)
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            return self.model(
                input_ids=ids, attention_mask=mask, speaker_embedding=torch.from_numpy(voice)[None].to(device)
            )

    def save_processor(self, folder: Path) -> None:
        settings = {"letters": self.letters, "front": asdict(self.front)}
        (folder / _PROCESSOR).write_text(json.dumps(settings, ensure_ascii=False, indent=1), encoding="utf-8")

    def _ids(self, text: str) -> NDArray[np.int64]:
        known = {letter: index for index, letter in enumerate(self.letters, start=3)} | {" ": _SILENCE}
        return np.array([known.get(letter, _UNKNOWN) for letter in f" {text} "], dtype=np.int64)

    def _durations(self, text: str, samples: Samples, frames: int) -> NDArray[np.int64]:
        """Mel frames of each letter, silences at both ends included: int64 (letters + 2,), sum `frames`."""
        if self._aligner is None:
            self._aligner = _open_aligner(self._aligner_name)
        ids = np.asarray(self._aligner.tokenizer(text).input_ids, dtype=np.int64)
        unknown = self._aligner.tokenizer.unk_token_id
        if unknown in ids:
            raise Skip(f"the aligner does not know the letter {text[list(ids).index(unknown)]}")
        emissions = self._aligner.emissions(samples)
        try:
            heard = letter_frames(emissions, ids, self._aligner.tokenizer.pad_token_id)
        except ValueError as error:
            raise Skip(str(error)) from None
        # A letter lasts from midway after the letter before it to midway before the next one.
        centres = (heard + 0.5) / len(emissions) * frames
        inner = (centres[1:] + centres[:-1]) / 2
        first = max(0.0, centres[0] - 3)
        last = min(float(frames), centres[-1] + 4)
        edges = np.round(np.concatenate([[0, first], inner, [last, frames]])).astype(np.int64)
        return np.diff(edges)


def _open_aligner(name: str | None) -> Any:
    from train.families.ctc import Ctc

    if not name:
        raise UserError("train.aligner: this family needs a CTC recogniser that knows the letters, to time them")
    aligner = Ctc(Train.model_validate({"family": "ctc", "base": name}))
    aligner.model.eval()
    return aligner


def _per_letter(values: NDArray[Any], starts: NDArray[Any], durations: NDArray[Any]) -> NDArray[np.float32]:
    """Mean of frame values over each letter, 0 where there are none: float32 (letters,)."""
    means = np.zeros(len(durations), np.float32)
    for i, (start, length) in enumerate(zip(starts, durations, strict=True)):
        part = values[start : start + length]
        part = part[~np.isnan(part)]
        means[i] = part.mean() if len(part) else 0.0
    return means


def _grow_embedding(model: Any, size: int) -> None:
    """Give the letter embedding `size` rows; each new one starts as the mean of the letters there are."""
    old = model.encoder.embed
    if old.num_embeddings >= size:
        return
    grown = torch.nn.Embedding(size, old.embedding_dim, padding_idx=old.padding_idx).to(old.weight)
    with torch.no_grad():
        grown.weight[:] = old.weight[3:].mean(0)
        grown.weight[: old.num_embeddings] = old.weight
    model.encoder.embed = grown
    model.config.vocab_size = size


def _read_processor(folder: Path) -> tuple[list[str], Front]:
    path = folder / _PROCESSOR
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        return list(settings["letters"]), Front(**settings["front"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no letters and mel settings there; is it a model made here? ({error})") from None
