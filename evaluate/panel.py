"""Listeners and what they answered, under codes: `work_dir/evaluate/listening.sqlite`, or PostgreSQL.

A listener is one browser, or the holder of one code; of both only fingerprints are kept. `answers.py` reads this.
"""

import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from recipes.durable import settle
from recipes.schema import Recipe, UserError

_meta = sa.MetaData()
_listeners = sa.Table(
    "listeners",
    _meta,
    sa.Column("test", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # from 0: decides what they hear
    sa.Column("name", sa.String, nullable=False, unique=True),  # a pseudonym
    sa.Column("browser", sa.String, nullable=False, index=True),  # fingerprint of the browser's secret
    sa.Column("code", sa.String, nullable=False, index=True),  # fingerprint of the code they keep
    sa.Column("language", sa.String, nullable=False),  # of the pages
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("asked", sa.Boolean, nullable=False),  # whether they were asked about themselves
    sa.Column("screening", sa.String, nullable=False),
    sa.Column("agreed", sa.String, nullable=False),  # ISO 8601, UTC
    sa.UniqueConstraint("test", "browser"),
)
_answers = sa.Table(
    "answers",
    _meta,
    sa.Column("listener", sa.String, primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),  # a second answer to it changes nothing
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("item", sa.String, nullable=False),
    sa.Column("systems", sa.JSON, nullable=False),  # codes, in the order of the slots
    sa.Column("value", sa.JSON, nullable=False),  # numbers, by slot or one; empty: could not be played, or skipped
    sa.Column("right", sa.Boolean),  # null where no answer is right or wrong
    sa.Column("heard", sa.JSON, nullable=False),  # share of each clip, in media time
    sa.Column("known", sa.Boolean, nullable=False),  # "I know this voice"
    sa.Column("seconds", sa.Float),  # from the first clip to the answer; null where the server started between them
    sa.Column("at", sa.String, nullable=False),
)
_invitations = sa.Table(
    "invitations",
    _meta,
    sa.Column("fingerprint", sa.String, primary_key=True),
    sa.Column("used", sa.String),
)
_left = sa.Table(  # that somebody took everything back; not who
    "withdrawals",
    _meta,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("test", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
)

Outcome = Literal["pass", "fail", "not_run", "error"]


@dataclass(frozen=True)
class Listener:
    """One person who agreed to take part."""

    name: str
    number: int
    language: str
    facts: dict[str, str]
    asked: bool
    screening: Outcome


@dataclass(frozen=True)
class Answer:
    """What one listener answered at one step."""

    listener: str
    step: int
    kind: str
    item: str
    systems: Sequence[str]
    value: Sequence[int]
    right: bool | None = None
    heard: Sequence[float] = ()
    known: bool = False
    seconds: float | None = None


class Panel:
    """The open database, of one test; those of others stay in it, and apart.

    Raises UserError where it cannot be opened or written.
    """

    def __init__(self, recipe: Recipe, test: str) -> None:
        self.test = test
        self._engine = _engine(recipe)
        try:
            _meta.create_all(self._engine)
        except sa.exc.SQLAlchemyError as error:
            self._engine.dispose()
            place = self._engine.url.render_as_string(hide_password=True)
            cause = " ".join(str(getattr(error, "orig", None) or error).split())
            raise UserError(f"{place}: {cause}; mend it, or move it away to begin with no answers") from None

    @property
    def one_writer(self) -> bool:
        """Whether only one can write at a time."""
        return self._engine.dialect.name == "sqlite"

    # -------------------------------------------------- listeners

    def enrol(
        self, browser: str, code: str, name: str, language: str, invitation: str | None = None
    ) -> Listener | None:
        """A new listener, with the lowest number that is free; the browser's, where it has one; None when the
        invitation is not good.

        `browser`, `code`, `invitation`: fingerprints.
        """
        while True:
            try:
                with self._engine.begin() as connection:
                    if invitation is not None and not _redeemed(connection, invitation):
                        break
                    query = sa.select(_listeners.c.number).where(_listeners.c.test == self.test)
                    taken = set(connection.scalars(query))
                    number = next(n for n in range(len(taken) + 1) if n not in taken)
                    row = {"test": self.test, "number": number, "name": name, "browser": browser, "code": code}
                    row |= {
                        "language": language,
                        "facts": {},
                        "asked": False,
                        "screening": "not_run",
                        "agreed": _now(),
                    }
                    connection.execute(_listeners.insert().values(**row))
            except sa.exc.IntegrityError:
                if self.find(browser) is None:
                    continue  # another listener took the number meanwhile
                break
            return Listener(name, number, language, {}, False, "not_run")
        return self.find(browser)  # the same form, sent twice

    def enrol_as(self, number: int, name: str) -> Listener:
        """A listener from elsewhere, with a number of their own, without a browser or a code."""
        row = {"test": self.test, "number": number, "name": name, "browser": f"- {name}", "code": f"- {name}"}
        row |= {"language": "fr", "facts": {}, "asked": True, "screening": "not_run", "agreed": _now()}
        with self._engine.begin() as connection:
            connection.execute(_listeners.insert().values(**row))
        return Listener(name, number, "fr", {}, True, "not_run")

    def find(self, browser: str) -> Listener | None:
        """The listener of a browser, by the fingerprint of its secret."""
        return self._one(_listeners.c.browser == browser)

    def holder(self, code: str) -> Listener | None:
        """The listener who holds a code, by its fingerprint."""
        return self._one(_listeners.c.code == code)

    def _one(self, which: sa.ColumnElement[bool]) -> Listener | None:
        columns = [_listeners.c[name] for name in Listener.__dataclass_fields__]
        query = sa.select(*columns).where(which, _listeners.c.test == self.test)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return Listener(*row) if row else None

    def change(self, listener: str, **values: Any) -> None:
        """Keep something of a listener: `facts` with `asked`, `language`, `browser`, `screening`."""
        with self._engine.begin() as connection:
            connection.execute(_listeners.update().where(_listeners.c.name == listener).values(**values))

    def withdraw(self, listener: str) -> None:
        """Delete a listener and every answer of theirs; that somebody left is counted."""
        with self._engine.begin() as connection:
            # The listener first: `add` holds that row until its answer is there to be deleted.
            connection.execute(_listeners.delete().where(_listeners.c.name == listener))
            connection.execute(_answers.delete().where(_answers.c.listener == listener))
            row = {"id": secrets.token_hex(8), "test": self.test, "at": _now()}
            connection.execute(_left.insert().values(**row))

    def listeners(self) -> list[Listener]:
        """Everybody who takes part, by number."""
        columns = [_listeners.c[name] for name in Listener.__dataclass_fields__]
        query = sa.select(*columns).where(_listeners.c.test == self.test).order_by(_listeners.c.number)
        with self._engine.connect() as connection:
            return [Listener(*row) for row in connection.execute(query)]

    def withdrawn(self) -> int:
        """How many took everything back."""
        query = sa.select(sa.func.count()).select_from(_left).where(_left.c.test == self.test)
        with self._engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    # -------------------------------------------------- invitations

    def invite(self, fingerprints: Iterable[str]) -> None:
        """Keep new invitations."""
        rows = [{"fingerprint": fingerprint} for fingerprint in fingerprints]
        with self._engine.begin() as connection:
            connection.execute(_invitations.insert(), rows)

    def invited(self, fingerprint: str) -> bool:
        """Whether an invitation is there and not used."""
        query = sa.select(_invitations.c.used).where(_invitations.c.fingerprint == fingerprint)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return row is not None and row.used is None

    # -------------------------------------------------- answers

    def given(self, listener: str) -> int:
        """How many steps a listener has answered; they are answered in order."""
        query = sa.select(sa.func.count()).select_from(_answers).where(_answers.c.listener == listener)
        with self._engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    def add(self, *answers: Answer) -> bool:
        """Keep answers, all or none; one to a step that has an answer changes nothing. True when they were new.

        They are on the disk when this returns.
        """
        rows = [
            {
                **vars(answer),
                **{name: list(getattr(answer, name)) for name in ("systems", "value", "heard")},
                "at": _now(),
            }
            for answer in answers
        ]
        there = sa.select(_listeners.c.name).where(_listeners.c.name == answers[0].listener)
        try:
            with self._engine.connect() as connection:
                connection.execute(_answers.insert(), rows)  # first, because SQLite locks nothing before it
                if connection.execute(there.with_for_update(read=True)).first() is None:  # withdrew meanwhile
                    return False
                connection.commit()
        except sa.exc.IntegrityError:
            return False
        return True

    def all(self) -> list[Answer]:
        """Every answer to this test, by listener and step."""
        columns = [_answers.c[name] for name in Answer.__dataclass_fields__]
        query = sa.select(*columns).join(_listeners, _listeners.c.name == _answers.c.listener)
        query = query.where(_listeners.c.test == self.test).order_by(_listeners.c.number, _answers.c.step)
        with self._engine.connect() as connection:
            return [Answer(*row) for row in connection.execute(query)]

    def days(self) -> tuple[str, str] | None:
        """The first and the last day on which somebody answered this test, as ISO dates; None before the first."""
        query = sa.select(sa.func.min(_answers.c.at), sa.func.max(_answers.c.at))
        query = query.join(_listeners, _listeners.c.name == _answers.c.listener)
        with self._engine.connect() as connection:
            first, last = connection.execute(query.where(_listeners.c.test == self.test)).one()
        return (first[:10], last[:10]) if first else None

    def of_other_tests(self) -> int:
        """How many ratings there are of other tests."""
        query = (
            sa.select(sa.func.count())
            .select_from(_answers)
            .join(_listeners, _listeners.c.name == _answers.c.listener)
        )
        query = query.where(_listeners.c.test != self.test, _answers.c.kind == "scored")
        with self._engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    def close(self) -> None:
        self._engine.dispose()


def are_there(recipe: Recipe) -> bool:
    """Whether anybody can have answered: the database exists."""
    return recipe.evaluate.listen.database is not None or _file(recipe).is_file()


def _redeemed(connection: sa.Connection, invitation: str) -> bool:
    free = sa.and_(_invitations.c.fingerprint == invitation, _invitations.c.used.is_(None))
    return bool(connection.execute(_invitations.update().where(free).values(used=_now())).rowcount)


def _file(recipe: Recipe) -> Any:
    return recipe.folder("evaluate") / "listening.sqlite"


def _engine(recipe: Recipe) -> sa.Engine:
    """SQLite in the work folder, or what evaluate.listen.database says; the password from PGPASSWORD."""
    if recipe.evaluate.listen.database is None:
        path = _file(recipe)
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 60})
        sa.event.listen(engine, "connect", lambda connection, _: settle(connection))
        return engine
    try:
        where = sa.make_url(recipe.evaluate.listen.database)
        if where.drivername.startswith("postgresql") and not where.password:
            where = where.set(password=os.environ.get("PGPASSWORD"))
        return sa.create_engine(where, pool_size=10, max_overflow=20)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise UserError(f"evaluate.listen.database: {' '.join(str(error).split())}") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
