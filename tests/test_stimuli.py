"""Clips for listening are alike in all but the speech: rate, level, silence, container; and how that is made."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
from numpy.typing import NDArray

from evaluate import stimuli
from evaluate.systems import Item, Rendered
from tests.conftest import ROOT, SHARED, needs_shared
from train.adapter import foreign_audio, resampled

Samples = NDArray[np.float32]
RATE_HZ = 16_000


@cache
def sample() -> list[Samples]:
    """Sentences of the corpus that comes with the project, without silence at their ends."""
    paths = sorted((ROOT / "recipes" / "sample" / "clips").glob("*.flac"))[:30]
    clips = [soundfile.read(path, dtype="float32")[0] for path in paths]
    return [clip[slice(*stimuli.span(clip, RATE_HZ))] for clip in clips]


def noise(seed: int, count: int, level: float) -> Samples:
    return (level * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def of(system: str, clips: list[Samples], rate_hz: int = RATE_HZ) -> list[Rendered]:
    return [Rendered(system, Item(f"t{n}", "zgh-Tfng", "s"), clip, rate_hz) for n, clip in enumerate(clips)]


def read(wav: bytes) -> tuple[Samples, int]:
    samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    return samples, rate_hz


def lufs(wav: bytes) -> float:
    samples, rate_hz = read(wav)
    return float(pyloudnorm.Meter(rate_hz).integrated_loudness(samples))


def two_systems() -> tuple[list[Rendered], list[Rendered]]:
    """The same speech from two systems that differ in rate, level, silence and what the silence sounds like."""
    clean = [np.pad(0.5 * clip, (400 + 13 * n, 900)) for n, clip in enumerate(sample())]
    rough = []
    for n, clip in enumerate(sample()):
        padded = np.pad(0.05 * clip, (9_000 + 700 * (n % 5), 6_000))
        rough.append(resampled(padded + noise(n, len(padded), 2e-5), RATE_HZ, 22_050))
    return of("one", clean), of("other", rough, 22_050)


# ---------------------------------------------------------------- silence


@pytest.mark.parametrize("snr_db", [60, 40, 30])
def test_speech_begins_after_200_ms_whatever_the_noise_before_it(snr_db: int) -> None:
    late = []
    for n, clip in enumerate(sample()):
        lead = 1_600 + 500 * n
        padded = np.pad(clip, (lead, 4_000))
        level = float(np.sqrt(np.mean(clip**2))) * 10 ** (-snr_db / 20)
        first, _ = stimuli.span(padded + noise(n, len(padded), level), RATE_HZ)
        late.append(abs(first - lead) / RATE_HZ)
    assert np.quantile(late, 0.9) <= 0.010  # what is weaker than the noise cannot be heard to begin


def test_a_click_before_the_speech_is_no_speech() -> None:
    clip = np.pad(sample()[0], (8_000, 4_000))
    clicked = clip.copy()
    clicked[5_000:5_010] = 0.5
    assert abs(stimuli.span(clicked, RATE_HZ)[0] - stimuli.span(clip, RATE_HZ)[0]) <= 160


def test_silence_is_cut_to_nothing() -> None:
    assert stimuli.span(np.zeros(16_000, np.float32), RATE_HZ) == (0, 0)
    assert len(stimuli.edges(np.zeros(16_000, np.float32), RATE_HZ)) == 2 * 3_200


def test_what_was_cut_is_cut_the_same_again() -> None:
    for clip in sample():
        made = stimuli.edges(np.pad(clip, (5_000, 3_000)), RATE_HZ)
        first, last = stimuli.span(made, RATE_HZ)
        assert abs(first - 3_200) <= 160 and abs(len(made) - last - 3_200) <= 160


@needs_shared("data/tamazight_speech")
@pytest.mark.real
def test_real_recordings_have_the_same_silence_and_more_of_their_noise_changes_nothing() -> None:
    """Common Voice, 60 clips, 21 to 66 dB between speech and noise."""
    paths = sorted((SHARED / "data" / "tamazight_speech" / "clips").glob("*.mp3"))[:60]
    for path in paths:
        samples, rate_hz = foreign_audio(path.read_bytes(), 5)
        clip = resampled(samples, rate_hz, RATE_HZ)
        made = stimuli.edges(clip, RATE_HZ)
        first, last = stimuli.span(made, RATE_HZ)
        assert abs(first - 3_200) <= 160 and abs(len(made) - last - 3_200) <= 160, path
        first, last = stimuli.span(clip, RATE_HZ)
        lead = clip[: max(first - 480, 0)]
        longer = np.concatenate([lead[::-1], clip])
        assert abs(stimuli.span(longer, RATE_HZ)[0] - len(lead) - first) <= 160, path


# ---------------------------------------------------------------- level


def test_every_clip_and_every_system_is_as_loud() -> None:
    one, other = two_systems()
    heard = [lufs(wav) for wav in stimuli.alike([*one, *other], -26.0)]
    assert max(abs(loudness + 26) for loudness in heard) <= 0.5
    assert abs(np.mean(heard[: len(one)]) - np.mean(heard[len(one) :])) <= 0.2


def test_where_one_clip_would_clip_the_whole_test_is_turned_down() -> None:
    sharp = np.pad(noise(1, 16_000, 0.001), (0, 0))
    sharp[::800] = 0.9  # peaks far above its loudness
    rendered = [*of("one", sample()[:4]), *of("other", [sharp])]
    made = stimuli.alike(rendered, -6.0)
    peaks = [float(np.abs(read(wav)[0]).max()) for wav in made]
    assert max(peaks) == pytest.approx(0.98, abs=1e-3)
    heard = [lufs(wav) for wav in made]
    assert max(heard) - min(heard) <= 0.5 and max(heard) < -6.5  # all of them, not the one


# ---------------------------------------------------------------- container


def test_a_stimulus_is_riff_with_format_and_data_and_nothing_else() -> None:
    for wav in stimuli.alike([*two_systems()[0][:2], *two_systems()[1][:2]], -26.0):
        assert wav[:4] == b"RIFF" and wav[8:16] == b"WAVEfmt " and wav[36:40] == b"data"
        assert int.from_bytes(wav[4:8], "little") == len(wav) - 8
        assert int.from_bytes(wav[40:44], "little") == len(wav) - 44
        channels, rate_hz, bits = (int.from_bytes(wav[a:b], "little") for a, b in ((22, 24), (24, 28), (34, 36)))
        assert (channels, rate_hz, bits) == (1, 22_050, 16)


def facts(wav: bytes) -> list[float]:
    """What a program could know of a file without knowing speech."""
    samples, rate_hz = read(wav)
    sounding = np.flatnonzero(samples)
    quiet = np.abs(samples) < 0.01 * np.abs(samples).max()
    header = [float(int.from_bytes(wav[at : at + 2], "little")) for at in (20, 22, 34)]
    grid = [float(len(samples) % step) for step in (80, 110, 256, 300)]
    ends = [float(sounding[0]), float(len(samples) - sounding[-1]), float(np.argmin(quiet))]
    ends.append(float(np.argmin(quiet[::-1])))
    return [float(rate_hz), lufs(wav), float(wav.find(b"data")), *header, *grid, *ends]


def guessed(one: list[bytes], other: list[bytes]) -> float:
    """The share of files whose system a forest of trees tells from the others', sentence by sentence left out."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GroupKFold, cross_val_score

    known = np.array([facts(wav) for wav in [*one, *other]])
    system = np.repeat([0, 1], [len(one), len(other)])
    sentences = np.concatenate([np.arange(len(one)), np.arange(len(other))])
    forest = RandomForestClassifier(50, random_state=0)
    return float(cross_val_score(forest, known, system, groups=sentences, cv=GroupKFold(5)).mean())


def test_nothing_but_speech_tells_systems_apart() -> None:
    one, other = two_systems()
    before = [[stimuli.wav(r.samples, r.rate_hz) for r in side if r.samples is not None] for side in (one, other)]
    assert guessed(*before) == 1.0  # the classifier sees what there is to see
    made = stimuli.alike([*one, *other], -26.0)
    chance = 0.5 + 3 * np.sqrt(0.25 / len(made))
    assert guessed(made[: len(one)], made[len(one) :]) <= chance


def test_names_say_nothing_and_change_with_the_sound(tmp_path: Path) -> None:
    from recipes.schema import load

    recipe = load(ROOT / "recipes" / "demo.yaml").model_copy(update={"work_dir": tmp_path})
    made = stimuli.make(recipe, of("one", sample()[:2]))
    assert [one.name for one in stimuli.make(recipe, of("one", sample()[:2]))] == [one.name for one in made]
    assert not {one.name for one in stimuli.make(recipe, of("other", sample()[:2]))} & {one.name for one in made}
    assert sorted(path.stem for path in (tmp_path / "evaluate" / "stimuli").iterdir()) == sorted(
        one.name for one in stimuli.read(recipe)
    )
