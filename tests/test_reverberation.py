"""Reverberation time, from speech in rooms whose time is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from prepare.clip import Clip
from prepare.reverberation import t60_s
from prepare.steps import resample
from tests.babble import babble, noise

DRY = np.concatenate([babble(0.8, pitch_hz=90 + 25 * number) for number in range(6)])


def room(seconds: float) -> NDArray[np.float32]:
    """The answer of a room to a pulse: direct sound, and as much power in exponentially decaying noise."""
    count = int(seconds * 1.2 * 16_000)
    tail = noise(seconds * 1.2, 1.0)[:count] * 10 ** (-3 * np.arange(count) / 16_000 / seconds)
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] += 1
    return tail.astype(np.float32)


def within(seconds: float) -> NDArray[np.float32]:
    return fftconvolve(DRY, room(seconds)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.4, 0.6, 0.9, 1.2])
def test_a_room_is_heard_in_speech(seconds: float) -> None:
    """What is said here has soft syllables, which reads as up to a quarter too short; speech is within a tenth."""
    found = t60_s(Clip(within(seconds), 16_000))
    assert found == pytest.approx(seconds, rel=0.3)


def test_neither_level_nor_rate_matters() -> None:
    sound = Clip(within(0.6), 16_000)
    assert t60_s(Clip(sound.samples * np.float32(0.01), 16_000)) == pytest.approx(t60_s(sound), abs=0.01)
    assert t60_s(resample(sound, 48_000)) == pytest.approx(t60_s(sound), abs=0.05)


def test_a_gate_that_falls_to_silence_is_no_dry_room() -> None:
    sound = within(0.8)
    sound[np.abs(sound) < 0.0003] = 0
    assert t60_s(Clip(sound, 16_000)) == pytest.approx(t60_s(Clip(within(0.8), 16_000)), abs=0.1)


def test_some_noise_makes_it_longer_by_little() -> None:
    sound = within(0.6)
    noisy = sound + noise(len(sound) / 16_000, float(np.sqrt(np.mean(sound**2))) / 10)  # 20 dB
    assert t60_s(Clip(noisy, 16_000)) == pytest.approx(t60_s(Clip(sound, 16_000)), abs=0.15)


def test_dry_speech_is_dry() -> None:
    found = t60_s(Clip(DRY, 16_000))
    assert found is not None and found < 0.3


@pytest.mark.parametrize("samples", [babble(0.3, silence_s=0), np.zeros(16_000, np.float32), noise(0.01, 0.1)])
def test_of_too_little_nothing_is_said(samples: NDArray[np.float32]) -> None:
    assert t60_s(Clip(samples, 16_000)) is None
