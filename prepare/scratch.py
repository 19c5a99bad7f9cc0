"""Tables for one run, on disk: memory stays the same however many clips there are."""

import sqlite3
from collections.abc import Iterator
from typing import Self

from recipes.schema import UserError

_CACHE_KIB = 8_192


def scratch() -> sqlite3.Connection:
    """An empty database, in a file without a name in TMPDIR or /var/tmp: it goes when the process ends, however."""
    connection = sqlite3.connect("", isolation_level=None)
    for setting in (f"cache_size = -{_CACHE_KIB}", "synchronous = OFF", "journal_mode = OFF"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def close(connection: sqlite3.Connection, error: BaseException | None) -> None:
    """Close it. Raises UserError in place of SQLite's own `error`, as of a full disk."""
    connection.close()
    if isinstance(error, sqlite3.OperationalError):
        raise UserError(f"temporary files, which lie in TMPDIR or /var/tmp: {error}") from None


class Lines:
    """Lines go in, in any order, and come out sorted (by code point, as Python's strings)."""

    def __init__(self) -> None:
        self._db = scratch()
        self._db.execute("CREATE TABLE lines (line TEXT NOT NULL)")
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        close(self._db, error)

    def add(self, line: str) -> None:
        self._db.execute("INSERT INTO lines VALUES (?)", (line,))

    def in_order(self) -> Iterator[str]:
        """All lines."""
        return (line for (line,) in self._db.execute("SELECT line FROM lines ORDER BY line"))

    def different(self) -> Iterator[str]:
        """Each line once."""
        return (line for (line,) in self._db.execute("SELECT DISTINCT line FROM lines ORDER BY line"))
