"""Text rules: data in `tables/*.yaml`, each beside its own test cases.

A rule replaces what its `pattern` matches (everything, where it has none) by `to`, by the result of the function
that `with` names, letter by letter by `letters`, or word by word by `words`: lists of which the first stands for all,
alone or behind one letter that is written together with it. It passes over a text in which `unless` is found, and
with `spares: insertions` over words that are known to be French or English.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from prepare.text.insertions import is_insertion
from prepare.text.scripts import LETTERS

TABLES = Path(__file__).parent / "tables"
_CLASSES: dict[str, str] = {
    **{script: letters for script, letters in LETTERS.items()},
    "marks": "\u0300-\u036f",
}  # what {Arab}, {Tfng}, {Latn} and {marks} stand for in a pattern
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def _romanised(word: str) -> str:
    bare = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if not unicodedata.combining(c))
    latin = {letter: said for letters in read("foreign_letters").values() for letter, said in letters.items()}
    return "".join(latin.get(letter, letter) for letter in bare)


# What `with` can name.
FUNCTIONS: dict[str, Callable[[str], str]] = {
    "compose": lambda text: unicodedata.normalize("NFC", text),
    "shapes": lambda text: unicodedata.normalize("NFKC", text),
    "lower": str.lower,
    "romanised": _romanised,
    "digits": lambda text: str(unicodedata.digit(text)),
    "spaces": lambda text: " ".join(text.split()),
}


@dataclass(frozen=True)
class Rule:
    """Replace what matches. `cases` are pairs: a text, and what this rule alone makes of it."""

    name: str
    pattern: str
    replacement: str | Callable[[re.Match[str]], str]
    cases: tuple[tuple[str, str], ...]
    unless: str | None = None
    spares: bool = False
    words: frozenset[str] = frozenset()  # that it lists

    def __call__(self, text: str) -> str:
        if self.unless and re.search(self.unless, text):
            return text
        if self.spares:
            return _WORD.sub(lambda word: word[0] if is_insertion(word[0]) else self._replaced(word[0]), text)
        return self._replaced(text)

    def _replaced(self, text: str) -> str:
        return re.sub(self.pattern, self.replacement, text)


class Row(BaseModel):
    """A rule as a table holds it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    pattern: str = "(?s).+"
    to: str | None = None
    with_: str | None = Field(None, alias="with")
    letters: dict[str, str] | None = None
    words: list[list[str]] | None = None
    behind: str = ""  # letters that may be written together with one of `words`
    unless: str | None = None
    spares: str | None = Field(None, pattern="^insertions$")
    cases: dict[str, str] = Field(min_length=1)  # a text → what it becomes

    def rule(self) -> Rule:
        """The rule itself. Raises ValueError where a table does not say what to replace by."""
        pattern, replacement = self._replacement()
        for name, letters in _CLASSES.items():
            pattern = pattern.replace("{" + name + "}", letters)
        words = frozenset(word for row in self.words or () for word in row)
        return Rule(self.name, pattern, replacement, tuple(self.cases.items()), self.unless, bool(self.spares), words)

    def _replacement(self) -> tuple[str, str | Callable[[re.Match[str]], str]]:
        if letters := self.letters:
            return f"[{''.join(map(re.escape, letters))}]", lambda found: letters[found[0]]
        if self.words:
            first = {word: row[0] for row in self.words for word in row[1:]}
            listed = "|".join(sorted(map(re.escape, first), key=len, reverse=True))
            pattern = rf"\b([{self.behind}]?)({listed})\b" if self.behind else rf"\b()({listed})\b"
            return pattern, lambda found: found[1] + first[found[2]]
        if self.with_ is not None:
            function = FUNCTIONS[self.with_]
            return self.pattern, lambda found: function(found[0])
        if self.to is None:
            raise ValueError(f"rule `{self.name}`: give `to`, `with`, `letters` or `words`")
        return self.pattern, self.to


@cache
def rules(*tables: str) -> tuple[Rule, ...]:
    """The rules of tables, in order."""
    return tuple(Row.model_validate(row).rule() for table in tables for row in read(table))


def read(table: str) -> Any:
    """What a table holds: `tables/NAME.yaml`."""
    return yaml.load((TABLES / f"{table}.yaml").read_text(encoding="utf-8"), Loader=_LOADER)


def apply(rules: Iterable[Rule], text: str) -> str:
    """Every rule once, in order."""
    for rule in rules:
        text = rule(text)
    return text


def failures(rules: Iterable[Rule]) -> list[str]:
    """The cases that do not come out as written, one line each."""
    return [
        f"rule `{rule.name}`: {before!r} gives {rule(before)!r}, its case says {after!r}"
        for rule in rules
        for before, after in rule.cases
        if rule(before) != after
    ]


# The C loader where there is one: the same language, read ten times faster.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
