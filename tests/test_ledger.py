"""The ledger: what it keeps, what it refuses, and that nothing in its past can be changed unseen.

Every test runs on SQLite and on PostgreSQL, unless it is about files.
"""

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from collect import tables, vault
from collect.chain import Receipt, read_receipt
from collect.consent import Event, Notice
from collect.keys import Gone, KeyStore
from collect.ledger import Ledger, Refused, Speaker, open_ledger
from collect.lineage import Artefact
from recipes.records import Clip, Transcript
from recipes.schema import Recipe, UserError, load
from tests.conftest import needs
from tests.postgres import new_database

TAMPERINGS = int(os.environ.get("TWIZA_TAMPERINGS", "1000"))
NOW = datetime.now(UTC)
Opened = Callable[[], AbstractContextManager[Ledger]]


def recipe(folder: Path, **collect: object) -> Recipe:
    path = folder / "recipe.yaml"
    whole = {
        "name": "t",
        "work_dir": str(folder / "work"),
        "collect": {"source": str(folder), **collect},
        "prepare": {"purpose": "asr_train"},
        "train": {"family": "ctc", "base": "x/y"},
    }
    path.write_text(json.dumps(whole), encoding="utf-8")
    return load(path)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs("initdb"))])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens the test's ledger; as often as it likes."""
    database = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        database = new_database(server, "t" + os.urandom(6).hex())
    made = recipe(tmp_path, database=database)
    return lambda: open_ledger(made)


def granted(speaker: str, *purposes: str, **values: object) -> Event:
    told = {"speaker": speaker, "notice": "told", "controller": "an association", "at": NOW - timedelta(days=1)}
    return Event.model_validate(told | {"purposes": list(purposes or ("store_prepare", "asr_train"))} | values)


def withdrawn(speaker: str, state: str = "withdrawn") -> Event:
    return granted(speaker).model_copy(update={"state": state, "purposes": [], "at": datetime.now(UTC)})


def clip(name: str = "a", speaker: str = "s1") -> Clip:
    values = {"id": name * 64, "speaker": speaker, "language": "ary-Arab", "transcript": "سلام", "audio": "x"}
    return Clip.model_validate(values | {"rate_hz": 16_000, "duration_s": 0.5, "source": f"{name}.wav"})


SOUND = (0.1 * np.sin(np.arange(8000) / 9)).astype(np.float32)[:, None]


def filled(ledger: Ledger, speaker: str = "s1", name: str = "a") -> Clip:
    ledger.enrol(Speaker(code=speaker), granted(speaker))
    return ledger.add(clip(name, speaker), SOUND)


# ---------------------------------------------------------------- the gate


def test_audio_is_given_for_granted_purposes_only(opened: Opened) -> None:
    with opened() as ledger:
        kept = filled(ledger)
        samples, rate_hz = ledger.audio(kept, "asr_train")
        assert rate_hz == 16_000 and np.allclose(samples, SOUND, atol=2**-22)
        with pytest.raises(Refused, match=r"a\.wav: the consent of s1 does not cover tts_clone"):
            ledger.audio(kept, "tts_clone")


def test_a_withdrawal_by_another_process_is_seen_at_once(opened: Opened) -> None:
    with opened() as ledger, opened() as other:
        kept = filled(ledger)
        assert ledger.permit(kept, "asr_train")
        other.record(withdrawn("s1"))
        with pytest.raises(Refused):
            ledger.audio(kept, "asr_train")


