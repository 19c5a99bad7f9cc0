"""The layouts that recordings come in: what each folder looks like, what is taken, and what is left out and why."""

import hashlib
import io
import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from collect import ingest
from collect.ledger import open_ledger
from collect.sources import layouts, whatsapp
from recipes.records import Clip
from recipes.schema import Recipe, RecipeError, UserError, load
from tests.conftest import needs

RATE_HZ = 16_000
BASIS = {"purposes": ["store_prepare", "asr_train"], "notice": "CC0-1.0", "controller": "x", "given_on": "2025-06-01"}
TEXT = "صباح الخير"


def sound(number: int = 0, kind: str = "WAV") -> bytes:
    """A recording like no other: half a second of a tone of its own pitch."""
    pitch_hz = 200 + 7 * number
    samples = 0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(RATE_HZ // 2) / RATE_HZ)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format=kind, subtype="OPUS" if kind == "OGG" else None)
    return buffer.getvalue()


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tsv(path: Path, *rows: dict[str, str]) -> None:
    """As Common Voice writes: cells are never quoted."""
    put(path, "\n".join("\t".join(cells) for cells in [list(rows[0]), *(list(row.values()) for row in rows)]) + "\n")


def recipe(source: Path | str, folder: Path, **collect: Any) -> Recipe:
    whole = {
        "name": "t",
        "work_dir": str(folder / "work"),
        "collect": {"source": str(source), "basis": BASIS, **collect},
        "prepare": {"purpose": "asr_train"},
        "train": {"family": "ctc", "base": "x/y"},
    }
    return load(put(folder / "recipe.yaml", json.dumps(whole)))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def run(source: Path, capsys: pytest.CaptureFixture[str], **collect: Any) -> tuple[list[str], list[Clip]]:
    """What `collect.ingest` prints, and the clips it leaves in the ledger."""
    settings = recipe(source, source.parent, **collect)
    ingest.main(settings)
    with open_ledger(settings) as ledger:
        return capsys.readouterr().out.splitlines(), sorted(ledger.clips(), key=lambda clip: clip.source)


def fault(source: Path, **collect: Any) -> str:
    """The one line that stops the run."""
    with pytest.raises(UserError) as caught:
        ingest.main(recipe(source, source.parent, **collect))
    assert "\n" not in str(caught.value)
    return str(caught.value)


LAYOUTS = ["plain", "ljspeech", "common_voice", "piper", "audiofolder", "datasets", "whatsapp", "label_studio"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_that_is_not_of_the_layout_stops_with_one_line(source: Path, layout: str) -> None:
    assert str(source) in fault(source, layout=layout)
    assert "no such folder" in fault(source / "gone", layout=layout)


def test_without_a_legal_basis_no_source_comes_in(source: Path) -> None:
    put(source / "ary-MA/general/1.wav", sound())
    put(source / "ary-MA/general/1.txt", TEXT)
    assert "no table of consents; write one" in fault(source, layout="piper", basis=None)


# ---------------------------------------------------------------- Common Voice


def cv_row(number: int, sentence: str, locale: str, **more: str) -> dict[str, str]:
    row = {"client_id": "c1", "path": f"{number}.mp3", "sentence_id": f"s{number}", "sentence": sentence}
    return (
        row | {"age": "twenties", "gender": "female_feminine", "accents": "", "variant": "", "locale": locale} | more
    )


def release(folder: Path) -> None:
    """A release with two of our locales and one that is not."""
    for number in range(5):
        put(folder / f"zgh/clips/{number}.mp3", sound(number, "MP3"))
    tsv(folder / "zgh/validated.tsv", cv_row(0, '"ⴰⵣⵓⵍ', "zgh"), cv_row(1, "ⵎⴰⴼ", "zgh"), cv_row(2, "ⴰⵡⴰⵍ", "zgh"))
    tsv(folder / "zgh/invalidated.tsv", cv_row(3, "ⵙⵓⵍ", "zgh"))
    tsv(folder / "zgh/other.tsv", cv_row(4, "ⵙⵓⵍ", "zgh"))
    tsv(
        folder / "zgh/reported.tsv",
        {"sentence_id": "s1", "sentence": "ⵎⴰⴼ", "locale": "zgh", "reason": "offensive-language"},
        {"sentence_id": "", "sentence": "ⴰⵡⴰⵍ", "locale": "zgh", "reason": "I know the reader, it is Fatima"},
    )
    put(folder / "zgh/clip_durations.tsv", "clip\tduration[ms]\n0.mp3\t500\n")
    put(folder / "kab/clips/5.mp3", sound(5, "MP3"))
    tsv(folder / "kab/validated.tsv", cv_row(5, "azul fell-awen", "kab"))
    put(folder / "fr/clips/6.mp3", sound(6, "MP3"))
    tsv(folder / "fr/validated.tsv", cv_row(6, "bonjour", "fr"))


@pytest.mark.parametrize("inside", ["", "cv-corpus-23.0"])
def test_a_release_of_common_voice_with_several_locales(
    source: Path, capsys: pytest.CaptureFixture[str], inside: str
) -> None:
    release(source / inside)
    out, clips = run(source, capsys)  # it is recognised
    assert [(clip.language, clip.transcript) for clip in clips] == [
        ("kab-Latn", "azul fell-awen"),
        ("zgh-Tfng", '"ⴰⵣⵓⵍ'),
    ]
    assert out[1:6] == [
        "left out: 1 × a locale that is none of the languages here",
        "left out: 1 × its sentence was reported: offensive-language",
        "left out: 1 × its sentence was reported: other",
        "left out: 1 × invalidated by its listeners",
        "left out: 1 × not yet validated",
    ]
    listed = (source.parent / "work/collect/refused.csv").read_text(encoding="utf-8")
    assert "zgh/invalidated.tsv:2" in listed and "Fatima" not in listed


def test_one_locale_of_common_voice(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release(source)
    _, clips = run(source / "zgh", capsys, layout="common_voice", language="ary-Arab")
    assert [clip.language for clip in clips] == ["zgh-Tfng"]  # what the row says goes before collect.language


@pytest.mark.parametrize(
    ("locale", "text", "language"),
    [
        ("zgh", "ⴰⵣⵓⵍ", "zgh-Tfng"),
        ("zgh", "azul", "zgh-Latn"),
        ("ary", "السلام labas عليكم", "ary-Arab"),
        ("ary-MA", "labas", "ary-Latn"),
        ("rif-Latn", "ⴰⵣⵓⵍ", "rif-Latn"),  # a whole tag is taken at its word
        ("ar", "السلام", ""),
        ("zgh", "", ""),
        ("", "azul", ""),
    ],
)
def test_the_tag_of_a_locale_takes_its_script_from_the_letters(locale: str, text: str, language: str) -> None:
    assert layouts.tag(locale, text) == language


# ---------------------------------------------------------------- Piper Recording Studio


def test_piper_recording_studio(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, place in enumerate(["user_17/ary-MA/general", "user_17/ary-MA/numbers", "user_18/zgh/general"]):
        put(source / place / "1.wav", sound(number))
        put(source / place / "1.txt", f"{'ⴰⵣⵓⵍ' if 'zgh' in place else TEXT}\n")
    out, clips = run(source, capsys, layout="piper")
    assert out[0].startswith("3 clips new")
    assert [(clip.speaker, clip.language, clip.transcript) for clip in clips] == [
        ("user_17", "ary-Arab", TEXT),
        ("user_17", "ary-Arab", TEXT),
        ("user_18", "zgh-Tfng", "ⴰⵣⵓⵍ"),
    ]


@pytest.mark.parametrize("at", ["", "ar-JO"])
def test_piper_in_single_user_mode_by_its_output_or_by_one_language(
    source: Path, capsys: pytest.CaptureFixture[str], at: str
) -> None:
    put(source / "ar-JO/general/1.wav", sound())
    put(source / "ar-JO/general/1.txt", TEXT)
    _, clips = run(source / at, capsys, layout="piper", speaker="s1", language="ary-Arab")
    assert [(clip.speaker, clip.language, clip.source) for clip in clips] == [
        ("s1", "ary-Arab", "ar-JO/general/1.wav" if not at else "general/1.wav")
    ]


@needs("ffmpeg")
def test_piper_records_webm(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(source / "x.wav", sound())
    (source / "ary/general").mkdir(parents=True)
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", source / "x.wav", "-c:a", "libopus", source / "ary/general/1.webm"],
        check=True,
    )
    (source / "x.wav").unlink()
    put(source / "ary/general/1.txt", TEXT)
    _, clips = run(source, capsys, layout="piper", speaker="s1")
    assert [(clip.source, round(clip.duration_s, 1)) for clip in clips] == [("ary/general/1.webm", 0.5)]


def test_a_recording_of_piper_without_its_prompt_is_refused(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(source / "ary/general/1.wav", sound())
    out, clips = run(source, capsys, layout="piper", speaker="s1", language="ary-Arab")
    assert out[0].startswith("ary/general/1.txt: ary/general/1.wav: has no transcript") and not clips


# ---------------------------------------------------------------- audiofolder


def test_an_audiofolder_with_tables_in_its_subfolders(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(source / "train/a/1.wav", sound(1))
    put(source / "train/metadata.csv", f"file_name,transcription,speaker\na/1.wav,{TEXT},s1\n")
    put(source / "test/2.flac", sound(2, "FLAC"))
    put(source / "test/metadata.jsonl", json.dumps({"file_name": "2.flac", "text": TEXT, "speaker": "s2"}))
    _, clips = run(source, capsys, layout="audiofolder", language="ary-Arab")
    assert [(clip.source, clip.speaker, clip.transcript) for clip in clips] == [
        ("test/2.flac", "s2", TEXT),
        ("train/a/1.wav", "s1", TEXT),
    ]


def test_the_text_column_of_an_audiofolder_can_be_named(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(source / "1.wav", sound())
    put(source / "metadata.csv", f"file_name,phrase,text\n1.wav,{TEXT},x\n")
    _, clips = run(
        source, capsys, layout="audiofolder", columns={"text": "phrase"}, speaker="s1", language="ary-Arab"
    )
    assert [clip.transcript for clip in clips] == [TEXT]


def test_a_folder_of_audio_without_metadata_is_refused(source: Path) -> None:
    put(source / "train/1.wav", sound())
    assert fault(source, layout="audiofolder").endswith(
        "no metadata.csv or metadata.jsonl in it: its recordings have no transcripts"
    )


def test_an_audiofolder_without_file_name_or_text(source: Path) -> None:
    put(source / "metadata.csv", "file,text\n1.wav,x\n")
    assert "metadata.csv: no column `file_name`" in fault(source, layout="audiofolder")
    put(source / "metadata.csv", "file_name,words\n1.wav,x\n")
    assert "no column `text` (collect.columns.text); the table has: file_name, words" in fault(
        source, layout="audiofolder"
    )


def test_a_path_out_of_an_audiofolder_is_refused(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(source.parent / "secret.wav", sound())
    put(source / "train/metadata.csv", f"file_name,text\n../../secret.wav,{TEXT}\n/etc/passwd,{TEXT}\n")
    out, clips = run(source, capsys, layout="audiofolder", speaker="s1", language="ary-Arab")
    assert not clips and "lies outside the folder" in out[0] and "lies outside the folder" in out[1]


# ---------------------------------------------------------------- datasets


def made(count: int = 3, **more: list[Any]) -> Any:
    """A real `datasets` table; its paths are of the computer it was made on."""
    import datasets

    audio = [{"bytes": sound(number), "path": f"/home/someone/{number}.wav"} for number in range(count)]
    table = datasets.Dataset.from_dict({"audio": audio, "sentence": [TEXT] * count, **more})
    return table.cast_column("audio", datasets.Audio())  # to be decoded: what we never do


SENTENCES = {"layout": "datasets", "columns": {"text": "sentence"}, "speaker": "s1", "language": "ary-Arab"}


@pytest.fixture(params=["split", "splits", "parquet"])
def saved(request: pytest.FixtureRequest, source: Path) -> Path:
    import datasets

    if request.param == "split":
        made().save_to_disk(source / "d")
    elif request.param == "splits":
        datasets.DatasetDict({"train": made(2), "test": made(3).select([2])}).save_to_disk(source / "d")
    else:
        (source / "d/data").mkdir(parents=True)
        made(2).to_parquet(source / "d/data/train-00000-of-00001.parquet")
        made(3).select([2]).to_parquet(source / "d/data/test-00000-of-00001.parquet")
    return source / "d"


def test_a_dataset_on_disk_in_each_of_its_forms(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, clips = run(saved, capsys, **SENTENCES)
    assert out[0].startswith("3 clips new")
    # The bytes that were put in, not decoded and coded again.
    assert {clip.id for clip in clips} == {hashlib.sha256(sound(number)).hexdigest() for number in range(3)}
    assert [clip.source for clip in clips] == ["0.wav", "1.wav", "2.wav"]
    out, _ = run(saved, capsys, **SENTENCES)
    assert out[0] == "0 clips new (0.00 h), 3 known, 0 refused"


def test_rows_of_a_dataset_are_read_as_they_are_asked_for(source: Path) -> None:
    made(40).save_to_disk(source / "d")
    rows = iter(layouts.entries(recipe(source / "d", source, **SENTENCES)))
    first = next(rows)
    assert isinstance(rows, Iterator) and first.place == "rows:1" and first.audio == sound(0)
    assert sum(1 for _ in rows) == 39


def test_classes_are_read_by_their_names(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import datasets

    table = made(1, gender=[1]).cast_column("gender", datasets.ClassLabel(names=["male", "female"]))
    table.save_to_disk(source / "d")
    run(source / "d", capsys, **SENTENCES)
    with open_ledger(recipe(source / "d", source, **SENTENCES)) as ledger:
        assert ledger.speaker("s1").gender == "female"


def test_a_dataset_that_cannot_be_used(source: Path) -> None:
    import datasets

    made().save_to_disk(source / "d")
    assert "rows: no column `text` (collect.columns.text)" in fault(source / "d", layout="datasets")
    datasets.Dataset.from_dict({"text": ["x"]}).save_to_disk(source / "e")
    assert "no audio column; name one in collect.columns.file; it has: text" in fault(source / "e", layout="datasets")
    put(source / "f/x.parquet", b"PAR1 no more")
    assert "x.parquet: not a dataset that can be read" in fault(source / "f", layout="datasets")
    next((source / "d").glob("*.arrow")).write_bytes(b"x")
    assert "not a dataset that can be read" in fault(source / "d", **SENTENCES)


def test_a_path_in_a_dataset_opens_nothing_outside(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    put(source.parent / "secret.wav", sound())
    rows = {"audio": [{"bytes": None, "path": str(source.parent / "secret.wav")}], "sentence": [TEXT]}
    pa.parquet.write_table(pa.table(rows), source / "x.parquet")
    out, clips = run(source, capsys, **SENTENCES)
    assert not clips and "lies outside the folder" in out[0]


def test_audio_in_a_table_has_the_same_limit_as_a_file(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(1).save_to_disk(source / "d")
    out, clips = run(source / "d", capsys, max_file_mib=0.001, **SENTENCES)
    assert not clips and "rows:1: 0.wav: 0 MiB; at most 0.001" in out[0]


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_dataset_on_the_hub_is_streamed_at_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import datasets

    asked: list[Any] = []

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        return {"train": made().to_iterable_dataset()}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    settings = recipe(f"hub:some/speech@{COMMIT}", tmp_path, allow_network=True, subset="ary", **SENTENCES)
    assert load(put(tmp_path / "again.yaml", settings.text())).collect == settings.collect
    ingest.main(settings)
    assert capsys.readouterr().out.startswith("3 clips new")
    assert asked == [(("some/speech", "ary"), {"revision": COMMIT, "streaming": True})]


def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load_dataset(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Couldn't reach 'some/speech'\non the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match=r"Couldn't reach 'some/speech' on the Hub$"):
        ingest.main(recipe(f"hub:some/speech@{COMMIT}", tmp_path, allow_network=True, **SENTENCES))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "`allow_network: true` lets collect.ingest fetch it"),
        ({"source": "hub:some/speech@main", "allow_network": True}, "is named hub:OWNER/NAME@COMMIT"),
        ({"source": "hub:speech", "allow_network": True}, "is named hub:OWNER/NAME@COMMIT"),
        ({"allow_network": True, "basis": None}, "a source on the hub needs its legal basis"),
        ({"allow_network": True, "layout": "piper"}, "has the layout datasets, not piper"),
        ({"source": "folder", "subset": "ary"}, "`subset` is of a dataset on the hub"),
    ],
)
def test_what_a_source_on_the_hub_needs(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(**{"source": f"hub:some/speech@{COMMIT}", "folder": tmp_path} | change)
    assert message in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------- WhatsApp

ANDROID = "PTT-20260101-WA000{}.opus"
IPHONE = "0000004{}-AUDIO-2026-01-01-14-23-01.opus"
# The line of a chat, by the language of the phone that exported it.
LINES = {
    "android en": "01/01/2026, 14:32 - {sender}: \u200e" + ANDROID + " (file attached)",
    "android en 12 h": "1/1/26, 2:32\u202fPM - {sender}: " + ANDROID + " (file attached)",
    "android fr": "01/01/2026 à 14:32 - {sender}\u00a0: \u200e" + ANDROID + " (fichier joint)",
    "android ar": "\u200f١/١/٢٠٢٦، ٢:٣٢ م - {sender}: \u200f" + ANDROID + " (الملف مرفق)",
    "iphone en": "\u200e[01/01/2026, 14:32:05] {sender}: \u200e<attached: " + IPHONE + ">",
    "iphone fr": "\u200e[01/01/2026 14:32:05] ~\u202f{sender}: \u200e<\u202fpièce jointe\u202f: "
    + IPHONE
    + "\u202f>",
    "iphone ar": "\u200f[١/١/٢٠٢٦، ٢:٣٢:٠٥ م] {sender}: \u200f<المُرفق: " + IPHONE + ">",
}
NAME = "Fatima Zahra"
NOTES = {"layout": "whatsapp", "language": "ary-Arab", "transcripts": "later"}


def chat(
    source: Path, style: str = "android en", name: str = "_chat.txt", senders: tuple[str, ...] = (NAME,)
) -> None:
    """An exported chat: voice notes, one from each sender, and talk."""
    lines = [f"01/01/2026, 14:30 - Messages are end-to-end encrypted.\n01/01/2026, 14:31 - {NAME}: wach wselti?"]
    for number, sender in enumerate(senders):
        lines.append(LINES[style].format(number, sender=sender))
        put(source / (IPHONE if "iphone" in style else ANDROID).format(number), sound(number, "OGG"))
    put(source / name, "\ufeff" + "\r\n".join([*lines, "a second line"]) + "\r\n")


def everything_written(folder: Path) -> str:
    """Every byte under the work folder that could hold a name."""
    return "\n".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("style", LINES)
def test_voice_notes_of_a_chat_in_each_language_and_phone(
    source: Path, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    chat(source, style, f"WhatsApp Chat with {NAME}.txt", (NAME, "يوسف", NAME))
    out, clips = run(source, capsys, **NOTES)
    assert out[0].startswith("3 clips new")
    assert [clip.transcript for clip in clips] == ["", "", ""]
    first, second, third = (clip.speaker for clip in clips)
    assert first == third != second and first.startswith("wa-")


def test_a_name_is_kept_nowhere(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat(source, name=f"WhatsApp Chat with {NAME}.txt", senders=(NAME, "Youssef"))
    put(source / "PTT-20260101-WA0009.opus", b"damaged")
    with (source / f"WhatsApp Chat with {NAME}.txt").open("a", encoding="utf-8") as file:
        file.write(f"01/01/2026, 15:00 - {NAME}: PTT-20260101-WA0009.opus (file attached)\n")
    out, clips = run(source, capsys, **NOTES)
    assert out[0].startswith("chat:6: PTT-20260101-WA0009.opus: not audio") and len(clips) == 2
    written = everything_written(source.parent / "work") + "\n".join(out)
    for word in ("Fatima", "Youssef", "fatima", "wach wselti"):
        assert word not in written


def test_codes_are_made_with_a_salt_that_only_its_owner_reads(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat(source)
    speaker = run(source, capsys, **NOTES)[1][0].speaker
    salt = source.parent / "work/collect/whatsapp.salt"
    assert stat.S_IMODE(salt.stat().st_mode) == 0o600 and len(salt.read_bytes()) == 32
    assert run(source, capsys, **NOTES)[1][0].speaker == speaker  # the same the next time
    shutil.rmtree(source.parent / "work")
    assert run(source, capsys, **NOTES)[1][0].speaker != speaker  # and another with another salt
    salt.write_bytes(b"short")
    assert "whatsapp.salt: damaged" in fault(source, **NOTES)


def test_one_name_written_in_several_ways_is_one_speaker() -> None:
    codes = {whatsapp._code(name, b"s" * 32) for name in ("José  A", "jose\u0301 a", "~ José A")}
    assert len(codes) == 1


def test_transcripts_come_from_a_table_beside_the_chat(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat(source, senders=(NAME, NAME))
    put(source / "metadata.csv", f"file,text,speaker\n{ANDROID.format(1)},{TEXT},{NAME}\nPTT-gone.opus,x,\n")
    out, clips = run(source, capsys, **NOTES)
    assert [clip.transcript for clip in clips] == ["", TEXT] and clips[1].speaker.startswith("wa-")
    assert "left out: 1 × a transcript of no voice note in the folder" in out


def test_notes_without_transcripts_come_in_only_when_the_recipe_says_later(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat(source)
    out, clips = run(source, capsys, **NOTES | {"transcripts": "required"})
    assert not clips and "has no transcript; to take it in and write one later, collect.transcripts: later" in out[0]
    _, clips = run(source, capsys, **NOTES)
    assert [clip.transcript for clip in clips] == [""]
    put(source / "metadata.csv", f"file,text\n{ANDROID.format(0)},{TEXT}\n")
    assert [clip.transcript for clip in run(source, capsys, **NOTES)[1]] == [TEXT]
    (source / "metadata.csv").unlink()  # a transcript outlives its table
    assert [clip.transcript for clip in run(source, capsys, **NOTES)[1]] == [TEXT]


def test_what_of_a_chat_is_no_voice_note_of_a_known_sender(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat(source)
    put(source / "AUD-20260101-WA0007.mp3", sound(7, "MP3"))  # a song that was passed on
    put(source / "PTT-20260101-WA0008.opus", sound(8, "OGG"))
    put(source / "PTT-20260101-WA0009.opus", sound(9, "OGG"))
    with (source / "_chat.txt").open("a", encoding="utf-8") as file:
        for sender in (NAME, "Youssef"):
            file.write(f"01/01/2026, 15:00 - {sender}: PTT-20260101-WA0009.opus (file attached)\n")
        # Someone writes of a voice note, which does not make it theirs.
        file.write(f"01/01/2026, 15:00 - {NAME}: listen to PTT-20260101-WA0008.opus (file attached)\n")
        file.write("01/01/2026, 15:00 - Ali: x: PTT-20260101-WA0008.opus (file attached)\n")
    out, clips = run(source, capsys, **NOTES)
    assert [clip.source for clip in clips] == [ANDROID.format(0)]
    assert sorted(line for line in out if line.startswith("left out")) == [
        "left out: 1 × audio that was passed on, not a voice note",
        "left out: 1 × no message of the chat sends it",
        "left out: 1 × two messages send it, under different names",
    ]


def test_notes_without_a_chat_are_of_the_speaker_that_the_recipe_names(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(source / ANDROID.format(0), sound(0, "OGG"))
    assert "no chat (_chat.txt) that says who sent what" in fault(source, **NOTES)
    assert [clip.speaker for clip in run(source, capsys, speaker="s1", **NOTES)[1]] == ["s1"]


def test_two_chats_in_a_folder_stop_the_run_without_a_name(source: Path) -> None:
    chat(source, name=f"WhatsApp Chat with {NAME}.txt")
    put(source / "WhatsApp Chat with Youssef.txt", "x")
    message = fault(source, **NOTES)
    assert "2 texts (.txt) in it; keep one chat in a folder" in message and NAME not in message
    put(source / "WhatsApp Chat with Youssef.txt", b"\xff\xfe")
    (source / f"WhatsApp Chat with {NAME}.txt").unlink()
    message = fault(source, **NOTES)
    assert "its chat: not UTF-8" in message and "Youssef" not in message


# ---------------------------------------------------------------- Label Studio


def answer(text: Any, name: str = "transcription", **value: Any) -> dict[str, Any]:
    texts = text if isinstance(text, list) else [text]
    return {
        "id": "abc",
        "type": "textarea",
        "from_name": name,
        "to_name": "audio",
        "origin": "manual",
        "value": {"text": texts, **value},
    }


def annotation(text: Any, at: str = "2026-11-21T10:00:00.000000Z", **more: Any) -> dict[str, Any]:
    whole = {"id": 7, "completed_by": {"id": 3, "email": "amal@example.org"}, "was_cancelled": False}
    return whole | {"ground_truth": False, "created_at": at, "updated_at": at, "result": [answer(text)]} | more


def task(number: int, address: str, *annotations: dict[str, Any], **data: str) -> dict[str, Any]:
    """A task as `Export → JSON` writes it."""
    data = {"audio": address, "speaker": "s1", "language": "ary-Arab", "text": "prompt"} | data
    return {"id": number, "data": data, "annotations": list(annotations), "predictions": [], "meta": {}}


LATER = "2026-11-22T10:00:00.000000Z"
DIALECT = {"from_name": "dialect", "to_name": "audio", "type": "choices", "value": {"choices": ["Rbat"]}}
TASKS = [
    task(1, "/data/upload/4/0123abcd-a.wav", annotation("old"), annotation(TEXT, LATER)),
    task(2, "/data/local-files/?d=corpus%2Fclips%2Fb.wav", annotation(TEXT)),
    task(3, "http://localhost:8080/data/upload/4/89abcdef-c%20d.wav", annotation(TEXT)),
    task(4, "/data/upload/4/0123abcd-e.wav", annotation(TEXT, was_cancelled=True)),
    task(5, "/data/upload/4/0123abcd-f.wav"),
]
FILES = ["4/0123abcd-a.wav", "clips/b.wav", "c d.wav", "e.wav", "f.wav"]
TAKEN = ["4/0123abcd-a.wav", "c d.wav", "clips/b.wav"]


def exported(source: Path, tasks: list[dict[str, Any]], kind: str = "JSON") -> Path:
    """An export, in the minimal kinds by Label Studio's own converter."""
    for number, name in enumerate(FILES):
        put(source / name, sound(number))
    whole = put(source.parent / "tasks.json", json.dumps(tasks, ensure_ascii=False))
    if kind == "JSON":
        return put(source / "project-1-at-2026-11-22.json", whole.read_text(encoding="utf-8"))
    from label_studio_sdk.converter import Converter

    config = '<View><Audio name="audio" value="$audio"/><TextArea name="transcription" toName="audio"/>'
    config += '<Choices name="dialect" toName="audio"><Choice value="Rbat"/></Choices></View>'
    converter = Converter(config=config, project_dir=str(source.parent), upload_dir=str(source.parent))
    if kind == "CSV":
        converter.convert_to_csv(str(whole), str(source.parent / "out"), is_dir=False, sep=",")
        return Path(shutil.copy(source.parent / "out/result.csv", source / "project.csv"))
    converter.convert_to_json_min(str(whole), str(source.parent / "out"), is_dir=False)
    return Path(shutil.copy(source.parent / "out/result.json", source / "project.json"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the converter
@pytest.mark.parametrize("kind", ["JSON", "JSON_MIN", "CSV"])
def test_an_export_of_label_studio(source: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    exported(source, TASKS, kind)
    out, clips = run(source, capsys, layout="label_studio")
    assert [(clip.source, clip.transcript, clip.origin, clip.speaker) for clip in clips] == [
        (name, TEXT, "validated", "s1") for name in TAKEN
    ]
    assert "task 5: f.wav: has no transcript" in out[0]
    assert "amal@example.org" not in everything_written(source.parent / "work")
    if kind == "JSON":  # the minimal kinds do not name skipped tasks at all
        assert "left out: 1 × skipped by its annotator" in out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["JSON", "JSON_MIN", "CSV"])
def test_choices_fill_columns(source: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    exported(source, [task(1, "x/f.wav", annotation(TEXT, result=[answer(TEXT), DIALECT]))], kind)
    assert [clip.dialect for clip in run(source, capsys, layout="label_studio")[1]] == ["Rbat"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["JSON", "JSON_MIN", "CSV"])
@pytest.mark.parametrize(
    "result", [[answer("a", start=0.0, end=1.0), answer("b", start=1.0, end=2.0)], [answer(["a", "b"])]]
)
def test_a_task_that_holds_no_one_transcript_is_left_out(
    source: Path, capsys: pytest.CaptureFixture[str], result: list[Any], kind: str
) -> None:
    exported(source, [task(1, "f.wav", annotation("", result=result)), TASKS[1]], kind)
    out, clips = run(source, capsys, layout="label_studio")
    assert len(clips) == 1 and out[1].startswith("left out: 1 × transcribed in pieces")


def test_a_ground_truth_goes_before_newer_annotations(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = [annotation(TEXT, ground_truth=True), annotation("newer", LATER)]
    exported(source, [task(1, "f.wav", *both)])
    assert [clip.transcript for clip in run(source, capsys, layout="label_studio")[1]] == [TEXT]


def test_a_validated_transcript_takes_the_place_of_the_prompt_and_keeps_it(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = exported(source, [task(1, "f.wav", annotation(TEXT))])
    put(source / "metadata.csv", "file,text,speaker,language\nf.wav,كلمة,s1,ary-Arab\n")
    facts = [(clip.transcript, clip.origin) for clip in run(source, capsys, layout="plain")[1]]
    facts += [
        (clip.transcript, clip.origin)
        for clip in run(source, capsys, layout="label_studio", metadata=export.name)[1]
        + run(source, capsys, layout="plain")[1]
    ]
    assert facts == [("كلمة", "prompt"), (TEXT, "validated"), (TEXT, "validated")]


def test_two_tasks_of_one_recording(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(source, [task(1, "f.wav", annotation(TEXT)), task(2, "other/f.wav", annotation("x"))])
    out, clips = run(source, capsys, layout="label_studio")
    assert [clip.transcript for clip in clips] == [TEXT]
    assert out[1] == "left out: 1 × the same recording as project-1-at-2026-11-22.json: task 1"


def test_a_recording_that_is_not_in_the_folder(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(source, [task(1, "s3://bucket/g.wav", annotation(TEXT)), task(2, "/../../etc/passwd", annotation(TEXT))])
    out, clips = run(source, capsys, layout="label_studio")
    assert not clips
    assert out[0].endswith("task 1: g.wav: no such file") and out[1].endswith("task 2: passwd: no such file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "x.json: not JSON"),
        ("[" * 100_000, "x.json: not JSON"),
        ('{"tasks": []}', "x.json: not a list of tasks"),
        ('[{"id": 1, "data": {"audio": "a.wav"}, "annotations": [{"result": [7]}]}]', "not a task as Label Studio"),
        ('[{"id": 1, "data": {"audio": "a.wav"}, "annotations": [7]}]', "not a task as Label Studio"),
        ('[{"id": 1, "data": {"image": "a.png"}, "annotations": []}]', "no column `audio` (collect.columns.file)"),
        ("[]", "no recording is named in it"),
    ],
)
def test_a_file_that_is_no_export(source: Path, content: str, message: str) -> None:
    put(source / "x.json", content)
    assert message in fault(source, layout="label_studio")


def test_several_exports_in_a_folder(source: Path) -> None:
    exported(source, TASKS)
    put(source / "older.json", "[]")
    assert "2 exports (.json, .csv) in it; name the one in collect.metadata" in fault(source, layout="label_studio")
