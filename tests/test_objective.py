"""What is measured on speech and on what recognisers write: known answers, and how they are counted."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Dataset

from evaluate import acoustic, objective, recognition
from evaluate.metrics import METRICS
from evaluate.objective import Measured
from evaluate.systems import Item, Rendered
from recipes.records import Language
from recipes.schema import UserError, load
from tests import tiny
from tests.conftest import ROOT, SHARED, needs_shared
from tests.test_systems import evaluated
from train.adapter import pitch, resampled, steady_pitch

RECIPE = load(ROOT / "recipes" / "demo.yaml")


@pytest.mark.parametrize(
    ("text", "heard", "counts"),
    [
        ("ⴰⵣⵓⵍ", "ⴰⵣⵓⵍ", (0, 4, 0, 1)),
        ("فين غادي", "فين", (5, 8, 1, 2)),
        ("كتب", "", (3, 3, 1, 1)),
        ("ab cd", "ab xd ef", (4, 5, 2, 2)),
    ],
)
def test_errors_are_edits_over_what_was_said(text: str, heard: str, counts: tuple[int, int, int, int]) -> None:
    assert recognition.errors(text, heard) == counts


def test_a_choice_among_accepted_spellings_is_no_error() -> None:
    text, heard = "ما كاينش ثلاثة ديال الناس فالدار", "ماكاينش تلاتة ديال ناس ف الدار"
    assert recognition.errors(text, heard)[2:] == (6, 6)
    assert recognition.tolerant_errors(text, heard, "ary-Arab") == (1, 5)  # الناس and ناس are two words


def measured(system: str, edits: list[int]) -> list[Measured]:
    return [
        Measured(system, f"i{n}", "s1", f"text {n}", "x", wrong, 10, min(wrong, 2), 2, 1.0, 0, 2)  # type: ignore[arg-type]
        for n, wrong in enumerate(edits)
    ]


def test_base_and_adapter_are_compared_on_the_same_sentences() -> None:
    rows = measured("base", [5, 6, 7, 8, 6, 7]) + measured("adapter", [1, 2, 1, 2, 0, 3])
    recipe = load(ROOT / "recipes" / "nano_asr.yaml")  # a recogniser: no durations to measure
    found = objective.figures(recipe, rows)
    assert found["CER"]["base"] and found["CER"]["base"].value == pytest.approx(39 / 60)
    gap = found["CER"]["adapter - base"]
    assert gap and gap.value == pytest.approx(-30 / 60) and gap.apart_from_zero and gap.n == 6


def test_speakers_are_the_clusters_where_there_are_enough_of_them() -> None:
    rows = [Measured("base", str(n), f"s{n % 6}", f"t{n}", "", 0, 1, 0, 1, 1.0, 0, 1) for n in range(12)]
    assert len(set(objective.clusters(rows))) == 6
    assert len(set(objective.clusters(rows[:1] * 12))) == 1


@pytest.mark.parametrize(
    ("heard", "language", "text"),
    [
        ("السَّلامُ عليكم!", "ary-Arab", "السلام عليكم"),
        ("ⴰⵣⵓⵍ, ⴰ ⴱⴰⴱⴰ.", "zgh-Tfng", "ⴰⵣⵓⵍ ⴰ ⴱⴰⴱⴰ"),
        ("Bghit, ATAY.", "ary-Latn", "bghit atay"),
        ("جسفت ⴰⵣⵓⵍ", "zgh-Tfng", "جسفت ⴰⵣⵓⵍ"),  # another script is kept, and so counts as wrong
        ("", "zgh-Tfng", ""),
    ],
)
def test_what_was_heard_is_compared_in_the_form_of_the_text(heard: str, language: Language, text: str) -> None:
    found = recognition.comparable(heard, language)
    assert found == text == recognition.comparable(found, language)


def said(seed: int, text: str = "ⴰⵣⵓⵍ") -> Rendered:
    samples = np.random.default_rng(seed).standard_normal(1600).astype(np.float32)
    return Rendered("base", Item(text, "zgh-Tfng", f"s{seed}"), samples, 16_000)


def test_a_clip_is_heard_once_and_what_was_heard_goes_when_the_clip_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def transcribe(samples: object, language: str) -> str:
        calls.append(language)
        return "ⴰⵣⵓⵍ!"

    recogniser = SimpleNamespace(rate_hz=16_000, transcribe=transcribe)
    monkeypatch.setattr(recognition, "open_recogniser", lambda name, recipe: recogniser)
    recipe = evaluated(RECIPE.model_copy(update={"work_dir": tmp_path}), measures=[])
    one, *_ = objective.measure(recipe, [said(1), said(2)])[0]
    assert (one.heard, one.char_edits, one.duration_s) == ("ⴰⵣⵓⵍ", 0, 0.1) and len(calls) == 2
    assert objective.measure(recipe, [said(2)])[0][0].heard == "ⴰⵣⵓⵍ" and len(calls) == 2
    assert len(list((tmp_path / "evaluate" / "heard").iterdir())) == 1


def test_utterances_without_a_loss_are_counted_and_left_out_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_dict({"text_normalized": [f"t{n}" for n in range(102)], "speaker": ["s1"] * 102})
    monkeypatch.setattr(objective, "open_dataset", lambda recipe: {"valid": rows})
    monkeypatch.setattr(
        objective.models, "open_one", lambda recipe, model: SimpleNamespace(recognises=True, of=model.name)
    )

    def losses(model: Any, rows: Any, voices: Any) -> list[float]:
        return [float("nan") if model.of == "base" and n == 7 else n + (model.of == "base") for n in range(len(rows))]

    monkeypatch.setattr(objective, "losses", losses)
    found, left_out = objective.validation_losses(RECIPE)
    assert left_out == {
        "validation utterances beyond the first 100": 2,
        "validation utterances that the model cannot encode": 1,
    }
    assert {system: figure.n for system, figure in found.items() if figure} == dict.fromkeys(found, 99)
    assert str(found["adapter - base"]) == "-1.000 (all alike: no interval, n = 99)"


# ---------------------------------------------------------------- known answers of the sound


def voice(seconds: float = 1.5, f0: float = 140.0, seed: int = 0) -> np.ndarray:
    """Something with a pitch, syllables and a spectrum."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    buzz = sum(np.sin(2 * np.pi * f0 * n * time) / n for n in range(1, 25))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time - 1.5)
    hiss = np.random.default_rng(seed).standard_normal(len(time))
    return (0.1 * syllables * (buzz + 0.02 * hiss)).astype(np.float32)


