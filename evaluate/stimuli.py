"""Clips for listening: alike in rate, level, silence and container, so that nothing but the speech differs."""

import hashlib
import hmac
import io
import json
import os
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyloudnorm
from numpy.typing import NDArray

from evaluate.systems import Rendered
from recipes.provenance import digest
from recipes.schema import Recipe
from train.adapter import resampled

_EDGE_S = 0.2  # silence before and after speech
_QUIET = 10 ** (-40 / 20)  # of the clip's peak: below is an edge, not speech
_PEAK = 0.98
_BLOCK_S = 0.4  # BS.1770's gating block: shorter clips are measured with silence added

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Stimulus:
    """One clip as listeners hear it, and what it is: the second half never leaves the server."""

    name: str  # opaque
    system: str
    item: str
    text: str
    language: str


def make(recipe: Recipe, rendered: Sequence[Rendered]) -> list[Stimulus]:
    """Write the stimuli and their key; returns them.

    Names are made of the content with a secret: another sound has another name, and a name tells nothing.
    """
    folder = recipe.folder("evaluate") / "stimuli"
    folder.mkdir(parents=True, exist_ok=True)
    hidden = secret(recipe)
    spoken = [one for one in rendered if one.samples is not None]
    made = []
    for one, wave in zip(spoken, alike(spoken, recipe.evaluate.loudness_lufs), strict=True):
        content = f"{one.system} {one.item.id} {hashlib.sha256(wave).hexdigest()}"
        code = hmac.new(hidden, content.encode(), "sha256").hexdigest()[:24]
        _write(folder / f"{code}.wav", wave)
        made.append(Stimulus(code, one.system, one.item.id, one.item.text, one.item.language))
    rows = [vars(stimulus) for stimulus in made]
    _write(_key(recipe), json.dumps(rows, ensure_ascii=False, indent=1).encode(), mode=0o600)
    for stray in {path.stem for path in folder.glob("*.wav")} - {s.name for s in made}:
        (folder / f"{stray}.wav").unlink()
    return made


def name_of_test(stimuli: Sequence[Stimulus]) -> str:
    """A name for a test with these stimuli: answers to other ones say nothing of them."""
    return digest(stimulus.name for stimulus in stimuli)[:16]


def sound(recipe: Recipe, stimulus: Stimulus) -> bytes:
    """A stimulus as WAV. Raises OSError when another evaluation has replaced it."""
    return (recipe.folder("evaluate") / "stimuli" / f"{stimulus.name}.wav").read_bytes()


def read(recipe: Recipe) -> list[Stimulus]:
    """The stimuli that `make` wrote. Raises OSError when there are none."""
    return [Stimulus(**row) for row in json.loads(_key(recipe).read_text(encoding="utf-8"))]


def alike(rendered: Sequence[Rendered], loudness_lufs: float) -> list[bytes]:
    """WAV files of one rate, edge silence and level. Where one would clip, all are turned down together."""
    rate_hz = max((one.rate_hz for one in rendered), default=16_000)
    clips = [
        level(edges(resampled(one.samples, one.rate_hz, rate_hz), rate_hz), rate_hz, loudness_lufs)
        for one in rendered
        if one.samples is not None
    ]
    loudest = max((float(np.abs(clip).max()) for clip in clips), default=0.0)
    turn = min(1.0, _PEAK / loudest) if loudest else 1.0
    return [wav(clip * np.float32(turn), rate_hz) for clip in clips]


def edges(samples: Samples, rate_hz: int) -> Samples:
    """Cut what is silent at both ends and lay 200 ms of silence there: float32 (n,)."""
    loud = np.flatnonzero(np.abs(samples) > _QUIET * np.abs(samples).max(initial=0.0))
    speech = samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]
    silence = np.zeros(round(_EDGE_S * rate_hz), np.float32)
    return np.concatenate([silence, speech, silence])


def level(samples: Samples, rate_hz: int, loudness_lufs: float) -> Samples:
    """Samples at a loudness (ITU-R BS.1770-4, integrated). Silence stays silence."""
    short = round(_BLOCK_S * rate_hz) - len(samples)
    measured = pyloudnorm.Meter(rate_hz).integrated_loudness(np.pad(samples, (0, max(0, short + 1))))
    if not np.isfinite(measured):
        return samples
    return np.asarray(samples * 10 ** ((loudness_lufs - measured) / 20), dtype=np.float32)


def wav(samples: Samples, rate_hz: int) -> bytes:
    """RIFF with `fmt ` and `data` only: mono, 16 bits."""
    pcm = np.clip(np.round(samples * 32767), -32768, 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    out = io.BytesIO()
    out.write(b"RIFF" + struct.pack("<I", 36 + len(pcm)) + b"WAVE")
    out.write(b"fmt " + struct.pack("<I", 16) + form)
    out.write(b"data" + struct.pack("<I", len(pcm)) + pcm)
    return out.getvalue()


def _key(recipe: Recipe) -> Path:
    return recipe.folder("evaluate") / "key.json"


def secret(recipe: Recipe) -> bytes:
    """A secret of this evaluation, made once, readable by its owner alone."""
    path = recipe.folder("evaluate") / "secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write beside, then rename; for its owner alone from the first byte on, where `mode` says so."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
