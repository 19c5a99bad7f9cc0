"""What a run knows of its clips, kept on disk: the order, the counts, and tables that are never whole in memory."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare import manifest as module
from prepare import shards
from prepare.dataset import features
from prepare.manifest import Manifest
from prepare.parts import Finished, Refusal
from prepare.scratch import Lines
from prepare.split import Said
from recipes.provenance import digest, digest_in_order
from recipes.records import Clip
from recipes.schema import UserError
from tests.tiny import QUALITY, utterances


def clip(number: int, speaker: str = "amina") -> Clip:
    facts: dict[str, Any] = {"id": f"{number:064x}", "speaker": speaker, "language": "zgh-Tfng", "transcript": "ⴰⵣⵓⵍ"}
    return Clip.model_validate(
        facts | {"audio": "x", "rate_hz": 16_000, "duration_s": 1, "source": f"{9 - number}.wav"}
    )


def finished(text: str = "ⴰⵣⵓⵍ") -> Finished:
    facts: dict[str, Any] = {"text": text, "text_normalized": text, "language": "zgh-Tfng", "flags": [], "words": []}
    return Finished.model_validate(
        facts | {"rate_hz": 16_000, "duration_s": 1, "quality": QUALITY, "sound": "", "audio": "digest"}
    )


FACTS = {"dialect": None, "region": None, "gender": None, "age_band": None, "purposes": ["asr_train"]}


@pytest.fixture(params=[1, 2, 500])
def manifest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """With so many rows in memory at once."""
    monkeypatch.setattr(module, "_AT_ONCE", request.param)
    with Manifest() as made:
        yield made


def test_clips_wait_until_it_is_known_what_became_of_them(manifest: Manifest) -> None:
    for number in range(4):
        manifest.add(
            f"part{number}", clip(number), permitted=number != 3, reason="no consent" if number == 3 else None
        )
    assert manifest.count_waiting() == 3 and [name for name, _ in manifest.waiting()] == ["part0", "part1", "part2"]
    for name, one in manifest.waiting():  # noted while they are gone through
        if name != "part1":
            manifest.became(name, one, {name: finished()}, [])
    assert [name for name, _ in manifest.waiting()] == ["part1"]
    assert [manifest.permits(name) for name in ("part1", "part3", "nobody's")] == [True, False, False]


def test_rows_come_in_the_ledgers_order_however_late_they_were_done(manifest: Manifest) -> None:
    for number in range(3):
        manifest.add(f"part{number}", clip(number), True)
    manifest.became(
        "part2",
        clip(2),
        {"part2-01": finished("ⴰ"), "part2-02": finished("ⴱ")},
        [Refusal(reason="one was no speech")],
    )
    manifest.became("part0", clip(0), {"part0": finished("ⵊ")}, [])
    manifest.became("part1", clip(1), {}, [Refusal(reason="silent: nothing")])
    for entry in manifest.entries():
        manifest.describe(entry, FACTS, Said(entry.clip.speaker, entry.finished.text))
    assert {one.sentence: one.times for one in manifest.said().values()} == {"ⴰ": 1, "ⴱ": 1, "ⵊ": 1}
    splits = {name: "train" for name, one in manifest.said().items() if one.sentence != "ⴱ"}
    apart = {name: "its sentence is elsewhere" for name in manifest.said().keys() - splits.keys()}
    manifest.divide(splits, apart)  # type: ignore[arg-type]
    assert [(line.utterance.id, line.part, line.audio) for line in manifest.lines()] == [
        (f"{0:064x}", "part0", "digest"),
        (f"{2:064x}-01", "part2-01", "digest"),
    ]
    assert list(manifest.clips()) == [f"{0:064x}", f"{2:064x}"]
    faults = [(row.source, row.reason) for row in manifest.rejected("fault")]
    assert faults == [("7.wav", "one was no speech"), ("8.wav", "silent: nothing")]  # by file
    assert [row.reason for row in manifest.rejected()][2:] == ["its sentence is elsewhere"]


def test_what_is_said_alike_is_asked_about_once(manifest: Manifest) -> None:
    for number in range(6):
        manifest.add(f"part{number}", clip(number, f"speaker{number % 2}"), True)
        manifest.became(f"part{number}", clip(number), {f"part{number}": finished()}, [])
    for entry in manifest.entries():
        manifest.describe(entry, FACTS, Said(entry.clip.speaker, "", ("souss",)))
    assert sorted((one.speaker, one.stratum, one.times) for one in manifest.said().values()) == [
        ("speaker0", ("souss",), 3),
        ("speaker1", ("souss",), 3),
    ]


def test_a_clip_that_may_no_longer_be_used_goes_whole_and_is_listed_once(manifest: Manifest) -> None:
    manifest.add("part", clip(1), True)
    manifest.became("part", clip(1), {"part-01": finished(), "part-02": finished()}, [])
    for entry in manifest.entries():
        manifest.drop(entry, "consent does not cover asr_train")
    assert list(manifest.entries()) == [] and len(list(manifest.rejected("left out"))) == 1


def test_no_room_for_temporary_files_is_one_line() -> None:
    with (
        pytest.raises(UserError, match=r"temporary files, which lie in TMPDIR or /var/tmp: database or disk is full"),
        Lines() as lines,
    ):
        lines.add("a")
        raise sqlite3.OperationalError("database or disk is full")


@given(st.lists(st.text()))
def test_lines_come_sorted_as_strings_are(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    with Lines() as lines:
        for text in texts:
            lines.add(text)
        assert list(lines.in_order()) == sorted(texts)
        assert list(lines.different()) == sorted(set(texts))
        assert digest_in_order(lines.in_order()) == digest(texts)


def test_a_table_in_several_shards_is_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(shards, "_SHARD_BYTES", 20_000)
    rows = utterances()
    with shards.Table(tmp_path / "train", features(), "train") as table:
        for row in rows:
            table.add(row.model_dump(), row.id)
    assert len(list((tmp_path / "train").glob("*.arrow"))) > 1
    found = datasets.load_from_disk(str(tmp_path / "train"))
    assert found["id"][:] == [row.id for row in rows] and found.features == features() and str(found.split) == "train"
