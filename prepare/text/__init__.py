"""Text front-ends: `normalise` gives the form to train on and to score, `check` says what cannot be used."""

import re
import unicodedata
from typing import get_args

from prepare.clip import Reject
from prepare.text import darija, tamazight
from prepare.text.rules import Rule, apply, failures
from prepare.text.scripts import NAMES, foreign_words, letter_count, letters_in, script_of, share
from recipes.records import Language

_SPOKEN = "%‰&@§°#"  # besides currency and mathematics, which Unicode has categories for
# In Arabizi 2 3 5 7 8 9 are letters, in words: `3lach`, `799e9t`.
_NUMBER_IN_ARABIZI = re.compile(r"\d+|.*[0146].*|.*\d{4}.*|\d+(dh|dhs|mad|km|kg|cm|mn)")


def normalise(text: str, language: Language) -> str:
    """One written form: letters of the language's script, Latin insertions in lower case, single spaces.

    Digits stay, and an apostrophe inside a Latin word. Doing it twice changes nothing.
    """
    return apply(rules_of(language), text)


def check(text: str, language: Language, min_share: float) -> None:
    """Raise Reject, with the reason, where a transcript cannot be trained on as it is written.

    Letters count towards `min_share` after normalisation, so a lookalike that a rule mends is no fault.
    """
    if not text.strip():
        raise Reject("no transcript yet")
    script = script_of(language)
    clean = normalise(text, language)
    # All rules but those that drop what they do not know.
    mended = apply((rule for rule in rules_of(language) if not rule.name.startswith("letters,")), text)
    if found := _numbers(text, language):
        raise Reject(f"digits in the transcript: write {found!r} as words")
    if found := _symbols(mended):
        raise Reject(f"symbols in the transcript: write {found!r} as words")
    if not letter_count(clean) and not letter_count(mended):
        raise Reject("empty transcript: no letter is left after normalisation")
    if share(mended, script) < min_share:
        found = f"{letters_in(mended, script)} of {letter_count(mended)} letters are {NAMES[script]}"
        raise Reject(f"unexpected script: {found}, {language} asks for {min_share:.0%}")
    if words := foreign_words(mended, script):
        raise Reject(f"letters of another script: {', '.join(words[:3])} in a text in {NAMES[script]} script")


def check_rules() -> None:
    """Run every table's own cases. Raises AssertionError with all that fail: a table was changed wrongly."""
    from prepare.text import numbers, personal, spoken, variants

    languages: tuple[Language, ...] = get_args(Language)
    wrong = [line for language in languages for line in failures(rules_of(language))]
    wrong += [line for language in languages for line in failures(variants.rules_of(language))]
    wrong += numbers.failures() + spoken.failures() + personal.failures()
    if wrong:
        raise AssertionError("\n".join(dict.fromkeys(wrong)))


def rules_of(language: Language) -> tuple[Rule, ...]:
    """The rules for a language tag, in order."""
    match language.startswith("ary"), script_of(language):
        case True, "Latn":
            return darija.latin()
        case False, "Latn":
            return tamazight.latin()
        case _, "Tfng":
            return tamazight.tifinagh()
        case True, _:
            return darija.arabic()
        case _:
            return tamazight.arabic()


def _numbers(text: str, language: Language) -> str:
    """The first word that is, or holds, a number."""
    words = re.findall(r"[^\W_]+", text)
    if language == "ary-Latn":
        return next(filter(_NUMBER_IN_ARABIZI.fullmatch, words), "")
    return next((word for word in words if any(unicodedata.category(c)[0] == "N" for c in word)), "")


def _symbols(text: str) -> str:
    """Characters that are read aloud, each once."""
    spoken = {c for c in text if c in _SPOKEN or unicodedata.category(c) in ("Sc", "Sm")}
    return "".join(sorted(spoken))
