"""Taking a folder of recordings in: which tables are understood, what is refused, and that nothing is taken twice."""

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from collect import ingest, vault
from collect.ledger import open_ledger
from recipes.schema import Recipe, UserError, load
from tests.conftest import ROOT, SHARED, needs_shared

RATE_HZ = 16_000
CONSENT = {
    "speaker": "s1",
    "purposes": "store_prepare asr_train",
    "notice": "notice 1, read aloud",
    "controller": "an association",
    "given_on": "2026-01-01",
}

BASIS = {
    "purposes": ["store_prepare", "asr_train"],
    "notice": "CC0-1.0",
    "controller": "x",
    "given_on": "2025-06-01",
}


def tone(pitch_hz: float = 220, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def table(path: Path, rows: list[dict[str, str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with three clips of speaker s1, who consented."""
    folder = tmp_path / "source"
    folder.mkdir()
    rows = []
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", tone(200 + 50 * number), RATE_HZ)
        rows.append({"file": f"{number}.wav", "text": f"جملة {number}", "speaker": "s1", "language": "ary-Arab"})
    table(folder / "metadata.csv", rows)
    table(folder / "consents.csv", [CONSENT])
    return folder


def recipe(source: Path, **collect: Any) -> Recipe:
    whole = {
        "name": "t",
        "work_dir": str(source.parent / "work"),
        "collect": {"source": str(source), **collect},
        "prepare": {"purpose": "asr_train"},
        "train": {"family": "ctc", "base": "x/y"},
    }
    path = source.parent / "recipe.yaml"
    path.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML
    return load(path)


def run(source: Path, capsys: pytest.CaptureFixture[str], **collect: Any) -> tuple[int, list[str]]:
    code = ingest.main(recipe(source, **collect))
    return code, capsys.readouterr().out.splitlines()


def held(source: Path) -> list[str]:
    with open_ledger(recipe(source)) as ledger:
        return [clip.source for clip in ledger.clips()]


# ---------------------------------------------------------------- what goes in


def test_clips_enter_with_speaker_and_consent(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(source, capsys)
    assert code == 0
    assert out[0].startswith("3 clips new")
    with open_ledger(recipe(source)) as ledger:
        clip = next(ledger.clips())
        assert ledger.permit(clip, "asr_train") and not ledger.permit(clip, "tts_clone")
        samples, rate_hz = ledger.audio(clip, "asr_train")
        assert rate_hz == RATE_HZ and samples.shape == (RATE_HZ, 1)
        with pytest.raises(UserError, match="the consent of s1 does not cover publish_audio"):
            ledger.audio(clip, "publish_audio")


def test_a_second_run_takes_nothing_in_twice_and_decodes_nothing(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, capsys)
    monkeypatch.setattr(ingest, "decode", lambda *_: pytest.fail("decoded again"))
    code, out = run(source, capsys)
    assert code == 0 and out[0] == "0 clips new (0.00 h), 3 known, 0 refused"
    assert len(held(source)) == 3


def test_a_corrected_transcript_is_taken_over(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(source, capsys)
    text = (source / "metadata.csv").read_text(encoding="utf-8").replace("جملة 1", "كلمة أخرى")
    (source / "metadata.csv").write_text(text, encoding="utf-8")
    run(source, capsys)
    with open_ledger(recipe(source)) as ledger:
        assert "كلمة أخرى" in {clip.transcript for clip in ledger.clips()}


def test_audio_that_was_lost_comes_back(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(source, capsys)
    with open_ledger(recipe(source)) as ledger:
        clip = next(ledger.clips())
    (source.parent / "work" / "collect" / "audio" / clip.audio).unlink()
    run(source, capsys)
    with open_ledger(recipe(source)) as ledger:
        assert len(ledger.audio(clip, "asr_train")[0]) == RATE_HZ


def test_the_newest_consent_decides(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(source, capsys)
    table(source / "consents.csv", [CONSENT | {"purposes": "store_prepare", "given_on": "2026-02-01"}])
    run(source, capsys)
    run(source, capsys)  # an unchanged table adds no event
    with open_ledger(recipe(source)) as ledger:
        assert [event.purposes for event in ledger.consents("s1")] == [
            ["store_prepare", "asr_train"],
            ["store_prepare"],
        ]
        assert not ledger.permit(next(ledger.clips()), "asr_train")
        assert ledger.verify() == 2


def test_one_basis_can_cover_a_whole_corpus(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "consents.csv").unlink()
    assert run(source, capsys, basis=BASIS)[0] == 0


# ---------------------------------------------------------------- tables that are understood


@pytest.mark.parametrize("name", ["metadata.tsv", "metadata.jsonl"])
def test_tables_may_be_tsv_or_jsonl(source: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    rows = rows_of(source / "metadata.csv")
    (source / "metadata.csv").unlink()
    if name.endswith("tsv"):
        table(source / name, rows)
    else:
        (source / name).write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert run(source, capsys)[0] == 0


def test_columns_can_be_renamed(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (source / "metadata.csv").read_text(encoding="utf-8").replace("file,text", "chemin,phrase")
    (source / "metadata.csv").write_text("\ufeff" + text, encoding="utf-8")  # as Excel saves it
    assert run(source, capsys, columns={"file": "chemin", "text": "phrase"})[0] == 0


def test_ljspeech_is_recognised(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "wavs").mkdir()
    for number in range(3):
        (source / f"{number}.wav").rename(source / "wavs" / f"{number}.wav")
    lines = [f"{number}|raw {number}|جملة {number}" for number in range(3)]
    (source / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    assert run(source, capsys, speaker="s1", language="ary-Arab")[0] == 0
    assert sorted(held(source)) == ["wavs/0.wav", "wavs/1.wav", "wavs/2.wav"]


def test_common_voice_is_recognised(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "clips").mkdir()
    (source / "metadata.csv").unlink()
    rows = []
    for number, gender in enumerate(["male_masculine", "female", ""]):
        (source / f"{number}.wav").rename(source / "clips" / f"{number}.wav")
        sentence = f"ⴰⵡⴰⵍ {number}"
        rows.append(
            {"client_id": "s1", "path": f"{number}.wav", "sentence": sentence, "gender": gender, "age": "twenties"}
        )
    table(source / "validated.tsv", rows)
    assert run(source, capsys, language="zgh-Tfng")[0] == 0
    with open_ledger(recipe(source)) as ledger:
        assert (ledger.speaker("s1").gender, ledger.speaker("s1").age_band) == ("male", "18-29")


# ---------------------------------------------------------------- what is refused, row by row


def add_row(source: Path, **row: str) -> None:
    rows = rows_of(source / "metadata.csv")
    whole = {"file": "x.wav", "text": "جملة", "speaker": "s1", "language": "ary-Arab"}
    table(source / "metadata.csv", [*rows, whole | row])


def wav(source: Path, samples: np.ndarray, subtype: str = "FLOAT") -> None:
    soundfile.write(source / "x.wav", samples, RATE_HZ, subtype)


BAD_ROWS: dict[str, tuple[dict[str, str], Any, str]] = {
    "no such file": ({"file": "gone.wav"}, None, "metadata.csv:5: gone.wav: no such file"),
    "no transcript": ({"file": "0.wav", "text": ""}, None, "metadata.csv:5: 0.wav: has no transcript"),
    "no speaker": ({"file": "0.wav", "speaker": ""}, None, "metadata.csv:5: 0.wav: has no speaker"),
    "unknown language": (
        {"file": "0.wav", "language": "ar"},
        None,
        "metadata.csv:5: 0.wav: language `ar` is none of",
    ),
    "no consent": ({"speaker": "s9"}, tone(500), "metadata.csv:5: x.wav: no consent of speaker s9"),
    "outside the folder": ({"file": "../secret.wav"}, None, "metadata.csv:5: ../secret.wav: lies outside the folder"),
    "absolute path": ({"file": "/etc/passwd"}, None, "metadata.csv:5: /etc/passwd: lies outside the folder"),
    "not a number": ({}, np.full(RATE_HZ, np.nan, np.float32), "metadata.csv:5: x.wav: samples that are not numbers"),
    "silent": ({}, np.zeros(RATE_HZ, np.float32), "metadata.csv:5: x.wav: silence from beginning to end"),
    "empty": ({}, b"", "metadata.csv:5: x.wav: the file is empty"),
    "text named .wav": ({}, b"this is a text\n", "metadata.csv:5: x.wav: not audio"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_refused_and_the_rest_goes_on(
    source: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    row, sound, message = BAD_ROWS[name]
    add_row(source, **row)
    if isinstance(sound, bytes):
        (source / "x.wav").write_bytes(sound)
    elif sound is not None:
        wav(source, sound)
    code, out = run(source, capsys)
    assert code == 1
    assert out[0].startswith(message)
    assert out[1].startswith("3 clips new") and out[1].endswith("1 refused")
    assert len(held(source)) == 3
    refused = (source.parent / "work" / "collect" / "refused.csv").read_text(encoding="utf-8")
    assert refused.splitlines()[1].startswith("metadata.csv:5,")


def test_a_truncated_mp3_is_refused(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(source / "x.mp3", tone(300, 3), RATE_HZ, format="MP3")
    whole = (source / "x.mp3").read_bytes()
    (source / "x.mp3").write_bytes(whole[: len(whole) // 2])
    add_row(source, file="x.mp3")
    code, out = run(source, capsys)
    assert code == 1 and out[0].startswith("metadata.csv:5: x.mp3: cut short")


def test_an_mp3_named_wav_is_an_mp3(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(source / "x.wav", tone(300), RATE_HZ, format="MP3")
    add_row(source)
    assert run(source, capsys)[0] == 0


def test_one_recording_has_one_speaker(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(source / "consents.csv", [CONSENT, CONSENT | {"speaker": "s2"}])
    add_row(source, file="0.wav", speaker="s2")
    code, out = run(source, capsys)
    assert code == 1 and out[0] == "metadata.csv:5: 0.wav: the same recording is in the ledger as one of s1"


def test_an_expired_consent_permits_nothing(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(source / "consents.csv", [CONSENT | {"expires_on": "2026-01-02"}])
    code, out = run(source, capsys)
    assert code == 1 and "the consent of s1 (granted) does not cover store_prepare, or not any more" in out[0]
    assert not held(source)


# ---------------------------------------------------------------- what stops the run


def test_a_wrong_column_name_is_named_with_the_nearest_one(source: Path) -> None:
    with pytest.raises(UserError) as caught:
        ingest.main(recipe(source, columns={"text": "txt"}))
    message = str(caught.value)
    assert "metadata.csv: no column `txt` (collect.columns.text); did you mean `text`?" in message
    assert message.endswith("the table has: file, text, speaker, language")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"purposes": "asr_trian"}, "consents.csv:2: purpose `asr_trian` is none of store_prepare"),
        ({"given_on": "1/2/2026"}, "consents.csv:2: given_on: `1/2/2026` is not a date like 2026-01-31"),
        ({"notice": ""}, "consents.csv:2: notice is not given"),
    ],
)
def test_a_faulty_consent_table_stops_the_run(source: Path, change: dict[str, str], message: str) -> None:
    table(source / "consents.csv", [CONSENT | change])
    with pytest.raises(UserError, match="consents") as caught:
        ingest.main(recipe(source))
    assert message in str(caught.value)


def test_missing_consents_are_asked_for(source: Path) -> None:
    (source / "consents.csv").unlink()
    with pytest.raises(UserError, match=r"no table of consents; write one .* or give collect.basis"):
        ingest.main(recipe(source))


def test_a_table_that_is_not_utf8(source: Path) -> None:
    (source / "metadata.csv").write_bytes("file,text\nx,été\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"not UTF-8 .*save it as UTF-8"):
        ingest.main(recipe(source))


def test_a_full_disk_stops_with_one_line_and_leaves_nothing_half_written(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(vault.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ingest.main(recipe(source))
    monkeypatch.undo()
    assert held(source) == []
    assert not [path for path in (source.parent / "work" / "collect" / "audio").rglob("*") if path.is_file()]


def test_the_command_prints_one_line_for_a_mistake(source: Path) -> None:
    recipe(source, columns={"text": "txt"})
    command = [sys.executable, "-m", "collect.ingest", str(source.parent / "recipe.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.real
@needs_shared("data/tamazight_speech")
def test_three_hundred_real_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "source").symlink_to(SHARED / "data" / "tamazight_speech")
    code, out = run(tmp_path / "source", capsys, basis=BASIS, speaker="unknown", language="zgh-Tfng")
    assert code == 0 and out[0] == "300 clips new (0.29 h), 0 known, 0 refused"
