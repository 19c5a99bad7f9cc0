"""What can be heard of a recording at once: too short, silent, clipped, quiet, noisy, or not as long as its text."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# The first are refused: nothing could be made of them. Of the others the speaker is told, and decides.
Refusal = Literal["silence", "too_short", "too_long", "damaged"]
Doubt = Literal["clipped", "too_quiet", "too_noisy", "short_for_text", "long_for_text"]

_FRAME_S = 0.03
_SILENT_DB = -55.0  # of full scale; below it a phone records its own noise
QUIET_DB = -38.0  # level of speech; a phone at arm's length gives -30 to -20
NOISY_DB = 12.0  # between speech and pauses; in a street less
_CLIPPED = 0.0005  # share of samples
_SHORTEST_S = 0.25
# Letters in a second of speech. Readers say 10 to 16; Arabic script leaves short vowels out.
_FASTEST = 30
_SLOWEST = 2.5
_PAUSES_S = 4.0  # that nobody needs to explain


@dataclass(frozen=True)
class Heard:
    """Figures of a recording, and what follows from them."""

    level_db: float  # of speech, full scale is 0
    noise_db: float  # of pauses
    clipped: float  # share of samples
    speech_s: float  # from the first to the last frame that stands out
    refusal: Refusal | None
    doubts: tuple[Doubt, ...]


def listen(samples: NDArray[np.float32], rate_hz: int, text: str = "") -> Heard:
    """Judge samples, float32 (n, channels), of somebody saying `text` (empty: nobody knows what).

    Level is the power that a tenth of the frames exceed, noise the power that nine tenths do. Speech begins and
    ends where a frame is nearer to the level than to the noise.
    """
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    frames = _frames_db(mono, rate_hz)
    level_db, noise_db = float(np.quantile(frames, 0.9)), float(np.quantile(frames, 0.1))
    loud = np.flatnonzero(frames > max((level_db + noise_db) / 2, _SILENT_DB))
    speech_s = float(loud[-1] - loud[0] + 1) * _FRAME_S if len(loud) else 0.0
    clipped = float(np.mean(np.abs(samples) >= 0.999))
    letters = sum(map(str.isalpha, text))
    return Heard(
        level_db=level_db,
        noise_db=noise_db,
        clipped=clipped,
        speech_s=speech_s,
        refusal=_refusal(float(frames.max()), len(mono) / rate_hz),
        doubts=_doubts(level_db, noise_db, clipped, speech_s, letters),
    )


def _refusal(loudest_db: float, duration_s: float) -> Refusal | None:
    if duration_s < _SHORTEST_S:
        return "too_short"
    return "silence" if loudest_db < _SILENT_DB else None


def _doubts(level_db: float, noise_db: float, clipped: float, speech_s: float, letters: int) -> tuple[Doubt, ...]:
    found: list[Doubt] = []
    if clipped > _CLIPPED:
        found.append("clipped")
    if level_db < QUIET_DB:
        found.append("too_quiet")
    # Without a pause there is nothing to measure noise in, so speech that fills the recording passes for noisy:
    # the speaker then hears that a short silence before and after is needed.
    if level_db - noise_db < NOISY_DB:
        found.append("too_noisy")
    if speech_s < letters / _FASTEST:
        found.append("short_for_text")
    if letters and speech_s > _PAUSES_S + letters / _SLOWEST:
        found.append("long_for_text")
    return tuple(found)


def _frames_db(mono: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """Power of each frame in dB of full scale, float64 (frames,), -120 at least; one frame for less than one."""
    size = max(1, min(len(mono), round(_FRAME_S * rate_hz)))
    count = len(mono) // size
    framed = mono[: count * size].reshape(count, size).astype(np.float64)
    power: NDArray[np.float64] = 10 * np.log10(np.mean(framed * framed, axis=1) + 1e-12)
    return power