def test_a_clip_is_at_no_distance_from_itself_whatever_its_level() -> None:
    clip = voice()
    for gain in (1.0, 0.25, 3.0):
        found = acoustic.distance(np.float32(gain) * clip, clip, 16_000)
        assert (found.mcd_db, found.f0_cents, found.energy_db) == pytest.approx((0, 0, 0), abs=1e-3)


def test_a_fifth_is_seven_hundred_cents() -> None:
    found = acoustic.distance(voice(f0=150.0), voice(f0=100.0), 16_000)
    assert found.f0_cents == pytest.approx(702, abs=20)


def gliding(low_hz: float, high_hz: float, second: float = 1.0, seconds: float = 1.0) -> np.ndarray:
    """A vowel whose pitch glides, as octaves do: float32 (n,). `second`: its second harmonic over its first."""
    hz = np.geomspace(low_hz, high_hz, int(16_000 * seconds))
    phase = 2 * np.pi * np.cumsum(hz) / 16_000
    sound = np.sin(phase) + second * np.sin(2 * phase) + 0.3 * np.sin(3 * phase)
    return np.float32(0.2 * sound / np.abs(sound).max())


@pytest.mark.parametrize("second", [0.2, 1.0, 4.0])
def test_pitch_follows_a_glide_whatever_the_second_harmonic(second: float) -> None:
    found = steady_pitch(gliding(100, 300, second), 16_000)
    true = np.linspace(np.log2(100 / 150), np.log2(2), len(found))
    known = ~np.isnan(found)
    assert known.mean() > 0.9 and np.abs(found - true)[known].max() < 1 / 12  # a semitone


