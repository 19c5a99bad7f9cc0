"""How long a room rings: its reverberation time, heard in how fast speech can fade in it."""

import numpy as np

from prepare.clip import Clip

_WINDOW_S, _HOP_S, _SPAN_S = 0.032, 0.016, 0.2
_LOW_HZ, _HIGH_HZ, _BANDS = 250.0, 6000.0, 4
_ABOVE_DB, _QUIETEST = 3.0, 10  # over the noise, which is the level of the quietest tenth
_BELOW_DB = 55.0  # under the loudest: a noise gate or an encoder makes its own fall, down to digital silence
_FASTEST = 3.0  # per cent of the decays: those that the room alone holds back
_NEEDED = 25  # decays
_PIVOT_S, _STEEPNESS = 0.3, 1.35


def t60_s(clip: Clip) -> float | None:
    """Reverberation time: how long sound takes to fade by 60 dB. None where too little fades to tell.

    Blind, from the distribution of decay rates (Wen, Habets and Naylor, ICASSP 2008): no sound fades faster
    than its room lets it, so the steepest falls of level over 0.2 s, in four bands, tell of the room. The line
    from them to seconds was fitted to anechoic synthetic speech in rooms of exponentially decaying noise:
    right within a tenth from 0.3 s to 1.2 s at 30 dB SNR and better, too long by up to 0.15 s at 20 dB.
    Below 0.3 s it is the speech itself that fades, and a microphone nearer than the critical distance
    hears less of the room (at +6 dB of direct sound, 0.8 s reads as 0.7 s).
    """
    from scipy.fft import rfft

    size, hop = round(_WINDOW_S * clip.rate_hz), round(_HOP_S * clip.rate_hz)
    span = round(_SPAN_S / _HOP_S)
    if len(clip.samples) < size + hop * (span + _NEEDED):
        return None
    frames = np.lib.stride_tricks.sliding_window_view(clip.samples, size)[::hop]
    spectrum = rfft(frames * np.hanning(size).astype(np.float32), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    edges = np.geomspace(_LOW_HZ, min(_HIGH_HZ, clip.rate_hz / 2), _BANDS + 1) * size / clip.rate_hz
    bands = np.add.reduceat(power, np.round(edges).astype(int), axis=1)[:, :-1]
    level_db = 10 * np.log10(bands + 1e-12)
    noise_db = np.percentile(level_db, _QUIETEST, axis=0)
    floor_db = np.maximum(noise_db + _ABOVE_DB, level_db.max(axis=0) - _BELOW_DB)
    stretches = np.lib.stride_tricks.sliding_window_view(level_db, span, axis=0)  # (frames, bands, span)
    steps = np.arange(span) - (span - 1) / 2
    slope_db_per_s = stretches @ (steps / np.sum(steps**2) / _HOP_S)
    falling = slope_db_per_s[(stretches.min(axis=2) > floor_db) & (slope_db_per_s < 0)]
    if len(falling) < _NEEDED:
        return None
    fastest_s = -60 / float(np.percentile(falling, _FASTEST))
    return float(_PIVOT_S * (fastest_s / _PIVOT_S) ** _STEEPNESS)
