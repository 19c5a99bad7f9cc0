"""Listeners and what they answered, in SQLite: `work_dir/evaluate/answers.sqlite`."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from recipes.schema import Recipe, UserError

_meta = sa.MetaData()
_listeners = sa.Table(
    "listeners",
    _meta,
    sa.Column("code", sa.String, primary_key=True),  # a secret of the listener's browser
    sa.Column("seed", sa.String, nullable=False),  # decides their order
    sa.Column("language", sa.String, nullable=False),  # of the pages
    sa.Column("test", sa.String, nullable=False),  # which stimuli they are asked about
    sa.Column("agreed", sa.DateTime(timezone=True), nullable=False),
)
_answers = sa.Table(
    "answers",
    _meta,
    sa.Column("listener", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),  # of the trial, from 1: a second answer changes nothing
    sa.Column("item", sa.String, nullable=False),
    sa.Column("systems", sa.JSON, nullable=False),  # in the order they were shown
    sa.Column("ratings", sa.JSON, nullable=False),  # system → 1 to 5
    sa.Column("preferred", sa.String),  # system, or `none`; null where there was one clip
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True)
class Listener:
    """One person who agreed to take part. `code` is known to their browser alone."""

    code: str
    seed: str
    language: str
    test: str


@dataclass(frozen=True)
class Answer:
    """What one listener said of one item."""

    listener: str
    number: int
    item: str
    systems: list[str]
    ratings: dict[str, int]
    preferred: str | None


class Answers:
    """The open database, of one test: listeners and answers of earlier stimuli stay in it, and apart.

    Raises UserError where the file is no database, or cannot be written.
    """

    def __init__(self, recipe: Recipe, test: str) -> None:
        self.test = test
        folder = recipe.folder("evaluate")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "answers.sqlite"
        self._engine = sa.create_engine(f"sqlite:///{path}")
        sa.event.listen(self._engine, "connect", _durable)
        try:
            _meta.create_all(self._engine)
            _name_tests(self._engine)
        except sa.exc.DatabaseError as error:
            raise UserError(f"{path}: {error.orig}; mend it, or move it away to begin with no answers") from None

    def enrol(self, language: str) -> Listener:
        """A new listener."""
        listener = Listener(secrets.token_urlsafe(24), secrets.token_hex(8), language, self.test)
        with self._engine.begin() as connection:
            connection.execute(_listeners.insert().values(**vars(listener), agreed=datetime.now(UTC)))
        return listener

    def listener(self, code: str) -> Listener | None:
        """The listener of a code, who takes part in this test."""
        columns = [_listeners.c[name] for name in Listener.__dataclass_fields__]
        query = sa.select(*columns).where(_listeners.c.code == code, _listeners.c.test == self.test)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return Listener(*row) if row else None

    def given(self, listener: Listener) -> int:
        """How many trials the listener has answered."""
        query = sa.select(sa.func.count()).select_from(_answers).where(_answers.c.listener == listener.seed)
        with self._engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    def add(self, answer: Answer) -> bool:
        """Keep an answer; a second one to the same trial is passed over. True when it was new."""
        try:
            with self._engine.begin() as connection:
                connection.execute(_answers.insert().values(**vars(answer), at=datetime.now(UTC)))
        except sa.exc.IntegrityError:
            return False
        return True

    def all(self) -> list[Answer]:
        """Every answer to this test, by listener and trial. Listeners go by their seed, never by their code."""
        columns = [_answers.c[name] for name in Answer.__dataclass_fields__]
        query = sa.select(*columns).join(_listeners, _listeners.c.seed == _answers.c.listener)
        query = query.where(_listeners.c.test == self.test).order_by(_answers.c.listener, _answers.c.number)
        with self._engine.connect() as connection:
            return [Answer(*row) for row in connection.execute(query)]

    def of_other_tests(self) -> int:
        """How many answers there are to earlier stimuli."""
        query = sa.select(sa.func.count()).select_from(_answers)
        with self._engine.connect() as connection:
            return int(connection.scalar(query) or 0) - len(self.all())

    def close(self) -> None:
        self._engine.dispose()


def _name_tests(engine: sa.Engine) -> None:
    """Listeners kept before tests had names take part in none: their answers stay, and stay apart."""
    if "test" not in {column["name"] for column in sa.inspect(engine).get_columns("listeners")}:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE listeners ADD COLUMN test VARCHAR NOT NULL DEFAULT ''"))


def _durable(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
