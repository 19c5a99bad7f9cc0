"""The catalogue: speakers, consent events in a hash chain, clips. THE CONTRACT with preparation.

`python -m collect.ledger verify RECIPE` walks the chain; `export` writes every consent as JSON-LD (W3C DPV).
"""

import argparse
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from collect import audio as audio
from collect import chain, dpv, lineage, tables, vault
from collect.chain import Receipt
from collect.consent import Event, Notice, State, permits
from collect.keys import KeyStore
from collect.keys import key_folder as key_folder
from collect.lineage import Artefact as Artefact
from collect.lineage import Task
from collect.vault import decode as decode
from recipes.command import run
from recipes.provenance import write_text
from recipes.records import AgeBand, Clip, Gender, Purpose, Row, Transcript
from recipes.schema import Recipe, UserError

_CLIPS_AT_ONCE = 200  # rows in memory
_FRESH_S = 0.2  # how old a reading of the chain's end may be for `permit`; `audio` always reads anew


# A clip comes in by the consents that were read, or not at all.
_UNLESS_GROWN = sa.text(
    "INSERT INTO clips (id, speaker, clip, upload) SELECT :id, :speaker, :clip, :upload "
    "WHERE NOT EXISTS (SELECT 1 FROM consent_events WHERE number > :end)"
)


class Refused(UserError):
    """Audio was asked for without a consent that covers it."""


class Speaker(Row):
    """A pseudonymous speaker and the facts they chose to give."""

    code: str
    gender: Gender | None = None
    age_band: AgeBand | None = None
    synthetic: bool = False


