"""`python -m evaluate.pack` as a municipality meets it: a table of phrases, sound files, a page, an approval."""

import argparse
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from evaluate import credentials, marked
from evaluate.pack import __main__ as script
from evaluate.pack import phrases, review, speak
from recipes.provenance import mark_withdrawn
from recipes.schema import Recipe, UserError
from tests import tiny, voice
from tests.conftest import ROOT, needs
from train.adapter import adapter_folder, dataset_folder
from train.families.speecht5 import SpeechT5
from web.page import LANGUAGES

PHRASES = [("hello", "ⴰⵉⵓ"), ("closed", "ⴰⵉⵓ ⴰⵉ"), ("open", "ⴰⵉⵓ ⴰⵉⵓ."), ("wait", "ⴰⵉ ⵣ")]


def table(folder: Path, rows: list[tuple[str, str]] | None = None) -> Path:
    path = folder / "phrases.csv"
    lines = ["id,text,language", *(f"{name},{text},zgh-Tfng" for name, text in rows or PHRASES)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run(recipe: Recipe, path: Path) -> Path:
    script.main(recipe, argparse.Namespace(phrases=path, approve=False, port=0))
    return speak.folder_of(recipe)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["phrases"]
    return found


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A pack with a recogniser that listened; tests only read it."""
    folder = tmp_path_factory.mktemp("pack")
    judge = tiny.base("ctc", folder / "judge")
    recipe = voice.ready(folder, recogniser=judge)
    return recipe, run(recipe, table(folder))


# ---------------------------------------------------------------- sounds


def test_every_phrase_has_its_files_and_they_are_as_loud(pack: tuple[Recipe, Path]) -> None:
    recipe, folder = pack
    for row in rows_of(folder):
        wave, rate_hz = soundfile.read(folder / row["wav"])
        compressed, opus_hz = soundfile.read(folder / row["opus"])
        assert (rate_hz, opus_hz) == (16_000, 16_000)
        assert len(wave) / rate_hz == pytest.approx(row["duration_s"], abs=1e-3)
        assert len(compressed) / opus_hz == pytest.approx(row["duration_s"], abs=0.03)
        short = np.pad(wave, (0, max(0, 6_401 - len(wave))))
        measured = pyloudnorm.Meter(rate_hz).integrated_loudness(short)
        assert measured == pytest.approx(row["loudness_lufs"], abs=0.1)
        if not any("loudness" in flag for flag in row["flags"]):
            assert measured == pytest.approx(recipe.evaluate.loudness_lufs, abs=1)
        assert not wave[: round(0.15 * rate_hz)].any()  # they begin alike


def test_every_file_says_that_a_machine_speaks_and_which_adapter(pack: tuple[Recipe, Path]) -> None:
    recipe, folder = pack
    for row in rows_of(folder):
        for kind in ("wav", "opus"):
            with soundfile.SoundFile(folder / row[kind]) as file:
                assert file.comment.startswith("Synthetic speech, made by a machine")
                assert file.comment.endswith(f"adapter {marked.adapter_hash(recipe)}")
        assert (folder / row["wav"]).read_bytes()[:4] == b"RIFF"
        assert (folder / row["opus"]).read_bytes()[28:36] == b"OpusHead"


@needs("c2pa")
def test_every_wav_is_signed_and_the_manifest_says_which_files_are_not(pack: tuple[Recipe, Path]) -> None:
    recipe, folder = pack
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["marks"]
    assert (told["comment"], told["c2pa"], told["without_c2pa"]) == (["wav", "opus"], ["wav"], ["opus"])
    for row in rows_of(folder):
        found = credentials.read((folder / row["wav"]).read_bytes())
        assert found and found.whole and found.synthesis["adapter"] == marked.adapter_hash(recipe)


@given(
    rate_hz=st.sampled_from([8_000, 16_000, 22_050, 24_000, 44_100, 48_000]), kind=st.sampled_from(["opus", "mp3"])
)
def test_a_codec_is_given_the_next_rate_that_it_knows(rate_hz: int, kind: marked.Format) -> None:
    tone = (0.3 * np.sin(np.arange(rate_hz) * 2 * np.pi * 440 / rate_hz)).astype(np.float32)
    heard, to_hz = soundfile.read(io.BytesIO(marked.encode(tone, rate_hz, kind, "x")))
    assert to_hz >= rate_hz or kind == "opus"
    peak = np.argmax(np.abs(np.fft.rfft(heard))) * to_hz / len(heard)
    assert peak == pytest.approx(440, abs=3)


def test_what_would_clip_is_quieter_and_flagged(pack: tuple[Recipe, Path]) -> None:
    clicks = np.zeros(16_000, np.float32)
    clicks[::4_000] = 1.0
    samples, loudness = speak.finished(clicks, 16_000, -10)
    assert np.abs(samples).max() <= 0.981
    assert loudness is None or loudness < -11


# ---------------------------------------------------------------- the manifest


def test_the_manifest_says_of_each_phrase_what_was_heard(pack: tuple[Recipe, Path]) -> None:
    recipe, folder = pack
    found = rows_of(folder)
    assert [(row["id"], row["text"]) for row in found] == PHRASES
    assert all(row["cer"] is not None and row["language"] == "zgh-Tfng" for row in found)
    for row in found:
        assert any("CER" in flag for flag in row["flags"]) == (row["cer"] > recipe.evaluate.pack.max_cer)
    assert found[3]["flags"][-1] == "letters that the model never learnt: ⵣ"
    with open(folder / "manifest.csv", encoding="utf-8", newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [name for name, _ in PHRASES]


def test_a_second_run_speaks_nothing(pack: tuple[Recipe, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, folder = pack
    before = {path: path.stat().st_mtime_ns for path in (folder / "sounds").iterdir()}
    monkeypatch.setattr(speak.models, "open_one", lambda *_: pytest.fail("the model was opened"))
    run(recipe, table(folder))
    assert {path: path.stat().st_mtime_ns for path in (folder / "sounds").iterdir()} == before


def test_a_phrase_that_changed_is_spoken_and_one_that_went_is_removed(tmp_path: Path) -> None:
    recipe = voice.ready(tmp_path, pack={"formats": ["wav"]})
    folder = run(recipe, table(tmp_path))
    names = [row["wav"] for row in rows_of(folder)]
    run(recipe, table(tmp_path, [("hello", "ⴰⵉⵓ"), ("closed", "ⴰⵉⵓ ⴰⵉⵓ")]))
    now = [row["wav"] for row in rows_of(folder)]
    assert now[0] == names[0] and now[1] != names[1]
    assert len(list((folder / "sounds").iterdir())) == 4
    assert (folder / "lineage.json").is_file()


def test_it_goes_on_after_a_kill(tmp_path: Path) -> None:
    voice.ready(tmp_path)
    path = table(tmp_path, [(f"p{number}", "ⴰⵉⵓ ⴰⵉⵓ ⴰⵉ") for number in range(30)])
    sounds = tmp_path / "work" / "evaluate" / "pack" / "sounds"
    command = [sys.executable, "-m", "evaluate.pack", str(tmp_path / "recipe.yaml"), str(path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as running:
        while running.poll() is None and len(list(sounds.glob("*.json"))) < 3:
            time.sleep(0.005)
        os.kill(running.pid, signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    whole = {note: note.with_suffix(".wav").stat().st_mtime_ns for note in sounds.glob("*.json")}
    assert 3 <= len(whole) < 30
    recipe = voice.load(tmp_path / "recipe.yaml")
    folder = run(recipe, path)
    assert {note: note.with_suffix(".wav").stat().st_mtime_ns for note in whole} == whole
    assert len(rows_of(folder)) == 30
    assert all((folder / row[kind]).is_file() for row in rows_of(folder) for kind in ("wav", "opus"))
    assert len(list(sounds.iterdir())) == 90  # and no half-written file is left


def test_phrases_are_spoken_together_as_they_are_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = voice.ready(tmp_path, "speecht5", pack={"formats": ["wav"]})
    path = table(tmp_path, [(f"p{n}", "ⴰⵉⵓ " * (n % 3 + 1)) for n in range(6)])
    monkeypatch.setattr("train.families._TEXTS_AT_ONCE", 4)
    sizes: list[int] = []
    many = SpeechT5.synthesise_many

    def counted(family: SpeechT5, texts: Any, voice: Any) -> Any:
        sizes.append(len(texts))
        if len(sizes) == 2:
            raise KeyboardInterrupt  # in the second batch: the first is on disk
        return many(family, texts, voice)

    monkeypatch.setattr(SpeechT5, "synthesise_many", counted)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, path)
    folder = run(recipe, path)
    assert sizes == [4, 2, 2]
    together = [(row, soundfile.read(folder / row["wav"])[0]) for row in rows_of(folder)]
    shutil.rmtree(folder)
    monkeypatch.setattr("train.families.batches", lambda lengths, _: [[place] for place in range(len(lengths))])
    run(recipe, path)
    for (row, samples), alone in zip(together, rows_of(folder), strict=True):
        assert row == alone
        assert np.allclose(samples, soundfile.read(folder / alone["wav"])[0], atol=1e-3)


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,words\na,ⴰ", "no column text"),
        ("id,text\na,", "line 2: no letter of zgh-Tfng"),
        ("id,text\na,ⴰ 12", "line 2: '1' in the text: write numbers as words"),
        ("id,text\na,ⴰ\na,ⵉ", "line 3: the id a is given twice"),
        ("id,text\n../a,ⴰ", "line 2: the id '../a': letters a to z"),
        ("id,text,language\na,ⴰ,xx", "line 2: no language 'xx'"),
        ("id,text\na," + "ⴰ" * 501, "line 2: 501 characters; at most 500"),
        ("id,text\n", "no phrase in it"),
    ],
)
def test_a_table_that_cannot_be_spoken_is_told_by_its_line(
    pack: tuple[Recipe, Path], tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(said)):
        phrases.read(pack[0], path)


def test_a_table_that_is_not_there_or_not_text(pack: tuple[Recipe, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        phrases.read(pack[0], tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"id,text\n\xff\xfe,\xff")
    with pytest.raises(UserError, match="not a CSV in UTF-8"):
        phrases.read(pack[0], tmp_path / "a.csv")


# ---------------------------------------------------------------- consent


def test_a_voice_whose_owner_does_not_allow_it_is_refused(tmp_path: Path) -> None:
    recipe = voice.ready(tmp_path, pack={"voice": "somebody"})
    with pytest.raises(UserError, match=r"evaluate.pack.voice: somebody is no speaker who allows tts_clone; amina"):
        run(recipe, table(tmp_path))


@pytest.mark.parametrize("what", ["dataset", "adapter", "pack"])
def test_what_was_withdrawn_is_neither_spoken_nor_played(tmp_path: Path, what: str) -> None:
    recipe = voice.ready(tmp_path)
    path = table(tmp_path)
    folder = run(recipe, path)
    places = {"dataset": dataset_folder(recipe), "adapter": adapter_folder(recipe), "pack": folder}
    mark_withdrawn(places[what], date(2026, 1, 1), 3)
    with pytest.raises(UserError, match="withdrawn"):
        review.application(recipe) if what == "pack" else run(recipe, path)


def test_a_recogniser_makes_no_pack(tmp_path: Path) -> None:
    recipe = voice.ready(tmp_path, "ctc")
    with pytest.raises(UserError, match="recognises speech, and a pack needs one that speaks"):
        run(recipe, table(tmp_path))


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_to_listen_needs_nothing_else(pack: tuple[Recipe, Path], language: str) -> None:
    text = (pack[1] / f"listen.{language}.html").read_text(encoding="utf-8")
    assert f'<html lang="{language}" dir="{"rtl" if language == "ary" else "ltr"}">' in text
    assert text.count("data:audio/mpeg;base64,") == len(PHRASES)
    assert not re.search(r'(?:src|href)="(?!data:|listen\.[\w-]+\.html)', text)
    assert '<p class="phrase" lang="zgh-Tfng" dir="ltr">ⴰⵉⵓ</p>' in text and "Noto Sans Tifinagh" in text


def test_phrases_are_approved_and_rejected_on_a_page(tmp_path: Path) -> None:
    recipe = voice.ready(tmp_path)
    folder = run(recipe, table(tmp_path))
    client = TestClient(review.application(recipe), base_url="http://127.0.0.1")
    first, second = rows_of(folder)[:2]
    names = [Path(row["wav"]).stem for row in (first, second)]
    assert client.get(f"/sound/{names[0]}").headers["content-type"] == "audio/mpeg"
    assert client.get("/sound/../../recipe").status_code == 404
    client.post("/decide", data={"sound": names[0], "decided": "approved", "note": "  good   and <clear>"})
    client.post("/decide", data={"sound": names[1], "decided": "rejected", "lang": "fr"})
    assert [row["decided"] for row in rows_of(folder)] == ["approved", "rejected", None, None]
    assert rows_of(folder)[0]["note"] == "good and <clear>"
    shown = client.get("/?lang=en").text
    assert "good and &lt;clear&gt;" in shown and "Still to be decided: 2 / 4" in shown
    client.post("/decide", data={"sound": names[1], "decided": "undone"})
    assert client.post("/decide", data={"sound": names[1], "decided": "maybe"}).status_code == 400
    assert client.post("/decide", data={"sound": "none", "decided": "approved"}).status_code == 404
    elsewhere = {"origin": "https://elsewhere.example"}
    sent = {"sound": names[1], "decided": "approved"}
    assert client.post("/decide", data=sent, headers=elsewhere).status_code == 403
    run(recipe, table(tmp_path))  # a decision outlives another run
    assert [row["decided"] for row in rows_of(folder)] == ["approved", None, None, None]
    run(recipe, table(tmp_path, [("hello", "ⴰⵉⵓ ⴰⵉⵓ")]))  # and not another sound
    assert rows_of(folder)[0]["decided"] is None
