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
from train.adapter import resampled, stretches_of_speech

_EDGE_S = 0.2  # silence before and after speech
_FRAME_S = 0.005
_QUIET = 10**-4.0  # of the loudest frame's power
_ABOVE_NOISE = 10**0.8
_OUTSIDE, _INSIDE, _MARGIN = 60, 30, 20  # frames around the edges of voice activity
_RUN, _OF_RUN = 6, 4  # frames
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
    return [wav(dithered(clip * np.float32(turn)), rate_hz) for clip in clips]


def dithered(samples: Samples) -> Samples:
    """Samples with noise of one step of 16 bits (triangular), the same for every clip.

    A synthetic silence is all zeros and a recorded one is not: without it the first sample would tell them apart.
    """
    draw = np.random.default_rng(0).random((2, len(samples)), dtype=np.float32)
    return np.asarray(samples + (draw[0] + draw[1] - 1) / np.float32(32767), dtype=np.float32)


def edges(samples: Samples, rate_hz: int) -> Samples:
    """Cut what is silent at both ends and lay 200 ms of silence there: float32 (n,).

    The 5 ms on either side of the speech are faded (raised cosine, as in BS.1534-3), for noise that stops is heard.
    """
    first, last = span(samples, rate_hz)
    fade, silent = round(_FRAME_S * rate_hz), round(_EDGE_S * rate_hz)
    padded = np.pad(samples[max(0, first - fade) : last + fade], (max(0, fade - first), 0))
    padded = np.pad(padded, (0, last - first + 2 * fade - len(padded)))
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)).astype(np.float32)
    faded = np.concatenate([padded[:fade] * ramp, samples[first:last], padded[len(padded) - fade :] * ramp[::-1]])
    return np.pad(faded, silent - fade)


def span(samples: Samples, rate_hz: int) -> tuple[int, int]:
    """Where speech begins and ends, in samples, on a grid of 5 ms: whatever the system, a clip's length is on it too.

    Voice activity (Silero) says roughly where speech is, and so what is noise. From 0.3 s outside to 0.15 s inside
    it, the first frame counts that is 40 dB below the loudest at most, and 8 dB above the noise where that is more;
    and of the 30 ms from there on 20 must be as loud, so that a click is no speech.
    """
    frame = round(_FRAME_S * rate_hz)
    whole = np.pad(samples, (0, -len(samples) % frame)).reshape(-1, frame)
    power = np.mean(np.square(whole, dtype=np.float64), axis=1)
    if not power.any():
        return 0, 0
    stretches = stretches_of_speech(samples, rate_hz, 0.2) or ((0.0, len(samples) / rate_hz),)
    first, last = round(stretches[0][0] / _FRAME_S), min(round(stretches[-1][1] / _FRAME_S), len(power))
    outside = np.concatenate([power[: max(0, first - _MARGIN)], power[last + _MARGIN :]])
    noise = float(np.median(outside)) if len(outside) else 0.0
    loud = power > max(noise * _ABOVE_NOISE, float(power.max()) * _QUIET)
    begin, end = _onset(loud, first), len(loud) - _onset(loud[::-1], len(loud) - last)
    return begin * frame, max(begin * frame, min(end * frame, len(samples)))


def _onset(loud: NDArray[np.bool_], near: int) -> int:
    """The first frame around `near` that is loud and that others follow; where none is so, `near` itself."""
    following = np.convolve(loud, np.ones(_RUN), "full")[_RUN - 1 :]
    steady = np.flatnonzero(loud & (following >= _OF_RUN))
    steady = steady[(steady >= near - _OUTSIDE) & (steady <= near + _INSIDE)]
    return int(steady[0]) if len(steady) else near


def level(samples: Samples, rate_hz: int, loudness_lufs: float) -> Samples:
    """Samples at a loudness (ITU-R BS.1770-4, integrated). Silence stays silence."""
    return np.asarray(samples * np.float64(gain(samples, rate_hz, loudness_lufs)), dtype=np.float32)


def gain(samples: Samples, rate_hz: int, loudness_lufs: float) -> float:
    """The factor that brings samples to a loudness; 1 for silence."""
    short = round(_BLOCK_S * rate_hz) - len(samples)
    measured = pyloudnorm.Meter(rate_hz).integrated_loudness(np.pad(samples, (0, max(0, short + 1))))
    if not np.isfinite(measured):
        return 1.0
    return float(10 ** ((loudness_lufs - measured) / 20))


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
