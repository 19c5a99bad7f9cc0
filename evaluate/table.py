"""Tables that somebody else made, as CSV in UTF-8."""

import csv
from collections.abc import Sequence
from pathlib import Path

from recipes.schema import UserError

_MOST_BYTES = 8 * 2**20


def rows(path: Path, needed: Sequence[str], columns: str) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table, each with its line; a cell that is not there is empty. `columns`: how users are told.

    Raises UserError for a file that cannot be read, is over 8 MiB, or lacks one of the columns that are needed.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path}: over {_MOST_BYTES // 2**20} MiB; make several of it")
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            found = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or 'not a CSV in UTF-8'}") from None
    if missing := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise UserError(f"{path}: no column {min(missing)}; the table has the columns {columns}")
    return found
