"""Numbers in words, as people count in Darija and in Tamazight. The words are data: `tables/numbers.yaml`."""

import re
from functools import cache

from pydantic import BaseModel, ConfigDict

from prepare.text.rules import read
from prepare.text.tifinagh import to_latin, to_tifinagh
from recipes.records import Language

LIMIT = 10**12  # numbers from here on are not counted in words
_FRENCH = tuple(
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept dix-huit "  # noqa: SIM905
    "dix-neuf".split()
)
# Languages that count with the words of another.
_LIKE = {"shi": "zgh", "tzm": "zgh"}


class Scale(BaseModel):
    """Thousands, millions or milliards. `few` (3 to 10): a list, or a pattern like `many` (11 and more)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    one: str
    two: str
    few: list[str] | str
    many: str

    def times(self, count: int, counting: "Counting") -> str:
        """So many of them."""
        if count <= 2:
            return (self.one, self.two)[count - 1]
        if count <= 10:
            return (
                self.few.format(counting.below_thousand(count)) if isinstance(self.few, str) else self.few[count - 3]
            )
        return self.many.format(counting.below_thousand(count, counted=True))


class Counting(BaseModel):
    """How a language counts, in one script."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    units_from_0: list[str]
    inside: dict[int, str] = {}  # units that have another form before a ten
    feminine_from_1: list[str] | None = None  # units before a feminine thing, up to ten
    teens_from_11: list[str]
    teens_counted: list[str] | None = None
    tens_from_20: list[str]
    ten_first: bool
    joined: str
    hundreds_from_1: list[str]
    hundreds_counted: list[str] | None = None
    thousands: Scale
    millions: Scale
    milliards: Scale
    point: str
    minus: str
    cases: dict[int, str]

    def words(self, number: int, counted: bool = False, feminine: bool = False) -> str:
        """A number from 0 on in words; `counted`: as it stands before a thing, `feminine`: before such a one.

        Raises ValueError for a number that is negative or beyond the milliards.
        """
        if not 0 <= number < LIMIT:
            raise ValueError(f"{number} is not counted in words here")
        if number == 0:
            return self.units_from_0[0]
        parts = []
        for size, scale in ((10**9, self.milliards), (10**6, self.millions), (10**3, self.thousands)):
            if number >= size:
                parts.append(scale.times(number // size, self))
            number %= size
        if number:
            parts.append(self.below_thousand(number, counted, feminine))
        return self.joined.join(parts)

    def below_thousand(self, number: int, counted: bool = False, feminine: bool = False) -> str:
        """1 to 999."""
        hundred, rest = divmod(number, 100)
        last = counted and not rest
        hundreds = (self.hundreds_counted if last else None) or self.hundreds_from_1
        parts = [hundreds[hundred - 1]] if hundred else []
        return self.joined.join([*parts, self._below_hundred(rest, counted, feminine)] if rest else parts)

    def _below_hundred(self, number: int, counted: bool, feminine: bool) -> str:
        units = self.units_from_0
        if feminine and self.feminine_from_1:
            units = [units[0], *self.feminine_from_1]
        if number <= 10:
            return units[number]
        if number < 20 and units is not self.units_from_0:
            return self.joined.join([units[number - 10], units[10]])
        if number < 20:
            return ((self.teens_counted if counted else None) or self.teens_from_11)[number - 11]
        ten, unit = divmod(number, 10)
        if not unit:
            return self.tens_from_20[ten - 2]
        pair = [self.inside.get(unit, units[unit]), self.tens_from_20[ten - 2]]
        return self.joined.join(reversed(pair) if self.ten_first else pair)


def can_count(language: Language) -> bool:
    """Whether there are words for numbers in a language and script; not for Tamazight in Arabic script."""
    return language.startswith("ary") or not language.endswith("Arab")


def in_words(number: int | str, language: Language, counted: bool = False, feminine: bool = False) -> str:
    """A number in words: a whole one from 0 on, or text like `3.05`, `-12`; `counted`, `feminine`: before a thing.

    Raises ValueError where it cannot be said: no number, too large, or no words in this language and script.
    """
    if not can_count(language):
        raise ValueError(f"{language} has no words for numbers here")
    said = _said(str(number), _counting(language), counted, feminine)
    source = _source(language)
    if source.endswith("Tfng") and language.endswith("Latn"):
        return to_latin(said)
    return to_tifinagh(said) if source.endswith("Latn") and language.endswith("Tfng") else said


def _said(number: str, counting: Counting, counted: bool, feminine: bool) -> str:
    whole, point, fraction = number.removeprefix("-").partition(".")
    said = [counting.minus] if number.startswith("-") else []
    said.append(counting.words(int(whole), counted and not point, feminine and not point))
    if point:
        zeros = len(fraction) - len(fraction.lstrip("0"))
        said += [counting.point, *[counting.units_from_0[0]] * zeros]
        said += [counting.words(int(fraction))] if int(fraction) else []
    return " ".join(said)


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


def french(number: int) -> str:
    """0 to 99 in French, for telephone numbers."""
    tens = {2: "vingt", 3: "trente", 4: "quarante", 5: "cinquante", 6: "soixante", 8: "quatre-vingt"}
    if number < 20:
        return _FRENCH[number]
    ten = number // 10 if number // 10 in tens else number // 10 - 1  # soixante-dix, quatre-vingt-dix
    unit = number - 10 * ten
    if unit == 0:
        return "quatre-vingts" if ten == 8 else tens[ten]
    return f"{tens[ten]} et {_FRENCH[unit]}" if unit in (1, 11) and ten < 8 else f"{tens[ten]}-{_FRENCH[unit]}"


def failures() -> list[str]:
    """Cases of the table that do not come out as written, one line each."""
    return [
        f"numbers.yaml, {language}: {number} gives {counting.words(number)!r}, its case says {said!r}"
        for language, counting in _tables().items()
        for number, said in counting.cases.items()
        if counting.words(number) != said
    ]


def _source(language: str) -> str:
    """The table that a language and script is counted by."""
    code = language.partition("-")[0]
    code = _LIKE.get(code, code)
    return language if code == "ary" else {"zgh": "zgh-Tfng", "kab": "kab-Latn", "rif": "rif-Latn"}[code]


def _counting(language: str) -> Counting:
    return _tables()[_source(language)]


@cache
def _tables() -> dict[str, Counting]:
    return {language: Counting.model_validate(table) for language, table in read("numbers").items()}
