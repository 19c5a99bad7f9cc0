"""Arabizi → Arabic script, with how sure it is. An unsure word is kept as it was written and listed for an annotator.

Every reading of a word's signs has a cost (`arabizi_signs.py`): the likelier its letters in words of Darija, the
cheaper, and cheaper still where it is a known word with particles and endings (`lexicon.py`). Readings that are
accepted spellings of one word stand together. The confidence is the share of the best such group: a noisy-channel
model (Brill and Moore, ACL 2000) in small.
"""

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, lru_cache

from prepare.text import lexicon
from prepare.text.arabizi_signs import readings, shortened
from prepare.text.insertions import is_insertion
from prepare.text.rules import read
from prepare.text.variants import keys

SURE = 0.87  # confidence from which a word is written in Arabic script
# Weights, against the costs of the table: set by the likelihood of the words seen (benchmarks/arabizi_gold.tsv).
_CHEAPER: dict[lexicon.Known, float] = {"word": 3.6, "inflected": 1.4, "unknown": 0.0}
_SHARPNESS = 1.12
_STRANGE = 3.3  # mean surprise of a letter, in nats, that one known word in a thousand is above
_WORD = re.compile(r"[A-Za-z0-9À-ɏ]+(?:['’][A-Za-z0-9À-ɏ]+)*['’]?")


@dataclass(frozen=True)
class Guess:
    """One word in Arabic script. `others`: further readings, the likelier first."""

    text: str
    confidence: float  # 0 to 1
    others: tuple[str, ...] = ()

    @property
    def sure(self) -> bool:
        return self.confidence >= SURE


@dataclass(frozen=True)
class Converted:
    """A text in Arabic script, and the words that stayed as they were written because their reading is unsure."""

    text: str
    unsure: tuple[tuple[str, Guess], ...]


def to_arabic(text: str) -> Converted:
    """A text in Arabizi, in Arabic script; French and English words stay, and so do words that are unsure."""
    unsure: list[tuple[str, Guess]] = []

    def written(found: re.Match[str]) -> str:
        word = found[0]
        if is_insertion(word) or not any(map(str.isalpha, word)):
            return word
        guess = read_word(word)
        if guess.sure:
            return guess.text
        unsure.append((word, guess))
        return word

    return Converted(_WORD.sub(written, text), tuple(unsure))


@lru_cache(100_000)
def read_word(word: str) -> Guess:
    """The likeliest reading of a word in Arabizi. Capitals inside it are emphatic letters."""
    whole = _whole_words().get(word) or _whole_words().get(word.lower())
    if whole:
        return Guess(whole, 1.0)
    costs = _weighed(readings(shortened(word)))
    if not costs:
        return Guess(word, 0.0)
    groups: dict[str, float] = defaultdict(float)
    best: dict[str, str] = {}
    key_of = keys(costs, "ary-Arab")
    least = min(costs.values())
    # Of accepted spellings, one that is listed; then the cheapest.
    for reading in sorted(costs, key=lambda one: (one not in lexicon.words(), costs[one])):
        groups[key_of[reading]] += math.exp((least - costs[reading]) * _SHARPNESS)
        best.setdefault(key_of[reading], reading)
    ranked = sorted(groups, key=groups.__getitem__, reverse=True)
    confidence = groups[ranked[0]] / sum(groups.values())
    if lexicon.known(ranked[0]) == "unknown" and _surprise(best[ranked[0]]) > _STRANGE:
        confidence /= 2  # a name, a slip, another language
    return Guess(best[ranked[0]], confidence, tuple(best[key] for key in ranked[1:6]))


def _surprise(word: str) -> float:
    """Of a letter of the word, on average."""
    return lexicon.letters().surprise("", word + "$") / (len(word) + 1)


def _weighed(costs: dict[str, float]) -> dict[str, float]:
    """Readings, cheaper where they are words."""
    key_of = keys(costs, "ary-Arab")
    return {reading: cost - _CHEAPER[lexicon.known(key_of[reading])] for reading, cost in costs.items()}


@cache
def _whole_words() -> dict[str, str]:
    whole: dict[str, str] = read("arabizi")["words"]
    return whole
