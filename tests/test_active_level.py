"""Active speech level: ITU-T P.56, against what the standard says of tones and noise, and against its own words."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prepare.active_level import active_level
from tests.babble import babble, noise


def tone(duration_s: float, peak: float = 1.0, rate_hz: int = 16_000) -> NDArray[np.float32]:
    return (peak * np.sin(2 * np.pi * 1000 * np.arange(int(duration_s * rate_hz)) / rate_hz)).astype(np.float32)


def as_written(samples: NDArray[np.float32], rate_hz: int) -> tuple[float, float]:
    """Clause 8.2 sample by sample, for 16-bit sound: the algorithm as the standard spells it out."""
    smooth, hangover = math.exp(-1 / (rate_hz * 0.03)), round(0.2 * rate_hz)
    thresholds = [2.0**power for power in range(-15, 0)]
    active, since = [0] * 15, [hangover] * 15
    p = q = energy = 0.0
    for sample in samples.tolist():
        energy += sample * sample
        p = smooth * p + (1 - smooth) * abs(sample)
        q = smooth * q + (1 - smooth) * p
        for number, threshold in enumerate(thresholds):
            if q >= threshold:
                active[number] += 1
                since[number] = 0
            elif since[number] < hangover:
                active[number] += 1
                since[number] += 1
    levels = [10 * math.log10(energy / count) for count in active if count]
    excess = [level - 20 * math.log10(c) - 15.9 for level, c in zip(levels, thresholds, strict=False)]
    for number in range(1, len(levels)):
        if excess[number] < 0 <= excess[number - 1]:
            share = excess[number - 1] / (excess[number - 1] - excess[number])
            level = levels[number - 1] + share * (levels[number] - levels[number - 1])
            return level, energy / len(samples) / 10 ** (level / 10)
    raise AssertionError("no threshold fits")


@pytest.mark.parametrize("level_db", [0, -20, -40, -60])
def test_a_lasting_tone_is_active_all_the_time(level_db: int) -> None:
    """Clause 11.2: its level is its power, for a full-scale sine 3 dB below a full-scale square wave."""
    found = active_level(tone(5, peak=10 ** (level_db / 20)), 16_000)
    assert found.level_dbov == pytest.approx(level_db - 3.01, abs=0.1)
    assert found.activity == pytest.approx(1, abs=0.02)


def test_noise_is_active_all_the_time() -> None:
    """Clause 11.3."""
    found = active_level(noise(5, 0.1), 16_000)
    assert found.level_dbov == pytest.approx(-20, abs=0.1)
    assert found.activity == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("pause_s", [1.0, 3.0])
def test_pauses_are_left_out_but_for_what_the_hangover_bridges(pause_s: float) -> None:
    """A tone of 1 s and a pause: the tone, 0.2 s of hangover, and the time in which the envelope fades below."""
    sound = np.tile(np.concatenate([tone(1), np.zeros(int(pause_s * 16_000), np.float32)]), 8)
    found = active_level(sound, 16_000)
    assert found.activity * (1 + pause_s) == pytest.approx(1.2 + 0.08, abs=0.05)
    assert found.level_dbov == pytest.approx(-3.01 + 10 * math.log10(1 / 1.28), abs=0.2)
    plain = 10 * math.log10(np.mean(sound.astype(float) ** 2))
    assert found.level_dbov > plain + 1.8  # the long-term level goes down with every pause


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_it_is_what_the_standard_says_step_by_step(rate_hz: int) -> None:
    sound = babble(2, rate_hz=rate_hz) + noise(3, 0.001, rate_hz)
    level, activity = as_written(sound, rate_hz)
    found = active_level(sound, rate_hz)
    assert found.level_dbov == pytest.approx(level, abs=0.05)
    assert found.activity == pytest.approx(activity, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.floats(-30, 0))
def test_so_much_quieter_is_so_much_less(gain_db: float) -> None:
    sound = babble(1)
    quieter = active_level((sound * 10 ** (gain_db / 20)).astype(np.float32), 16_000)
    assert quieter.level_dbov == pytest.approx(active_level(sound, 16_000).level_dbov + gain_db, abs=0.4)


@pytest.mark.parametrize("samples", [np.zeros(16_000, np.float32), noise(1, 1e-6), np.zeros(1, np.float32)])
def test_silence_has_no_activity(samples: NDArray[np.float32]) -> None:
    assert active_level(samples, 16_000) == (-100.0, 0.0)
