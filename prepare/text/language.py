"""Which language each word is in, and what in a transcript is not what its tag says: found, with a reason."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from prepare.text import normalise
from prepare.text.insertions import language_of
from prepare.text.rules import read, rules
from prepare.text.scripts import LETTERS, Script, script_of
from recipes.records import Language

Kind = Literal["other language", "foreign word", "emoji", "link"]

_EMOJI = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]|(?<!\\w)(?:[:;]-?[()DPp]|[xX]D|<3)(?!\\w)"
)
_LINK = re.compile(
    r"(?:https?://|www\.)\S+|\b[\w.-]+\.(?:com|ma|org|net|fr|io|info|tv)\b(?:/\S*)?|\b[\w-]+\.(?:ly|me|be|gl|co|gg)/\S+|(?<!\w)[@#][A-Za-z]\w+"
)
_HAMZA = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ٱ": "ا"})


@dataclass(frozen=True)
class Finding:
    """Something in a transcript that a person should know of."""

    kind: Kind
    reason: str  # `kind: particulars`


@dataclass(frozen=True)
class Tagged:
    """A word of a normalised text. `language`: ISO 639-3; `und`: a Latin word of unknown language, `zxx`: digits."""

    word: str
    script: Script | Literal["mixed", "none"]
    language: str


def findings(text: str, language: Language) -> list[Finding]:
    """What in a transcript is not what its language tag says, and what nobody says aloud."""
    found = []
    if other := _other_language(text, language):
        found.append(Finding("other language", f"other language: {other}"))
    gloss, romanised = rules("foreign")
    if foreign := re.findall(romanised.pattern, gloss(text)):
        said = ", ".join(f"{word!r}, taken as {normalise(word, language)!r}" for word in dict.fromkeys(foreign))
        found.append(Finding("foreign word", f"Greek or Cyrillic word: {said}"))
    if emoji := _EMOJI.findall(text):
        found.append(Finding("emoji", f"emoji: {' '.join(dict.fromkeys(emoji))}"))
    if link := _LINK.search(text):
        found.append(Finding("link", f"link: {link[0]!r} is not read aloud as it is written"))
    return found


def tag(text: str, language: Language) -> list[Tagged]:
    """Every word of a text, normalised, with its script and language: French and English insertions are told apart.

    `فالtélé` is one word, mixed, of French.
    """
    return [_tagged(word, language) for word in normalise(text, language).split()]


def _tagged(word: str, language: Language) -> Tagged:
    own, code = script_of(language), language.partition("-")[0]
    latin = "".join(re.findall(f"[{LETTERS['Latn']}']+", word))
    if not any(map(str.isalpha, word)):
        return Tagged(word, "none", "zxx")
    if own == "Latn":
        return Tagged(word, "Latn", _inserted(word) or code)
    if not latin:
        return Tagged(word, own, code)
    script: Script | Literal["mixed"] = "Latn" if not re.search(f"[{LETTERS[own]}]", word) else "mixed"
    return Tagged(word, script, _inserted(latin) or "und")


def _inserted(word: str) -> str | None:
    return next(filter(None, (language_of(part) for part in reversed(word.split("'")))), None)


# ---------------------------------------------------------------- which language


def _other_language(text: str, language: Language) -> str:
    """What language a text seems to be in, in words, where it is not the tag's; empty where nothing says so."""
    if script_of(language) == "Arab":
        darija, standard = marks(text)
        limits = _table()["shares"]
        if language.startswith("ary"):
            # في and إلى are written in Darija too: they count where nothing in the text is Darija's alone.
            many = len(standard) >= limits["words"] and len(standard) > limits["standard_over_darija"] * len(darija)
            if standard and not darija and not many:
                standard += [word for word in _bare_words(text) if word in _words("standard_too")]
                many = len(standard) >= limits["with_weak"]
            return f"Modern Standard Arabic, not Darija ({', '.join(standard[:4])})" if many else ""
        arabic = [*darija, *standard]
        return f"Arabic, not Tamazight ({', '.join(arabic[:4])})" if len(arabic) >= 3 else ""
    if script_of(language) == "Latn":
        return _european(text, language)
    return ""


def _european(text: str, language: Language) -> str:
    words = [word for word in tag(text, language) if word.language != "zxx"]
    for code, name in (("fra", "French"), ("eng", "English")):
        its = [word.word for word in words if word.language == code]
        if len(its) >= 3 and len(its) >= _table()["other_language_share"] * len(words):
            return f"{name} ({', '.join(its[:4])})"
    return ""


def marks(text: str) -> tuple[list[str], list[str]]:
    """The words of a text in Arabic script that only Darija has, and those that only Modern Standard Arabic has."""
    words = _bare_words(text)
    return [w for w in words if _marks(w, "darija")], [w for w in words if _marks(w, "standard")]


def _bare_words(text: str) -> list[str]:
    return [word.translate(_HAMZA) for word in normalise(text, "ary-Arab").split()]


@cache
def _marks(word: str, side: str) -> bool:
    table = _table()
    if word in _words("both") or (side == "standard" and word in _words("darija")):
        return False
    return word in _words(side) or any(re.search(pattern, word) for pattern in table[side]["patterns"])


@cache
def _words(side: str) -> frozenset[str]:
    listed = _table()[side]
    return frozenset((listed if isinstance(listed, str) else listed["words"]).translate(_HAMZA).split())


@cache
def _table() -> Any:
    return read("language")
