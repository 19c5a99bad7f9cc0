"""What a sound is known by when it comes again at another level, in another encoding or cut a little differently."""

import base64
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prepare.clip import Clip
from prepare.steps import resample

_RATE_HZ, _WINDOW, _HOP = 5_500, 2_048, 128  # 0.37 s of sound, every 23 ms
_LOW_HZ, _HIGH_HZ, _BITS = 300.0, 2_000.0, 24
_QUIET = 1e-3  # of the loudest moment's power: what is quieter is noise, which encoders make anew
_KEPT = 64
_SPREAD = np.uint32(0x9E3779B1)  # odd: multiplying by it puts the words into another order, and loses none
_TOGETHER = 12  # steps of 23 ms: a vowel that lasts gives several words, and is one thing in common


class Print(NamedTuple):
    """`words`: uint32 (≤ 64,), in order. `at`: int64 (≤ 64,), the step at which each is first heard."""

    words: NDArray[np.uint32]
    at: NDArray[np.int64]


def fingerprint(clip: Clip) -> str:
    """At most 64 words and their places, as text; see `read`.

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
    power = bands[1:].sum(axis=1)
    heard = np.flatnonzero((words > 0) & (power > _QUIET * power.max()))
    found, first = np.unique(words[heard].astype(np.uint32) * _SPREAD, return_index=True)
    at = heard[first[:_KEPT]].astype("<u2")  # round and round in recordings beyond 25 min
    return base64.b85encode(found[:_KEPT].astype("<u4").tobytes() + at.tobytes()).decode()


def read(printed: str) -> Print:
    """What `fingerprint` wrote."""
    raw = base64.b85decode(printed)
    count = len(raw) // 6
    return Print(np.frombuffer(raw, "<u4", count), np.frombuffer(raw, "<u2", count, 4 * count).astype(np.int64))


def agreement(one: Print, other: Print) -> int:
    """How many words two sounds have in common at the same distance from one another; 0 where all are in one place.

    Of 64, two encodings of a sound have 6 and more, 12 in the middle; different sounds have none, rarely 2.
    """
    _, mine, theirs = np.intersect1d(one.words, other.words, assume_unique=True, return_indices=True)
    places, most = one.at[mine], 0
    apart = places - other.at[theirs]
    for shift in np.unique(apart):
        together = np.abs(apart - shift) <= 1
        if np.ptp(places[together]) >= _TOGETHER:
            most = max(most, int(np.sum(together)))
    return most
