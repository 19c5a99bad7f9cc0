"""A number with its unit, as it is said. The words are data: `tables/spoken.yaml`."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from prepare.text.manner import Manner, table
from prepare.text.numbers import plain


def unit(found: re.Match[str], manner: Manner) -> str:
    """A number with its unit, before or after it."""
    number, forms = plain(found["number"]), manner.written(_unit_of(found["unit"], manner.table))
    if number is None:
        return found[0]
    whole, _, fraction = number.partition(".")
    if fraction in ("5", "50") and not number.startswith("-"):
        return _and_a_half(whole, forms, manner)
    if forms.get("cents") and len(fraction) == 2 and int(fraction):
        cents = manner.word("cents").format(manner.number(int(fraction)))
        return f"{_counted(whole, forms, manner)} {manner.word('and')}{cents}" if int(whole) else cents
    return _counted(number, forms, manner)


def _and_a_half(whole: str, forms: dict[str, str], manner: Manner) -> str:
    half = manner.word("half_unit")
    if not int(whole):
        return forms["many"].format(manner.word("fractions")["1/2"])
    if forms.get("half") == "number":  # three and a half percent, but two kilos and a half
        return forms["many"].format(half.format(manner.number(whole)))
    said: str = half.format(_counted(whole, forms, manner))
    return said


def _counted(number: str, forms: dict[str, str], manner: Manner) -> str:
    if number == "1":
        return forms["one"]
    few = number.removeprefix("-").isdecimal() and 2 <= int(number.removeprefix("-")) <= 10
    said = manner.number(number, counted=True, feminine=bool(forms.get("feminine")))
    return forms["few" if few else "many"].format(said)


def any_unit(language: str, apart: bool) -> str:
    """A pattern for the units that have words in a language."""
    return _any_of(_units(language), apart)


@cache
def _units(language: str) -> dict[str, dict[str, Any]]:
    return {sign: _forms(unit, language) for unit in table()["units"] if language in unit for sign in unit["signs"]}


def _unit_of(written: str, language: str) -> dict[str, Any]:
    sign = written.strip()
    return _units(language)[sign if len(sign) == 1 else sign.lower()]


def _forms(unit: dict[str, Any], language: str) -> dict[str, Any]:
    """A unit's words; one word alone stays as it is after any number."""
    said = unit[language]
    forms = {"one": said, "few": f"{{}} {said}", "many": f"{{}} {said}"} if isinstance(said, str) else said
    return forms | {key: unit[key] for key in ("half", "cents") if key in unit}


def _any_of(signs: Iterable[str], apart: bool) -> str:
    """A pattern for units. g, l and s are words of Latin text too (`2 l 3`): there not `apart` from their number."""
    long = "|".join(re.escape(sign) for sign in sorted(signs, key=len, reverse=True) if len(sign) > 1)
    short = {sign: re.escape(sign) for sign in signs if len(sign) == 1}
    words = "" if apart else "".join(short.pop(sign) for sign in "glLs" if sign in short)
    return rf"\s?(?:(?i:{long})|[{''.join(short.values())}])" + (f"|[{words}]" if words else "")


@cache
def some_unit(apart: bool) -> re.Pattern[str]:
    """The sign of a unit of any language."""
    signs = tuple(dict.fromkeys(sign for unit in table()["units"] for sign in unit["signs"]))
    return re.compile(rf"(?:{_any_of(signs, apart)})(?![\w'])")
