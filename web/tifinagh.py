"""Tamazight in Tifinagh written in Latin letters, letter for letter, as IRCAM's alphabet pairs them."""

import re

_LETTERS = dict(
    zip(
        "ⴰⴱⴳⴷⴹⴻⴼⴽⵀⵃⵄⵅⵇⵉⵊⵍⵎⵏⵓⵔⵕⵖⵙⵚⵛⵜⵟⵡⵢⵣⵥⵯ",
        "abgdḍefkhḥɛxqijlmnurṛɣsṣctṭwyzẓʷ",
        strict=True,
    )
)
_TABLE = str.maketrans(_LETTERS)
_FIRST = re.compile(r"(^|[.!?]\s+|\n\s*)(\w)")


def latin(text: str) -> str:
    """The text in Latin letters, with a capital where a sentence begins. What is not Tifinagh stays."""
    if not any(letter in _LETTERS for letter in text):
        return text
    return _FIRST.sub(lambda found: found[1] + found[2].upper(), text.translate(_TABLE))
