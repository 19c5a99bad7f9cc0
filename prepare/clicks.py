"""Clicks: found where they stand out from what is around them, and taken out by prediction from both sides."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prepare.clip import Clip, Samples

_AROUND_S, _OWN_S = 0.03, 0.001  # what a click is compared with, and what is still the click itself
_TIMES = 8.0  # how far it stands out
_LEAST = 0.003  # of full scale: what is weaker is not heard
_WIDEST_S = 0.002
_ORDER_S, _CONTEXT_S = 0.002, 0.02  # of the prediction, and the sound on each side that it is learned from


def mark(clip: Clip) -> Clip:
    """Note when there are clicks: a spike of less than 2 ms, with nothing like it within 30 ms on either side.

    What is looked at is the second difference, in which speech is weak and a spike or a jump is strong. Pulses
    of a voice come every 2 to 17 ms and so have their like beside them; the burst of a plosive goes on for
    longer than a click does. Clicks in a row, such as crackling, have their like beside them too.
    """
    places = _places(_roughness(clip.samples), clip.rate_hz)
    return replace(clip, clicks=tuple(float(place) / clip.rate_hz for place in places))


def repair(clip: Clip) -> Clip:
    """Replace marked clicks by what the sound on both sides predicts (Janssen, Veldhuis, Vries, 1986)."""
    samples = clip.samples.copy()
    rough = _roughness(samples)
    for at_s in clip.clicks:
        first, last = _extent(rough, round(at_s * clip.rate_hz), clip.rate_hz)
        _interpolate(samples, first, last, clip.rate_hz)
    return replace(clip, samples=samples)


def _roughness(samples: Samples) -> Samples:
    """Size of the second difference at each sample: float32 (n,)."""
    second: Samples = np.diff(samples, 2, prepend=samples[:1], append=samples[-1:])
    return np.abs(second)


def _places(rough: Samples, rate_hz: int) -> NDArray[np.int64]:
    from scipy.ndimage import maximum_filter1d

    own, around = max(1, round(_OWN_S * rate_hz)), round(_AROUND_S * rate_hz)
    half = (around - own) // 2
    side = maximum_filter1d(rough, 2 * half + 1, mode="constant")
    shift = own + 1 + half
    padded = np.pad(side, shift)
    beside = np.maximum(padded[: len(rough)], padded[2 * shift :])
    peak = (rough > _TIMES * beside) & (rough > _LEAST)
    candidates = np.flatnonzero(peak)
    kept: list[int] = []
    for place in candidates:  # of neighbours, the sharpest
        if kept and place - kept[-1] <= own:
            kept[-1] = int(place) if rough[place] > rough[kept[-1]] else kept[-1]
        else:
            kept.append(int(place))
    return np.array(kept, np.int64)


def _extent(rough: Samples, place: int, rate_hz: int) -> tuple[int, int]:
    """First and last sample (not included) of the click at `place`."""
    most = max(1, round(_WIDEST_S * rate_hz / 2))
    begin, end = max(0, place - most), min(len(rough), place + most + 1)
    loud = np.flatnonzero(rough[begin:end] > rough[place] / _TIMES**2)
    return begin + int(loud[0]), begin + int(loud[-1]) + 1


def _interpolate(samples: Samples, first: int, last: int, rate_hz: int) -> None:
    """Put into `samples[first:last]` what makes the whole easiest to predict linearly."""
    from scipy.linalg import convolution_matrix, lstsq, solve_toeplitz

    order, context = round(_ORDER_S * rate_hz), round(_CONTEXT_S * rate_hz)
    begin, end = max(0, first - context), min(len(samples), last + context)
    stretch = samples[begin:end].astype(np.float64)
    gap = slice(first - begin, last - begin)
    if gap.start < 1 or gap.stop >= len(stretch) or len(stretch) <= 3 * order:
        samples[first:last] = 0 if gap.start < 1 or gap.stop >= len(stretch) else samples[first - 1]
        return
    stretch[gap] = np.interp(
        np.arange(gap.start, gap.stop), [gap.start - 1, gap.stop], stretch[[gap.start - 1, gap.stop]]
    )
    for _ in range(2):
        windowed = stretch * np.hanning(len(stretch))
        moments = np.correlate(windowed, windowed, "full")[len(stretch) - 1 :][: order + 1]
        moments[0] = moments[0] * (1 + 1e-6) + 1e-12
        predictor = np.concatenate([[1.0], -solve_toeplitz(moments[:-1], moments[1:])])
        error = convolution_matrix(predictor, len(stretch), "valid")
        known = stretch.copy()
        known[gap] = 0
        stretch[gap] = lstsq(error[:, gap], -error @ known)[0]
    samples[first:last] = stretch[gap]
