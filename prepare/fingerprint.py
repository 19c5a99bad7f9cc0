"""What a sound is known by when it comes again at another level, in another encoding or cut a little differently."""

import base64

import numpy as np
from numpy.typing import NDArray

from prepare.clip import Clip
from prepare.steps import resample

_RATE_HZ, _WINDOW, _HOP = 5_500, 2_048, 128  # 0.37 s of sound, every 23 ms
_LOW_HZ, _HIGH_HZ, _BITS = 300.0, 2_000.0, 24
_KEPT = 64
_SPREAD = np.uint32(0x9E3779B1)  # odd: multiplying by it puts the words into another order, and loses none

Print = NDArray[np.uint32]


def fingerprint(clip: Clip) -> str:
    """At most 64 numbers, as text: see `numbers` and `likeness`.

    Each 23 ms become a word of 24 bits: whether the energy difference between two neighbouring bands grew or fell
    since the last (Haitsma and Kalker, A highly robust audio fingerprinting system, ISMIR 2002). Of a clip's
    words, put into an order that has nothing to do with sound, the first 64 stand for all (Broder, 1997).
    """
    from scipy.fft import rfft

    samples = resample(clip, _RATE_HZ, "HQ").samples
    samples = np.pad(samples, (0, max(0, _WINDOW + _HOP - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    spectrum = rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)
    edges = np.round(np.geomspace(_LOW_HZ, _HIGH_HZ, _BITS + 2) * _WINDOW / _RATE_HZ).astype(int)
    bands = np.add.reduceat(spectrum.real**2 + spectrum.imag**2, edges, axis=1)[:, :-1]
    grew = np.diff(np.diff(bands, axis=1), axis=0) > 0
    words = grew @ (1 << np.arange(_BITS, dtype=np.uint32))
    found = np.unique(words[words > 0].astype(np.uint32) * _SPREAD)[:_KEPT]  # 0: digital silence
    return base64.b85encode(found.astype("<u4").tobytes()).decode()


def numbers(printed: str) -> Print:
    """A fingerprint as uint32 (≤ 64,), in order."""
    return np.frombuffer(base64.b85decode(printed), "<u4")


def likeness(one: Print, other: Print) -> float:
    """How much of what two sounds have is in both, 0 to 1: the estimate of their Jaccard index by 64 samples."""
    both = np.union1d(one, other)[: max(len(one), len(other), 1)]
    return float(np.mean(np.isin(both, one) & np.isin(both, other))) if len(both) else 0.0
