"""Arabizi → Arabic script, with how sure it is. An unsure word is kept as it was written and listed for an annotator.

Every reading of a word's letters (`tables/arabizi.yaml`) is weighed by its cost, by a model of letters learnt from
this project's own words and sentences (`tables/lexicon_ary.txt`, `recipes/text/darija.txt`), and by whether it is one
of those words with the endings and particles of Darija. Readings that are accepted spellings of one word stand
together.
The confidence is the share of the best such group: a noisy-channel model (Brill and Moore, ACL 2000) in small.
"""

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from prepare.text import normalise
from prepare.text.insertions import is_insertion
from prepare.text.rules import TABLES, read
from prepare.text.variants import keys

SURE = 0.85  # confidence from which a word is written in Arabic script
_ORDER = 4  # letters of the letter model: three, and the one they foretell
_LETTER_WEIGHT = 0.35  # of the letter model against the costs of the table
_KNOWN, _INFLECTED = 2.8, 2.2  # what a known word, and one with endings, is cheaper by
_SHARPNESS = 0.9
_STRANGE = 4.0  # mean surprise of a letter, in nats, from which a reading is no likely word
_KEPT = 120  # readings kept at each letter
_SENTENCES = Path(__file__).parents[2] / "recipes" / "text" / "darija.txt"
_WORD = re.compile(r"[A-Za-z0-9À-ɏ]+(?:['’][A-Za-z0-9À-ɏ]+)*['’]?")
_VOWELS = set("aeiouyéèAEIOUY'2")


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
    whole: str | None = _table()["words"].get(word) or _table()["words"].get(word.lower())
    if whole:
        return Guess(whole, 1.0)
    readings = _readings(_shortened(word))
    if not readings:
        return Guess(word, 0.0)
    groups: dict[str, float] = defaultdict(float)
    best: dict[str, str] = {}
    key_of = keys(readings, "ary-Arab")
    costs = {reading: cost - _bonus(key_of[reading]) for reading, cost in readings.items()}
    least = min(costs.values())
    for reading, cost in sorted(costs.items(), key=lambda item: item[1]):
        groups[key_of[reading]] += math.exp((least - cost) * _SHARPNESS)
        best.setdefault(key_of[reading], reading)
    ranked = sorted(groups, key=groups.__getitem__, reverse=True)
    confidence = groups[ranked[0]] / sum(groups.values())
    if not _bonus(ranked[0]) and _surprise("", best[ranked[0]] + "$") > _STRANGE * (len(best[ranked[0]]) + 1):
        confidence /= 2  # no word of Darija looks like this: a name, a slip, another language
    return Guess(best[ranked[0]], confidence, tuple(best[key] for key in ranked[1:6]))


# ---------------------------------------------------------------- readings of the letters


def _shortened(word: str) -> str:
    """Without the capital of a sentence's or a name's beginning, and letters drawn out."""
    word = word.replace("’", "'")
    if word[:1].isupper() and word[:1] not in "TSDZH":
        word = word[0].lower() + word[1:]
    if word.isupper() and len(word) > 1:
        word = word.lower()
    return re.sub(r"(.)\1{2,}", r"\1\1", word)


def _readings(word: str) -> dict[str, float]:
    """Readings of a whole word with their costs, the cheapest `_KEPT`."""
    table = _table()
    states: list[dict[str, float]] = [{} for _ in range(len(word) + 1)]
    states[0][""] = 0.0
    for at in range(len(word)):
        kept = sorted(states[at].items(), key=lambda item: item[1])[:_KEPT]
        for size, options in _options(word, at, table):
            for reading, cost in kept:
                for letters, price in options.items():
                    total = cost + price + _LETTER_WEIGHT * _surprise(reading, letters)
                    longer = reading + letters
                    if total < states[at + size].get(longer, math.inf):
                        states[at + size][longer] = total
    ended = {
        reading: cost + _LETTER_WEIGHT * _surprise(reading, "$") for reading, cost in states[-1].items() if reading
    }
    return dict(sorted(ended.items(), key=lambda item: item[1])[:_KEPT])


