"""How a language and script says numbers and what stands for words: the words of `tables/spoken.yaml`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from prepare.text.numbers import in_words
from prepare.text.rules import read
from prepare.text.tifinagh import to_latin, to_tifinagh
from recipes.records import Language

PhoneDigits = Literal["own", "french"]


@dataclass(frozen=True)
class Manner:
    """How a language and script says what is no word."""

    language: Language
    table: str  # whose words: a table's language and script
    phone_digits: PhoneDigits

    @property
    def apart(self) -> bool:
        """Whether a unit of one letter may stand apart from its number."""
        return not self.language.endswith("Latn")

    def number(self, number: int | str, counted: bool = False, feminine: bool = False) -> str:
        return in_words(number, self.language, counted, feminine)

    def word(self, name: str) -> Any:
        """A word of the table; None where it has none."""
        return self.written(table()["words"][self.table].get(name))

    def written(self, said: Any) -> Any:
        """Words of the table, in the script of the language."""
        if said is None or self.table[-4:] == self.language[-4:]:
            return said
        change = to_latin if self.language.endswith("Latn") else to_tifinagh
        if isinstance(said, dict):
            return {key: change(word) if isinstance(word, str) else word for key, word in said.items()}
        return [change(word) for word in said] if isinstance(said, list) else change(said)


Say = Callable[[re.Match[str], Manner], str]  # what is said for a match


def table_of(language: Language) -> str:
    code = language.partition("-")[0]
    if code == "ary":
        return language
    return "kab-Latn" if code in ("kab", "rif") else "zgh-Tfng"


@cache
def table() -> Any:
    """What `tables/spoken.yaml` holds."""
    return read("spoken")
