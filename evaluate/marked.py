"""Synthetic speech as files that say so: what spoke stands in the file itself, where players and archives show it."""

import io
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder, open_dataset, refuse_untrusted, resampled, revocation

Format = Literal["wav", "opus", "flac", "mp3"]
_WRITTEN = {"wav": ("WAV", "PCM_16"), "opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16")}
_WRITTEN["mp3"] = ("MP3", "MPEG_LAYER_III")
# What a codec can be given: RFC 6716 section 2, and MPEG-1 and -2 layer III (ISO 11172-3, 13818-3).
_RATES_HZ: dict[str, tuple[int, ...]] = {"opus": (8_000, 12_000, 16_000, 24_000, 48_000)}
_RATES_HZ["mp3"] = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def statement(recipe: Recipe, weights: str) -> str:
    """What a file says of itself. `weights`: the hash of the adapter, or what names a base."""
    return f"Synthetic speech, made by a machine; no person said this. {recipe.name}, adapter {weights}"


def encode(samples: NDArray[np.float32], rate_hz: int, kind: Format, comment: str) -> bytes:
    """Speech as a file with the comment in it: RIFF's ICMT, Vorbis's or FLAC's COMMENT, ID3's COMM.

    At the rate it has, or the next that the codec knows.
    """
    known = _RATES_HZ.get(kind, (rate_hz,))
    to_hz = next((rate for rate in known if rate >= rate_hz), known[-1])
    container, subtype = _WRITTEN[kind]
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", to_hz, 1, subtype, format=container) as file:
        file.comment = comment
        file.title = "Synthetic speech"
        file.write(np.clip(resampled(samples, rate_hz, to_hz), -1, 1))
    return out.getvalue()


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
