"""Speech-like sound, for tests that need a voice and must not need a recording."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

VOWELS_HZ = ((700, 1200, 2500), (300, 2300, 3000), (300, 800, 2300))  # formants of a, i, u


def babble(
    duration_s: float, rate_hz: int = 16_000, pitch_hz: float = 120, silence_s: float = 0.5
) -> NDArray[np.float32]:
    """a, i, u, over and over, five a second, with silence on both sides: float32 (n,), peak 0.5.

    A pulse train through three resonators a vowel (Klatt 1980, Software for a cascade/parallel formant
    synthesizer), which is enough of a voice for a voice activity detector.
    """
    count, syllable = int(duration_s * rate_hz), rate_hz // 5
    pitch = pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * np.arange(count) / rate_hz))
    pulses = np.diff(np.floor(np.cumsum(pitch) / rate_hz), prepend=0.0)
    sound = np.zeros(count)
    for number, at in enumerate(range(0, count, syllable)):
        vowel = pulses[at : at + syllable]
        for formant_hz in VOWELS_HZ[number % 3]:
            radius = np.exp(-np.pi * 90 / rate_hz)
            turn = 2 * radius * np.cos(2 * np.pi * formant_hz / rate_hz)
            vowel = lfilter([1 - radius], [1, -turn, radius**2], vowel)
        sound[at : at + syllable] = vowel * np.hanning(len(vowel))
    around = np.zeros(int(silence_s * rate_hz))
    sound *= 0.5 / np.abs(sound).max()
    return np.concatenate([around, sound, around], dtype=np.float32)


def noise(duration_s: float, level: float, rate_hz: int = 16_000) -> NDArray[np.float32]:
    """White noise of standard deviation `level`, the same each time."""
    draw = np.random.default_rng(17)
    return (level * draw.standard_normal(int(duration_s * rate_hz))).astype(np.float32)
