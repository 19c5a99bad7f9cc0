"""Dates and times of day as they are said."""

import re

from prepare.text.manner import Manner

_HOUR = r"(?P<hour>\d{1,2})"
_PART_OF_DAY = (
    r"(?= (?:(?:د|ديال|d|dyal|de) (?:الصباح|الفجر|العشية|الليل|s?sba7|s?sbah|l3chi?ya|l?lil)|صباحا|مساء|ليلا)(?!\w))"
)
DATE = (
    r"(?<![\w/.-])(?:(?P<day>\d{1,2})[/.-](?P<month>\d{1,2})[/.-](?P<year>\d{4})"
    r"|(?P<year2>\d{4})[-/](?P<month2>\d\d)[-/](?P<day2>\d\d))(?![\w/-])"
)
TIME = rf"(?<![\w:.]){_HOUR}(?::|[hH](?=\d))(?P<minute>\d\d)(?![\w:]|\.\d)"
# Without minutes, where a word beside it says that it is a time.
FULL_HOUR = (
    rf"(?<=الساعة ){_HOUR}(?: ?[hH])?(?![\w²³^]|[.,:/-]\d)",
    r"(?:(?<=\bمع )|(?<=\bm3a ))(?P<hour>\d{1,2}) ?[hH](?!\w)",
    rf"(?<![\w.,:/-]){_HOUR}(?: ?[hH])?{_PART_OF_DAY}",
)


def date(found: re.Match[str], manner: Manner) -> str:
    day, month, year = (int(found[name] or found[f"{name}2"]) for name in ("day", "month", "year"))
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return found[0]
    return " ".join([manner.number(day), manner.word("month").format(manner.number(month)), manner.number(year)])


def time(found: re.Match[str], manner: Manner) -> str:
    hour, minute = int(found["hour"]), int(found["minute"])
    if hour > 24 or minute > 59:
        return found[0]
    past, before = manner.word("past"), manner.word("before") or {}
    if minute == 0:
        said = _hour(hour, manner)
    elif minute in before:
        said = f"{_hour(hour + 1, manner)} {before[minute]}"
    else:
        minutes = manner.word("minutes").format(manner.number(minute, feminine=True))
        said = f"{_hour(hour, manner)} {past.get(minute, minutes)}"
    if 1 <= hour <= 12:
        return said
    return f"{said} {manner.word('afternoon' if 12 < hour < 19 else 'night')}"


def _hour(hour: int, manner: Manner) -> str:
    hours: list[str] = manner.word("hours_from_1")
    return hours[(hour - 1) % 12]


def full_hour(found: re.Match[str], manner: Manner) -> str:
    """الساعة 8, مع 8h, 8 د الصباح."""
    hour = int(found["hour"])
    return _hour(hour, manner) if 1 <= hour <= 12 else found[0]
