"""How far generated speech is from the recording of the same sentence, and where it pauses.

Both clips come as listeners hear them: silence cut off at both ends, one level.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.adapter import log_mel, steady_pitch, stretches_of_speech

_CEPSTRA = 13  # of them, the first (the level) left out
_MIN_PAUSE_S = 0.2
_LEAST_VOICED = 10  # frames that have a voice in both clips, for a distance between pitches
_FLOOR_DB = 50.0  # below a clip's loudest frame: quieter is as good as silent
_RMS = 0.05

Samples = NDArray[np.float32]
Frames = NDArray[np.float64]


@dataclass(frozen=True)
class Distance:
    """How one clip differs from another of the same sentence."""

    mcd_db: float
    f0_cents: float | None  # None: too few frames in which both have a voice
    energy_db: float


@dataclass(frozen=True)
class Pace:
    """How speech is spread over time."""

    pause_share: float
    letters_per_s: float


def distance(samples: Samples, reference: Samples, rate_hz: int) -> Distance:
    """Distances between two clips, float32 (n,) and (m,), their frames aligned by their cepstra.

    The level of either does not matter. F0 is that of pYIN, in cents; energy is that of mel frames.
    """
    sides = [one * np.float32(_RMS / max(float(np.sqrt(np.mean(one**2))), 1e-9)) for one in (samples, reference)]
    mels = [log_mel(one, rate_hz).astype(np.float64) for one in sides]
    ours, theirs = aligned(*map(cepstra, mels))
    octaves = steady_pitch(sides[0], rate_hz)[ours] - steady_pitch(sides[1], rate_hz)[theirs]
    both = octaves[~np.isnan(octaves)]
    levels = loudness_db(mels[0])[ours] - loudness_db(mels[1])[theirs]
    return Distance(
        mcd_db=distortion_db(cepstra(mels[0])[ours], cepstra(mels[1])[theirs]),
        f0_cents=1200 * float(np.sqrt(np.mean(both**2))) if len(both) >= _LEAST_VOICED else None,
        energy_db=float(np.std(levels)),
    )


def cepstra(mels: Frames) -> Frames:
    """Mel cepstra c1 to c13 of log magnitudes, ln |S| = c0 + Σ c_k cos: float64 (frames, 13)."""
    from scipy.fft import dct

    bands = mels.shape[1]
    found: Frames = np.sqrt(2 / bands) * dct(mels, type=2, norm="ortho", axis=1)[:, 1 : _CEPSTRA + 1]
    return found


def distortion_db(ours: Frames, theirs: Frames) -> float:
    """Mel-cepstral distortion of aligned frames, (n, 13) both: 10/ln 10 · √(2 Σ Δc²), its mean over frames.

    Source: Kubichek, "Mel-cepstral distance measure for objective speech quality assessment", IEEE PacRim 1993. With
    13 coefficients of mel filters and DTW it is MCD-DTW of Battenberg et al., ICASSP 2020; figures from other
    cepstra (WORLD, SPTK) are not to be compared with these.
    """
    return float(10 / np.log(10) * np.mean(np.sqrt(2 * np.sum((ours - theirs) ** 2, axis=1))))


def aligned(ours: Frames, theirs: Frames) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames of both that belong together, int64 (steps,) each: the path of least distance in sum (DTW)."""
    from librosa.sequence import dtw
    from scipy.spatial.distance import cdist

    _, path = dtw(C=cdist(ours, theirs))
    return path[::-1, 0], path[::-1, 1]


def loudness_db(mels: Frames) -> NDArray[np.float64]:
    """Level of each frame below the loudest, down to a floor: float64 (frames,)."""
    power = 10 * np.log10(np.sum(np.exp(2 * mels), axis=1))
    found: NDArray[np.float64] = np.maximum(power - power.max(), -_FLOOR_DB)
    return found


def pace(samples: Samples, rate_hz: int, text: str) -> Pace | None:
    """How fast a clip speaks its text and how long it is silent in between; None where no speech is found."""
    stretches = stretches_of_speech(samples, rate_hz, _MIN_PAUSE_S)
    if not stretches:
        return None
    spoken_s = sum(end - start for start, end in stretches)
    whole_s = stretches[-1][1] - stretches[0][0]
    return Pace(1 - spoken_s / whole_s, sum(letter.isalpha() for letter in text) / spoken_s)