def test_turning_the_clock_back_revives_nothing(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened() as ledger:
        ledger.enrol(Speaker(code="s1"), granted("s1", expires=NOW + timedelta(hours=1)))
        kept = ledger.add(clip(), SOUND)
        assert ledger.permit(kept, "asr_train")
        monkeypatch.setattr("collect.ledger.datetime", Clock)
        Clock.shift = timedelta(hours=2)
        ledger.enrol(Speaker(code="s2"), granted("s2"))  # written down two hours from now
        Clock.shift = timedelta()
        assert not ledger.permit(kept, "asr_train")


class Clock(datetime):
    """A clock that can be set."""

    shift = timedelta()

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + cls.shift


def test_nothing_is_kept_of_a_speaker_without_consent(opened: Opened) -> None:
    with opened() as ledger:
        with pytest.raises(KeyError):
            ledger.add(clip(speaker="nobody"), SOUND)
        ledger.enrol(Speaker(code="s1"), granted("s1", "asr_train"))
        with pytest.raises(Refused, match="does not cover store_prepare"):
            ledger.add(clip(), SOUND)
        assert not list(ledger.clips())


def test_a_withdrawal_while_the_file_is_written_keeps_the_clip_out(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened() as ledger, opened() as other:
        ledger.enrol(Speaker(code="s1"), granted("s1"))
        put = vault.put

        def meanwhile(*words: Any) -> list[str]:
            other.record(withdrawn("s1"))
            return put(*words)

        monkeypatch.setattr(vault, "put", meanwhile)
        with pytest.raises(Refused, match="does not cover store_prepare"):
            ledger.add(clip(), SOUND)
        assert not list(ledger.clips())


def test_a_recording_that_is_here_as_anothers_is_refused_and_harms_nothing(opened: Opened) -> None:
    with opened() as ledger:
        kept = filled(ledger)
        ledger.enrol(Speaker(code="s2"), granted("s2"))
        with pytest.raises(Refused, match="the same recording is here as one of s1"):
            ledger.add(clip(speaker="s2"), SOUND)
        assert len(ledger.audio(kept, "asr_train")[0]) == len(SOUND)
        assert len(list(ledger.clips())) == 1


def test_threads_that_ask_while_others_withdraw_see_no_stale_consent(opened: Opened) -> None:
    with opened() as ledger:
        for number in range(6):
            filled(ledger, f"s{number}", "abcdef"[number])
        clips = list(ledger.clips())

        def withdraw_and_ask(number: int) -> bool:
            ledger.record(withdrawn(f"s{number}"))
            mine = next(one for one in clips if one.speaker == f"s{number}")
            return any(ledger.permit(mine, "asr_train") for _ in range(50))

        with ThreadPoolExecutor(6) as pool:
            assert not any(pool.map(withdraw_and_ask, range(6)))


def test_an_upload_sent_twice_is_one_clip(opened: Opened) -> None:
    with opened() as ledger:
        ledger.enrol(Speaker(code="s1"), granted("s1"))
        first = ledger.add(clip("a"), SOUND, upload="key")
        again = ledger.add(clip("b"), SOUND, upload="key")
        assert first == again and len(list(ledger.clips())) == 1


def test_an_import_does_not_bring_a_withdrawn_consent_back(opened: Opened) -> None:
    with opened() as ledger:
        filled(ledger)
        ledger.record(withdrawn("s1"))
        assert not ledger.enrol(Speaker(code="s1"), granted("s1"))
        assert not ledger.permit(clip(), "asr_train")
        assert [event.state for event in ledger.consents("s1")] == ["granted", "withdrawn"]


def test_an_import_of_the_same_day_may_narrow_but_not_widen(opened: Opened) -> None:
    with opened() as ledger:
        filled(ledger)
        with pytest.raises(UserError, match=r"consent of s1: another one of .* give the day on which"):
            ledger.enrol(Speaker(code="s1"), granted("s1", "store_prepare", "asr_train", "tts_clone"))
        assert ledger.enrol(Speaker(code="s1"), granted("s1", "store_prepare"))
        assert ledger.consents("s1")[-1].state == "narrowed"


# ---------------------------------------------------------------- notices, contacts, codes, transcripts


def test_notices_are_kept_once_with_their_recording(opened: Opened) -> None:
    sound = b"OggS..."
    told = Notice(
        version="1", language="zgh-Tfng", text="ⴰⵣⵓⵍ", audio_sha256=__import__("hashlib").sha256(sound).hexdigest()
    )
    with opened() as ledger:
        assert ledger.add_notice(told, sound) == ledger.add_notice(told, sound) == told.id
        assert ledger.notice(told.id) == (told, sound)
        with pytest.raises(UserError, match="not the recording it was made with"):
            ledger.add_notice(told, b"another")


def test_contacts_lie_encrypted_and_apart(opened: Opened, tmp_path: Path) -> None:
    with opened() as ledger:
        filled(ledger)
        ledger.keys.keep_contact("s1", "+212 600 000 000")
        assert ledger.keys.contact("s1") == "+212 600 000 000"
        assert ledger.keys.contact("s2") is None
    assert all(b"600 000 000" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_withdrawal_code_finds_its_speaker_and_is_nowhere_on_disk(opened: Opened, tmp_path: Path) -> None:
    with opened() as ledger:
        filled(ledger)
        ledger.add_code("s1", "KTBQ-7M2X-9RWD")
        assert ledger.speaker_of("KTBQ-7M2X-9RWD") == "s1" and ledger.speaker_of("KTBQ-7M2X-9RWE") is None
    assert all(b"KTBQ-7M2X" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_transcripts_of_annotators_are_replaced_and_taken_back(opened: Opened) -> None:
    said = Transcript(id="ls/1/7", clip="a" * 64, text="سلام عليكم", annotator="ls:2", at=NOW)
    with opened() as ledger:
        filled(ledger)
        ledger.add_transcript(said)
        ledger.add_transcript(said.model_copy(update={"text": "السلام"}))
        assert [one.text for one in ledger.transcripts("a" * 64)] == ["السلام"]
        ledger.remove_transcript("ls/1/7")
        assert not ledger.transcripts("a" * 64)


def test_every_consent_can_be_exported_as_linked_data(opened: Opened) -> None:
    told = Notice(version="1.2", language="fr", text="Nous recueillons votre voix.")
    with opened() as ledger:
        ledger.add_notice(told)
        ledger.enrol(Speaker(code="s1"), granted("s1", notice=told.id))
        ledger.record(withdrawn("s1").model_copy(update={"notice": told.id}))
        (record,) = ledger.export()["@graph"]
    assert record["@type"] == "dpv:ConsentRecord" and record["dct:identifier"] == "s1"
    given, gone = record["dpv:hasConsentStatus"]
    assert (given["@type"], gone["@type"]) == ("dpv:ConsentGiven", "dpv:ConsentWithdrawn")
    assert given["dpv:hasNotice"]["dct:hasVersion"] == "1.2"
    assert given["dpv:hasPurpose"] == ["twiza:store_prepare", "twiza:asr_train"]
    # Mandatory in ISO/IEC TS 27560:2023, clause 6.
    mandatory = {"dct:conformsTo", "dct:identifier", "dpv:hasDataSubject", "dpv:hasDataController", "dpv:hasProcess"}
    assert mandatory <= set(record) and "dpv:isIndicatedAtTime" in given


# ---------------------------------------------------------------- the chain


def chain_of(ledger: Ledger, count: int) -> list[Receipt]:
    receipts = []
    for number in range(count):
        code = f"s{number % 5}"
        ledger.enrol(Speaker(code=code))
        past = ledger.consents(code)
        state = "granted" if not past else "narrowed" if len(past) % 2 else "renewed"
        values = {"state": state, "at": NOW + timedelta(seconds=number)}
        receipts.append(ledger.record(granted(code, *(["store_prepare"] if state == "narrowed" else []), **values)))
    return receipts


def test_an_honest_chain_verifies_and_ends_at_its_receipt(opened: Opened) -> None:
    with opened() as ledger:
        receipts = chain_of(ledger, 20)
        assert ledger.verify(receipts) == 20
        assert ledger.end() == receipts[-1] == read_receipt(str(receipts[-1]))
    with pytest.raises(UserError, match="not a receipt, like 12:"):
        read_receipt("12")


def test_the_first_broken_event_is_named(opened: Opened) -> None:
    with opened() as ledger:
        chain_of(ledger, 12)
        with ledger._engine.begin() as connection:
            changed = tables.events.update().where(tables.events.c.number == 7)
            connection.execute(changed.values(event=sa.func.replace(tables.events.c.event, "asr_train", "tts_clone")))
            connection.execute(changed.values(event=sa.func.replace(tables.events.c.event, "store_prepare", "x")))
        with pytest.raises(UserError, match=r"consent event 7 of s1: altered"):
            ledger.verify()
        with pytest.raises(UserError, match=r"consent event 7 of s1: altered"):
            ledger.permit(clip(speaker="s1"), "asr_train")


def tampered(rows: list[tuple[int, str, str, str]], draw: random.Random) -> list[tuple[int, str, str, str]]:
    """The chain after one act of tampering, some of them with all hashes made anew."""
    from collect.chain import _START, link

    rows, at = list(rows), draw.randrange(len(rows))
    number, speaker, event, mark = rows[at]
    act = draw.choice(["flip", "delete", "swap", "copy", "cut", "speaker", "rewrite", "hash"])
    if act == "flip":
        place = draw.randrange(len(event))
        rows[at] = (number, speaker, event[:place] + chr(ord(event[place]) ^ 1) + event[place + 1 :], mark)
    elif act == "delete":
        del rows[at]
    elif act == "swap":
        other = draw.choice([place for place in range(len(rows)) if place != at])
        rows[at], rows[other] = (number, *rows[other][1:]), (rows[other][0], speaker, event, mark)
    elif act == "copy":
        rows.append((len(rows) + 1, speaker, event, mark))
    elif act == "cut":
        rows = rows[:at]
    elif act == "speaker":
        rows[at] = (number, speaker + "x", event, mark)
    elif act == "hash":
        rows[at] = (number, speaker, event, mark[::-1])
    else:  # a patient forger, who makes every later hash anew
        rows[at] = (number, speaker, event.replace("asr_train", "commercial").replace("store_prepare", "x"), mark)
        last = _START
        for place, (n, s, e, _) in enumerate(rows):
            last = link(last, s, e)
            rows[place] = (n, s, e, last)
    return rows


def test_every_tampering_is_found_given_one_receipt(opened: Opened, request: pytest.FixtureRequest) -> None:
    """`TWIZA_TAMPERINGS` of them on SQLite, a tenth on PostgreSQL."""
    names = ["number", "speaker", "event", "hash"]
    with opened() as ledger:
        receipts = chain_of(ledger, 15)
        with ledger._engine.connect() as connection:
            honest = [tuple(row) for row in connection.execute(sa.select(tables.events))]
        count = TAMPERINGS if ledger._engine.dialect.name == "sqlite" else TAMPERINGS // 10
        for seed in range(count):
            rows = tampered(honest, random.Random(seed))  # type: ignore[arg-type]
            with ledger._engine.begin() as connection:
                connection.execute(tables.events.delete())
                if rows:
                    connection.execute(tables.events.insert(), [dict(zip(names, row, strict=True)) for row in rows])
            with pytest.raises(UserError, match="consent event"):
                ledger.verify([receipts[-1]])


def test_writers_at_the_same_time_make_one_chain(opened: Opened) -> None:
    with opened() as ledger:
        for number in range(8):
            ledger.enrol(Speaker(code=f"s{number}"))

        def write(number: int) -> None:
            with opened() as mine:
                mine.record(granted(f"s{number}"))
                mine.record(withdrawn(f"s{number}"))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        assert ledger.verify() == 16


# ---------------------------------------------------------------- keys


def test_keys_lie_apart_and_for_their_owner_alone(tmp_path: Path) -> None:
    with open_ledger(recipe(tmp_path)) as ledger:
        filled(ledger)
    folder = tmp_path / "work.keys"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "master.key": 0o600,
        "keys.sqlite": 0o600,
    }
    (folder / "master.key").chmod(0o644)
    with (
        pytest.raises(UserError, match=r"others can read the master key; run: chmod 600"),
        open_ledger(recipe(tmp_path)),
    ):
        pass


def test_the_master_key_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIZA_MASTER_KEY", "A" * 43 + "=")
    with open_ledger(recipe(tmp_path)) as ledger:
        kept = filled(ledger)
    assert not (tmp_path / "work.keys" / "master.key").exists()
    monkeypatch.setenv("TWIZA_MASTER_KEY", "B" * 43 + "=")
    with open_ledger(recipe(tmp_path)) as ledger, pytest.raises(UserError, match="under another master key"):
        ledger.audio(kept, "asr_train")
    monkeypatch.setenv("TWIZA_MASTER_KEY", "short")
    with pytest.raises(UserError, match="not a master key"), open_ledger(recipe(tmp_path)):
        pass


def test_audio_on_disk_says_nothing(tmp_path: Path) -> None:
    with open_ledger(recipe(tmp_path)) as ledger:
        kept = filled(ledger)
    data = (tmp_path / "work" / "collect" / "audio" / kept.audio).read_bytes()
    assert b"fLaC" not in data and len(set(data)) > 200


def test_a_clip_given_to_another_speaker_cannot_be_opened(opened: Opened) -> None:
    with opened() as ledger:
        kept = filled(ledger)
        filled(ledger, "s2", "b")
        stolen = kept.model_copy(update={"speaker": "s2"})
        with ledger._engine.begin() as connection:
            connection.execute(
                tables.clips.update()
                .where(tables.clips.c.id == kept.id)
                .values(speaker="s2", clip=stolen.model_dump_json())
            )
        assert ledger.permit(stolen, "asr_train")
        with pytest.raises(UserError, match="not of speaker s2"):
            ledger.audio(stolen, "asr_train")
        with pytest.raises(UserError, match="not of speaker s2"):
            ledger.verify_clips(audio=True)


def erase(ledger: Ledger, speaker: str) -> None:
    ledger.record(withdrawn(speaker))
    ledger.record(withdrawn(speaker, "erased"))
    ledger.erase([speaker])


def test_erasing_destroys_key_file_and_facts(opened: Opened, tmp_path: Path) -> None:
    with opened() as ledger:
        ledger.enrol(Speaker(code="s1", gender="female", age_band="18-29"))
        kept = filled(ledger)
        erase(ledger, "s1")
        assert ledger.clip(kept.id) is None and ledger.speaker("s1") == Speaker(code="s1")
        assert not list((tmp_path / "work" / "collect" / "audio").glob("*/*"))
        with pytest.raises(Gone, match="the key of speaker s1 was destroyed"):
            ledger.keys.seal("s1", b"x", "y")


@pytest.mark.parametrize("restored", ["work", "work.keys"])
def test_after_a_restored_backup_no_withdrawn_clip_decrypts(tmp_path: Path, restored: str) -> None:
    with open_ledger(recipe(tmp_path)) as ledger:
        kept = filled(ledger)
        filled(ledger, "s2", "b")
    shutil.copytree(tmp_path / restored, tmp_path / "backup")
    with open_ledger(recipe(tmp_path)) as ledger:
        erase(ledger, "s1")
    shutil.rmtree(tmp_path / restored)
    (tmp_path / "backup").rename(tmp_path / restored)
    with open_ledger(recipe(tmp_path)) as ledger:
        assert not ledger.permit(kept, "asr_train")
        with pytest.raises(UserError):
            ledger.audio(kept, "asr_train")
        assert [event.state for event in ledger.consents("s1")] == ["granted", "withdrawn", "erased"]
        other = ledger.clip("b" * 64)
        assert other and len(ledger.audio(other, "asr_train")[0]) == len(SOUND)
    keys = KeyStore(tmp_path / "work.keys")
    with pytest.raises(Gone):
        keys.open("s1", b"\0" * 64, kept.id)
    keys.close()
    assert not (tmp_path / "work" / "collect" / "audio" / kept.audio).exists()


def test_a_destroyed_key_is_nowhere_in_the_file(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    keys.seal("s1", b"x", "y")
    with sqlite3.connect(tmp_path / "keys.sqlite") as connection:
        (wrapped,) = connection.execute("SELECT wrapped FROM keys").fetchone()
    keys.destroy(["s1"])
    keys.close()
    assert all(wrapped[12:28] not in path.read_bytes() for path in tmp_path.iterdir())


def test_what_an_interrupted_write_left_is_swept_after_a_day(tmp_path: Path) -> None:
    with open_ledger(recipe(tmp_path)) as ledger:
        kept = filled(ledger)
        stray = tmp_path / "work" / "collect" / "audio" / kept.audio[:1] / ".stray"
        stray.write_bytes(b"half")
        assert ledger.sweep() == 0
        os.utime(stray, (0, 0))
        assert ledger.sweep() == 1 and ledger.has_audio(kept)


def test_a_database_that_is_not_there_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    url = "postgresql+pg8000://someone@127.0.0.1:1/nowhere"
    with pytest.raises(UserError, match=r"^ledger postgresql") as caught, open_ledger(recipe(tmp_path, database=url)):
        pass
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_password_does_not_belong_into_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave the password out and set PGPASSWORD"):
        recipe(tmp_path, database="postgresql+pg8000://someone:secret@127.0.0.1/x")


# ---------------------------------------------------------------- lineage


def test_a_withdrawal_finds_everything_made_from_a_clip(opened: Opened) -> None:
    with opened() as ledger:
        filled(ledger), filled(ledger, "s2", "b")
        ledger.register(Artefact(id="d1", kind="dataset", place="here"), clips=["a" * 64, "b" * 64])
        ledger.register(Artefact(id="d2", kind="dataset", place="there"), clips=["b" * 64])
        ledger.register(Artefact(id="m1", kind="adapter", place="x"), parents=["d1"])
        ledger.register(Artefact(id="r1", kind="report", place="x"), parents=["m1"])
        assert ledger.touched(["a" * 64]) == {"d1": 1, "m1": 0, "r1": 0}
        number = ledger.record(withdrawn("s1")).number
        tasks = ledger.plan(number, ["a" * 64])
        assert [task.artefact for task in tasks] == ["d1", "m1", "r1"]
        assert ledger.plan(number, ["a" * 64]) == tasks
        ledger.close_task(tasks[0], "done", "made anew")
        assert [task.state for task in ledger.tasks()] == ["done", "pending", "pending"]


def test_noting_again_what_something_was_made_from_adds_what_is_new(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collect.lineage._BATCH", 2)
    made = Artefact(id="d1", kind="dataset", place="here")
    with opened() as ledger:
        ledger.register(made, clips=iter(["a", "b", "a", "c", "b"]))
        ledger.register(made, clips=["c", "d", "e"])
        assert ledger.touched("abcdef") == {"d1": 5}


# ---------------------------------------------------------------- many clips


def test_clips_are_read_some_at_a_time_and_nobody_waits_for_the_reader(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collect.ledger._CLIPS_AT_ONCE", 2)
    with opened() as ledger:
        for letter in "abcde":
            filled(ledger, "s1", letter)
        read = ledger.clips()
        first = next(read)
        filled(ledger, "s2", "f")  # written while they are read
        assert [first.id[0], *(clip.id[0] for clip in read)] == list("abcdef")
        assert [clip.id[0] for clip in ledger.clips("s2")] == ["f"]
