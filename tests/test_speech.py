"""Signal work for generators: mel spectrograms and back, pitch, voices in numbers, letters in time."""

import itertools
from typing import Any

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import SpeechT5FeatureExtractor

from tests.babble import babble, noise
from train.speech import Front, from_log10, griffin_lim, letter_frames, mel, pitch, voice_statistics

FRONT = Front()


# ---------------------------------------------------------------- mel and back


def test_a_frame_every_hop() -> None:
    assert mel(babble(1.0, silence_s=0), FRONT).shape == (1 + 16_000 // 256, 80)


def test_ten_times_louder_is_the_same_step_up_everywhere() -> None:
    sound = noise(0.5, 0.01)
    steps = mel(10 * sound, FRONT) - mel(sound, FRONT)
    assert np.allclose(steps, np.log(10) / 2.5, atol=1e-3)


def test_speech_that_went_to_mel_and_back_has_nearly_the_same_mel() -> None:
    frames = mel(babble(1.0), FRONT)
    wave = griffin_lim(frames, FRONT)
    assert abs(len(wave) - 2 * 16_000) <= FRONT.hop
    assert np.abs(mel(wave, FRONT)[: len(frames)] - frames[: 1 + len(wave) // FRONT.hop]).mean() < 0.1


def test_the_same_frames_give_the_same_wave() -> None:
    frames = mel(babble(0.3), FRONT)
    assert np.array_equal(griffin_lim(frames, FRONT), griffin_lim(frames, FRONT))


@pytest.mark.parametrize("front", [FRONT, Front(n_fft=800, hop=300)])
def test_griffin_lim_is_that_of_librosa(front: Front) -> None:
    frames = mel(babble(0.5), front)
    spectrum = np.maximum(np.linalg.pinv(filters(front)) @ np.exp(frames.T * 2.5 - 5.0), 0.0)
    asked = {"n_iter": 8, "hop_length": front.hop, "n_fft": front.n_fft, "momentum": 0.95, "random_state": 0}
    theirs = librosa.griffinlim(spectrum.astype(np.float32), **asked)
    assert np.allclose(griffin_lim(frames, front, iterations=8), theirs, atol=1e-4 * np.abs(theirs).max())


def filters(front: Front) -> np.ndarray[Any, np.dtype[np.float32]]:
    bands = {"n_mels": front.mels, "fmin": front.low_hz, "fmax": front.high_hz}
    return np.asarray(librosa.filters.mel(sr=front.rate_hz, n_fft=front.n_fft, **bands), dtype=np.float32)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_fewer_frames_than_a_window_spans_become_a_wave_too(count: int) -> None:
    wave = griffin_lim(mel(babble(0.3), FRONT)[:count], FRONT)
    assert np.isfinite(wave).all()


def test_speecht5_frames_come_onto_our_scale() -> None:
    """SpeechT5's features are decimal logarithms of the same filters, from 80 Hz."""
    sound = babble(0.5, silence_s=0)
    theirs = SpeechT5FeatureExtractor()(audio_target=sound, sampling_rate=16_000).input_values[0]
    ours = mel(sound, Front(low_hz=80.0))
    inner = slice(3, -3)  # they mirror the sound at its edges, we add silence
    assert np.allclose(np.maximum(from_log10(theirs), ours.min())[inner], ours[inner], atol=0.01)


# ---------------------------------------------------------------- pitch and voice


@pytest.mark.parametrize("pitch_hz", [100, 150, 220])
def test_pitch_is_in_octaves_above_150_hz(pitch_hz: float) -> None:
    octaves = pitch(babble(1.0, pitch_hz=pitch_hz, silence_s=0), FRONT)
    assert np.nanmedian(octaves) == pytest.approx(np.log2(pitch_hz / 150), abs=0.2)


def test_silence_has_no_pitch() -> None:
    octaves = pitch(babble(0.5, silence_s=0.5), FRONT)
    assert np.isnan(octaves[:20]).all()


def test_two_recordings_of_a_voice_are_nearer_than_two_voices() -> None:
    low, again, high = (
        voice_statistics(babble(length_s, pitch_hz=pitch_hz), FRONT)
        for length_s, pitch_hz in ((1.0, 100), (1.6, 100), (1.0, 220))
    )
    assert low.shape == (64,)
    assert np.linalg.norm(low - again) < np.linalg.norm(low - high)


# ---------------------------------------------------------------- letters in time


def emissions(rows: list[list[float]]) -> NDArray[np.float32]:
    """Log probabilities from probabilities: float32 (frames, letters)."""
    return np.log(np.asarray(rows, dtype=np.float32))


def test_each_letter_is_where_it_is_surest() -> None:
    blank, a, b = [0.90, 0.05, 0.05], [0.10, 0.80, 0.10], [0.10, 0.10, 0.80]
    sure = [0.04, 0.94, 0.02]
    heard = letter_frames(emissions([blank, a, sure, blank, b, blank]), np.array([1, 2]), blank=0)
    assert list(heard) == [2, 4]


def test_a_blank_parts_two_equal_letters() -> None:
    blank, a = [0.9, 0.1], [0.1, 0.9]
    assert list(letter_frames(emissions([a, a, blank, a]), np.array([1, 1]), blank=0)) in ([0, 3], [1, 3])


@pytest.mark.parametrize(("letters", "frames"), [([1, 2], 1), ([1, 1], 2), ([1], 0), ([], 2)])
def test_letters_that_do_not_fit_are_refused(letters: list[int], frames: int) -> None:
    with pytest.raises(ValueError, match="does not fit into the speech"):
        letter_frames(emissions([[0.4, 0.3, 0.3]] * frames).reshape(frames, 3), np.array(letters), blank=0)


def paths(letters: tuple[int, ...], frames: int) -> list[tuple[int, ...]]:
    """Every way to say the letters in so many frames, by trying all there are (0 is the blank)."""
    symbols = sorted({0, *letters})
    every = itertools.product(symbols, repeat=frames)
    return [path for path in every if tuple(s for s, _ in itertools.groupby(path) if s) == letters]


def surest(path: tuple[int, ...], scores: NDArray[np.float32]) -> tuple[int, ...]:
    """The frame of each letter of a path: of the frames it holds, the surest."""
    runs, start = [], 0
    for symbol, run in itertools.groupby(path):
        length = len(list(run))
        if symbol:
            runs.append(start + int(scores[start : start + length, symbol].argmax()))
        start += length
    return tuple(runs)


@settings(max_examples=150, deadline=None)
@given(
    letters=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    frames=st.integers(1, 6),
    seed=st.integers(0, 10_000),
)
def test_alignment_is_the_best_of_all_possible_ones(letters: list[int], frames: int, seed: int) -> None:
    scores = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), frames)).astype(np.float32)
    possible = paths(tuple(letters), frames)
    if not possible:
        with pytest.raises(ValueError, match="does not fit"):
            letter_frames(scores, np.array(letters), blank=0)
        return
    totals = [sum(float(scores[t, symbol]) for t, symbol in enumerate(path)) for path in possible]
    best = {surest(p, scores) for p, total in zip(possible, totals, strict=True) if total > max(totals) - 1e-4}
    assert tuple(letter_frames(scores, np.array(letters), blank=0)) in best
