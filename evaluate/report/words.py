"""The report's words: English, French, Arabic; and numbers as each writes them.

In right-to-left text every number and name of a system stands in an isolate (Unicode Standard Annex 9, section 2.4),
so that a minus stays before its number; ranges are words ("من 1 إلى 5"), not dashes, so that they keep their order.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from evaluate.bias import CELL, Gap

Language = Literal["en", "fr", "ar"]
NAMES: dict[Language, str] = {"en": "English", "fr": "Français", "ar": "العربية"}
_ISOLATE, _OWN, _END = "\u2066", "\u2068", "\u2069"


@cache
def _table() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load(
        (Path(__file__).parent / "strings.yaml").read_text(encoding="utf-8")
    )
    return found


@dataclass(frozen=True)
class Words:
    """All that is said, in one language."""

    language: Language

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        return "rtl" if self.language == "ar" else "ltr"

    def __call__(self, key: str, **values: object) -> str:
        """The sentence of a key, filled in. What has no translation is said in English, by itself."""
        row, values = _table().get(key, {}), {"level": "95"} | values
        if self.language in row:
            return row[self.language].format(**values)
        return self.isolated(row.get("en", key).format(**values) if row else key)

    def isolated(self, text: str) -> str:
        """Left-to-right text that keeps its own order within a sentence."""
        return f"{_ISOLATE}{text}{_END}" if self.language == "ar" else text

    def as_it_is(self, text: str) -> str:
        """Text of whichever language, in its own direction."""
        return f"{_OWN}{text}{_END}"

    # ---------------------------------------------------------------- numbers

    def number(self, value: float | None, digits: int = 2, sign: bool = False) -> str:
        if value is None:
            return self("unknown")
        text = f"{value:{'+' if sign else ''},.{digits}f}"
        if not float(text.replace(",", "")):
            text = text.lstrip("+-")
        text = text.replace("-", "\N{MINUS SIGN}")
        if self.language != "en":
            text = text.replace(",", "\u202f").replace(".", ",")
        return self.isolated(text)

    def count(self, value: float) -> str:
        return self.number(value, 0)

    def span(self, low: float | None, high: float | None, digits: int = 2, scale: float = 1) -> str:
        if low is None or high is None:
            return self("unknown")
        return self("to", low=self.number(low * scale, digits), high=self.number(high * scale, digits))

    def level(self, alpha: float) -> str:
        """An interval's level, of a hundred."""
        level = round(100 * (1 - alpha), 3)
        return self.number(level, next(digits for digits in range(4) if round(level, digits) == level))

    def chance(self, p: float | None) -> str:
        """A p value."""
        if p is None:
            return ""
        return self.isolated(("<\u202f" if p < 0.001 else "") + self.number(max(p, 0.001), 3).strip(_ISOLATE + _END))

    # ---------------------------------------------------------------- names

    def system(self, name: str) -> str:
        return self(f"system_{name}") if f"system_{name}" in _table() else self.isolated(name)

    def the(self, name: str) -> str:
        """A system within a sentence."""
        return self(f"the_{name}") if f"the_{name}" in _table() else self.system(name)

    def pair(self, first: str, second: str) -> str:
        return self("against", first=self.system(first), second=self.system(second))

    def metric(self, name: str) -> str:
        return self(f"metric_{name}") if f"metric_{name}" in _table() else self.isolated(name)

    def unit(self, name: str) -> str:
        """A unit that is a word; others (dB, MiB) are the same everywhere."""
        return self(f"measured_in_{name}") if f"measured_in_{name}" in _table() else self.isolated(name)

    def row(self, name: str) -> str:
        """A row of measured figures: a system, or a difference of two."""
        first, minus, second = name.partition(" - ")
        return self.pair(first, second) if minus else self.system(name)

    def factor(self, kind: str, factor: str) -> str:
        return f"{self(f'kind_{kind}')}: {self(f'factor_{factor}')}"

    def group(self, gap: Gap) -> str:
        """The group itself, without its factor."""
        if gap.factor == CELL and gap.kind != "match":
            dialect, gender, age = gap.group.split(" × ")
            return " · ".join((self.isolated(dialect), self._fact("gender", gender), self.isolated(age)))
        return self._fact("match" if gap.kind == "match" else gap.factor, gap.group)

    def _fact(self, factor: str, value: str) -> str:
        known = {
            ("gender", "female"): "group_female",
            ("gender", "male"): "group_male",
            ("gender", "other"): "group_other_gender",
            ("match", "same"): "group_same",
            ("match", "other"): "group_other",
        }
        key = known.get((factor, value))
        return self(key) if key else self.isolated(value)
