"""Personal data in a transcript: telephone numbers, identity cards, bank accounts, e-mail and street addresses.

The patterns are data, `tables/personal.yaml`. They are matched here, or by Presidio beside its own for other lands.
Names are not found: that needs a model of names, and none is good enough for Darija and Tamazight.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from prepare.text.rules import read
from recipes.schema import UserError

Finder = Literal["patterns", "presidio"]
_KINDS = {
    "CREDIT_CARD": "payment card",
    "IBAN_CODE": "bank account (IBAN)",
    "IP_ADDRESS": "address of a machine",
    "PHONE_NUMBER": "telephone number",
}  # Presidio's names
_NEAR = 40  # characters before, in which a telling word must stand


@dataclass(frozen=True)
class Personal:
    """A stretch of a text that says who somebody is."""

    kind: str
    start: int
    end: int
    mask: str  # the word that may stand for it


class Pattern(BaseModel):
    """One kind of personal data, as the table holds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    pattern: str
    mask: str
    near: list[str] = []
    check: Literal["rib", "iban", "luhn"] | None = None
    cases: dict[str, list[str]] = Field(min_length=1)

    def holds(self, text: str, found: re.Match[str]) -> bool:
        """Whether a match is one: its check sum is right, and a telling word stands before it where one must."""
        before = text[max(0, found.start() - _NEAR) : found.start()].lower()
        if self.near and not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", before) for word in self.near):
            return False
        return self.check is None or _CHECKS[self.check](re.sub(r"[ -]", "", found[0]))


def find(text: str, finder: Finder = "patterns") -> list[Personal]:
    """Personal data in a text, from its start on, none inside another.

    Raises UserError where `presidio` is asked for and is not installed.
    """
    text = "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in text)  # ٠٦, as long as it was
    return _apart(_by_patterns(text) if finder == "patterns" else _by_presidio(text))


def mask(text: str, found: Sequence[Personal]) -> str:
    """The text with a word in place of each find."""
    for one in sorted(found, key=lambda one: one.start, reverse=True):
        text = f"{text[: one.start]}{one.mask}{text[one.end :]}"
    return text


def failures() -> list[str]:
    """Cases of the table that do not come out as written, one line each."""
    wrong = []
    for pattern in _patterns():
        for text, wanted in pattern.cases.items():
            found = [hit[0] for hit in re.finditer(pattern.pattern, text) if pattern.holds(text, hit)]
            if found != wanted:
                wrong.append(f"personal.yaml, {pattern.kind}: {found} found in {text!r}, its case says {wanted}")
    return wrong


def _by_patterns(text: str) -> list[Personal]:
    return [
        Personal(pattern.kind, hit.start(), hit.end(), pattern.mask)
        for pattern in _patterns()
        for hit in re.finditer(pattern.pattern, text)
        if pattern.holds(text, hit)
    ]


def _by_presidio(text: str) -> list[Personal]:
    found = []
    masks = {pattern.kind: pattern.mask for pattern in _patterns()}
    for recogniser in _recognisers():
        for hit in recogniser.analyze(text, recogniser.supported_entities, None):
            kind = _KINDS.get(hit.entity_type, hit.entity_type)
            own = [pattern for pattern in _patterns() if pattern.kind == kind]
            match = re.compile(r"(?s).*").fullmatch(text, hit.start, hit.end)
            if own and match and not any(pattern.holds(text, match) for pattern in own):
                continue
            found.append(Personal(kind, hit.start, hit.end, masks.get(kind, "xxx")))
    return found


@cache
def _recognisers() -> list[Any]:
    """Presidio's recognisers that need no language model: ours, and its own for cards, accounts and telephones."""
    try:
        from presidio_analyzer import Pattern as PresidioPattern
        from presidio_analyzer import PatternRecognizer
        from presidio_analyzer.predefined_recognizers import (
            CreditCardRecognizer,
            IbanRecognizer,
            IpRecognizer,
            PhoneRecognizer,
        )
    except ImportError:
        raise UserError(
            "prepare.text.personal_finder is presidio, which is not installed: pip install presidio-analyzer"
        ) from None
    ours = [
        PatternRecognizer(one.kind, patterns=[PresidioPattern(one.kind, one.pattern, 1.0)], global_regex_flags=0)
        for one in _patterns()
    ]
    regions = ("MA", "FR", "ES", "BE", "NL", "DE", "IT", "DZ", "TN")
    theirs = [CreditCardRecognizer(), IbanRecognizer(), IpRecognizer(), PhoneRecognizer(supported_regions=regions)]
    return [*ours, *theirs]


def _apart(found: list[Personal]) -> list[Personal]:
    """Without those that lie in, or run into, a longer one."""
    kept: list[Personal] = []
    for one in sorted(found, key=lambda one: (one.start - one.end, one.start)):
        if all(one.end <= other.start or one.start >= other.end for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: one.start)


def _rib(digits: str) -> bool:
    """A Moroccan RIB: 22 digits and a key of two, 97 less the remainder (Bank Al-Maghrib)."""
    number = digits[-24:]
    return len(number) == 24 and (int(number[:22]) * 100 + int(number[22:])) % 97 == 0


def _iban(written: str) -> bool:
    """ISO 13616: the remainder by 97 is 1."""
    moved = written[4:] + written[:4]
    return int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812."""
    doubled = [sum(divmod(2 * int(d), 10)) if at % 2 else int(d) for at, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


_CHECKS = {"rib": _rib, "iban": _iban, "luhn": _luhn}


@cache
def _patterns() -> tuple[Pattern, ...]:
    return tuple(Pattern.model_validate(row) for row in read("personal"))
