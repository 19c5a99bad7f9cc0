"""The phrases of a service, as somebody wrote them in a table."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from evaluate import table
from recipes.records import Language
from recipes.schema import Recipe, UserError
from train.adapter import normalise, open_dataset

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MOST_CHARS = 500
_MOST = 10_000  # phrases


@dataclass(frozen=True)
class Phrase:
    """One phrase. `said` is its text as models know it, normalised."""

    id: str
    text: str
    language: Language
    said: str


def read(recipe: Recipe, path: Path) -> list[Phrase]:
    """The phrases of a CSV, in its order. Raises UserError with the first faults, each with its line."""
    usual = Counter(open_dataset(recipe)["train"]["language"]).most_common(1)[0][0]
    faults: list[str] = []
    found: dict[str, Phrase] = {}
    for line, row in _rows(path):
        try:
            phrase = _phrase(row, usual)
            if phrase.id in found:
                raise ValueError(f"the id {phrase.id} is given twice")
            found[phrase.id] = phrase
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(f"{path}, {'; '.join(faults[:3])}{more}")
    if not found:
        raise UserError(f"{path}: no phrase in it")
    return list(found.values())


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    rows = table.rows(path, ("id", "text"), "id, text and language")
    if len(rows) > _MOST:
        raise UserError(f"{path}: {len(rows)} phrases; at most {_MOST} in one pack")
    return rows


def _phrase(row: dict[str, str], usual: str) -> Phrase:
    """A row that can be spoken. Raises ValueError with the reason where it cannot."""
    name, text = (row["id"] or "").strip(), " ".join((row["text"] or "").split())
    language = (row.get("language") or "").strip() or usual
    if not _ID.fullmatch(name):
        raise ValueError(f"the id {name[:80]!r}: letters a to z, digits, - and _, at most 64")
    if language not in get_args(Language):
        raise ValueError(f"no language {language!r}; one of {', '.join(get_args(Language))}")
    if len(text) > _MOST_CHARS:
        raise ValueError(f"{len(text)} characters; at most {_MOST_CHARS} in a phrase")
    if digit := next((letter for letter in text if letter.isnumeric()), None):
        raise ValueError(f"{digit!r} in the text: write numbers as words, as they are to be said")
    said = normalise(text, cast(Language, language))
    if not said:
        raise ValueError(f"no letter of {language} in the text")
    return Phrase(name, text, cast(Language, language), said)
