"""Synthetic speech as files that say so: what spoke stands in the file itself, where players and archives show it."""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from evaluate import credentials, watermark
from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder, open_dataset, refuse_untrusted, resampled, revocation

Format = Literal["wav", "opus", "flac", "mp3"]
_WRITTEN = {"wav": ("WAV", "PCM_16"), "opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16")}
_WRITTEN["mp3"] = ("MP3", "MPEG_LAYER_III")
# What a codec can be given: RFC 6716 section 2, and MPEG-1 and -2 layer III (ISO 11172-3, 13818-3).
_RATES_HZ: dict[str, tuple[int, ...]] = {"opus": (8_000, 12_000, 16_000, 24_000, 48_000)}
_RATES_HZ["mp3"] = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

_UNKNOWN_SIZE = b"\xff\xff\xff\xff"


def statement(recipe: Recipe, weights: str) -> str:
    """What a file says of itself. `weights`: the hash of the adapter, or what names a base."""
    return f"Synthetic speech, made by a machine; no person said this. {recipe.name}, adapter {weights}"


def encode(samples: NDArray[np.float32], rate_hz: int, kind: Format, comment: str) -> bytes:
    """Speech as a file with the comment in it: RIFF's ICMT, Vorbis's or FLAC's COMMENT, ID3's COMM.

    At the rate it has, or the next that the codec knows.
    """
    to_hz = _known_hz(kind, rate_hz)
    container, subtype = _WRITTEN[kind]
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", to_hz, 1, subtype, format=container) as file:
        file.comment = comment
        file.title = "Synthetic speech"
        file.write(np.clip(resampled(samples, rate_hz, to_hz), -1, 1))
    return out.getvalue()


