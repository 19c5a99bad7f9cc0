"""The same sound twice, in whatever encoding; the same sentence too often; and which copy stays."""

import io
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from prepare import same, steps
from prepare.clip import Clip
from prepare.fingerprint import agreement, fingerprint, read
from tests.babble import babble, noise
from tests.conftest import SHARED, needs, needs_shared
from tests.tiny import QUALITY

SOUND = babble(3, pitch_hz=130) + noise(4, 0.001)


def coded(kind: str, subtype: str, rate_hz: int = 16_000) -> NDArray[np.float32]:
    """The sound after it went through another format."""
    out = io.BytesIO()
    soundfile.write(out, steps.resample(Clip(SOUND, 16_000), rate_hz).samples, rate_hz, format=kind, subtype=subtype)
    samples, rate_hz = soundfile.read(io.BytesIO(out.getvalue()), dtype="float32")
    return steps.resample(Clip(samples, rate_hz), 16_000).samples


def alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> int:
    return agreement(*(read(fingerprint(Clip(samples, 16_000))) for samples in (one, other)))


@pytest.mark.parametrize(
    "again",
    [
        lambda: SOUND * np.float32(0.1),
        lambda: SOUND[5_000:-3_000],
        lambda: coded("MP3", "MPEG_LAYER_III"),
        lambda: coded("OGG", "VORBIS"),
        lambda: coded("WAV", "ALAW", 8_000),
        lambda: SOUND + noise(4, 0.005),
    ],
    ids=["quieter", "cut", "mp3", "vorbis", "telephone", "noise"],
)
def test_a_sound_is_known_again(again: Callable[[], NDArray[np.float32]]) -> None:
    assert alike(SOUND, again()) > same.SAME


def test_another_sound_is_another() -> None:
    for number in range(10):
        other = babble(3, pitch_hz=140 + 7 * number) + noise(4, 0.001)
        assert alike(SOUND, other) < same.SAME


@pytest.mark.parametrize("samples", [np.zeros(16_000, np.float32), np.zeros(0, np.float32), SOUND[:100]])
def test_of_silence_and_of_next_to_nothing_there_is_a_print(samples: NDArray[np.float32]) -> None:
    found = read(fingerprint(Clip(samples, 16_000)))
    assert len(found.words) == len(found.at) <= 64
    assert agreement(found, found) == 0


def said(name: str, sound: NDArray[np.float32] = SOUND, voice: str = "amina", hz: float = 8_000) -> same.Said:
    figures = QUALITY.model_copy(update={"bandwidth_hz": hz})
    return same.Said(name, voice, "ⴰⵣⵓⵍ", figures, fingerprint(Clip(sound, 16_000)))


CROWD = [
    said("copy", SOUND * np.float32(0.3), hz=4_000),
    said("first", hz=8_000),
    said("second", SOUND[:-4_000], hz=8_000),
    *(said(f"other{number}", babble(2, pitch_hz=170 + 10 * number)) for number in range(6)),
]


@given(st.permutations(CROWD))
def test_the_copy_with_the_widest_band_stays_in_whatever_order(rows: list[same.Said]) -> None:
    assert same.sounds(rows) == {"copy": "first", "second": "first"}


def test_nothing_is_the_same_as_nothing() -> None:
    assert same.sounds([]) == {}
    assert same.texts([], 1) == set()
    silent = np.zeros(16_000, np.float32)
    assert same.sounds([said("a", silent), said("b", silent)]) == {}


def test_a_sentence_stays_with_as_many_voices_as_it_can() -> None:
    rows = [said(f"a{number}", voice="amina") for number in range(3)] + [said("z0", voice="zahra")]
    assert same.texts(rows, 2) == {"a1", "a2"}
    assert same.texts(rows, 3) == {"a2"}
    assert same.texts(rows, 4) == set()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=12), st.integers(1, 4))
def test_no_sentence_is_said_more_often_than_wanted(pairs: list[tuple[str, str]], most: int) -> None:
    figures = fingerprint(Clip(SOUND[:1000], 16_000))
    rows = [same.Said(str(number), voice, text, QUALITY, figures) for number, (voice, text) in enumerate(pairs)]
    out = same.texts(rows, most)
    for text in "xyz":
        every = [row.id for row in rows if row.text == text]
        assert len(set(every) - out) == min(most, len(every))
    shuffled = random.Random(3).sample(rows, len(rows))
    assert same.texts(shuffled, most) == out


@pytest.mark.real
@needs_shared("data/tamazight_speech")
@needs("ffmpeg")
def test_real_clips_are_found_again_in_opus_and_none_for_another(tmp_path: Path) -> None:
    paths = sorted((SHARED / "data" / "tamazight_speech" / "clips").glob("*.mp3"))
    rows = []
    for path in paths:
        samples, rate_hz = soundfile.read(path, dtype="float32")
        rows.append(said(path.stem, steps.resample(Clip(samples, rate_hz), 16_000).samples))
    assert same.sounds(rows) == {}
    for path in paths[:30]:
        coded = tmp_path / f"{path.stem}.wav"
        opus = ["-c:a", "libopus", "-b:a", "24k", str(tmp_path / "a.ogg")]
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(path), *opus], check=True)
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", opus[-1], "-ar", "16000", str(coded)], check=True)
        rows.append(said(f"z{path.stem}", soundfile.read(coded, dtype="float32")[0]))
    found = same.sounds(rows)
    assert all(name == f"z{other}" for name, other in found.items())
    assert len(found) == 30
