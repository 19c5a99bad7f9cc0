"""Numbers, dates, times, prices, telephone numbers, percentages, units, abbreviations and signs as they are said.

What cannot be read with certainty (a code, a score, a unit without a word, a time with 99 minutes) stays as it is
written, so that `check` finds the digits and a person decides. The words are data: `tables/spoken.yaml`, with cases.
"""

import re
import unicodedata
from functools import cache

from prepare.text import clock, units
from prepare.text.manner import Manner, PhoneDigits, Say, table, table_of
from prepare.text.numbers import can_count, french, plain
from recipes.records import Language


def spell_out(text: str, language: Language, phone_digits: PhoneDigits = "own") -> str:
    """The text with everything that stands for words in words, where that is certain.

    `phone_digits: french`: telephone numbers in French, as many Moroccans say them.
    """
    if not can_count(language):
        return text
    manner = Manner(language, table_of(language), phone_digits)
    text = "".join(str(unicodedata.digit(c)) if c.isdigit() and c.isdecimal() else c for c in text)
    text = re.sub(r"(?<=\d)[٫](?=\d)", ",", re.sub(r"(?<=\d)[٬،](?=\d{3}(?!\d))", ",", text)).replace("\u2212", "-")
    text = _signs(_abbreviations(text, manner), manner, letters=True)
    for pattern, say in _patterns(manner.table, manner.apart):
        text = pattern.sub(lambda found, say=say: say(found, manner), text)  # type: ignore[misc]
    return _signs(text, manner, letters=False)


def failures() -> list[str]:
    """Cases of the table that do not come out as written, one line each."""
    return [
        f"spoken.yaml, {language}: {before!r} gives {found!r}, its case says {after!r}"
        for language, cases in table()["cases"].items()
        for before, after in cases.items()
        if (found := spell_out(before, language)) != after
    ]


# ---------------------------------------------------------------- one kind each


def _phone(found: re.Match[str], manner: Manner) -> str:
    digits = re.sub(r"\D", "", found["phone"])
    pairs = [int(digits[at : at + 2]) for at in range(1, 9, 2)]
    spoken = french if manner.phone_digits == "french" else manner.number
    first = [spoken(0), spoken(int(digits[0]))]
    if found["abroad"]:
        code = ["deux cent", spoken(12)] if manner.phone_digits == "french" else [manner.number(212)]
        first = [manner.word("plus"), *code, spoken(int(digits[0]))]
    zero = [[spoken(0)] * (pair < 10) + [spoken(pair)] for pair in pairs]
    return " ".join([*first, *(word for pair in zero for word in pair)])


def _fraction(found: re.Match[str], manner: Manner) -> str:
    written = {"½": "1/2", "¼": "1/4", "¾": "3/4"}.get(found[0], found[0])
    fractions: dict[str, str] = manner.word("fractions")
    return fractions.get(written, found[0])


def _range(found: re.Match[str], manner: Manner) -> str:
    """10-12 as ten to twelve; 3-2, a score, and 265-7, where digits are left out, stay."""
    low, high = found["low"], found["high"]
    falls = int(low) >= int(high) and (int(low) < 100 or len(high) < len(low) - 1)
    if falls or int(low) == int(high) or low.startswith("0") or high.startswith("0"):
        return found[0]
    return f"{manner.number(int(low))} {manner.word('until')} {high}"


def _plain(found: re.Match[str], manner: Manner) -> str:
    number, following = plain(found["number"]), found.string[found.end() :]
    attached = re.search(f"([{_ARABIC}]*)ـ*$", found.string[: found.start()])
    if number is None or units.some_unit(manner.apart).match(following):
        return found[0]
    if attached and attached[1] not in table()["attached"]:
        return found[0]
    if re.fullmatch(r"0\d+", number):  # a code, read digit by digit
        return " ".join(manner.number(int(digit)) for digit in number)
    counted = re.match(r" (\w+)", following)
    thing = re.match(r" (?:ⵏ |n )?(\w)", following)
    try:
        return manner.number(
            number,
            counted=bool(counted) and counted[1] in table()["counted"].get(manner.table, ()),  # type: ignore[index]
            feminine=bool(thing) and thing[1] in "ⵜt",  # type: ignore[index]
        )
    except ValueError:
        return found[0]


def _abbreviations(text: str, manner: Manner) -> str:
    for short, whole in table()["abbreviations"].get(manner.table, {}).items():
        pattern = rf"(?<![\w.]){re.escape(short)}" + (
            r"(?!\w|\.\w)" if short[-1].isalnum() or short[-1] == "." else " ?"
        )
        text = re.sub(pattern, manner.written(whole), text, flags=re.IGNORECASE)
    return text


def _signs(text: str, manner: Manner, letters: bool) -> str:
    """Signs said or dropped; those that are letters (π, λ) before a number beside them is read."""
    for sign, words in table()["signs"].items():
        said = words.get(manner.table)
        if said is not None and sign in text and sign.isalpha() == letters:
            said = manner.written(said.rstrip("ـ"))
            alone = r"(?<![^\W\d_]){}(?![^\W\d_])" if letters else " ?{} ?"
            text = re.sub(alone.format(re.escape(sign)), f" {said} " if said else " ", text)
    return text


# ---------------------------------------------------------------- where they stand

# A number stands by itself, or behind an attached Arabic particle; never in a word or a code.
_BEFORE = r"(?<![A-Za-z\d\u2d30-\u2d7f²^_])(?<![\w][.,:/])(?<![A-Za-z\d]-)"
_AFTER = r"(?![\w²³^]|[.,:/-]\d)"
_ARABIC = "\u0621-\u063f\u0641-\u064a"  # without tatweel
_NUMBER = r"(?:\d{1,3}(?:[ ,.\u00a0\u202f]\d{3})+|\d+)(?:[.,]\d+)?"
_SIGNED = rf"(?P<number>(?:(?<![\w)])-)?{_NUMBER})"
_PHONE = (
    r"(?<![\w+])(?!\d\d[./-]\d\d[./-]\d{4})"
    r"(?:(?P<abroad>\(?(?:\+|00)?212\)?[ .-]?(?:\(0\))?)|0)(?P<phone>[5-8](?:[ .-]?\d){8})(?!\w)"
)


@cache
def _patterns(language: str, apart: bool) -> list[tuple[re.Pattern[str], Say]]:
    """What is looked for, in order, and how it is said."""
    unit = units.any_unit(language, apart)
    some: list[tuple[str, Say]] = [
        (_PHONE, _phone),
        (clock.DATE, clock.date),
        (clock.TIME, clock.time),
        *((pattern, clock.full_hour) for pattern in clock.FULL_HOUR),
        (r"(?<![\w/.,])[13]/[24](?![\w/.,])|(?<!\d)[½¼¾](?!\w)", _fraction),
        (rf"{_BEFORE}(?P<low>\d+) ?[-–ـ] ?(?P<high>\d+){_AFTER}", _range),
        (rf"(?<=\d)(?=[{_ARABIC}]{{4}})|(?<=[{_ARABIC}]{{3}})(?=\d)", lambda found, manner: " "),  # 23مارس
        (rf"{_BEFORE}{_SIGNED}(?P<unit>{unit})(?![\w²³/]|\.\w)", units.unit),
        (rf"{_BEFORE}(?P<unit>[$€%٪])\s?(?P<number>{_NUMBER}){_AFTER}", units.unit),
        (rf"{_BEFORE}{_SIGNED}{_AFTER}", _plain),
    ]
    return [(re.compile(pattern), say) for pattern, say in some]
