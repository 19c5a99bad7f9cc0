"""Noise reduction: what is steady goes down, by no more than was asked, and the voice stays."""

import numpy as np
import pytest

from prepare import noise as reduction
from prepare.clip import Clip
from tests.babble import babble, noise

VOICE = babble(2, silence_s=1.0)
SPEECH = ((1.0, 3.0),)


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(float) ** 2)))


def test_noise_goes_down_by_what_was_asked_and_the_voice_stays() -> None:
    heard = Clip(VOICE + noise(4, 0.005), 16_000, speech=SPEECH)
    done = reduction.reduce(heard, 12)
    pause, voice = slice(2_000, 14_000), slice(17_000, 47_000)
    assert level_db(done.samples[pause]) - level_db(heard.samples[pause]) == pytest.approx(-12, abs=0.7)
    assert level_db(done.samples[voice]) == pytest.approx(level_db(VOICE[voice]), abs=0.3)
    before, after = heard.samples[voice] - VOICE[voice], done.samples[voice] - VOICE[voice]
    assert level_db(after) < level_db(before)
    assert (len(done.samples), done.speech) == (len(heard.samples), heard.speech)


def test_a_voice_without_noise_is_left_as_it_is() -> None:
    done = reduction.reduce(Clip(VOICE, 16_000, speech=SPEECH), 12)
    assert done.samples == pytest.approx(VOICE, abs=1e-5)


def test_without_a_pause_to_learn_from_nothing_is_done() -> None:
    sound = babble(2, silence_s=0.1) + noise(2.2, 0.01)
    heard = Clip(sound, 16_000, speech=((0.1, 2.1),))
    assert reduction.reduce(heard, 12) is heard
    assert reduction.reduce(Clip(sound, 16_000), 12).samples is sound
