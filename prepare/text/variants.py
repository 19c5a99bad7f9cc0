"""Spellings that count as the same word: Darija has no standard, so scoring must not punish a choice among them.

`key` brings accepted spellings to one form, `tolerant` a whole text; the rules are data, `tables/spellings_*.yaml`.
"""

from collections.abc import Iterable
from functools import cache
from itertools import islice, product

from prepare.text import normalise
from prepare.text.rules import Rule, apply, rules
from recipes.records import Language

# What may stand for a letter when the accepted spellings of a word are listed. The key decides which of them are.
_CHOICES: dict[str, str] = {
    "ة": "ةها", "ه": "هة", "ى": "ىا", "ث": "ثت", "ت": "تث", "ذ": "ذد", "د": "دذ", "ظ": "ظض", "ض": "ضظ", "أ": "أا",
    "إ": "إا", "آ": "آا", "پ": "پب", "ب": "بپ", "ڤ": "ڤف", "ف": "فڤ", "ڭ": "ڭكق", "ك": "كڭ", "ق": "قڭ",
    "ⵕ": "ⵕⵔ", "ⵔ": "ⵔⵕ", "ⵚ": "ⵚⵙ", "ⵙ": "ⵙⵚ", "ḥ": "ḥh", "h": "hḥ7", "ḍ": "ḍd", "ṭ": "ṭt", "ṣ": "ṣs", "ẓ": "ẓz",
    "ṛ": "ṛr", "7": "7h", "u": "uo", "o": "ou", "y": "yi", "i": "iy",
}  # fmt: skip
_TRIED = 2_000  # combinations looked at for one word


def key(text: str, language: Language) -> str:
    """What a text is compared by: equal for texts that differ in accepted spellings only. No form to write."""
    return " ".join(apply(rules_of(language), normalise(text, language)).split())


def tolerant(text: str, language: Language) -> str:
    """A text with every accepted spelling of a word replaced by the same one, for a spelling-tolerant error rate."""
    return key(text, language)


def same(one: str, other: str, language: Language) -> bool:
    """Whether two texts differ in accepted spellings only."""
    return key(one, language) == key(other, language)


def accepted(word: str, language: Language) -> frozenset[str]:
    """The accepted spellings of a word, itself among them: by letters that stand for others, and by listed words.

    A list to show and to search by, not a complete one; `same` decides.
    """
    word, wanted = normalise(word, language), key(word, language)
    letters = (_choices(word, at) for at in range(len(word)))
    tried = {"".join(choice) for choice in islice(product(*letters), _TRIED)} | _listed(word, language)
    return frozenset(other for other, its in keys(tried, language).items() if its == wanted)


def keys(words: Iterable[str], language: Language) -> dict[str, str]:
    """The key of each word of a normalised text, for many words at once."""
    words = list(words)
    found = apply(rules_of(language), "\n".join(words)).split("\n") if words else []
    return dict(zip(words, found, strict=True))


def _choices(word: str, at: int) -> str:
    if word[at] == "ا":
        return "اأإ" if at == 0 else "اىة" if at == len(word) - 1 else "ا"
    return _CHOICES.get(word[at], word[at])


@cache
def rules_of(language: Language) -> tuple[Rule, ...]:
    """The rules of accepted spellings for a language tag, in order."""
    code, script = language.split("-")
    if script == "Tfng":
        return rules("spellings_Tfng")
    return rules(f"spellings_{'ary' if code == 'ary' else 'tamazight'}_{script}")


def _listed(word: str, language: Language) -> set[str]:
    """The words that a rule's list holds beside this one."""
    wanted = key(word, language)
    listed = keys((other for rule in rules_of(language) for other in rule.words), language)
    return {other for other, its in listed.items() if its == wanted} | {word}
