"""Tables for one run, on disk: memory stays the same however many clips there are."""

import sqlite3
from collections.abc import Iterator
from typing import Self

_CACHE_KIB = 8_192


def scratch() -> sqlite3.Connection:
    """An empty database, in a file without a name in TMPDIR or /var/tmp: it goes when the process ends, however."""
    connection = sqlite3.connect("", isolation_level=None)
    for setting in (f"cache_size = -{_CACHE_KIB}", "synchronous = OFF", "journal_mode = OFF"):
        connection.execute(f"PRAGMA {setting}")
    return connection


class Lines:
    """Lines go in, in any order, and come out sorted (by code point, as Python's strings)."""

    def __init__(self) -> None:
        self._db = scratch()
        self._db.execute("CREATE TABLE lines (line TEXT NOT NULL)")
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add(self, line: str) -> None:
        self._db.execute("INSERT INTO lines VALUES (?)", (line,))

    def in_order(self) -> Iterator[str]:
        """All lines."""
        return (line for (line,) in self._db.execute("SELECT line FROM lines ORDER BY line"))

    def different(self) -> Iterator[str]:
        """Each line once."""
        return (line for (line,) in self._db.execute("SELECT DISTINCT line FROM lines ORDER BY line"))
