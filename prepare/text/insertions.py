"""French and English words inside Moroccan text: known by list, told by their letters where the list ends."""

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Literal

Inserted = Literal["fra", "eng"]

_LISTS = Path(__file__).parent / "tables"
# Letters and endings that Arabizi and Tamazight in Latin script do not have.
_FRENCH = re.compile(r"[àçèêëîïôùûœ]|..(?:tions?|ments?|eurs?|euses?|eaux?|iques?|oires?|ailles?)$")


def language_of(word: str) -> Inserted | None:
    """French or English, for a word in small letters; None where it may be of the language around it."""
    for language in ("fra", "eng"):
        if word in words(language):
            return language
    if not word.isalpha():
        return None
    return "fra" if _FRENCH.search(word) else None


def is_insertion(word: str) -> bool:
    """Whether a word, in any case, is known to be French or English; `l'école` is as `école` is."""
    return any(language_of(part) for part in word.lower().split("'"))


@cache
def words(language: Inserted) -> frozenset[str]:
    """The listed words of a language, in small letters."""
    listed = (_LISTS / f"words_{language}.txt").read_text(encoding="utf-8").split()
    parts = [part for word in listed if "-" in word for part in word.split("-") if len(part) > 2]
    bare = [_bare(word) for word in listed if len(word) > 4]  # telephone, as it is typed
    return frozenset([*listed, *parts, *bare])


def _bare(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
