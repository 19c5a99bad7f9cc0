"""Scripts: which letters belong to each, and how much of a text is in one."""

import re
import unicodedata
from typing import Literal

from recipes.records import Language

Script = Literal["Arab", "Tfng", "Latn"]

# The insides of character classes. Letters alone: vowel signs, digits and punctuation are not in them.
LETTERS: dict[Script, str] = {
    "Arab": "\u0620-\u063f\u0641-\u064a\u066e\u066f\u0671-\u06d3\u06d5\u06ee\u06ef\u06fa-\u06fc\u06ff"
    "\u0750-\u077f\u0870-\u0887\u0889-\u088e\u08a0-\u08c9",
    "Tfng": "\u2d30-\u2d67\u2d6f",
    "Latn": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02b8\u1e00-\u1eff\u2c60-\u2c7f\ua722-\ua787\ua78b-\ua7ff",
}
NAMES: dict[Script, str] = {"Arab": "Arabic", "Tfng": "Tifinagh", "Latn": "Latin"}
_OF: dict[str, Script] = {"Arab": "Arab", "Tfng": "Tfng", "Latn": "Latn"}


def script_of(language: Language) -> Script:
    """The script that a language tag names."""
    return _OF[language.partition("-")[2]]


def letter_count(text: str) -> int:
    """Letters of any script."""
    return sum(map(str.isalpha, text))


def letters_in(text: str, script: Script) -> int:
    """Letters of one script."""
    return len(re.findall(f"[{LETTERS[script]}]", text))


def share(text: str, script: Script) -> float:
    """Which part of the letters is in `script`; 0 for a text without letters."""
    return letters_in(text, script) / max(1, letter_count(text))


def foreign(text: str, script: Script) -> str:
    """The letters, each once, that are neither of `script` nor Latin."""
    known = re.compile(f"[{LETTERS[script]}{LETTERS['Latn']}]")
    return "".join(sorted({letter for letter in text if letter.isalpha() and not known.match(letter)}))


def foreign_words(text: str, script: Script) -> list[str]:
    """The words, each once, that hold a letter neither of `script` nor Latin, with that letter's script."""
    found = {word: letters[0] for word in text.split() if (letters := foreign(word, script))}
    return [f"{word!r} ({unicodedata.name(letter, '?').split()[0].capitalize()})" for word, letter in found.items()]