def _options(word: str, at: int, table: Any) -> list[tuple[int, dict[str, float]]]:
    """What may come next: how many signs, and their readings with costs."""
    sign = _sign_at(word, at, table["letters"])
    size = len(sign)
    doubled = sign[:1] not in _VOWELS and word[at : at + size] == word[at + size : at + 2 * size]
    after = at + size * (2 if doubled else 1)
    ending = word[at:] if at and word[at:] in table["end"] else None
    if ending:
        return [(len(ending), table["end"][ending])]
    options: dict[str, float] = table["letters"].get(sign, {})
    if at == 0:
        options = _at_start(word, sign, after, doubled, options, table)
    elif sign in table["last"] and _is_last_vowel(word, after, table):
        options = table["last"][sign]
    if sign == "a" and "aa" in word and after < len(word):
        options = {
            letters: cost + table["contrast"]["short" if not letters else "long"] for letters, cost in options.items()
        }
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


# ---------------------------------------------------------------- the letter model


def _surprise(before: str, letters: str) -> float:
    """Minus the logarithm of how likely letters are after others, in words of Darija."""
    total = 0.0
    for letter in letters:
        total += _letter_cost(("^^^" + before)[-(_ORDER - 1) :], letter)
        before += letter
    return total


@cache
def _letter_cost(context: str, letter: str) -> float:
    counts, contexts = _counts()
    chance = 1 / 60
    for size in range(_ORDER):
        tail = context[len(context) - size :]
        seen, kinds = contexts.get(tail, (0, 0))
        if seen:  # Witten and Bell's smoothing
            chance = (counts.get(tail + letter, 0) + kinds * chance) / (seen + kinds)
    return -math.log(chance)


@cache
def _counts() -> tuple[Counter[str], dict[str, tuple[int, int]]]:
    """How often letters follow others, and how often and by how many kinds each context is followed."""
    counts: Counter[str] = Counter()
    for word in _words():
        padded = "^^^" + word + "$"
        for end in range(3, len(padded)):
            for size in range(_ORDER):
                counts[padded[end - size : end + 1]] += 1
    contexts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for gram, count in counts.items():
        contexts[gram[:-1]][0] += count
        contexts[gram[:-1]][1] += 1
    return counts, {context: (seen, kinds) for context, (seen, kinds) in contexts.items()}


@cache
def _words() -> frozenset[str]:
    listed = (TABLES / "lexicon_ary.txt").read_text(encoding="utf-8").splitlines()
    text = " ".join(line for line in listed if not line.startswith("#"))
    if _SENTENCES.exists():
        text += " " + _SENTENCES.read_text(encoding="utf-8")
    return frozenset(word for word in normalise(text, "ary-Arab").split() if not word.isascii())


# ---------------------------------------------------------------- known words


def _bonus(key: str) -> float:
    """How much cheaper a reading is because it is a known word, alone or with particles and endings."""
    known = _known()
    if key in known:
        return _KNOWN
    for before in _PREFIXES:
        if not key.startswith(before):
            continue
        for after in _SUFFIXES:
            stem = key[len(before) : len(key) - len(after)]
            if "م" in before and not after.endswith("ش"):
                continue  # م is negation with ش, and nothing without
            if key.endswith(after) and len(stem) >= 2 and (len(stem) > 2 or not (before and after)) and stem in known:
                return _INFLECTED
    return 0.0


@cache
def _known() -> frozenset[str]:
    return frozenset(keys(_words(), "ary-Arab").values())


# Of keys, in which the article is ل, the present ك and negation م.
_PERSON = ("ن", "ت", "ي", "كن", "كت", "كي", "غن", "غت", "غي")
_PREFIXES = (
    "",
    "و",
    "ف",
    "ب",
    "ل",
    "د",
    "ول",
    "فل",
    "بل",
    "دل",
    "ك",
    "م",
    *_PERSON,
    *("م" + p for p in _PERSON),
    *("و" + p for p in _PERSON),
)
_OBJECT = ("", "ني", "ك", "ها", "هم", "كم", "نا", "و", "ه", "ليا", "ليك", "ليه", "ليها")
_PERSONS = ("", "ت", "تي", "تو", "نا", "و", "ي", "ا", "ات", "ين", "يا", "يات", "ان")
_SUFFIXES = tuple(
    dict.fromkeys(
        p + o + n for n in ("", "ش") for o in _OBJECT for p in _PERSONS if not (p in ("ين", "ات", "يات") and o)
    )
)


@cache
def _table() -> Any:
    return read("arabizi")
