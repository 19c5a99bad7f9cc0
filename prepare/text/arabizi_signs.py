"""Every reading of the signs of Arabizi in Arabic letters, and its cost by a table and a letter model."""

import math
import re
from functools import cache
from typing import Any

from prepare.text.lexicon import letters
from prepare.text.rules import read

LETTERS = 0.34  # what a nat of the letter model weighs against the costs of the table
_KEPT = 120  # readings kept at each letter
_VOWELS = set("aeiouyéèAEIOUY'2")
_CONSONANT = "(kh|gh|ch|sh|th|dh|[^aeiouyéè])"
_VOCALISED = re.compile(rf"(?:{_CONSONANT}\1?[aeiouyéè]+){{2,}}(?:{_CONSONANT}\2?)?")


def shortened(word: str) -> str:
    """Without the capital of a sentence's or a name's beginning, and letters drawn out."""
    word = word.replace("’", "'")
    if word[:1].isupper() and word[:1] not in "TSDZH":
        word = word[0].lower() + word[1:]
    if word.isupper() and len(word) > 1:
        word = word.lower()
    return re.sub(r"(.)\1{2,}", r"\1\1", word)


def readings(word: str) -> dict[str, float]:
    """Readings of a whole word with their costs, the cheapest `_KEPT`."""
    table, model = _table(), letters()
    states: list[dict[str, float]] = [{} for _ in range(len(word) + 1)]
    states[0][""] = 0.0
    for at in range(len(word)):
        kept = sorted(states[at].items(), key=lambda item: item[1])[:_KEPT]
        for size, options in _options(word, at, table):
            for reading, cost in kept:
                for sign, price in options.items():
                    total = cost + price + LETTERS * model.surprise(reading, sign)
                    longer = reading + sign
                    if total < states[at + size].get(longer, math.inf):
                        states[at + size][longer] = total
    ended = {
        reading: cost + LETTERS * model.surprise(reading, "$") for reading, cost in states[-1].items() if reading
    }
    return dict(sorted(ended.items(), key=lambda item: item[1])[:_KEPT])


def _options(word: str, at: int, table: Any) -> list[tuple[int, dict[str, float]]]:
    """What may come next: how many signs, and their readings with costs."""
    sign = _sign_at(word, at, table["letters"])
    size = len(sign)
    doubled = sign[:1] not in _VOWELS and word[at : at + size] == word[at + size : at + 2 * size]
    after = at + size * (2 if doubled else 1)
    if at and word[at:] in table["end"]:
        return [(len(word) - at, table["end"][word[at:]])]
    options: dict[str, float] = table["letters"].get(sign, {})
    if at == 0:
        start = next((word[:long] for long in (4, 3, 2) if long > after and word[:long] in table["start"]), "")
        if start and word[len(start) : len(start) + 1] not in _VOWELS | {start[-1]}:
            return [(len(start), table["start"][start])]
        options = _at_start(word, sign, after, doubled, options, table)
    elif sign in table["last"] and _is_last_vowel(word, after, table):
        options = table["last"][sign]
    if sign in "aio" and _VOCALISED.fullmatch(word):
        options = {letters: cost + (0 if letters else table["vocalised"]) for letters, cost in options.items()}
    if sign == "a" and "aa" in word and after < len(word):
        contrast = table["contrast"]
        options = {letters: cost + contrast["long" if letters else "short"] for letters, cost in options.items()}
    return [(after - at, options)] if options else [(max(1, size), {"": 6.0})]


def _at_start(
    word: str, sign: str, after: int, doubled: bool, options: dict[str, float], table: Any
) -> dict[str, float]:
    if doubled and sign in table["sun"]:
        price = table["sun_cost"]
        article = {f"ال{letters}": cost + price["article"] for letters, cost in options.items()}
        return article | {letters: cost + price["doubled"] for letters, cost in options.items()}
    if sign == "l" and not doubled and word[after : after + 1] in _VOWELS:
        return options
    start: dict[str, float] = table["start"].get(sign * 2 if doubled else sign, options)
    return start


def _is_last_vowel(word: str, after: int, table: Any) -> bool:
    """Whether only one consonant stands between here and the end."""
    if after >= len(word) or word[after] in _VOWELS:
        return False
    return after + len(_sign_at(word, after, table["letters"])) == len(word)


def _sign_at(word: str, at: int, letters: Any) -> str:
    """The longest sign of the table that a word has here; a single letter where it has none."""
    for size in (3, 2, 1):
        piece = word[at : at + size]
        for sign in (piece, piece.lower() if piece[:1] not in "TSDZH" or size > 1 else piece):
            if len(sign) == size and sign in letters:
                return sign
    return word[at]


@cache
def _table() -> Any:
    return read("arabizi")
