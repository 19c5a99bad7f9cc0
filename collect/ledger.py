"""The catalogue: speakers, consent events in a hash chain, clips. THE CONTRACT with preparation.

SQLite by default (write-ahead log, synchronous=FULL); any SQLAlchemy URL in `collect.database`.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from collect import vault
from collect.consent import Event, permits
from recipes.records import AgeBand, Clip, Gender, Purpose, Row
from recipes.schema import Recipe, UserError

_meta = sa.MetaData()
_speakers = sa.Table(
    "speakers",
    _meta,
    sa.Column("code", sa.String, primary_key=True),
    sa.Column("gender", sa.String),
    sa.Column("age_band", sa.String),
    sa.Column("synthetic", sa.Boolean, nullable=False),
)
_events = sa.Table(
    "consent_events",
    _meta,
    sa.Column("number", sa.Integer, primary_key=True),  # place in the chain, from 1
    sa.Column("speaker", sa.String, nullable=False, index=True),
    sa.Column("event", sa.Text, nullable=False),  # the Event as JSON, as it was hashed
    sa.Column("hash", sa.String, nullable=False),
)
_clips = sa.Table(
    "clips",
    _meta,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("speaker", sa.String, nullable=False, index=True),
    sa.Column("clip", sa.Text, nullable=False),  # the Clip as JSON
)
_START = "0" * 64  # what the first event is chained to


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
    """The ledger of a recipe; made on first use. Raises UserError when the database cannot be opened."""
    folder = recipe.folder("collect")
    url = recipe.collect.database or f"sqlite:///{folder / 'ledger.sqlite'}"
    if url.startswith("sqlite"):
        folder.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _durable)
    try:
        try:
            _meta.create_all(engine)
        except sa.exc.DBAPIError as error:
            raise UserError(f"ledger {url}: {' '.join(str(error.orig).split())}") from None
        yield Ledger(engine, folder / "audio")
    finally:
        engine.dispose()


def _durable(connection: Any, _: object) -> None:
    """An acknowledged commit survives a power cut."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


class Ledger:
    """An open catalogue. Its audio is reached through `audio`, which asks `permit` first."""

    def __init__(self, engine: sa.Engine, vault_folder: Path) -> None:
        self._engine = engine
        self._vault = vault_folder
        self._consents: dict[str, list[Event]] = {}

    # -------------------------------------------------- reading

    def clips(self) -> Iterator[Clip]:
        """Every clip, by id."""
        with self._engine.connect() as connection:
            for row in connection.execute(sa.select(_clips.c.clip).order_by(_clips.c.id)):
                yield Clip.model_validate_json(row.clip)

    def clip(self, clip_id: str) -> Clip | None:
        """One clip, or None."""
        with self._engine.connect() as connection:
            found = connection.scalar(sa.select(_clips.c.clip).where(_clips.c.id == clip_id))
        return Clip.model_validate_json(found) if found else None

    def speaker(self, code: str) -> Speaker:
        """A speaker's facts. Raises KeyError for an unknown code."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(_speakers).where(_speakers.c.code == code)).mappings().first()
        if row is None:
            raise KeyError(code)
        return Speaker.model_validate(dict(row))

    def consents(self, speaker: str) -> list[Event]:
        """A speaker's consent events, oldest first."""
        query = sa.select(_events.c.event).where(_events.c.speaker == speaker).order_by(_events.c.number)
        with self._engine.connect() as connection:
            return [Event.model_validate_json(text) for text in connection.scalars(query)]

    def permit(self, clip: Clip, purpose: Purpose, at: datetime | None = None) -> bool:
        """Whether the clip may be used for a purpose, now or at a moment. Deny by default."""
        if clip.speaker not in self._consents:
            self._consents[clip.speaker] = self.consents(clip.speaker)
        return permits(self._consents[clip.speaker], purpose, at or datetime.now(UTC))

    def audio(self, clip: Clip, purpose: Purpose, at: datetime | None = None) -> tuple[NDArray[np.float32], int]:
        """Samples, float32 (n, channels), and rate. Raises Refused without a consent for the purpose."""
        if not self.permit(clip, purpose, at):
            raise Refused(f"{clip.source}: the consent of {clip.speaker} does not cover {purpose}")
        return vault.get(self._vault, clip.audio)

    def verify(self) -> int:
        """Walk the chain of consent events; how many there are. Raises UserError naming the first broken one."""
        last = _START
        count = 0
        with self._engine.connect() as connection:
            for row in connection.execute(sa.select(_events).order_by(_events.c.number)):
                count += 1
                last = _chained(last, row.event)
                if row.number != count or row.hash != last:
                    raise UserError(f"consent event {row.number} of {row.speaker}: altered, or one before it removed")
        return count

    # -------------------------------------------------- writing

    def enrol(self, speaker: Speaker, event: Event) -> bool:
        """Add a speaker, and the consent event unless it says what the last one said. True when it was new."""
        with self._engine.begin() as connection:
            if connection.scalar(sa.select(_speakers.c.code).where(_speakers.c.code == speaker.code)) is None:
                connection.execute(_speakers.insert().values(**speaker.model_dump()))
            last = connection.execute(sa.select(_events).order_by(_events.c.number.desc()).limit(1)).first()
            mine = connection.scalar(
                sa.select(_events.c.event)
                .where(_events.c.speaker == speaker.code)
                .order_by(_events.c.number.desc())
                .limit(1)
            )
            text = event.model_dump_json()
            if mine == text:
                return False
            connection.execute(
                _events.insert().values(
                    number=last.number + 1 if last else 1,
                    speaker=speaker.code,
                    event=text,
                    hash=_chained(last.hash if last else _START, text),
                )
            )
        self._consents.pop(speaker.code, None)
        return True

    def add(self, clip: Clip, samples: NDArray[np.float32]) -> Clip:
        """Keep a clip and its samples, float32 (n, channels): audio first, then the row. Returns it as kept.

        Raises KeyError when its speaker is not enrolled.
        """
        self.speaker(clip.speaker)
        audio = vault.put(self._vault, clip.id, samples, clip.rate_hz)
        kept = clip.model_copy(update={"audio": audio})
        with self._engine.begin() as connection:
            connection.execute(_clips.insert().values(id=kept.id, speaker=kept.speaker, clip=kept.model_dump_json()))
        return kept

    def has_audio(self, clip: Clip) -> bool:
        """Whether the clip's file is where it should be."""
        return (self._vault / clip.audio).is_file()

    def restore(self, clip: Clip, samples: NDArray[np.float32]) -> None:
        """Keep the samples of a clip anew, whose file was lost."""
        vault.put(self._vault, clip.id, samples, clip.rate_hz)

    def amend(self, clip: Clip) -> None:
        """Write a clip's facts anew (a corrected transcript); its audio stays."""
        with self._engine.begin() as connection:
            connection.execute(_clips.update().where(_clips.c.id == clip.id).values(clip=clip.model_dump_json()))


def _chained(last: str, event: str) -> str:
    return hashlib.sha256(json.dumps([last, event]).encode()).hexdigest()
