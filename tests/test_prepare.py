"""`python -m prepare RECIPE`: from clips to a dataset, with a reason for every clip that is not in it."""

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import prepare.__main__ as script
from collect import ingest
from prepare import dataset, parts, workers
from recipes import records
from recipes.schema import Recipe, UserError, load
from tests.babble import babble, noise
from tests.conftest import ROOT, SHARED, needs_shared

SENTENCES = [
    "ⴰⵣⵓⵍ ⴼⵍⵍⴰⵡⵏ",
    "ⵎⴰⵏⵉⵎⴽ ⵜⴳⵉⴷ?",
    "ⵜⴰⵏⵎⵎⵉⵔⵜ ⵏⵏⴽ.",
    "ⴰⵔ ⵜⵉⵎⵍⵉⵍⵜ",
    "ⵉⵙ ⵜⵙⵙⵏⵜ ⵜⴰⵎⴰⵣⵉⵖⵜ?",
    "ⵢⴰⵏ ⵙⵉⵏ ⴽⵕⴰⴹ",
]


PACE = {"min_letters_per_s": 1, "max_letters_per_s": 18}


def chords() -> NDArray[np.float32]:
    """Music without a voice: two chords of three tones."""
    at_s = np.arange(32_000) / 16_000
    tones_hz = np.array([[262, 330, 392], [349, 440, 523]])
    return (0.1 * np.sin(2 * np.pi * tones_hz[:, :, None] * at_s).sum(axis=1).ravel()).astype(np.float32)


def broken(value: float) -> NDArray[np.float32]:
    """Speech with a block of something that is no number."""
    sound = babble(1)
    sound[8_000:8_800] = value
    return sound