def test_a_strong_second_harmonic_does_not_change_the_distance_between_pitches() -> None:
    found = acoustic.distance(gliding(150, 150, 4.0), gliding(100, 100, 4.0), 16_000)
    assert found.f0_cents == pytest.approx(702, abs=20)


def test_noise_and_silence_have_no_pitch() -> None:
    for clip in (np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32), np.zeros(16_000, np.float32)):
        assert np.isnan(steady_pitch(clip, 16_000)).mean() > 0.9


@needs_shared("data/tamazight_speech")
@pytest.mark.real
def test_on_real_voices_the_pitch_does_not_leap_by_octaves() -> None:
    """From frame to frame (16 ms) no voice rises or falls by five semitones; YIN's does in one of twenty frames."""
    clips = sorted((SHARED / "data" / "tamazight_speech").rglob("*.mp3"))[:8]
    leaps: dict[str, list[float]] = {"yin": [], "pyin": []}
    for path in clips:
        samples, rate_hz = soundfile.read(path, dtype="float32")
        for name, pitch_of in (("yin", pitch), ("pyin", steady_pitch)):
            steps = np.abs(np.diff(pitch_of(samples, rate_hz)))
            leaps[name] += (steps[~np.isnan(steps)] > 5 / 12).tolist()
    assert np.mean(leaps["pyin"]) < 0.002 < 0.01 < np.mean(leaps["yin"])


@needs_shared("data/tamazight_speech")
@pytest.mark.real
def test_a_real_voice_that_is_raised_is_as_far_from_itself_as_it_was_raised() -> None:
    """Played faster by three semitones, everything is 300 cents higher."""
    path = sorted((SHARED / "data" / "tamazight_speech").rglob("*.mp3"))[0]
    samples, rate_hz = soundfile.read(path, dtype="float32")
    faster = resampled(samples, rate_hz, round(rate_hz / 2 ** (3 / 12)))
    assert acoustic.distance(faster, samples, rate_hz).f0_cents == pytest.approx(300, abs=60)


def test_mel_cepstral_distortion_of_a_ripple_is_its_level_in_decibel() -> None:
    """A ripple of ±a nepers, cos of the k-th order, is 20/ln 10 · a / √2 dB (root mean square over frequency)."""
    flat = np.full((50, 80), -3.0)
    for order in (1, 6, 13):
        ripple = 0.5 * np.cos(np.pi * order * (np.arange(80) + 0.5) / 80)
        found = acoustic.distortion_db(acoustic.cepstra(flat + ripple), acoustic.cepstra(flat))
        assert found == pytest.approx(20 / np.log(10) * 0.5 / np.sqrt(2))
    louder = acoustic.distortion_db(acoustic.cepstra(flat + 2), acoustic.cepstra(flat))
    assert louder == pytest.approx(0, abs=1e-9)  # level alone is no distortion


def test_frames_are_aligned_where_one_clip_lingers() -> None:
    ours = np.eye(4)[[0, 1, 1, 1, 2, 3]]
    mine, theirs = acoustic.aligned(ours, np.eye(4))
    assert list(zip(mine, theirs, strict=True)) == [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2), (5, 3)]


def test_a_pause_between_two_sentences_is_found_and_is_no_speech() -> None:
    clips = sorted((ROOT / "recipes" / "sample" / "clips").glob("*.flac"))[:2]
    first, second = (soundfile.read(path, dtype="float32")[0] for path in clips)
    whole = np.concatenate([first, np.zeros(16_000, np.float32), second])
    found, alone = acoustic.pace(whole, 16_000, "a" * 20), acoustic.pace(first, 16_000, "a" * 10)
    assert found and alone and alone.pause_share < 0.05
    silent_s = 1 + 2 * 0.2  # and what is silent at the clips' ends
    assert 1 <= found.pause_share * len(whole) / 16_000 <= 1.1 * silent_s + 0.2
    assert found.letters_per_s == pytest.approx(alone.letters_per_s * 2 / (1 + len(second) / len(first)), rel=0.25)


