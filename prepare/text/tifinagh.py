"""Tifinagh ⇄ Latin, letter by letter and without loss.

The letters are those of IRCAM's alphabet and its Latin counterpart ("Graphie et orthographe de l'amazighe", 2006),
with those that Kabyle, Rifian and Latin loans need. Gemination is a letter written twice in both scripts; the
labialisation mark ⵯ is ʷ; emphatics carry a dot below. Latin words in a text in Tifinagh stand between ⟨ and ⟩ in its
Latin form, so that the way back leaves them as they were.
"""

import re
import unicodedata

from prepare.text.scripts import LETTERS

_LATIN = {
    "ⴰ": "a", "ⴱ": "b", "ⴲ": "ḇ", "ⴳ": "g", "ⴴ": "ḡ", "ⴵ": "ǧ", "ⴷ": "d", "ⴸ": "ḏ", "ⴹ": "ḍ", "ⴻ": "e", "ⴼ": "f",
    "ⴽ": "k", "ⴿ": "ḵ", "ⵀ": "h", "ⵃ": "ḥ", "ⵄ": "ɛ", "ⵅ": "x", "ⵇ": "q", "ⵉ": "i", "ⵊ": "j", "ⵍ": "l", "ⵎ": "m",
    "ⵏ": "n", "ⵒ": "p", "ⵓ": "u", "ⵔ": "r", "ⵕ": "ṛ", "ⵖ": "ɣ", "ⵙ": "s", "ⵚ": "ṣ", "ⵛ": "c", "ⵜ": "t", "ⵝ": "ṯ",
    "ⵞ": "č", "ⵟ": "ṭ", "ⵠ": "v", "ⵡ": "w", "ⵢ": "y", "ⵣ": "z", "ⵥ": "ẓ", "ⵧ": "o", "ⵯ": "ʷ",
}  # fmt: skip
_TIFINAGH = {latin: letter for letter, latin in _LATIN.items()}
# Latin letters outside the alphabet above stay Latin on the way to Tifinagh, and would be lost on the way back.
ALPHABET = "".join(_LATIN)
_RUN = re.compile(f"[{LETTERS['Latn']}\u0300-\u036f]+")
_MARKED = re.compile("⟨([^⟨⟩]*)⟩")


def to_latin(text: str) -> str:
    """A text in Tifinagh, in Latin letters. `to_tifinagh` gives it back exactly.

    Digits, signs and Tuareg letters, which have no Latin counterpart here, stay. Raises ValueError for a text that
    holds ⟨ or ⟩ already.
    """
    if found := re.search("[⟨⟩]", text):
        raise ValueError(f"{found[0]} marks Latin words: a text that holds it cannot be written in Latin letters")
    marked = _RUN.sub(lambda run: f"⟨{run[0]}⟩", text)
    return "".join(_LATIN.get(letter, letter) for letter in marked)


def to_tifinagh(text: str) -> str:
    """A text in Latin letters, in Tifinagh. Capitals become small first: Tifinagh has none.

    What stands between ⟨ and ⟩ is left as it is. `to_latin` gives back every text in small letters that has no Latin
    letter outside the alphabet; see `unwritable`.
    """
    pieces = _MARKED.split(text)  # by turns outside and inside the marks
    return "".join(piece if inside % 2 else _RUN.sub(_in_tifinagh, piece) for inside, piece in enumerate(pieces))


def _in_tifinagh(run: re.Match[str]) -> str:
    small = unicodedata.normalize("NFC", run[0].lower())
    return "".join(_TIFINAGH.get(letter, letter) for letter in small)


def unwritable(text: str) -> str:
    """The Latin letters of a text, each once, that Tifinagh has no letter for."""
    bare = unicodedata.normalize("NFC", _MARKED.sub("", text).lower())
    return "".join(sorted({letter for run in _RUN.findall(bare) for letter in run if letter not in _TIFINAGH}))
