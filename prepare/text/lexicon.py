"""Words of Darija in Arabic script: which are known, with particles and endings, and which letters follow which.

Words are compared by their keys (`variants.key`), in which the article is ل, the present ك, and a last ة or ى is ا.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Literal

from prepare.text import normalise
from prepare.text.rules import TABLES
from prepare.text.variants import keys

Known = Literal["word", "inflected", "unknown"]

_SENTENCES = Path(__file__).parents[2] / "recipes" / "text" / "darija.txt"


def known(key: str) -> Known:
    """Whether a key is a word, or one of three letters or more with particles and endings."""
    if key in _keys():
        return "word"
    for start in range(min(len(key), _LONGEST_BEFORE) + 1):
        kinds = [kind for kind, some in _BEFORE.items() if key[:start] in some]
        for end in range(len(key), max(start + 2, len(key) - _LONGEST_AFTER - 1), -1) if kinds else ():
            after = key[end:]
            if any(after in _AFTER[kind] for kind in kinds) and _is_stem(key[start:end], key[:start], after):
                return "inflected"
    return "unknown"


def _is_stem(stem: str, before: str, after: str) -> bool:
    """Whether a known word, or the stem of a verb or a feminine noun, stands between particles and endings."""
    if stem in _keys() or (after and stem + "ا" in _keys()):  # مدرست.. of مدرسا, مش.. of مشا
        return True
    return before[-1:] in _PERSONS and stem[-1] == "ي" and stem[:-1] + "ا" in _keys()  # يمشي of مشا


@cache
def words() -> frozenset[str]:
    """The words of `tables/lexicon_ary.txt` and of this project's own sentences."""
    listed = (TABLES / "lexicon_ary.txt").read_text(encoding="utf-8").splitlines()
    text = " ".join(line for line in listed if not line.startswith("#"))
    if _SENTENCES.exists():
        text += " " + _SENTENCES.read_text(encoding="utf-8")
    return frozenset(word for word in normalise(text, "ary-Arab").split() if not word.isascii())


@cache
def _keys() -> frozenset[str]:
    return frozenset(keys(words(), "ary-Arab").values())


# ---------------------------------------------------------------- particles and endings, as keys have them


def _joined(*parts: Iterable[str]) -> frozenset[str]:
    return frozenset(map("".join, product(*parts)))


_PERSONS = ("ن", "ت", "ي")
_TENSES = ("", "ك", "غ", "ت", "تا", "ا")  # كنمشي, غنمشي, تنمشي, and أنمشي of the south
_BEFORE = {
    "noun": _joined(("", "و"), ("", "ل", "ف", "ب", "د", "فل", "بل", "دل", "ع", "عل", "ها", "ما")),
    "verb": _joined(("", "و", "ش", "لي"), ("", "ما"), _TENSES, ("", *_PERSONS)) - {"ش"},
    "not": _joined(("", "و"), ("م",), _TENSES, ("", *_PERSONS)),
}
_OBJECTS = ("", "ني", "ك", "ها", "هم", "كم", "نا", "و", "ه", "ي")
_DATIVES = ("", "لي", "ليا", "لك", "ليك", "لو", "ليه", "ليها", "لينا", "لنا", "ليكم", "ليهم", "لهم")
_AFTER = {
    "noun": _joined(("", "ت"), _OBJECTS, ("", "ش")) | _joined(("ا", "ات", "ين", "يا", "يات", "ان", "تين"), ("", "ش")),
    "verb": _joined(("", "ت", "تي", "تو", "نا", "و", "ي", "ا"), _OBJECTS, _DATIVES, ("", "ش")),
}
_AFTER["not"] = frozenset(ending for ending in _AFTER["noun"] | _AFTER["verb"] if ending.endswith("ش"))
_LONGEST_BEFORE = max(len(particle) for some in _BEFORE.values() for particle in some)
_LONGEST_AFTER = max(len(ending) for some in _AFTER.values() for ending in some)


# ---------------------------------------------------------------- letters


@dataclass(frozen=True)
class Model:
    """How often letters follow others, after up to `order` - 1 of them."""

    order: int
    counts: dict[str, int]
    contexts: dict[str, tuple[int, int]]  # how often each was followed, and by how many kinds of letters

    def surprise(self, before: str, letters: str) -> float:
        """Minus the logarithm of how likely letters are after others; `$` ends a word."""
        padded = "^" * (self.order - 1) + before + letters
        at = len(padded) - len(letters)
        return sum(self._cost(padded[end - self.order + 1 : end], padded[end]) for end in range(at, len(padded)))

    def _cost(self, context: str, letter: str) -> float:
        chance = 1 / 60
        for size in range(self.order):
            tail = context[len(context) - size :]
            if seen := self.contexts.get(tail):  # Witten and Bell's smoothing
                chance = (self.counts.get(tail + letter, 0) + seen[1] * chance) / (seen[0] + seen[1])
        return -math.log(chance)


@cache
def letters() -> Model:
    """Three letters foretell the next, as in the words listed."""
    return _learnt(4)


def _learnt(order: int) -> Model:
    counts: Counter[str] = Counter()
    for word in words():
        padded = "^" * (order - 1) + word + "$"
        for end in range(order - 1, len(padded)):
            for size in range(order):
                counts[padded[end - size : end + 1]] += 1
    contexts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for gram, count in counts.items():
        contexts[gram[:-1]][0] += count
        contexts[gram[:-1]][1] += 1
    return Model(order, dict(counts), {context: (seen, kinds) for context, (seen, kinds) in contexts.items()})