def test_silence_has_no_pace() -> None:
    assert acoustic.pace(np.zeros(16_000, np.float32), 16_000, "azul") is None


# ---------------------------------------------------------------- how figures come together


def test_every_figure_says_which_way_is_better_and_in_what_unit() -> None:
    assert METRICS["CER"].heading == "CER, share (less is better)"
    assert METRICS["duration ratio"].heading == "duration ratio, ratio (1 is best)"
    assert METRICS["pause share"].heading == "pause share, share (as in the recordings)"
    fields = {*objective._RATES, *objective._MEANS, "duration ratio", "real-time factor", "cost"}
    assert fields | {"validation loss", "speaker similarity"} == set(METRICS)


def test_the_adapter_is_subtracted_from_and_nobody_asks_about_anchors() -> None:
    systems = ["base", "adapter", "recordings", "openai", "anchor_low"]
    assert objective.pairs(systems) == [("adapter", "base"), ("adapter", "openai")]
    assert objective.pairs(["studio", "openai", "recordings"]) == [("studio", "openai")]
    assert objective.pairs(["recordings"]) == []


def test_the_recogniser_is_judged_on_recordings_even_where_they_are_no_system() -> None:
    row = tiny.utterances()[0].model_dump()
    there, not_there = Item("ⴰⵣⵓⵍ", "zgh-Tfng", "s1", row), Item("ⴰⵎⴰⵏ", "zgh-Tfng", "s1", row)
    rendered = [Rendered("adapter", item) for item in (there, not_there, Item("ⴰⵖⵔⵓⵎ", "zgh-Tfng", "s1"))]
    rendered.append(Rendered("recordings", there))
    (found,) = objective.unplayed(RECIPE, rendered)
    assert (found.system, found.item) == ("recordings", not_there) and found.samples is not None


def test_time_and_memory_are_of_those_who_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "paces", lambda recipe: ({}, 0.1))
    rows = [replace(row, took_s=0.5, memory_mib=100.0 + n) for n, row in enumerate(measured("adapter", [0] * 6))]
    found = objective.figures(RECIPE, [*rows, *measured("recordings", [0] * 6)])
    assert found["real-time factor"]["adapter"] and found["real-time factor"]["adapter"].value == 0.5
    assert found["memory to generate"]["adapter"] and found["memory to generate"]["adapter"].value == 102.5
    assert found["real-time factor"]["recordings"] is None and "cost" not in found


def test_voices_are_compared_only_where_their_speakers_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"speaker": who, "purposes": may, "audio": b""} for who, may in (("a", ["voice_match"]), ("b", []))]
    monkeypatch.setattr(objective, "open_dataset", lambda recipe: {"train": Dataset.from_list(rows)})
    monkeypatch.setattr(objective, "decode", lambda audio: np.ones(4, np.float32))
    heard: list[float] = []

    def vector(samples: Any, rate_hz: int) -> Any:
        heard.append(float(samples[0]))
        return np.array([samples[0], np.sqrt(1 - samples[0] ** 2)])

    monkeypatch.setattr(objective, "voice_of_clip", vector)
    said = [
        Rendered("adapter", Item(f"t{n}", "zgh-Tfng", who), np.full(4, likeness, np.float32), 16_000)
        for n, (who, likeness) in enumerate([("a", 0.5), ("a", 0.7), ("b", 0.25)])
    ]
    found, left_out = objective.similarities(RECIPE, said)
    figure = found["speaker similarity"]["adapter"]
    assert figure and figure.value == pytest.approx(0.6) and figure.n == 2
    assert 0.25 not in heard  # not even looked at
    assert left_out == {"speaker similarity, which its speaker did not allow (voice_match)": 1}


def test_without_the_voice_network_the_figure_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(recipe: Any) -> Any:
        raise UserError("no voice network")

    monkeypatch.setattr(objective, "known_voices", none)
    found, left_out = objective.similarities(RECIPE, [said(1)])
    assert found == {} and left_out == {"speaker similarity, for want of the voice network (make voices)": 1}