@contextmanager
def open_ledger(recipe: Recipe) -> Iterator["Ledger"]:
    """The ledger of a recipe; made on first use. Raises UserError when database or keys cannot be opened.

    What was erased stays erased, whichever of ledger and key store came back from a backup.
    """
    folder = recipe.folder("collect")
    url = recipe.collect.database or f"sqlite:///{folder / 'ledger.sqlite'}"
    if url.startswith("sqlite"):
        folder.mkdir(parents=True, exist_ok=True)
    engine = tables.connect(url)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        try:
            keys = KeyStore(key_folder(recipe))
            stack.callback(keys.close)
            ledger = Ledger(engine, keys, folder / "audio")
            ledger.replay_erasures()
            yield ledger
        except sa.exc.OperationalError as error:  # a full disk, a server that went away
            where = engine.url.render_as_string(hide_password=True)
            raise UserError(f"ledger {where}: {' '.join(str(error.orig).split())}") from None


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    with open_ledger(recipe) as ledger:
        if arguments.action == "export":
            path = recipe.folder("collect") / "consents.jsonld"
            write_text(path, json.dumps(ledger.export(), ensure_ascii=False, indent=1))
            print(f"every consent record, as JSON-LD: {path}")
            return
        count = ledger.verify(map(chain.read_receipt, arguments.receipt))
        clips, end = ledger.verify_clips(arguments.audio), ledger.end()
    print(f"{count} consent events, each chained to the one before")
    print(f"{clips} clips, each of a speaker with consents")
    print(f"receipt of the end, to keep elsewhere: {end}")


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments of `verify`."""
    parser.add_argument("--receipt", action="append", default=[], metavar="NUMBER:HASH", help="must be in the chain")
    parser.add_argument("--audio", action="store_true", help="also open every recording")


def ledger_exists(recipe: Recipe) -> bool:
    """Whether there is a ledger here: a dataset may have been carried to a machine without one."""
    return bool(recipe.collect.database) or (recipe.folder("collect") / "ledger.sqlite").is_file()


@dataclass(frozen=True)
class _Reading:
    """What was read of the chain at one moment. Whoever decides by it acts by it, whatever others do meanwhile."""

    end: Receipt
    newest: datetime  # when the last event was written down
    at: float  # on the monotonic clock
    consents: dict[str, list[Event]]  # of the speakers that were asked for since


class Ledger:
    """An open catalogue. Its audio is reached through `audio`, which asks `permit` first."""

    def __init__(self, engine: sa.Engine, keys: KeyStore, vault_folder: Path) -> None:
        self._engine = tables.transactions(engine)
        self._reader = engine
        self.keys = keys
        self._vault = vault_folder
        self._last = _Reading(Receipt(-1, ""), chain.BEGINNING, -1.0, {})

    # -------------------------------------------------- reading

    def clips(self, speaker: str | None = None) -> Iterator[Clip]:
        """Every clip, or a speaker's, by id. They are read some at a time: nobody waits for who goes through them."""
        query = sa.select(tables.clips.c.id, tables.clips.c.clip).order_by(tables.clips.c.id).limit(_CLIPS_AT_ONCE)
        if speaker is not None:
            query = query.where(tables.clips.c.speaker == speaker)
        last = ""
        while True:
            with self._reader.connect() as connection:
                rows = connection.execute(query.where(tables.clips.c.id > last)).all()
            for row in rows:
                yield Clip.model_validate_json(row.clip)
            if len(rows) < _CLIPS_AT_ONCE:
                return
            last = rows[-1].id

    def clip(self, clip_id: str) -> Clip | None:
        """One clip, or None."""
        with self._reader.connect() as connection:
            found = connection.scalar(sa.select(tables.clips.c.clip).where(tables.clips.c.id == clip_id))
        return Clip.model_validate_json(found) if found else None

    def uploaded(self, key: str) -> Clip | None:
        """The clip that an upload became, or None."""
        with self._reader.connect() as connection:
            found = connection.scalar(sa.select(tables.clips.c.clip).where(tables.clips.c.upload == key))
        return Clip.model_validate_json(found) if found else None

    def speaker(self, code: str) -> Speaker:
        """A speaker's facts. Raises KeyError for an unknown code."""
        with self._reader.connect() as connection:
            row = (
                connection.execute(sa.select(tables.speakers).where(tables.speakers.c.code == code))
                .mappings()
                .first()
            )
        if row is None:
            raise KeyError(code)
        return Speaker.model_validate(dict(row))

    def speakers(self) -> list[Speaker]:
        """Every speaker, by code."""
        with self._reader.connect() as connection:
            rows = connection.execute(sa.select(tables.speakers).order_by(tables.speakers.c.code)).mappings()
            return [Speaker.model_validate(dict(row)) for row in rows]

    def notice(self, name: str) -> tuple[Notice, bytes | None]:
        """A notice and its recording. Raises KeyError for an unknown id."""
        with self._reader.connect() as connection:
            row = connection.execute(sa.select(tables.notices).where(tables.notices.c.id == name)).first()
        if row is None:
            raise KeyError(name)
        return Notice.model_validate_json(row.notice), row.audio

    def transcripts(self, clip_id: str | None = None) -> list[Transcript]:
        """What annotators wrote of a clip, or of all, by id."""
        query = sa.select(tables.transcripts.c.transcript).order_by(tables.transcripts.c.id)
        if clip_id is not None:
            query = query.where(tables.transcripts.c.clip == clip_id)
        with self._reader.connect() as connection:
            return [Transcript.model_validate_json(text) for text in connection.scalars(query)]

    # -------------------------------------------------- consent

    def consents(self, speaker: str) -> list[Event]:
        """A speaker's consent events, oldest first. Raises UserError when one was altered."""
        with self._reader.connect() as connection:
            return chain.history(connection, speaker)

    def permit(self, clip: Clip, purpose: Purpose, at: datetime | None = None) -> bool:
        """Whether the clip may be used for a purpose, now or at a moment. Deny by default.

        Now is never before the last event: turning the clock back revives nothing.
        """
        return self._permits(self._reading(), clip, purpose, at)

    def now(self) -> datetime:
        """The later of the clock and the last event."""
        return max(datetime.now(UTC), self._last.newest)

    def flac(self, clip: Clip, purpose: Purpose) -> bytes:
        """The clip's audio as FLAC. Raises Refused without a consent for the purpose at this moment."""
        if not self._permits(self._refresh(), clip, purpose):
            raise Refused(f"{clip.source}: the consent of {clip.speaker} does not cover {purpose}")
        return vault.get(self._vault, self.keys, clip.speaker, clip.id, clip.audio)

    def audio(self, clip: Clip, purpose: Purpose) -> tuple[NDArray[np.float32], int]:
        """Samples, float32 (n, channels), and rate. Raises Refused without a consent for the purpose."""
        return decode(self.flac(clip, purpose))

    def end(self) -> Receipt:
        """Where the chain ends now."""
        with self._reader.connect() as connection:
            return chain.end(connection)[0]

    def number_of(self, speaker: str, state: State) -> int:
        """The place in the chain of a speaker's last event of a state. Raises KeyError when there is none."""
        query = sa.select(tables.events.c.number, tables.events.c.event).where(tables.events.c.speaker == speaker)
        with self._reader.connect() as connection:
            for number, event in connection.execute(query.order_by(tables.events.c.number.desc())):
                if Event.model_validate_json(event).state == state:
                    return int(number)
        raise KeyError(speaker, state)

    def receipt(self, number: int) -> Receipt:
        """The receipt of an event. Raises KeyError when there is none."""
        query = sa.select(tables.events.c.hash).where(tables.events.c.number == number)
        with self._reader.connect() as connection:
            if found := connection.scalar(query):
                return Receipt(number, found)
        raise KeyError(number)

    def verify(self, receipts: Iterable[Receipt] = ()) -> int:
        """Walk the chain of consent events; how many there are.

        Raises UserError naming the first event that was altered, or that a receipt knows otherwise.
        """
        with self._reader.connect() as connection:
            return chain.verify(connection, receipts)

    def verify_clips(self, audio: bool = False) -> int:
        """Whether each clip is whole: of an enrolled speaker with consents, and opened by that speaker's key.

        Raises UserError naming the first that is not.
        """
        count = 0
        known = {speaker.code for speaker in self.speakers() if self.consents(speaker.code)}
        with self._reader.connect() as connection:
            for row in connection.execute(sa.select(tables.clips)):
                clip = Clip.model_validate_json(row.clip)
                if (clip.id, clip.speaker) != (row.id, row.speaker) or clip.speaker not in known:
                    raise UserError(f"clip {row.id}: altered, or its speaker {row.speaker} has no consent")
                if audio:
                    vault.get(self._vault, self.keys, clip.speaker, clip.id, clip.audio)
                count += 1
        return count

    def export(self) -> dict[str, Any]:
        """Every consent record, as JSON-LD in the Data Privacy Vocabulary."""
        with self._reader.connect() as connection:
            rows = connection.execute(sa.select(tables.notices.c.id, tables.notices.c.notice)).all()
        notices = {row.id: Notice.model_validate_json(row.notice) for row in rows}
        histories = {speaker.code: self.consents(speaker.code) for speaker in self.speakers()}
        return dpv.document({code: events for code, events in histories.items() if events}, notices)

    def _permits(self, reading: "_Reading", clip: Clip, purpose: Purpose, at: datetime | None = None) -> bool:
        if clip.speaker not in reading.consents:
            reading.consents[clip.speaker] = self.consents(clip.speaker)
        now = at or max(datetime.now(UTC), reading.newest)
        return permits(reading.consents[clip.speaker], purpose, now, clip)

    def _reading(self) -> "_Reading":
        """What was read of the chain a moment ago, or now."""
        last = self._last
        return last if time.monotonic() - last.at < _FRESH_S else self._refresh()

    def _refresh(self) -> "_Reading":
        """Look where the chain ends. When it has grown, what was read of consents before is forgotten."""
        with self._reader.connect() as connection:
            end, newest = chain.end(connection)
        last = self._last
        self._last = _Reading(end, newest, time.monotonic(), last.consents if last.end == end else {})
        return self._last

    # -------------------------------------------------- writing consent

    def add_notice(self, notice: Notice, audio: bytes | None = None) -> str:
        """Keep a notice, once. Returns its id. Raises UserError when the recording is not the notice's."""
        if (hashlib.sha256(audio).hexdigest() if audio else None) != notice.audio_sha256:
            raise UserError(f"notice {notice.version} in {notice.language}: not the recording it was made with")
        with self._engine.begin() as connection:
            if connection.scalar(sa.select(tables.notices.c.id).where(tables.notices.c.id == notice.id)) is None:
                row = {"id": notice.id, "notice": notice.model_dump_json(), "audio": audio}
                connection.execute(tables.notices.insert().values(**row))
        return notice.id

    def enrol(self, speaker: Speaker, event: Event | None = None) -> bool:
        """Add a speaker, and the event of an import unless it says nothing new. True when it was new.

        An import says again what it said before: an event that the chain has, or one that is older than the
        last, changes nothing (a withdrawal outlives the table of consents it came from). Of the same day, it
        may only narrow. Raises UserError when it cannot follow.
        """
        with self._engine.begin() as connection:
            if (
                connection.scalar(sa.select(tables.speakers.c.code).where(tables.speakers.c.code == speaker.code))
                is None
            ):
                connection.execute(tables.speakers.insert().values(**speaker.model_dump()))
        if event is None:
            return False
        past = self.consents(speaker.code)
        if any(old.says() == event.says() for old in past) or (past and event.at < past[-1].at):
            return False
        if past and event.at == past[-1].at:
            if not set(event.purposes) < set(past[-1].purposes):
                raise UserError(
                    f"consent of {speaker.code}: another one of {event.at:%Y-%m-%d} allows other purposes; "
                    "give the day on which this one was given"
                )
            event = event.model_copy(update={"state": "narrowed"})
        self.record(event)
        return True

    def describe(self, speaker: Speaker) -> None:
        """Write a speaker's facts anew; what is not given is forgotten."""
        facts = speaker.model_dump(exclude={"code"})
        with self._engine.begin() as connection:
            connection.execute(tables.speakers.update().where(tables.speakers.c.code == speaker.code).values(**facts))

    def record(self, event: Event) -> Receipt:
        """Add an event to the chain. Raises UserError when it cannot follow what the speaker said before."""
        with self._engine.begin() as connection:
            receipt = chain.append(connection, event, self.now())
        self._refresh()
        return receipt

    def add_code(self, speaker: str, code: str) -> None:
        """Let a speaker withdraw with a code. Only its fingerprint is kept."""
        row = {"fingerprint": self.keys.fingerprint(code), "speaker": speaker}
        with self._engine.begin() as connection:
            connection.execute(tables.codes.insert().values(**row))

    def speaker_of(self, code: str) -> str | None:
        """The speaker of a withdrawal code."""
        query = sa.select(tables.codes.c.speaker).where(tables.codes.c.fingerprint == self.keys.fingerprint(code))
        with self._reader.connect() as connection:
            return connection.scalar(query)

    # -------------------------------------------------- writing clips

    def add(self, clip: Clip, samples: NDArray[np.float32], upload: str | None = None) -> Clip:
        """Keep a clip and its samples, float32 (n, channels), as `add_all` does. Returns it as kept.

        An `upload` that came before, or a clip that is here already, is not kept twice.
        """
        try:
            return self.add_all([(clip, samples)], upload)[0]
        except sa.exc.IntegrityError:
            found = self.clip(clip.id) or (self.uploaded(upload) if upload else None)
            if found is None:
                raise
            if (found.speaker, found.id) != (clip.speaker, clip.id):
                vault.remove(self._vault, vault.path_of(clip.speaker, clip.id))
            if found.speaker != clip.speaker:
                raise Refused(f"{clip.source}: the same recording is here as one of {found.speaker}") from None
            return found

    def add_all(self, sounds: Sequence[tuple[Clip, NDArray[np.float32]]], upload: str | None = None) -> list[Clip]:
        """Keep clips with their samples, float32 (n, channels): audio first, then the rows. Returns them as kept.

        When it returns, all survive a power cut. Raises KeyError when a speaker is not enrolled, Refused
        without a consent to keep a clip; then none is kept. `upload`: the name of the upload that one came by.
        """
        reading = self._reading()
        for clip, _ in sounds:
            self._keepable(reading, clip)
        bare = [vault.Sound(clip.speaker, clip.id, samples, clip.rate_hz) for clip, samples in sounds]
        paths = vault.put(self._vault, self.keys, bare)
        kept = [clip.model_copy(update={"audio": path}) for (clip, _), path in zip(sounds, paths, strict=True)]
        while not self._insert(reading, kept, upload):
            reading = self._refresh()  # someone may have withdrawn while the files were written
            for clip in kept:
                self._keepable(reading, clip)
        return kept

    def _insert(self, reading: "_Reading", clips: Sequence[Clip], upload: str | None) -> bool:
        """Add the rows of clips, unless the chain has grown since it was read. Whether they were added."""
        rest = {"upload": upload, "end": reading.end.number}
        rows = [{"id": clip.id, "speaker": clip.speaker, "clip": clip.model_dump_json(), **rest} for clip in clips]
        if len(rows) == 1:  # a statement is a transaction
            with self._reader.connect() as connection:
                return connection.execute(_UNLESS_GROWN, rows).rowcount == 1
        with self._engine.connect() as connection, connection.begin() as transaction:
            added = connection.execute(_UNLESS_GROWN, rows).rowcount
            if added < len(rows):
                transaction.rollback()
        return added == len(rows)

    def _keepable(self, reading: "_Reading", clip: Clip) -> None:
        if not self._permits(reading, clip, "store_prepare"):
            self.speaker(clip.speaker)
            raise Refused(f"{clip.source}: the consent of {clip.speaker} does not cover store_prepare")

    def has_audio(self, clip: Clip) -> bool:
        """Whether the clip's file is where it should be."""
        return (self._vault / clip.audio).is_file()

    def restore(self, clip: Clip, samples: NDArray[np.float32]) -> None:
        """Keep the samples of a clip anew, whose file was lost."""
        vault.put(self._vault, self.keys, [vault.Sound(clip.speaker, clip.id, samples, clip.rate_hz)])

    def amend(self, clip: Clip) -> None:
        """Write a clip's facts anew (a corrected transcript); its audio and speaker stay."""
        with self._engine.begin() as connection:
            connection.execute(
                tables.clips.update().where(tables.clips.c.id == clip.id).values(clip=clip.model_dump_json())
            )

    def add_transcript(self, transcript: Transcript) -> None:
        """Keep what an annotator wrote; what the same annotation said before is replaced."""
        row = {"id": transcript.id, "clip": transcript.clip, "transcript": transcript.model_dump_json()}
        with self._engine.begin() as connection:
            connection.execute(tables.transcripts.delete().where(tables.transcripts.c.id == transcript.id))
            connection.execute(tables.transcripts.insert().values(**row))

    def remove_transcript(self, name: str) -> None:
        """Forget an annotation that its author took back."""
        with self._engine.begin() as connection:
            connection.execute(tables.transcripts.delete().where(tables.transcripts.c.id == name))

    def sweep(self) -> int:
        """Remove files that an interrupted write left in the vault a day ago or earlier. How many."""
        return vault.sweep(self._vault, {clip.audio for clip in self.clips()})

    # -------------------------------------------------- lineage and erasure

    def register(self, artefact: Artefact, clips: Iterable[str] = (), parents: Iterable[str] = ()) -> None:
        """Note something that was made, from which clips and from which other things."""
        at_event = self.end().number
        with self._engine.begin() as connection:
            lineage.register(connection, artefact, clips, parents, at_event)

    def touched(self, clips: Iterable[str], purposes: Iterable[str] | None = None) -> dict[str, int]:
        """Everything made from the clips, directly or not: id → how many of them it holds itself."""
        with self._reader.connect() as connection:
            return lineage.touched(connection, clips, purposes)

    def plan(self, number: int, clips: Iterable[str], purposes: Iterable[str] | None = None) -> list[Task]:
        """Open the tasks of the withdrawal that is consent event `number`; of some purposes, or of all."""
        with self._engine.begin() as connection:
            return lineage.plan(connection, number, clips, self.now().date(), purposes)

    def tasks(self, number: int | None = None) -> list[Task]:
        """What withdrawals asked for, done or not; of all, or of the one that is consent event `number`."""
        with self._reader.connect() as connection:
            return lineage.listed(connection, number)

    def close_task(self, task: Task, state: str, proof: str) -> None:
        """Say what became of a task: `done` or `impossible`, and how that is known."""
        with self._engine.begin() as connection:
            lineage.close(connection, task, state, proof)

    def erase(self, speakers: Sequence[str]) -> None:
        """Destroy the keys of speakers whose last event says so, their files, transcripts and facts."""
        self.keys.destroy(speakers)
        for speaker in speakers:
            gone = list(self.clips(speaker))
            for clip in gone:
                vault.remove(self._vault, clip.audio)
            names = [clip.id for clip in gone]
            with self._engine.begin() as connection:
                connection.execute(tables.clips.delete().where(tables.clips.c.speaker == speaker))
                for name in names:
                    connection.execute(tables.transcripts.delete().where(tables.transcripts.c.clip == name))
                facts = {"gender": None, "age_band": None}
                connection.execute(tables.speakers.update().where(tables.speakers.c.code == speaker).values(**facts))

    def replay_erasures(self) -> None:
        """Bring ledger and key store to agree on who was erased, after either came back from a backup."""
        query = sa.select(tables.events.c.speaker).where(tables.events.c.event.like('%"state":"erased"%')).distinct()
        with self._reader.connect() as connection:
            erased = set(connection.scalars(query))
        gone = self.keys.destroyed()
        if again := self.keys.holds(erased) | (erased - gone):
            self.erase(sorted(again))
        for speaker in sorted(gone - erased):
            for state in ("withdrawn", "erased"):
                self._say(speaker, state)
            self.erase([speaker])

    def _say(self, speaker: str, state: str) -> None:
        """Write down what the key store knows and this ledger forgot."""
        past = self.consents(speaker)
        if past and past[-1].state != state:
            values = {"state": state, "purposes": [], "at": self.now(), "by": "controller", "recorded": None}
            self.record(Event.model_validate(past[-1].model_dump() | values))


if __name__ == "__main__":
    run(main, __doc__ or "", actions=("verify", "export"), options=options)
