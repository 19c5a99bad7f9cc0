"""A text rule, and the rules that every language shares."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prepare.text.scripts import LETTERS, Script

_ANYTHING = r"(?s).+"
_LATIN = LETTERS["Latn"] + "\u0300-\u036f"  # with the marks that a letter can carry


@dataclass(frozen=True)
class Rule:
    """Replace what matches. `cases` are pairs: a text, and what this rule alone makes of it."""

    name: str
    pattern: str
    replacement: str | Callable[[re.Match[str]], str]
    cases: tuple[tuple[str, str], ...]

    def __call__(self, text: str) -> str:
        return re.sub(self.pattern, self.replacement, text)


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


def letter_rule(name: str, table: dict[str, str], *cases: tuple[str, str]) -> Rule:
    """Write one character for another."""
    return Rule(name, f"[{''.join(map(re.escape, table))}]", lambda found: table[found[0]], cases)


def kept_letters(script: Script) -> Rule:
    """A space for everything but letters of the script, Latin insertions, digits and apostrophes."""
    case = {
        "Arab": ("سير، weekend!", "سير weekend "),
        "Tfng": ("ⴰⵣⵓⵍ, 2!", "ⴰⵣⵓⵍ 2 "),
        "Latn": ("lma, d l'école!", "lma d l'école "),
    }
    pattern = f"[^{LETTERS[script]}{_LATIN}0-9']+"
    return Rule("letters, digits, apostrophes", pattern, " ", (case[script],))


COMPOSED = Rule(
    "one code point a letter (Unicode NFC)",
    _ANYTHING,
    lambda found: unicodedata.normalize("NFC", found[0]),
    (("ا\u0654", "أ"), ("h\u0323", "ḥ")),
)
INVISIBLE = Rule(
    "what cannot be seen: joiners, direction marks, byte order marks, soft hyphens",
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff]",
    "",
    (("\u202bسلام\u202c", "سلام"), ("كا\u200cس", "كاس"), ("co\u00adopérer", "coopérer")),
)
PRESENTATION = Rule(
    "letter shapes as letters: Arabic presentation forms, Latin ligatures, full-width forms",
    "[\ufb00-\ufb06\ufb50-\ufdff\ufe70-\ufefc\uff10-\uff5a]",
    lambda found: unicodedata.normalize("NFKC", found[0]),
    (("ﻣﻼﺣ", "ملاح"), ("ﯓ", "ڭ"), ("ﬁn", "fin")),
)
LOWER_CASE = Rule("lower case", _ANYTHING, lambda found: found[0].lower(), (("Ḥmed f CASA", "ḥmed f casa"),))
ONE_APOSTROPHE = letter_rule(
    "one apostrophe",
    dict.fromkeys("\u2018\u2019\u02bc\u02b9\u02bb\u0060\u00b4\u2032\u02be\u02bf", "'"),
    ("l’école", "l'école"),
)
APOSTROPHE_INSIDE = Rule(
    "an apostrophe stands inside a Latin word, or it is a quotation mark",
    f"(?<![{_LATIN}0-9])'|'(?![{_LATIN}0-9])",
    " ",
    (("l'école 3'orfa", "l'école 3'orfa"), ("'salam'", " salam "), ("a''b", "a  b"), ("'لا'", " لا ")),
)
DIGITS = Rule(
    "digits of every script as 0 to 9",
    r"\d",
    lambda found: str(unicodedata.digit(found[0])),
    (("١٢٣", "123"), ("3lach", "3lach")),
)
SPACES = Rule("single spaces", _ANYTHING, lambda found: " ".join(found[0].split()), (("\ta \n b ", "a b"),))

FIRST = (COMPOSED, INVISIBLE, PRESENTATION)
THEN = (LOWER_CASE, ONE_APOSTROPHE, DIGITS)
LAST = (APOSTROPHE_INSIDE, SPACES, COMPOSED)