class Ledger:
    """Stands in for collect's ledger: clips in memory, and which purposes each of them may serve."""

    def __init__(self) -> None:
        self.rows: dict[str, records.Clip] = {}
        self.sound: dict[str, tuple[NDArray[np.float32], int]] = {}
        self.granted: dict[str, set[str]] = {}
        self.read: list[str] = []  # sources whose audio was asked for

    def add(
        self,
        source: str,
        text: str,
        samples: NDArray[np.float32],
        speaker: str = "amina",
        language: records.Language = "zgh-Tfng",
        rate_hz: int = 16_000,
        purposes: tuple[str, ...] = ("tts_clone", "profile_data"),
    ) -> None:
        name = hashlib.sha256(source.encode()).hexdigest()
        facts = {"id": name, "speaker": speaker, "language": language, "transcript": text, "source": source}
        size = {"audio": "", "rate_hz": rate_hz, "duration_s": len(samples) / rate_hz, "dialect": "souss"}
        self.rows[name] = records.Clip.model_validate(facts | size)
        self.sound[name], self.granted[name] = (samples, rate_hz), set(purposes)

    def clips(self) -> Iterator[records.Clip]:
        return iter(sorted(self.rows.values(), key=lambda clip: clip.id))

    def permit(self, clip: records.Clip, purpose: str) -> bool:
        return purpose in self.granted[clip.id]

    def audio(self, clip: records.Clip, purpose: str) -> tuple[NDArray[np.float32], int]:
        assert self.permit(clip, purpose)
        self.read.append(clip.source)
        return self.sound[clip.id]

    def register(self, made: Any, clips: set[str]) -> None:
        self.made = (made.id, clips)

    def speaker(self, code: str) -> SimpleNamespace:
        return SimpleNamespace(code=code, gender="female", age_band="30-44", synthetic=False)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Six good clips by one speaker."""
    shelf = Ledger()
    for number, text in enumerate(SENTENCES):
        shelf.add(f"good{number}.wav", text, babble(1.0 + number / 10, pitch_hz=100 + 10 * number))

    @contextmanager
    def open_ledger(recipe: Recipe) -> Iterator[Ledger]:
        yield shelf

    monkeypatch.setattr(script, "open_ledger", open_ledger)
    monkeypatch.setattr(workers, "open_ledger", open_ledger)
    return shelf


def recipe(folder: Path, **prepare: object) -> Recipe:
    settings = {"purpose": "tts_clone", "split": {"by": "sentence", "exact": True}}
    return Recipe.model_validate(
        {
            "name": "babble",
            "work_dir": "work",
            "collect": {"source": "recordings"},
            "prepare": settings | prepare,
            "train": {"family": "speecht5", "base": "./base"},
        },
        context={"folder": folder},
    )


def test_clips_become_utterances(ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = recipe(tmp_path, rate_hz=22_050)
    assert script.main(ask) == 0
    table = dataset.open_dataset(ask)
    assert {split: len(rows) for split, rows in table.items()} == {"train": 4, "valid": 1, "test": 1}
    for row in (row for split in table.values() for row in split):
        clip = ledger.rows[row["clip"]]
        assert (row["text"], row["speaker"], row["rate_hz"]) == (clip.transcript, "amina", 22_050)
        assert row["text_normalized"] == clip.transcript.rstrip(".?")
        assert len(dataset.decode(row["audio"])) / 22_050 == pytest.approx(row["duration_s"])
        # Of 1 s of silence, 0.2 s stay.
        assert row["duration_s"] == pytest.approx(clip.duration_s - 0.8, abs=0.15)
        assert row["quality"]["loudness_lufs"] == pytest.approx(-23, abs=0.1)
        assert row["quality"]["speech_share"] > 0.7
    assert dataset.verify(ask) == []
    said = capsys.readouterr().out
    assert "all        6 utterances" in said
    assert "next: python -m train" in said


@pytest.mark.parametrize(
    ("text", "samples", "reason"),
    [
        ("", babble(1), "no transcript yet"),
        ("ⴰⵣⵓⵍ", babble(0.1, silence_s=0), "too short: 0.10 s, prepare.min_duration_s is 0.5"),
        ("ⴰⵣⵓⵍ", babble(0.2), "too short: 0."),
        ("ⴰⵣⵓⵍ", np.zeros(32_000, np.float32), "silent: nothing in it is above -80 dB of full scale"),
        ("ⴰⵣⵓⵍ", noise(2, 0.1), "no speech found: prepare.vad.threshold is 0.5"),
        ("ⴰⵣⵓⵍ", babble(6), "too long: 6."),
        ("ⴰⵣⵓⵍ", babble(2) + noise(3, 0.05), "noisy: "),
        ("ⴰⵣⵓⵍ", babble(0.01, silence_s=0), "too short: 0.01 s, prepare.min_duration_s is 0.5"),
        ("ⴰⵣⵓⵍ", np.full(32_000, 0.2, np.float32), "silent: nothing in it above prepare.high_pass_hz"),
        ("ⴰⵣⵓⵍ", np.zeros(16_000 * 3600, np.float32), "silent: nothing in it is above -80 dB of full scale"),
        ("ⴰⵣⵓⵍ", chords(), "no speech found: prepare.vad.threshold is 0.5"),
        ("ⴰⵣⵓⵍ", broken(np.nan), "damaged: 800 samples are not numbers (NaN or infinite)"),
        ("ⴰⵣⵓⵍ", broken(np.inf), "damaged: 800 samples are not numbers (NaN or infinite)"),
        ("12 34 56", babble(1), "digits in the transcript: write '12' as words"),
        ("ⴰⵣⵓⵍ سلام עברית shalom", babble(1), "unexpected script: "),
        (f"{' '.join(SENTENCES[:2])} " * 2, babble(2), "too much text: "),
        ("ⴰ", babble(2), "too little text: "),
        ("...", babble(1), "empty transcript: no letter is left after normalisation"),
        ("Bonjour tout le monde", babble(1), "unexpected script: 0 of 18 letters are Tifinagh"),
        ("ⵢⴰⵏ 25", babble(1), "digits in the transcript: write '25' as words"),
    ],
)
def test_a_fault_is_named_and_the_rest_goes_on(
    ledger: Ledger,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    samples: NDArray[np.float32],
    reason: str,
) -> None:
    ledger.add("clips/bad.wav", text, samples)
    ask = recipe(tmp_path, max_duration_s=5, min_snr_db=20, speaking_rate=PACE)
    assert script.main(ask) == 1
    assert f"clips/bad.wav: {reason}" in (said := capsys.readouterr()).err
    assert f"rejected: 1 × {reason.partition(':')[0]}" in said.out
    (row,) = dataset.read_rejected(ask)
    assert row.source == "clips/bad.wav" and row.reason.startswith(reason)
    assert sum(map(len, dataset.open_dataset(ask).values())) == 6


def test_what_was_measured_on_a_rejected_clip_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add("noisy.wav", "ⴰⵣⵓⵍ", babble(1.4) + noise(2.4, 0.05))
    ledger.add("short.wav", "ⴰⵣⵓⵍ", babble(0.1, silence_s=0))
    ask = recipe(tmp_path, min_snr_db=20)
    assert script.main(ask) == 1
    noisy, short = sorted(dataset.read_rejected(ask), key=lambda row: row.source)
    assert noisy.reason.startswith("noisy: ")
    assert noisy.quality and noisy.quality.snr_db < 20 and noisy.quality.letters_per_s > 1
    assert short.quality is None  # it did not come so far
    assert dataset.verify(ask) == []


def test_only_the_first_faults_are_printed_and_all_are_kept(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30):
        ledger.add(f"bad{number}.wav", "25", babble(1))
    assert script.main(recipe(tmp_path)) == 1
    said = capsys.readouterr()
    assert said.err.count("write '25' as words") == 20
    assert "... and 10 more" in said.err
    assert len(dataset.read_rejected(recipe(tmp_path))) == 30


def test_without_consent_a_clip_is_not_even_read(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.add("mine.wav", "ⴰⵣⵓⵍ", babble(1), purposes=("asr_train",))
    assert script.main(recipe(tmp_path)) == 0  # a choice of the speaker's, and no fault
    assert "mine.wav" not in ledger.read
    assert "left out: 1 × consent does not cover tts_clone" in capsys.readouterr().out
    (row,) = dataset.read_rejected(recipe(tmp_path))
    assert (row.source, row.reason) == ("mine.wav", "consent does not cover tts_clone")


def test_languages_and_speakers_that_the_recipe_does_not_ask_for(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add("darija.wav", "سلام", babble(1), language="ary-Arab")
    ledger.add("other.wav", "ⴰⵣⵓⵍ", babble(1), speaker="brahim")
    ask = recipe(tmp_path, languages=["zgh-Tfng"], speakers=["amina"])
    assert script.main(ask) == 0
    assert sorted(row.reason for row in dataset.read_rejected(ask)) == [
        "not in prepare.languages: ary-Arab",
        "not in prepare.speakers: brahim",
    ]


def test_a_filter_with_a_slip_of_the_pen_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prepare\.speakers: the ledger has no clip of amin; it has amina"):
        script.main(recipe(tmp_path, speakers=["amina", "amin"]))


def test_what_is_found_in_a_transcript_is_flagged_rejected_or_put_into_words(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.add("standard.wav", "هذا هو الكتاب الذي قرأته", babble(1.0, pitch_hz=160), language="ary-Arab")
    ledger.add("price.wav", "شريتو ب25 درهم", babble(1.0, pitch_hz=170), language="ary-Arab")
    ledger.add("latin.wav", "salam, bghit lkhobz", babble(1.0, pitch_hz=180), language="ary-Latn")
    ledger.add("phone.wav", "عيط ليا ف 0612345678", babble(1.0, pitch_hz=190), language="ary-Arab")
    made = recipe(tmp_path, text={"numbers": "words", "arabizi": "arabic"})
    assert script.main(made) == 1
    rows = {row["text"]: row for part in dataset.open_dataset(made).values() for row in part}
    assert rows["شريتو ب25 درهم"]["text_normalized"] == "شريتو بخمسة وعشرين درهم"
    latin = rows["salam, bghit lkhobz"]
    assert (latin["language"], latin["text_normalized"]) == ("ary-Arab", "سلام بغيت الخبز")
    [flag] = rows["هذا هو الكتاب الذي قرأته"]["flags"]
    assert flag.startswith("other language: Modern Standard Arabic")
    [rejected] = dataset.read_rejected(made)
    assert (rejected.source, rejected.reason) == ("phone.wav", "personal data: telephone number")
    assert "flagged: 1 × other language" in capsys.readouterr().out
    assert not dataset.verify(made)


def test_facts_about_the_person_need_their_own_consent(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add("shy.wav", "ⴰⵣⵓⵍ", babble(1), speaker="brahim", purposes=("tts_clone",))
    ask = recipe(tmp_path, split={"valid": 0, "test": 0})
    script.main(ask)
    facts = {
        row["speaker"]: (row["gender"], row["age_band"], row["dialect"]) for row in dataset.open_dataset(ask)["train"]
    }
    assert facts == {"amina": ("female", "30-44", "souss"), "brahim": (None, None, None)}


def test_a_second_run_does_nothing(ledger: Ledger, tmp_path: Path) -> None:
    ask = recipe(tmp_path)
    ledger.add("bad.wav", "ⴰⵣⵓⵍ", noise(2, 0.1))
    assert script.main(ask) == 1
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")}
    ledger.read.clear()
    assert script.main(ask) == 1
    assert ledger.read == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*")} == before


def test_an_interrupted_run_goes_on_where_it_stopped(ledger: Ledger, tmp_path: Path) -> None:
    ask = recipe(tmp_path)
    whole = ledger.audio

    def interrupted(clip: records.Clip, purpose: str) -> tuple[NDArray[np.float32], int]:
        if len(ledger.read) == 4:
            raise KeyboardInterrupt
        return whole(clip, purpose)

    ledger.audio = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        script.main(ask)
    assert not dataset.dataset_folder(ask).exists()
    ledger.audio = whole  # type: ignore[method-assign]
    assert script.main(ask) == 0
    assert len(ledger.read) == len(set(ledger.read)) == 6  # none twice


def test_new_clips_are_the_only_ones_prepared(ledger: Ledger, tmp_path: Path) -> None:
    ask = recipe(tmp_path)
    script.main(ask)
    ledger.read.clear()
    ledger.add("new.wav", "ⴰⵎⴰⵏ ⴷ ⵓⵖⵔⵓⵎ", babble(1))
    script.main(ask)
    assert ledger.read == ["new.wav"]
    assert sum(map(len, dataset.open_dataset(ask).values())) == 7


def test_a_changed_transcript_or_setting_is_prepared_again(ledger: Ledger, tmp_path: Path) -> None:
    script.main(recipe(tmp_path))
    ledger.read.clear()
    first = next(ledger.clips())
    ledger.rows[first.id] = first.model_copy(update={"transcript": "ⵜⵉⴼⴰⵡⵉⵏ"})
    script.main(recipe(tmp_path))
    assert ledger.read == [first.source]
    script.main(recipe(tmp_path, loudness_lufs=-30))
    assert len(ledger.read) == 7
    assert len(kept(recipe(tmp_path))) == 6  # the old ones are gone


def test_a_change_that_does_not_touch_audio_repeats_nothing(ledger: Ledger, tmp_path: Path) -> None:
    script.main(recipe(tmp_path))
    ledger.read.clear()
    other = recipe(tmp_path, split={"by": "sentence", "valid": 0, "test": 0.5, "exact": True})
    script.main(other)
    assert ledger.read == []
    assert len(dataset.open_dataset(other)["test"]) == 3


def test_withdrawn_clips_leave_no_trace(ledger: Ledger, tmp_path: Path) -> None:
    ask = recipe(tmp_path)
    script.main(ask)
    gone = next(ledger.clips())
    ledger.granted[gone.id].clear()
    script.main(ask)
    rows = [row for split in dataset.open_dataset(ask).values() for row in split]
    assert gone.id not in {row["clip"] for row in rows}
    assert len(kept(ask)) == 5
    assert len(list((ask.folder("prepare") / "versions").iterdir())) == 1


def test_a_consent_withdrawn_while_a_run_is_at_work_counts(ledger: Ledger, tmp_path: Path) -> None:
    gone, whole = next(ledger.clips()), ledger.audio

    def withdrawn(clip: records.Clip, purpose: str) -> tuple[NDArray[np.float32], int]:
        if len(ledger.read) == 4:  # when the clip, which comes first, is done
            ledger.granted[gone.id].clear()
        return whole(clip, purpose)

    ledger.audio = withdrawn  # type: ignore[method-assign]
    ask = recipe(tmp_path)
    assert script.main(ask) == 0
    rows = [row["clip"] for split in dataset.open_dataset(ask).values() for row in split]
    assert gone.id not in rows and len(rows) == len(kept(ask)) == 5
    assert [row.reason for row in dataset.read_rejected(ask)] == ["consent does not cover tts_clone"]


def test_when_nobody_allows_it_any_more_the_dataset_goes(ledger: Ledger, tmp_path: Path) -> None:
    ask = recipe(tmp_path)
    script.main(ask)
    for granted in ledger.granted.values():
        granted.clear()
    with pytest.raises(UserError, match="no clip came through"):
        script.main(ask)
    assert list(ask.folder("prepare").rglob("*.arrow")) == []
    assert kept(ask) == []


def test_one_speaker_cannot_be_split_by_speaker(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set prepare\.split\.by to sentence"):
        script.main(recipe(tmp_path, split={"by": "speaker"}))


def test_an_empty_ledger_names_the_command(ledger: Ledger, tmp_path: Path) -> None:
    ledger.rows.clear()
    with pytest.raises(UserError, match=r"holds no clip yet; run: python -m collect.ingest RECIPE"):
        script.main(recipe(tmp_path))


def test_two_runs_at_once_do_not_meet(ledger: Ledger, tmp_path: Path) -> None:
    ask = recipe(tmp_path)
    with parts.locked(ask.folder("prepare")), pytest.raises(UserError, match="another run is at work here"):
        script.main(ask)


def test_a_damaged_part_is_noticed_and_made_again(ledger: Ledger, tmp_path: Path) -> None:
    ask = recipe(tmp_path)
    script.main(ask)
    first, second, *_ = kept(ask)
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:-100])
    dataset.remove(ask)
    with pytest.raises(UserError, match="damaged on disk and removed; run the same command again"):
        script.main(ask)
    assert script.main(ask) == 0
    assert dataset.verify(ask) == []


def test_a_full_disk_leaves_nothing_half_written(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left on device"):
            script.main(recipe(tmp_path))
    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file() and path.name != ".lock"] == []
    assert script.main(recipe(tmp_path)) == 0


def test_every_step_that_is_off_can_be_switched_on(ledger: Ledger, tmp_path: Path) -> None:
    for name, (samples, rate_hz) in ledger.sound.items():
        clicked = samples + noise(len(samples) / rate_hz, 0.001)
        clicked[4_000] = 0.5
        ledger.sound[name] = (clicked, rate_hz)
    on = {
        "repair_clicks": True,
        "noise_reduction_db": 10,
        "edge_silence_s": 0.25,
        "loudness_lufs": None,
        "active_level_dbov": -26,
        "max_clicks": 1,
        "max_clipped_share": 0.001,
        "max_t60_s": 2,
        "speaking_rate": PACE,
        "max_same_text": 1,
    }
    ask = recipe(tmp_path, **on)
    assert script.main(ask) == 0
    for row in (row for split in dataset.open_dataset(ask).values() for row in split):
        speech_s = row["duration_s"] * row["quality"]["speech_share"]
        assert row["duration_s"] == pytest.approx(speech_s + 0.5, abs=0.35)  # pauses inside are no speech
        assert np.std(dataset.decode(row["audio"])[:1_600]) < 0.02
        assert row["quality"]["active_level_dbov"] == pytest.approx(-26, abs=0.5)
        assert row["quality"]["clicks"] <= 1 and row["quality"]["bandwidth_hz"] > 7_000
    assert dataset.verify(ask) == []


@pytest.mark.parametrize("answer", ["flag", "reject", None])
def test_the_same_sound_is_found_in_the_whole_dataset(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str | None
) -> None:
    good, _ = next(ledger.sound[name] for name, clip in ledger.rows.items() if clip.source == "good0.wav")
    ledger.add("again.wav", "ⴰⵣⵓⵍ", good * np.float32(0.4), speaker="brahim")
    ask = recipe(tmp_path, same_audio=answer)
    assert script.main(ask) == 0
    rows = [row for split in dataset.open_dataset(ask).values() for row in split]
    flags = [flag for row in rows for flag in row["flags"]]
    reasons = [row.reason for row in dataset.read_rejected(ask)]
    said = capsys.readouterr().out
    assert len(rows) == (6 if answer == "reject" else 7)
    assert (len(flags), len(reasons)) == {"flag": (1, 0), "reject": (0, 1), None: (0, 0)}[answer]
    for flag in flags:
        assert flag.startswith("same sound: as ") and flag.endswith(" by another speaker")
        assert "flagged: 1 × same sound" in said
    for reason in reasons:
        assert reason.startswith("same sound: as ") and reason.endswith("; prepare.same_audio is reject")
        assert ("good0.wav" in reason or "again.wav" in reason) and "left out: 1 × same sound" in said


def test_a_sentence_is_in_the_dataset_as_often_as_asked(ledger: Ledger, tmp_path: Path) -> None:
    for number in range(3):
        ledger.add(f"more{number}.wav", SENTENCES[0], babble(1.3, pitch_hz=173 + 19 * number))
    ask = recipe(tmp_path, max_same_text=2)
    assert script.main(ask) == 0
    reasons = [row.reason for row in dataset.read_rejected(ask)]
    assert reasons == ["same text: 2 that say it are kept, prepare.max_same_text is 2"] * 2
    assert sum(map(len, dataset.open_dataset(ask).values())) == 7


def test_two_voices_at_once_are_not_noticed(ledger: Ledger, tmp_path: Path) -> None:
    """No step here tells one voice from two, and docs/audio.md says so."""
    ledger.add("both.wav", "ⴰⵣⵓⵍ ⴼⵍⵍⴰ", babble(2, pitch_hz=105) + babble(2, pitch_hz=215))
    ask = recipe(tmp_path)
    assert script.main(ask) == 0
    assert sum(map(len, dataset.open_dataset(ask).values())) == 7


def test_marks_of_direction_are_no_letters(ledger: Ledger, tmp_path: Path) -> None:
    text = "\u202bسلام\u202c \u200fعليكم\u200e"
    ledger.add("marks.wav", text, babble(1.25, pitch_hz=180), language="ary-Arab")
    ask = recipe(tmp_path)
    assert script.main(ask) == 0
    texts = {row["text_normalized"] for split in dataset.open_dataset(ask).values() for row in split}
    assert "سلام عليكم" in texts


def test_without_voice_activity_nothing_is_trimmed(ledger: Ledger, tmp_path: Path) -> None:
    ask = recipe(tmp_path, vad=None, loudness_lufs=None, high_pass_hz=None)
    script.main(ask)
    for row in dataset.open_dataset(ask)["train"]:
        assert row["duration_s"] == ledger.rows[row["clip"]].duration_s
        assert row["quality"]["peak"] == pytest.approx(0.5, abs=0.001)


# ------------------------------------------------------------------ with the real ledger

CORPUS = """
name: corpus
work_dir: work
collect:
  source: recordings
  language: zgh-Tfng
  basis: {purposes: [store_prepare, asr_train], notice: test v1, controller: nobody, given_on: 2026-01-01}
