"""Numbers, dates, times, prices, telephone numbers, percentages, units, abbreviations and signs as they are said.

What cannot be read with certainty (a code, a version, a time with 99 minutes) stays as it is written, so that `check`
finds the digits and a person decides. The words are data: `tables/spoken.yaml`, with its cases.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from prepare.text.numbers import can_count, french, in_words
from prepare.text.rules import read
from prepare.text.tifinagh import to_latin, to_tifinagh
from recipes.records import Language

PhoneDigits = Literal["own", "french"]

_PHONE = r"(?<![\w+])(?P<abroad>(?:\+|00)212[ .-]?(?:\(0\))?|0)(?P<phone>[5-8](?:[ .-]?\d){8})(?!\w)"
_DATE = (
    r"(?<![\w/.-])(?:(?P<day>\d{1,2})[/.-](?P<month>\d{1,2})[/.-](?P<year>\d{4})"
    r"|(?P<year2>\d{4})-(?P<month2>\d\d)-(?P<day2>\d\d))(?![\w/-])"
)
_TIME = r"(?<![\w:.])(?P<hour>\d{1,2})(?::|[hH](?=\d))(?P<minute>\d\d)(?![\w:]|\.\d)"
_NUMBER = r"(?:\d{1,3}(?:[ ,.\u00a0\u202f]\d{3})+|\d+)(?:[.,]\d+)?"


@dataclass(frozen=True)
class Manner:
    """How a language and script says what is no word."""

    language: Language
    table: str  # whose words: a table's language and script
    phone_digits: PhoneDigits

    def number(self, number: int | str, counted: bool = False) -> str:
        return in_words(number, self.language, counted)

    def word(self, name: str) -> Any:
        """A word of the table; None where it has none."""
        return _in_script(_table()["words"][self.table].get(name), self.table, self.language)


def spell_out(text: str, language: Language, phone_digits: PhoneDigits = "own") -> str:
    """The text with everything that stands for words in words, where that is certain.

    `phone_digits: french`: telephone numbers in French, as many Moroccans say them.
    """
    if not can_count(language):
        return text
    manner = Manner(language, _table_of(language), phone_digits)
    text = "".join(str(unicodedata.digit(c)) if c.isdigit() and c.isdecimal() else c for c in text)
    text = re.sub(r"(?<=\d)[٫](?=\d)", ",", re.sub(r"(?<=\d)[٬،](?=\d{3}(?!\d))", ",", text)).replace("\u2212", "-")
    for pattern, say in _PATTERNS:
        text = re.sub(pattern, lambda found, say=say: say(found, manner), text)  # type: ignore[misc]
    for pattern, say in _of_units(manner.table):
        text = re.sub(pattern, lambda found, say=say: say(found, manner), text, flags=re.IGNORECASE)  # type: ignore[misc]
    return _signs(_abbreviations(text, manner), manner)


def failures() -> list[str]:
    """Cases of the table that do not come out as written, one line each."""
    return [
        f"spoken.yaml, {language}: {before!r} gives {found!r}, its case says {after!r}"
        for language, cases in _table()["cases"].items()
        for before, after in cases.items()
        if (found := spell_out(before, language)) != after
    ]


# ---------------------------------------------------------------- one kind each


def _phone(found: re.Match[str], manner: Manner) -> str:
    digits = re.sub(r"\D", "", found["phone"])
    pairs = [int(digits[at : at + 2]) for at in range(1, 9, 2)]
    spoken = french if manner.phone_digits == "french" else manner.number
    first = [spoken(0), spoken(int(digits[0]))]
    if found["abroad"] != "0":
        code = ["deux cent", spoken(12)] if manner.phone_digits == "french" else [manner.number(212)]
        first = [manner.word("plus"), *code, spoken(int(digits[0]))]
    zero = [[spoken(0)] * (pair < 10) + [spoken(pair)] for pair in pairs]
    return " ".join([*first, *(word for pair in zero for word in pair)])


def _date(found: re.Match[str], manner: Manner) -> str:
    day, month, year = (int(found[name] or found[f"{name}2"]) for name in ("day", "month", "year"))
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return found[0]
    return " ".join([manner.number(day), manner.word("month").format(manner.number(month)), manner.number(year)])


def _time(found: re.Match[str], manner: Manner) -> str:
    hour, minute = int(found["hour"]), int(found["minute"])
    if hour > 24 or minute > 59:
        return found[0]
    past, upcoming = _hour(hour, manner), _hour(hour + 1, manner)
    fives = manner.word("fives") or {}
    match minute:
        case 0:
            said = past
        case 30:
            said = f"{past} {manner.word('half')}"
        case 15 if manner.word("quarter"):
            said = f"{past} {manner.word('quarter')}"
        case 20 if manner.word("third"):
            said = f"{past} {manner.word('third')}"
        case 40 if manner.word("less_third"):
            said = f"{upcoming} {manner.word('less_third')}"
        case 45 if manner.word("less_quarter"):
            said = f"{upcoming} {manner.word('less_quarter')}"
        case _ if minute % 5 == 0 and (part := fives.get(minute // 5)):
            said = f"{past if minute < 40 else upcoming} {part}"
        case _:
            said = f"{past} {manner.word('minutes').format(manner.number(minute))}"
    if hour <= 12:
        return said
    return f"{said} {manner.word('afternoon' if hour < 19 else 'night')}"


def _hour(hour: int, manner: Manner) -> str:
    hours: list[str] = manner.word("hours_from_1")
    return hours[(hour - 1) % 12]


def _unit(found: re.Match[str], manner: Manner) -> str:
    """A number with its unit, before or after it."""
    number = plain(found["number"])
    forms = _units(manner.table).get(found["unit"].casefold())
    if number is None or forms is None:
        return found[0]
    forms = _in_script(forms, manner.table, manner.language)
    money = found["unit"].casefold() in _MONEY
    whole, _, fraction = number.partition(".")
    if fraction in ("5", "50") and not number.startswith("-"):
        return (
            str(manner.word("half_unit").format(_counted(whole, forms, manner)))
            if money
            else _counted_as(manner.word("half_unit").format(manner.number(whole)), forms)
        )
    if money and len(fraction) == 2 and int(fraction):
        cents = manner.word("cents").format(manner.number(int(fraction)))
        return f"{_counted(whole, forms, manner)} {cents}"
    return _counted(number, forms, manner)


_MONEY = {"dh", "dhs", "mad", "درهم", "دراهم", "د.م", "د.م.", "€", "eur", "euro", "euros", "$", "usd"}


def _counted(number: str, forms: dict[str, str], manner: Manner) -> str:
    if number == "1":
        return forms["one"]
    few = number.removeprefix("-").isdecimal() and 2 <= int(number.removeprefix("-")) <= 10
    return forms["few" if few else "many"].format(manner.number(number, counted=True))


def _counted_as(said: str, forms: dict[str, str]) -> str:
    return forms["many"].format(said)


def _range(found: re.Match[str], manner: Manner) -> str:
    """10-12 as ten to twelve; 265-7, where digits are left out, stays."""
    low, high = found["low"], found["high"]
    if int(low) == int(high) or len(high) < len(low) - 1 or low.startswith("0") or high.startswith("0"):
        return found[0]
    return f"{manner.number(int(low))} {manner.word('until')} {high}"


def _plain(found: re.Match[str], manner: Manner) -> str:
    number = plain(found["number"])
    if number is None:
        return found[0]
    if re.fullmatch(r"0\d+", number):  # a code, read digit by digit
        return " ".join(manner.number(int(digit)) for digit in number)
    following = re.match(r" (\w+)", found.string[found.end() :])
    counted = bool(following) and following[1] in _table()["counted"].get(manner.table, ())  # type: ignore[index]
    try:
        return manner.number(number, counted)
    except ValueError:
        return found[0]


def plain(number: str) -> str | None:
    """A written number with a point before its fraction and no groups; None where it could be two.

    `6,193` and `1 200 000` are groups of three; `19,90` and `3.5` have a fraction.
    """
    number = number.strip().replace("\u00a0", " ").replace("\u202f", " ")
    if re.fullmatch(r"-?[1-9]\d{0,2}([ ,.])\d{3}(\1\d{3})*", number):
        return re.sub("[ ,.]", "", number)
    if found := re.fullmatch(r"(-?[1-9]\d{0,2})((?: \d{3})+|(?:,\d{3})+|(?:\.\d{3})+)[.,](\d+)", number):
        return f"{found[1]}{re.sub('[ ,.]', '', found[2])}.{found[3]}"
    if found := re.fullmatch(r"(-?\d+)[.,](\d+)", number):
        return f"{found[1]}.{found[2]}"
    return number if re.fullmatch(r"-?\d+", number) else None


def _abbreviations(text: str, manner: Manner) -> str:
    for short, whole in _table()["abbreviations"].get(manner.table, {}).items():
        whole = _in_script(whole, manner.table, manner.language)
        text = re.sub(rf"(?<![\w.]){re.escape(short)}(?![\w.])", whole, text, flags=re.IGNORECASE)
    return text


def _signs(text: str, manner: Manner) -> str:
    for sign, words in _table()["signs"].items():
        said = words.get(manner.table)
        if said is not None and sign in text:
            said = _in_script(said.rstrip("ـ"), manner.table, manner.language)
            alone = r"(?<!\w){}(?!\w)" if sign.isalpha() else " ?{} ?"
            text = re.sub(alone.format(re.escape(sign)), f" {said} " if said else " ", text)
    return text


# A number stands by itself, or behind an attached Arabic particle (و9, ب25, ال20); never in a word or a code.
_BEFORE = r"(?<![A-Za-z\d\u2d30-\u2d7f²])(?<![\w][.,:/])(?<![A-Za-z\d]-)"
_AFTER = r"(?![\w²³]|[.,:/-]\d)"
_PATTERNS: tuple[tuple[str, Callable[[re.Match[str], Manner], str]], ...] = (
    (_PHONE, _phone),
    (_DATE, _date),
    (_TIME, _time),
    (rf"{_BEFORE}(?P<low>\d+) ?[-–ـ] ?(?P<high>\d+){_AFTER}", _range),
    (r"(?<=\d)(?=[\u0621-\u064a]{4})", lambda found, manner: " "),  # 23مارس
)


@cache
def _of_units(table: str) -> tuple[tuple[str, Callable[[re.Match[str], Manner], str]], ...]:
    signs = "|".join(re.escape(sign) for sign in sorted(_units(table), key=len, reverse=True))
    minus = r"(?:(?<![\w)])-)?"
    return (
        (rf"{_BEFORE}(?P<number>{minus}{_NUMBER})\s?(?P<unit>{signs})(?![\w²³/]|\.\w)", _unit),
        (rf"{_BEFORE}(?P<unit>[$€])\s?(?P<number>{_NUMBER}){_AFTER}", _unit),
        (rf"{_BEFORE}(?P<number>{minus}{_NUMBER}){_AFTER}", _plain),
    )


@cache
def _units(table: str) -> dict[str, dict[str, str]]:
    return {sign.casefold(): unit[table] for unit in _table()["units"] if table in unit for sign in unit["signs"]}


def _table_of(language: Language) -> str:
    code = language.partition("-")[0]
    if code == "ary":
        return language
    return "kab-Latn" if code in ("kab", "rif") else "zgh-Tfng"


def _in_script(said: Any, table: str, language: Language) -> Any:
    """Words of a table, in the script of the language."""
    if said is None or table[-4:] == language[-4:]:
        return said
    change = to_latin if language.endswith("Latn") else to_tifinagh
    if isinstance(said, dict):
        return {key: change(word) for key, word in said.items()}
    return [change(word) for word in said] if isinstance(said, list) else change(said)


@cache
def _table() -> Any:
    return read("spoken")
