"""Tables that lie beside recordings: read, and their columns given the project's names."""

import csv
import difflib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recipes.records import Origin
from recipes.schema import Columns, UserError

# What other corpora write for gender and age, in our words. Anything else is left out, as not given.
_GENDERS = {"male": "male", "m": "male", "male_masculine": "male"}
_GENDERS |= {"female": "female", "f": "female", "female_feminine": "female", "other": "other"}
_AGES = {"teens": None, "twenties": "18-29", "thirties": "30-44", "forties": None, "fifties": None}
_AGES |= {"sixties": "60+", "seventies": "60+", "eighties": "60+", "nineties": "60+"}
_AGES |= {band: band for band in ("under18", "18-29", "30-44", "45-59", "60+")}

Row = tuple[str, Mapping[str, str]]  # where it stands, and its cells by column


@dataclass(frozen=True)
class Entry:
    """One recording of a source: where it is named, and what is said of it."""

    place: str  # file:row, counted as a spreadsheet does
    values: Mapping[str, str]  # by the names of `Columns`, "" where nothing is given
    audio: bytes | None = None  # the recording, where the table itself holds it; None: it is in values["file"]
    origin: Origin = "prompt"  # of the transcript
    left_out: str = ""  # why the source itself does not count this recording in; "" where it does


def read_table(path: Path, quoted: bool = True) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV, TSV or JSONL file with their numbers. Raises UserError with file and row.

    `quoted`: whether a cell that begins with a quotation mark ends at the next one, as in a spreadsheet's table.
    """
    text = read_text(path)
    if path.suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield number, _json_row(path, number, line)
        return
    if not text.strip():
        raise UserError(f"{path}: empty")
    delimiter = "\t" if path.suffix == ".tsv" else ("," if "," in text.splitlines()[0] else ";")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restkey="", strict=True, quoting=quoting)
    try:
        for row in reader:
            if row.get(""):
                raise UserError(f"{path}:{reader.line_num}: more cells than the header has columns")
            yield reader.line_num, {str(k).strip(): (v or "").strip() for k, v in row.items() if k}
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a table: {error}") from None


def _json_row(path: Path, number: int, line: str) -> dict[str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}:{number}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise UserError(f'{path}:{number}: a row is an object, like {{"file": …, "text": …}}')
    return {key: cell(value) for key, value in row.items()}


def cell(value: object) -> str:
    """A value of a typed table as the text of a cell."""
    return "" if value is None else str(value).strip()


def numbered(path: Path, quoted: bool = True, name: str = "") -> list[Row]:
    """The rows of a table, each with its place. `name`: what the place calls the table."""
    return [(f"{name or path.name}:{number}", row) for number, row in read_table(path, quoted)]


def renamed(table: Path | str, rows: Collection[Row], columns: Columns, wanted: Collection[str]) -> Iterator[Entry]:
    """Rows in the project's names. Raises UserError when a column that is `wanted` is not in the table."""
    if rows:
        check_columns(table, list(dict.fromkeys(key for _, row in rows for key in row)), columns, wanted)
    for place, row in rows:
        yield Entry(place, values(row, columns))


def check_columns(table: Path | str, have: Iterable[str], columns: Columns, wanted: Collection[str]) -> None:
    """Raise UserError, with the nearest name, for the first column that is `wanted` and not there."""
    have = list(have)
    for key, name in columns.model_dump().items():
        if name and key in wanted and name not in have:
            near = difflib.get_close_matches(name, have, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise UserError(
                f"{table}: no column `{name}` (collect.columns.{key}); {hint}the table has: {', '.join(have)}"
            )


def values(row: Mapping[str, str], columns: Columns) -> dict[str, str]:
    """A row's cells by the project's names, gender and age in its words."""
    found = {key: row.get(name, "") if name else "" for key, name in columns.model_dump().items()}
    found["gender"] = _GENDERS.get(found["gender"].lower(), "")
    found["age_band"] = _AGES.get(found["age_band"]) or ""
    return found


def read_text(path: Path, name: str = "") -> str:
    """A file as UTF-8, or UserError. `name`: what the error calls the file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name or path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
