"""The ledger's tables, and the engine that writes them durably: SQLite by default, PostgreSQL by URL."""

import os
from typing import Any, Literal

import sqlalchemy as sa

from recipes.durable import settle
from recipes.schema import UserError

meta = sa.MetaData()

notices = sa.Table(
    "notices",
    meta,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("notice", sa.Text, nullable=False),  # the Notice as JSON, as it was hashed
    sa.Column("audio", sa.LargeBinary),
)
speakers = sa.Table(
    "speakers",
    meta,
    sa.Column("code", sa.String, primary_key=True),
    sa.Column("gender", sa.String),
    sa.Column("age_band", sa.String),
    sa.Column("synthetic", sa.Boolean, nullable=False),
)
# What a speaker keeps to withdraw with; stored so that the ledger alone does not tell it.
codes = sa.Table(
    "withdrawal_codes",
    meta,
    sa.Column("fingerprint", sa.String, primary_key=True),
    sa.Column("speaker", sa.String, nullable=False, index=True),
)
events = sa.Table(
    "consent_events",
    meta,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # place in the chain, from 1
    sa.Column("speaker", sa.String, nullable=False, index=True),
    sa.Column("event", sa.Text, nullable=False),  # the Event as JSON, as it was hashed
    sa.Column("hash", sa.String, nullable=False),
)
clips = sa.Table(
    "clips",
    meta,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("speaker", sa.String, nullable=False, index=True),
    sa.Column("clip", sa.Text, nullable=False),  # the Clip as JSON
    sa.Column("upload", sa.String, unique=True),  # an upload's own name: one that is sent twice is one clip
)
transcripts = sa.Table(
    "transcripts",
    meta,
    sa.Column("id", sa.String, primary_key=True),  # where it came from: server and annotation
    sa.Column("clip", sa.String, nullable=False, index=True),
    sa.Column("transcript", sa.Text, nullable=False),  # the Transcript as JSON
)
# Lineage: what was made from clips, and from other things that were made.
artefacts = sa.Table(
    "artefacts",
    meta,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("purpose", sa.String),
    sa.Column("at_event", sa.Integer, nullable=False),  # the chain's length when it was made
)
contents = sa.Table(
    "artefact_clips",
    meta,
    sa.Column("clip", sa.String, primary_key=True),
    sa.Column("artefact", sa.String, primary_key=True),
)
parents = sa.Table(
    "artefact_parents",
    meta,
    sa.Column("parent", sa.String, primary_key=True),
    sa.Column("artefact", sa.String, primary_key=True),
)
# What a withdrawal still has to do, and what became of it.
tasks = sa.Table(
    "withdrawal_tasks",
    meta,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # of the consent event
    sa.Column("artefact", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("clips", sa.Integer, nullable=False),
    sa.Column("due", sa.String, nullable=False),  # ISO 8601 date
    sa.Column("state", sa.String, nullable=False),  # pending, done, impossible
    sa.Column("proof", sa.Text),
)


def connect(url: str) -> sa.Engine:
    """An engine on which every statement is a transaction of its own, and survives a power cut. Makes missing tables.

    `transactions` gives the one for several statements together. This way round, because the driver would ask
    a PostgreSQL server several things more each time that a connection leaves transactions and comes back.
    Raises UserError when the database cannot be opened.
    """
    try:
        options = (
            {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_size": 20, "max_overflow": 40}
        )
        where = sa.make_url(url)
        if where.drivername.startswith("postgresql") and not where.password:
            where = where.set(password=os.environ.get("PGPASSWORD"))
        engine = sa.create_engine(where, isolation_level="AUTOCOMMIT", **options)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise UserError(f"collect.database: {' '.join(str(error).split())}") from None
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _own_transactions)
        durable(engine)
        sa.event.listen(engine, "begin", _begin)
    try:
        meta.create_all(engine)
    except sa.exc.SQLAlchemyError as error:
        engine.dispose()
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        raise UserError(f"ledger {engine.url.render_as_string(hide_password=True)}: {cause}") from None
    return engine


def transactions(engine: sa.Engine) -> sa.Engine:
    """The same database, in transactions of several statements.

    On SQLite they take the lock when they begin, so that what they read is what they change.
    """
    level = "SERIALIZABLE" if engine.dialect.name == "sqlite" else "READ COMMITTED"
    return engine.execution_options(isolation_level=level)


def lock(connection: sa.Connection) -> None:
    """Let one writer at a time add to the chain: the others wait until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(826274)"))


def durable(engine: sa.Engine, journal: Literal["WAL", "DELETE"] = "WAL") -> None:
    """Write an engine's SQLite file as recipes.durable says."""
    sa.event.listen(engine, "connect", lambda connection, _: settle(connection, journal))


def _own_transactions(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says so


def _begin(connection: sa.Connection) -> None:
    if "isolation_level" in connection.get_execution_options():  # of `transactions`
        connection.exec_driver_sql("BEGIN IMMEDIATE")