prepare: {purpose: asr_train, split: {by: sentence, exact: true}}
train: {family: whisper, base: ./base}
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A recipe whose ledger holds 48 clips by two speakers."""
    clips = tmp_path / "recordings" / "clips"
    clips.mkdir(parents=True)
    table = ["file,text,speaker"]
    for number in range(48):
        sound = babble(1 + number % 5, pitch_hz=100 + 3 * number)
        soundfile.write(clips / f"{number}.wav", sound, 16_000)
        text = " ".join(SENTENCES[(number >> bit) % 6] for bit in range(3))
        table.append(f"clips/{number}.wav,{text},{'amina' if number % 2 else 'brahim'}")
    (tmp_path / "recordings" / "metadata.csv").write_text("\n".join(table), encoding="utf-8")
    path = tmp_path / "corpus.yaml"
    path.write_text(CORPUS, encoding="utf-8")
    assert ingest.main(load(path)) == 0
    return path


@pytest.mark.parametrize(
    ("rate_hz", "subtype", "bandwidth_hz"),
    [(192_000, "PCM_24", 96_000), (8_000, "PCM_U8", 4_000), (44_100, "FLOAT", 22_050)],
)
def test_files_of_any_rate_and_depth_become_utterances(
    tmp_path: Path, rate_hz: int, subtype: str, bandwidth_hz: float
) -> None:
    (tmp_path / "recordings").mkdir()
    sound = babble(1.5, rate_hz=rate_hz) + noise(2.5, 0.003, rate_hz)
    soundfile.write(tmp_path / "recordings" / "one.wav", sound, rate_hz, subtype=subtype)
    table = f"file,text,speaker\none.wav,{SENTENCES[0]},amina\n"
    (tmp_path / "recordings" / "metadata.csv").write_text(table, encoding="utf-8")
    (tmp_path / "corpus.yaml").write_text(CORPUS, encoding="utf-8")
    ask = load(tmp_path / "corpus.yaml", ["prepare.split.valid=0", "prepare.split.test=0"])
    assert ingest.main(ask) == 0
    assert script.main(ask) == 0
    [row] = dataset.open_dataset(ask)["train"]
    assert (row["rate_hz"], row["quality"]["bandwidth_hz"]) == (16_000, bandwidth_hz)
    assert row["quality"]["clipped_share"] == 0 and row["quality"]["clicks"] == 0
    assert row["duration_s"] == pytest.approx(1.7, abs=0.2)


def command(recipe: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "prepare", str(recipe), *overrides]


def test_several_workers_make_the_same_dataset(corpus: Path) -> None:
    assert script.main(load(corpus)) == 0
    alone = dataset.dataset_hash(load(corpus))
    shutil.rmtree(load(corpus).folder("prepare"))
    done = subprocess.run(command(corpus, "prepare.workers=2"), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("48 utterances")) == (0, 1)
    assert dataset.dataset_hash(load(corpus)) == alone


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_loses_only_the_clip_it_was_at(corpus: Path, workers: int) -> None:
    ask = load(corpus)
    running = subprocess.Popen(command(corpus, f"prepare.workers={workers}"), cwd=ROOT, stderr=subprocess.DEVNULL)
    while running.poll() is None and len(finished(ask)) < 5:
        time.sleep(0.001)
    running.kill()
    assert running.wait() == -9
    before = finished(ask)
    assert 5 <= len(before) < 48
    assert not dataset.dataset_folder(load(corpus)).exists()
    assert script.main(load(corpus)) == 0
    after = finished(ask)
    assert len(after) == 48 and all(after[name] == written for name, written in before.items())
    assert dataset.verify(load(corpus)) == []
    assert [path.name for path in kept(ask) if path.name.startswith(".")] == []


@pytest.mark.real
@needs_shared("data/tamazight_speech")
def test_300_real_clips(tmp_path: Path) -> None:
    path = tmp_path / "real.yaml"
    path.write_text(CORPUS.replace("recordings", str(SHARED / "data" / "tamazight_speech")), encoding="utf-8")
    ask = load(path, ["collect.speaker=cv"])
    assert ingest.main(ask) == 0
    assert script.main(ask) == 0
    table = dataset.open_dataset(ask)
    assert {split: len(rows) for split, rows in table.items()} == {"train": 240, "valid": 30, "test": 30}
    pace = [len(row["text_normalized"]) / row["duration_s"] for rows in table.values() for row in rows]
    # Letters a second: nothing was cut out of the middle of a sentence.
    assert min(pace) > 3
    assert max(pace) < 22
    assert dataset.verify(ask) == []
    figures = [row["quality"] for rows in table.values() for row in rows]
    measured = [key for key in figures[0] if any(one[key] is not None for one in figures)]
    middle = {key: np.median([one[key] for one in figures if one[key] is not None]) for key in measured}
    print({key: round(float(value), 3) for key, value in middle.items()})
    assert 0.1 < middle["t60_s"] < 0.4  # headsets and small rooms
    assert middle["bandwidth_hz"] > 9_000 and min(one["bandwidth_hz"] for one in figures) > 7_000
    assert 10 < middle["letters_per_s"] < 14 and 40 < middle["snr_db"] < 65
    assert sum(one["clicks"] for one in figures) < 10
    assert middle["active_level_dbov"] == pytest.approx(-23, abs=0.5)


@pytest.mark.real
@needs_shared("data/tamazight_speech")
def test_filters_take_few_of_300_real_clips_and_most_wrong_transcripts(tmp_path: Path) -> None:
    source = str(SHARED / "data" / "tamazight_speech")
    (tmp_path / "real.yaml").write_text(CORPUS.replace("recordings", source), encoding="utf-8")
    strict = ["min_snr_db=20", "min_bandwidth_hz=7000", "max_t60_s=0.8", "max_clicks=0", "max_clipped_share=0.001"]
    strict += ["speaking_rate={}", "same_audio=reject"]
    ask = load(tmp_path / "real.yaml", ["collect.speaker=cv", *(f"prepare.{limit}" for limit in strict)])
    assert ingest.main(ask) == 0
    script.main(ask)
    rejected = dataset.read_rejected(ask)
    print([row.reason for row in rejected])
    assert len(rejected) <= 15
    paces = [row["quality"]["letters_per_s"] for rows in dataset.open_dataset(ask).values() for row in rows]
    assert np.mean([2 * pace > 20 for pace in paces]) > 0.8  # with a transcript twice as long


def kept(ask: Recipe) -> list[Path]:
    """The files of the parts, and what lies between them."""
    return sorted(path for path in (ask.folder("prepare") / "parts").rglob("*") if path.is_file())


def finished(ask: Recipe) -> dict[str, int]:
    """When each part was written."""
    return {path.name: path.stat().st_mtime_ns for path in kept(ask) if not path.name.startswith(".")}


def test_a_recording_that_got_lost_is_a_fault_until_it_is_back(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = next((load(corpus).folder("collect") / "audio").rglob("*.sealed"))
    audio.rename(audio.with_suffix(".away"))
    assert script.main(load(corpus)) == 1
    assert "audio cannot be read: " in capsys.readouterr().err
    assert sum(map(len, dataset.open_dataset(load(corpus)).values())) == 47
    audio.with_suffix(".away").rename(audio)
    assert script.main(load(corpus)) == 0
    assert sum(map(len, dataset.open_dataset(load(corpus)).values())) == 48


def test_with_keep_clips_that_are_added_move_nobody(ledger: Ledger, tmp_path: Path) -> None:
    ask = recipe(tmp_path, split={"by": "sentence", "exact": True, "keep": True})
    script.main(ask)
    before = {row["id"]: split for split, rows in dataset.open_dataset(ask).items() for row in rows}
    for number, text in enumerate(["ⴰⵎⴰⵏ", "ⴰⵖⵔⵓⵎ", "ⵜⴰⴷⴷⴰⵔⵜ", "ⴰⵙⵉⴼ", "ⵉⴳⵏⵏⴰ", "ⵜⴰⴼⵓⴽⵜ"]):
        ledger.add(f"more{number}.wav", text, babble(1.0 + number / 10, pitch_hz=90 + 10 * number))
    script.main(ask)
    after = {row["id"]: split for split, rows in dataset.open_dataset(ask).items() for row in rows}
    assert len(after) == 12 and before.items() <= after.items()


def test_listed_sentences_are_tested_and_what_cannot_be_is_listed(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "unseen.txt").write_text(f"{SENTENCES[1]}\n", encoding="utf-8")
    ask = recipe(tmp_path, split={"by": "sentence", "exact": True, "unseen": "unseen.txt"})
    script.main(ask)
    assert SENTENCES[1] in dataset.open_dataset(ask)["test"]["text"]
    for number in range(6):
        ledger.add(f"twin{number}.wav", f"{SENTENCES[number].rstrip('.?')} ⴰ", babble(1.3))
    capsys.readouterr()
    ask = recipe(tmp_path, split={"by": "sentence", "similar": 0.75, "exact": True, "valid": 0, "test": 0.3})
    script.main(ask)
    splits = {row["text"].rstrip(".?"): split for split, rows in dataset.open_dataset(ask).items() for row in rows}
    apart = [row for row in dataset.read_rejected(ask) if row.reason == "its sentence is nearly one of test"]
    assert apart and len(splits) + len(apart) == 12
    assert f"left out: {len(apart)} × its sentence is nearly one of test" in capsys.readouterr().out
    for text in (text.rstrip(".?") for text in SENTENCES):
        pair = [splits[one] for one in (text, f"{text} ⴰ") if one in splits]
        assert len(set(pair)) == 1
