"""One file per model family, one small protocol."""

import difflib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from prepare.dataset import pretrained as pretrained
from prepare.dataset import pretrained_model as pretrained_model
from recipes.schema import Train, UserError

Samples = NDArray[np.float32]  # (n,), mono, full scale ±1
Example = dict[str, NDArray[Any]]  # one utterance as arrays, ready for `collate`


_TEXTS_AT_ONCE, _LETTERS_AT_ONCE = 32, 2_000  # that are spoken in a batch, padding counted
_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}


class Skip(Exception):
    """An utterance this family cannot learn from. Its text is the reason."""


class Spoken(NamedTuple):
    """A text as speech, and whether the model ended by itself."""

    samples: Samples
    stopped: bool


class Family(Protocol):
    """A model with its processor: what the loop, the probes and evaluation need of it.

    Recognisers have `transcribe`, generators have `synthesise`; the other one raises TypeError.
    """

    model: Any
    rate_hz: int
    recognises: bool

    @property
    def lora_targets(self) -> Sequence[str]:
        """Endings of module names, for PEFT's LoraConfig."""

    def add_letters(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Make room for letters the tokenizer lacks; embedding name → ids of the new rows."""

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """Letters of the texts that the tokenizer has no token for."""

    def fully_trained(self) -> list[str]:
        """Modules that train whole beside LoRA after `add_letters` (an output layer that grew)."""

    def encode(self, text: str, samples: Samples, voice: Samples) -> Example:
        """Features and labels of one utterance. Raises Skip with the reason when that cannot be."""

    def collate(self, examples: list[Example]) -> dict[str, Any]:
        """Pad examples into the tensors of a batch."""

    def loss(self, batch: dict[str, Any]) -> Any:
        """Mean loss of a batch, a scalar tensor."""

    def weight(self, batch: dict[str, Any]) -> float:
        """How many frames, labels or utterances that mean is over."""

    def voice(self, samples: Samples) -> Samples:
        """What the family knows of a speaker: float32 (d,); empty for recognisers."""

    def transcribe(self, samples: Samples, language: str) -> str:
        """What was said, as text, in a recording of any length."""

    def synthesise(self, text: str, voice: Samples) -> Samples:
        """Text as speech, at `rate_hz`."""

    def save_processor(self, folder: Path) -> None:
        """Lay the tokenizer and feature settings into a folder."""


@runtime_checkable
class Prompted(Family, Protocol):
    """A generator that is shown a clip of the speaker's: prompts have no mean."""

    def prompt(self, speaker: str, text: str, samples: Samples) -> Samples:
        """One utterance of a speaker as what stands for their voice: float32 (d,)."""


@runtime_checkable
class Stopping(Family, Protocol):
    """A family that says itself when it is done, and is cut off where it does not."""

    stopped: bool  # whether what it spoke or wrote down last ended by itself


@runtime_checkable
class Batched(Family, Protocol):
    """A generator that speaks several texts at once, in less time than one after another."""

    def synthesise_many(self, texts: Sequence[str], voice: Samples) -> list[Spoken]:
        """Each text as `synthesise` speaks it, whatever else is in the batch."""


@runtime_checkable
class Flowing(Family, Protocol):
    """A generator that is heard while it speaks."""

    def synthesise_on(self, text: str, voice: Samples) -> Iterator[Samples]:
        """What `synthesise` makes, to 1e-5 of its peak, in pieces of a fraction of a second, each when it is drawn.

        Between two pieces others may speak with the model, and who wants no more of them closes the iterator.
        """


@runtime_checkable
class Attentive(Family, Protocol):
    """A family that can show which sound it takes for which letter."""

    def attention(self, text: str, samples: Samples, voice: Samples) -> tuple[list[str], NDArray[np.float32]]:
        """The tokens of a text, and how much of each is in each moment of its sound: float32 (tokens, times)."""


@runtime_checkable
class Opposed(Family, Protocol):
    """A generator that may train against an opponent, which learns to tell it from recordings."""

    def add_discriminator(self) -> None:
        """Put the opponent beside the model: trained with it, saved in checkpoints, and no part of the result."""


@runtime_checkable
class Windowed(Family, Protocol):
    """A recogniser that fills clips up with silence."""

    window_s: float | None  # as far as that; None: to the longest of a batch


def speak_all(family: Family, texts: Sequence[str], voice: Samples) -> Iterator[dict[int, Spoken]]:
    """All texts as speech, by their places, a batch at a time: texts of like length, the longest first."""
    for places in batches([len(text) for text in texts], isinstance(family, Batched)):
        yield dict(zip(places, speak(family, [texts[place] for place in places], voice), strict=True))


def speak(family: Family, texts: Sequence[str], voice: Samples) -> list[Spoken]:
    """Texts as speech: at once, where the family can."""
    if isinstance(family, Batched):
        return family.synthesise_many(texts, voice)
    return [Spoken(family.synthesise(text, voice), getattr(family, "stopped", True)) for text in texts]


def batches(lengths: Sequence[int], many: bool = True) -> list[list[int]]:
    """Places of texts that are spoken together, by their lengths; each alone where not `many`."""
    found: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        most = min(_TEXTS_AT_ONCE, _LETTERS_AT_ONCE // (lengths[found[-1][0]] + 2)) if found and many else 1
        if found and len(found[-1]) < most:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def joined(pieces: Sequence[Spoken]) -> Spoken:
    """Pieces of one text as the whole."""
    return Spoken(np.concatenate([one.samples for one in pieces]), all(one.stopped for one in pieces))


def in_pieces(samples: Samples, most: int, rate_hz: int) -> list[Samples]:
    """A recording in pieces of at most `most` samples, cut in the middle of the quietest 0.2 s there is near that.

    No piece is shorter than a quarter of the most. evaluate/edge/runners/whisper.py cuts in the same places.
    """
    found, size = [], rate_hz // 50
    while len(samples) > most:
        first, last = most // 2, min(most, len(samples) - most // 4)
        frames = samples[first : first + (last - first) // size * size].reshape(-1, size).astype(np.float64)
        around = np.ones(min(10, len(frames)))
        loudness = np.convolve((frames**2).sum(1), around, "valid")
        cut = first + size * (int(loudness.argmin()) + len(around) // 2)
        found.append(samples[:cut])
        samples = samples[cut:]
    return [*found, samples]


def open_family(settings: Train, processor: Path | None = None, letters: Iterable[str] = ()) -> Family:
    """The base model of a recipe, with its processor.

    `processor`: a folder that `save_processor` filled, in place of the base's own.
    `letters`: texts whose letters make the tokenizer, for a model that starts from a `config`.
    """
    opened = _recogniser if settings.recognises else _generator
    return opened(settings, processor, letters)


def _recogniser(settings: Train, processor: Path | None, letters: Iterable[str]) -> Family:
    match settings.family:
        case "whisper":
            from train.families.whisper import Whisper

            return Whisper(settings, processor)
        case "qwen3_asr":
            from train.families.qwen3_asr import Qwen3Asr

            return Qwen3Asr(settings, processor)
        case "voxtral":
            from train.families.voxtral import Voxtral

            return Voxtral(settings, processor)
        case _:
            from train.families.ctc import Ctc

            return Ctc(settings, processor, letters)


def _generator(settings: Train, processor: Path | None, letters: Iterable[str]) -> Family:
    match settings.family:
        case "csm":
            from train.families.csm import Csm

            return Csm(settings, processor)
        case "fastspeech2":
            from train.families.fastspeech2 import FastSpeech2

            return FastSpeech2(settings, processor, letters)
        case "pocket_tts":
            from train.families.pocket_tts import PocketTts

            return PocketTts(settings, processor)
        case "speecht5":
            from train.families.speecht5 import SpeechT5

            return SpeechT5(settings, processor, letters)
        case "voxtral_tts":
            from train.families.voxtral_tts import VoxtralTts

            return VoxtralTts(settings, processor)
        case _:
            from train.families.vits import Vits

            return Vits(settings, processor, letters)


def quantised(settings: Train) -> dict[str, Any]:
    """Options for `pretrained_model` that load the base in 4 or 8 bits.

    Raises UserError without an NVIDIA GPU or bitsandbytes. Source: Dettmers et al., "QLoRA", NeurIPS 2023.
    """
    if settings.quantise is None:
        return {}
    import torch

    if not torch.cuda.is_available():
        raise UserError(f"train.quantise: {settings.quantise} needs an NVIDIA GPU; take train.quantise=null here")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"train.quantise: {settings.quantise} needs bitsandbytes: pip install bitsandbytes")
    from transformers import BitsAndBytesConfig

    if settings.quantise == "int8":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    computed = torch.float32 if settings.precision == "fp32" else getattr(torch, _DTYPES[settings.precision])
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    return {"quantization_config": BitsAndBytesConfig(**four, bnb_4bit_compute_dtype=computed)}


def spread(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Durations as an attention of ones: float32 (tokens, frames)."""
    shown = np.zeros((len(counts), int(counts.sum())), np.float32)
    shown[np.repeat(np.arange(len(counts)), counts), np.arange(shown.shape[1])] = 1.0
    return shown


def letters_of(texts: Iterable[str]) -> list[str]:
    """Every letter that occurs, sorted; spaces left out."""
    return sorted({letter for text in texts for letter in text if letter != " "})


def new_model(build: Callable[[Any], Any], config_class: Any, given: dict[str, Any]) -> Any:
    """A model with random weights, of the architecture given.

    Raises UserError for a key that `config_class` does not know, and for values that it or the model refuses.
    """
    known = set(config_class().to_dict())
    if unknown := sorted(set(given) - known):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise UserError(f"train.config.{unknown[0]}: {config_class.__name__} has no such key{hint}")
    try:
        return build(config_class(**given))
    except Exception as error:  # of many kinds: each model checks its own
        raise UserError(f"train.config: {' '.join(str(error).split())[:200]}") from error