@dataclass(frozen=True)
class Marks:
    """How a recipe marks synthetic speech: a comment always, a signed manifest and a watermark where it says so."""

    recipe: Recipe
    signer: credentials.Signer | None  # None: nobody signs

    @classmethod
    def of(cls, recipe: Recipe) -> "Marks":
        """The marks of a recipe. Raises UserError where one that it asks for cannot be made here."""
        if kind := recipe.evaluate.marking.watermark:
            watermark.ready(kind, recipe.evaluate.marking.weights)
        return cls(recipe, credentials.open_signer(recipe))

    @cached_property
    def identity(self) -> str:
        """What makes a file another one than without these marks; empty for the comment alone."""
        signed = self.signer.fingerprint if self.signer else ""
        return f"{signed} {self.recipe.evaluate.marking.watermark or ''}".strip()

    def speech(self, samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
        """Speech, (n,) samples, with the watermark where the recipe asks for one."""
        asked = self.recipe.evaluate.marking
        if asked.watermark is None:
            return samples
        return watermark.embed(samples, rate_hz, asked.watermark, asked.weights)

    def file(self, samples: NDArray[np.float32], rate_hz: int, kind: Format, weights: str) -> bytes:
        """Speech, with its watermark, as a file with the comment and, where it has a place for it, the manifest."""
        data = encode(samples, rate_hz, kind, statement(self.recipe, weights))
        if self.signer is None or kind not in credentials.MEDIA:
            return data
        base = self.recipe.train.base or "none"
        base = Path(base).name if base.startswith("/") else base
        said = {"recipe": self.recipe.name, "adapter": weights, "base": base}
        said["watermark"] = self.recipe.evaluate.marking.watermark or "none"
        return credentials.sign(data, kind, said, self.signer)

    def told(self, kinds: list[str]) -> dict[str, Any]:
        """The same for a table: which of the kinds of files bear what."""
        signed = [kind for kind in kinds if self.signer and kind in credentials.MEDIA]
        return {
            "comment": kinds,
            "c2pa": signed,
            "c2pa_certificate_sha256": self.signer.fingerprint if self.signer else None,
            "without_c2pa": [kind for kind in kinds if kind not in signed],
            "watermark": self.recipe.evaluate.marking.watermark,
        }

    def __str__(self) -> str:
        """One line for the one who runs it."""
        asked = self.recipe.evaluate.marking
        if self.signer:
            by = "your certificate" if asked.certificate else "a self-made certificate: others show an unknown signer"
            signed = f"signed (C2PA) in {', '.join(credentials.MEDIA)}, by {by}"
        elif asked.provenance == "off":
            signed = "not signed: evaluate.marking.provenance is off"
        else:
            signed = "not signed: no c2pa-python here (pip install c2pa-python==0.38.1)"
        return f"files are {signed}; watermark: {asked.watermark or 'none'}"


def _known_hz(kind: Format, rate_hz: int) -> int:
    known = _RATES_HZ.get(kind, (rate_hz,))
    return next((rate for rate in known if rate >= rate_hz), known[-1])


class Growing:
    """A file that is sent while it is being made. What its header cannot know yet, it does not say.

    Encoders go back to write lengths when they end; players do without, as they do of a radio station.
    """

    def __init__(self, rate_hz: int, kind: Format, comment: str) -> None:
        self.kind, self.rate_hz, self.to_hz, self._sent = kind, rate_hz, _known_hz(kind, rate_hz), 0
        self._out = io.BytesIO()
        container, subtype = _WRITTEN[kind]
        self._file = soundfile.SoundFile(self._out, "w", self.to_hz, 1, subtype, format=container)
        self._file.comment, self._file.title = comment, "Synthetic speech"

    def add(self, samples: NDArray[np.float32]) -> bytes:
        """What the file has more by these samples; a codec may keep some back."""
        self._file.write(np.clip(resampled(samples, self.rate_hz, self.to_hz), -1, 1))
        self._file.flush()
        return self._grown()

    def end(self) -> bytes:
        """What was kept back."""
        self._file.close()
        return self._grown()

    def _grown(self) -> bytes:
        data = self._out.getvalue()[self._sent :]
        if self._sent == 0 and self.kind == "wav":
            data = _endless(data)
        self._sent += len(data)
        return data


def _endless(wav: bytes) -> bytes:
    """The beginning of a WAV file, as one that goes on for as long as it comes."""
    chunk = wav.index(b"data", 12)
    return wav[:4] + _UNKNOWN_SIZE + wav[8 : chunk + 4] + _UNKNOWN_SIZE + wav[chunk + 8 :]


def adapter_hash(recipe: Recipe) -> str:
    """The hash that the adapter is known by, published or revoked. Raises UserError when it must not be used."""
    folder = adapter_folder(recipe)
    if not folder.is_dir():
        raise UserError(f"{folder}: no adapter there yet; run python -m train on this recipe first")
    refuse_untrusted(recipe, folder)
    return revocation.weights_digest(folder)


def voices(recipe: Recipe) -> list[str]:
    """Speakers whose voice may be given to other words, most recorded first: all their clips allow `tts_clone`.

    Raises UserError when there is none, or the dataset cannot be used.
    """
    train = open_dataset(recipe)["train"]
    clips: dict[str, list[bool]] = {}
    for speaker, purposes in zip(train["speaker"], train["purposes"], strict=True):
        clips.setdefault(speaker, []).append("tts_clone" in purposes)
    found = sorted((s for s, allow in clips.items() if all(allow)), key=lambda s: (-len(clips[s]), s))
    if not found:
        raise UserError(f"{recipe.name}: no speaker allows their voice to say other words (tts_clone)")
    return found


def clips_of(recipe: Recipe, voice: str) -> set[str]:
    """The clips that a voice is known by: what rests on the speaker's `tts_clone`."""
    train = open_dataset(recipe)["train"]
    return {clip for speaker, clip in zip(train["speaker"], train["clip"], strict=True) if speaker == voice}


def voice(recipe: Recipe, asked: str | None, key: str) -> str:
    """Whose voice speaks: the speaker that a key of the recipe names, or of those who allow it the one most recorded.

    Raises UserError for one who does not.
    """
    allowed = voices(recipe)
    if asked is None:
        return allowed[0]
    if asked not in allowed:
        raise UserError(f"{key}: {asked} is no speaker who allows tts_clone; {', '.join(allowed)}: allowed")
    return asked
