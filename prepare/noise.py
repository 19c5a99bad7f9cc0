"""Steady noise, learned in the pauses of a recording and turned down in all of it."""

from dataclasses import replace

import numpy as np

from prepare.clip import Clip

_WINDOW_S, _SMOOTH_S = 0.032, 0.05  # of the spectrum; and over which its power is averaged
_LEAST_S, _BESIDE_S = 0.25, 0.05  # of pauses to learn from, and how far from speech a pause begins
_OVER = 2.0  # noise is taken for twice as strong as it is on average: what flickers above it would sound like bells


def reduce(clip: Clip, at_most_db: float) -> Clip:
    """Turn down what is steady, such as a fan, by at most `at_most_db`. A clip with under 0.25 s of pauses stays.

    A Wiener gain in each 32 ms and each band, 1 − noise / power, and never below the limit (Boll 1979; Berouti,
    Schwartz and Makhoul 1979: a floor and over-subtraction against musical noise). Noise is the mean power of
    the frames outside speech. Voices, music and knocks are not steady and stay.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    size = 2 * round(_WINDOW_S * clip.rate_hz / 2)
    hop = size // 4
    if clip.speech is None or len(clip.samples) < size:
        return clip
    transform = ShortTimeFFT(hann(size, sym=False), hop, clip.rate_hz)
    spectrum = transform.stft(clip.samples)  # (bins, frames)
    at_s = transform.t(len(clip.samples))
    pause = (at_s >= 0) & (at_s <= clip.duration_s)
    for start_s, end_s in clip.speech:
        pause &= (at_s < start_s - _BESIDE_S) | (at_s > end_s + _BESIDE_S)
    power = spectrum.real**2 + spectrum.imag**2
    if np.sum(pause) * hop < _LEAST_S * clip.rate_hz:
        return clip
    steady = _OVER * power[:, pause].mean(axis=1, keepdims=True)
    smooth = uniform_filter1d(power, max(1, round(_SMOOTH_S * clip.rate_hz / hop)), axis=1)
    gain = np.maximum(1 - steady / np.maximum(smooth, 1e-20), 10 ** (-at_most_db / 20))
    return replace(clip, samples=transform.istft(spectrum * gain, k1=len(clip.samples)).astype(np.float32))
