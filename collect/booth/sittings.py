"""Who sits at the booth: sessions, one-time invitations, and where a speaker stands; `collect/booth.sqlite`.

Nothing here is needed to use what was recorded. Of codes and of the browsers' secrets only fingerprints are kept.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from collect.chain import Receipt
from collect.tables import durable

_IDLE = timedelta(hours=12)
_meta = sa.MetaData()
_sittings = sa.Table(
    "sittings",
    _meta,
    sa.Column("token", sa.String, primary_key=True),  # SHA-256 of the browser's secret
    sa.Column("id", sa.String, nullable=False),
    sa.Column("interface", sa.String, nullable=False),
    sa.Column("invited", sa.Boolean, nullable=False),
    sa.Column("speaker", sa.String),
    sa.Column("code", sa.LargeBinary),  # sealed with the browser's secret
    sa.Column("used", sa.String, nullable=False),  # ISO 8601, UTC
)
_courses = sa.Table(
    "courses",
    _meta,
    sa.Column("speaker", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),  # the receipt of the consent
    sa.Column("hash", sa.String, nullable=False),
    sa.Column("language", sa.String),
    sa.Column("manner", sa.String),
    sa.Column("dialect", sa.String),
    sa.Column("region", sa.String),
)
_skips = sa.Table(
    "skips",
    _meta,
    sa.Column("speaker", sa.String, primary_key=True),
    sa.Column("prompt", sa.String, primary_key=True),
)
_invitations = sa.Table(
    "invitations",
    _meta,
    sa.Column("fingerprint", sa.String, primary_key=True),
    sa.Column("used", sa.String),  # ISO 8601, UTC; null: not yet
)

Manner = Literal["read", "listen"]


@dataclass(frozen=True)
class Sitting:
    """One browser's session. `id` names the sitting in clips; `speaker` is known once they consented."""

    id: str
    interface: str
    invited: bool = False
    speaker: str | None = None


@dataclass(frozen=True)
class Course:
    """Where a speaker stands: the receipt of their consent, and what they chose. `language`: null until chosen."""

    receipt: Receipt
    language: str | None = None
    manner: Manner = "read"
    dialect: str | None = None
    region: str | None = None


class Sittings:
    """The open database. One thread uses it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(f"sqlite:///{folder / 'booth.sqlite'}", connect_args={"timeout": 60})
        durable(self._engine)
        _meta.create_all(self._engine)

    # -------------------------------------------------- sessions

    def find(self, token: str) -> Sitting | None:
        """The sitting of a browser's secret; None for an unknown one, and after twelve idle hours."""
        oldest = _ago(_IDLE)
        with self._engine.begin() as connection:
            connection.execute(_sittings.delete().where(_sittings.c.used < oldest))
            row = connection.execute(sa.select(_sittings).where(_sittings.c.token == _hash(token))).first()
            if row is None:
                return None
            if row.used < _ago(timedelta(minutes=1)):
                self._set(connection, token, used=_ago())
        return Sitting(row.id, row.interface, row.invited, row.speaker)

    def begin(self, token: str, interface: str) -> Sitting:
        """A new sitting; of one that is there, the language of the pages changes."""
        if known := self.find(token):
            self._change(token, interface=interface)
            return Sitting(known.id, interface, known.invited, known.speaker)
        sitting = Sitting(secrets.token_hex(16), interface)
        with self._engine.begin() as connection:
            connection.execute(_sittings.insert().values(token=_hash(token), used=_ago(), **vars(sitting)))
        return sitting

    def bind(self, token: str, speaker: str, code: str) -> None:
        """From now on the sitting is a speaker's. Their code can be shown to this browser, to no other."""
        nonce = secrets.token_bytes(12)
        self._change(token, speaker=speaker, code=nonce + _cipher(token).encrypt(nonce, code.encode(), None))

    def code(self, token: str) -> str | None:
        """The speaker's code, as long as the sitting lasts."""
        query = sa.select(_sittings.c.code).where(_sittings.c.token == _hash(token))
        with self._engine.connect() as connection:
            sealed = connection.scalar(query)
        try:
            return _cipher(token).decrypt(sealed[:12], sealed[12:], None).decode() if sealed else None
        except InvalidTag:
            return None

    def end(self, token: str) -> None:
        """The browser is handed to the next person."""
        with self._engine.begin() as connection:
            connection.execute(_sittings.delete().where(_sittings.c.token == _hash(token)))

    # -------------------------------------------------- invitations

    def invite(self, fingerprints: Iterable[str]) -> None:
        """Keep new invitations."""
        with self._engine.begin() as connection:
            for fingerprint in fingerprints:
                connection.execute(_invitations.insert().values(fingerprint=fingerprint))

    def redeem(self, token: str, fingerprint: str) -> bool:
        """Let a sitting in with an invitation; False when there is none, or it was used."""
        free = sa.and_(_invitations.c.fingerprint == fingerprint, _invitations.c.used.is_(None))
        with self._engine.begin() as connection:
            taken = connection.execute(_invitations.update().where(free).values(used=_ago()))
            if taken.rowcount:
                self._set(connection, token, invited=True)
        return bool(taken.rowcount)

    # -------------------------------------------------- where a speaker stands

    def course(self, speaker: str) -> Course | None:
        """What a speaker chose, or None before their consent."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(_courses).where(_courses.c.speaker == speaker)).first()
        if row is None:
            return None
        return Course(Receipt(row.number, row.hash), row.language, row.manner or "read", row.dialect, row.region)

    def set_course(self, speaker: str, course: Course) -> None:
        """Keep what a speaker chose; it replaces what was there."""
        row = vars(course) | {"number": course.receipt.number, "hash": course.receipt.hash, "speaker": speaker}
        del row["receipt"]
        with self._engine.begin() as connection:
            connection.execute(_courses.delete().where(_courses.c.speaker == speaker))
            connection.execute(_courses.insert().values(**row))

    def skipped(self, speaker: str) -> set[str]:
        """The prompts that a speaker passed over."""
        with self._engine.connect() as connection:
            return set(connection.scalars(sa.select(_skips.c.prompt).where(_skips.c.speaker == speaker)))

    def skip(self, speaker: str, prompt: str) -> None:
        """Note a prompt that was passed over."""
        if prompt not in self.skipped(speaker):
            with self._engine.begin() as connection:
                connection.execute(_skips.insert().values(speaker=speaker, prompt=prompt))

    def forget(self, speaker: str) -> None:
        """Remove what is known here of a speaker."""
        with self._engine.begin() as connection:
            for table in (_sittings, _courses, _skips):
                connection.execute(table.delete().where(table.c.speaker == speaker))

    def close(self) -> None:
        self._engine.dispose()

    def _change(self, token: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            self._set(connection, token, **values)

    @staticmethod
    def _set(connection: sa.Connection, token: str, **values: Any) -> None:
        connection.execute(_sittings.update().where(_sittings.c.token == _hash(token)).values(**values))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _cipher(token: str) -> AESGCM:
    return AESGCM(hashlib.sha256(b"code " + token.encode()).digest())


def _ago(time: timedelta = timedelta(0)) -> str:
    return (datetime.now(UTC) - time).isoformat()
