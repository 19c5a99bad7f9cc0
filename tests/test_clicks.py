"""Clicks: found at their sample, not in speech, and taken out without a trace."""

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from prepare import clicks, steps
from prepare.clip import Clip
from tests.babble import babble, noise
from tests.conftest import SHARED, needs_shared


def clicked(samples: NDArray[np.float32], *places: int, height: float = 0.4) -> Clip:
    """A spike of two samples at each place."""
    samples = samples.copy()
    for place in places:
        samples[place] += height
        samples[place + 1] -= height / 2
    return Clip(samples, 16_000)


def speech(duration_s: float = 2.0) -> NDArray[np.float32]:
    return babble(duration_s) + noise(duration_s + 1, 0.0005)


def test_a_click_is_found_at_its_sample() -> None:
    found = clicks.mark(clicked(speech(), 3_000, 20_000))
    assert [round(at_s * 16_000) for at_s in found.clicks] == pytest.approx([3_000, 20_000], abs=1)


def test_a_sudden_jump_is_a_click() -> None:
    samples = speech()
    samples[4_000:] += 0.2
    assert clicks.mark(Clip(samples, 16_000)).clicks == pytest.approx([0.25], abs=0.001)


@pytest.mark.parametrize("pitch_hz", [60, 120, 400])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_the_pulses_of_a_voice_are_no_clicks(pitch_hz: float, rate_hz: int) -> None:
    assert clicks.mark(Clip(babble(2, rate_hz=rate_hz, pitch_hz=pitch_hz), rate_hz)).clicks == ()


def test_noise_and_silence_have_none() -> None:
    assert clicks.mark(Clip(noise(5, 0.1), 16_000)).clicks == ()
    assert clicks.mark(Clip(np.zeros(16_000, np.float32), 16_000)).clicks == ()
    assert clicks.mark(Clip(np.zeros(3, np.float32), 16_000)).clicks == ()


def test_what_crackles_all_the_time_is_not_a_click_but_noise() -> None:
    """Its like is within 30 ms: seen in the SNR."""
    assert clicks.mark(clicked(speech(), *range(2_000, 40_000, 160))).clicks == ()


def test_repaired_sound_is_as_it_was() -> None:
    whole = speech()
    broken = clicks.mark(clicked(whole, 3_000, 20_003))
    mended = clicks.repair(broken)
    before, after = broken.samples - whole, mended.samples - whole
    assert np.sum(after**2) < 0.01 * np.sum(before**2)
    untouched = np.ones(len(whole), bool)
    untouched[2_980:3_021] = untouched[19_983:20_024] = False
    assert np.array_equal(mended.samples[untouched], whole[untouched])


@pytest.mark.parametrize("place", [0, 1, 5, 47_990, 47_998])
def test_clicks_at_the_edges_are_mended_too(place: int) -> None:
    mended = clicks.repair(clicks.mark(clicked(speech(), place)))
    assert np.isfinite(mended.samples).all()
    assert np.abs(mended.samples[[*range(8), *range(-8, 0)]]).max() < 0.41


def test_clicks_keep_their_time_when_a_clip_is_cut() -> None:
    whole = clicks.mark(clicked(speech(), 3_000, 20_000))
    part = steps.cut(whole, 1.0, 2.0)
    assert part.clicks == pytest.approx([0.25], abs=0.001)
    assert clicks.repair(part).samples[4_000] != part.samples[4_000]


@pytest.mark.real
@needs_shared("data/tamazight_speech")
def test_300_real_clips_have_hardly_any() -> None:
    """Tamazight is full of plosives and taps, which come near to a click; 18 minutes."""
    paths = sorted((SHARED / "data" / "tamazight_speech" / "clips").glob("*.mp3"))
    found = [clicks.mark(Clip(*soundfile.read(path, dtype="float32"))).clicks for path in paths]
    assert len(paths) == 300
    assert sum(map(len, found)) <= 5
