"""Anchors: recordings made worse by rule, so that a scale has a known lower end.

`anchor_low` and `anchor_mid` are those of MUSHRA, Rec. ITU-R BS.1534-3 (10/2015), 5.1: the reference through a
low-pass of 3.5 kHz and of 7 kHz. For the first the Recommendation bounds the filter: ripple within ±0.1 dB up to
3.5 kHz, at least 25 dB down at 4 kHz and 50 dB at 4.5 kHz; the second keeps the same bounds at twice the frequency.

Narrow sound is not what is wrong with synthetic speech. `anchor_flat` is: the recording through a vocoder of linear
prediction (Atal and Hanauer, JASA 50, 1971) whose voice stays on one pitch, as formant synthesis sounded. Words,
pace and pauses are those of the recording; voice and melody are gone.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from evaluate.items import Item, Rendered, may_be_heard, recorded
from recipes.schema import Recipe, UserError
from train.adapter import pitch

_EDGES_HZ = {"anchor_low": (3_500, 4_000), "anchor_mid": (7_000, 8_000)}  # where the pass band ends, the stop begins
_STOP_DB = 70.0
_MONOTONE_HZ = 110
_WINDOW_S, _STEP_S = 0.03, 0.01
_EMPHASIS = 0.97

Samples = NDArray[np.float32]


def render(recipe: Recipe, name: str, wanted: Sequence[Item]) -> list[Rendered]:
    """An anchor of every recording that may be played. Raises UserError where recordings have not its band."""
    rate_hz = recipe.prepare.rate_hz
    made = []
    for item in wanted:
        if may_be_heard(item):
            reference = recorded(item)
            samples = flat(reference, rate_hz) if name == "anchor_flat" else low_pass(reference, rate_hz, name)
            made.append(Rendered(name, item, samples, rate_hz))
    return made


def low_pass(samples: Samples, rate_hz: int, name: str) -> Samples:
    """Samples (n,) without what is above the anchor's band; nothing is delayed.

    Raises UserError where the rate leaves no room for the filter: the anchor would be the reference itself.
    """
    pass_hz, stop_hz = _EDGES_HZ[name]
    if rate_hz < 2 * stop_hz:
        raise UserError(f"evaluate.systems: {name} needs prepare.rate_hz of {2 * stop_hz} or more, not {rate_hz}")
    from scipy.signal import fftconvolve

    return np.asarray(fftconvolve(samples, taps(rate_hz, pass_hz, stop_hz), mode="same"), dtype=np.float32)


@cache
def taps(rate_hz: int, pass_hz: int, stop_hz: int) -> NDArray[np.float64]:
    """A filter of linear phase by Kaiser's window: float64 (odd,)."""
    from scipy.signal import firwin, kaiserord

    count, beta = kaiserord(_STOP_DB, (stop_hz - pass_hz) / (rate_hz / 2))
    found: NDArray[np.float64] = firwin(count | 1, (pass_hz + stop_hz) / 2, window=("kaiser", beta), fs=rate_hz)
    return found


def flat(samples: Samples, rate_hz: int) -> Samples:
    """Speech (n,) as a vocoder on one pitch says it; as long, and as loud from one 10 ms to the next."""
    from scipy.signal import lfilter

    step, window = round(_STEP_S * rate_hz), round(_WINDOW_S * rate_hz)
    emphasised = lfilter([1, -_EMPHASIS], [1], samples)
    padded = np.pad(emphasised, (window // 2, window + step))
    count = -(-len(samples) // step)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: count * step : step] * np.hanning(window)
    source = excitation(voiced(samples, rate_hz, count), step, rate_hz)
    order = 2 + rate_hz // 1_000
    state, made = np.zeros(order), np.zeros(count * step)
    for number, frame in enumerate(frames):
        predictor, gain = prediction(frame, order)
        at = slice(number * step, (number + 1) * step)
        made[at], state = lfilter([gain], predictor, source[at], zi=state)
    return np.asarray(lfilter([1], [1, -_EMPHASIS], made)[: len(samples)], dtype=np.float32)


def voiced(samples: Samples, rate_hz: int, count: int) -> NDArray[np.bool_]:
    """Which of `count` steps have a voice: bool (count,)."""
    frames = ~np.isnan(pitch(samples, rate_hz))
    places = np.linspace(0, len(frames) - 1, count).round().astype(int)
    found: NDArray[np.bool_] = frames[places]
    return found


def excitation(voice: NDArray[np.bool_], step: int, rate_hz: int) -> NDArray[np.float64]:
    """Pulses of one pitch where there is a voice, noise where there is none; both of power 1: float64 (n,)."""
    period = rate_hz // _MONOTONE_HZ
    pulses = np.zeros(len(voice) * step)
    pulses[::period] = np.sqrt(period)
    noise = np.random.default_rng(0).standard_normal(len(pulses))
    return np.where(np.repeat(voice, step), pulses, noise)


def prediction(frame: NDArray[np.float64], order: int) -> tuple[NDArray[np.float64], float]:
    """The all-pole filter of a windowed frame, float64 (order + 1,), and its gain, by autocorrelation."""
    from scipy.linalg import solve_toeplitz

    power = np.correlate(frame, frame, "full")[len(frame) - 1 : len(frame) + order]
    if power[0] <= 1e-9:
        return np.eye(1, order + 1)[0], 0.0
    power[0] *= 1 + 1e-6  # a floor of noise, 60 dB down: it keeps the filter stable
    weights = solve_toeplitz(power[:-1], power[1:])
    error = max(float(power[0] - weights @ power[1:]), 0.0)
    return np.concatenate([[1.0], -weights]), float(np.sqrt(error / (0.375 * len(frame))))  # of Hann's window
