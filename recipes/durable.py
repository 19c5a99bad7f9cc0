"""How a SQLite file is written, by whichever stage has one."""

from typing import Any, Literal


def settle(connection: Any, journal: Literal["WAL", "DELETE"] = "WAL") -> None:
    """Let what is committed on a connection survive a power cut, and what is deleted be overwritten.

    `journal`: DELETE leaves no second file in which something deleted could stay.
    """
    for line in (f"journal_mode={journal}", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {line}")
