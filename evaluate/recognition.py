"""What a recogniser hears in generated speech, and how many edits that is away from the text."""

import unicodedata
from typing import Any

import jiwer

from evaluate.items import Rendered
from evaluate.kept import Kept
from recipes.records import Language
from recipes.schema import Recipe
from train.adapter import base_hash, normalise, open_recogniser, resampled, tolerant


class Judge:
    """A recogniser that hears generated speech; what it heard before is read from disk."""

    def __init__(self, recipe: Recipe, name: str) -> None:
        self.recipe = recipe
        self.name, self.weights = name, base_hash(name) or name
        self.kept = Kept(recipe.folder("evaluate") / "heard")
        self.model: Any = None

    def hear(self, one: Rendered) -> str:
        """What was said in a clip, as the recogniser writes it."""
        assert one.samples is not None
        content = f"{self.weights} {one.item.language} {one.rate_hz} ".encode() + one.samples.tobytes()
        heard: str = self.kept.get(content, lambda: {"text": self._hear(one)})["text"]
        return heard

    def _hear(self, one: Rendered) -> str:
        assert one.samples is not None
        self.model = self.model or open_recogniser(self.name, self.recipe)
        samples = resampled(one.samples, one.rate_hz, self.model.rate_hz)
        heard: str = self.model.transcribe(samples, one.item.language)
        return heard


_SCRIPTS = {"Arab": "ARABIC", "Tfng": "TIFINAGH", "Latn": "LATIN"}  # ISO 15924 and Unicode character names


def comparable(heard: str, language: Language) -> str:
    """What a recogniser wrote, in the form that the reference text has: no marks, one case, one spelling.

    A word with a letter of another script stays as it was written, and so counts as wrong.
    """
    script = _SCRIPTS[language.split("-")[1]]
    words = []
    for word in unicodedata.normalize("NFC", heard).split():
        letters = {unicodedata.name(letter, "").split(" ")[0] for letter in word if letter.isalpha()}
        if letters <= {script, "LATIN", "MODIFIER"}:
            words += normalise(word, language).split()
        else:
            words.append("".join(letter for letter in word if letter.isalnum()))
    return " ".join(words)


def errors(text: str, heard: str) -> tuple[int, int, int, int]:
    """Character edits and characters, word edits and words. Source: Levenshtein distance by jiwer."""
    by_char = jiwer.process_characters(text, heard)
    by_word = jiwer.process_words(text, heard)
    char_edits = by_char.substitutions + by_char.deletions + by_char.insertions
    word_edits = by_word.substitutions + by_word.deletions + by_word.insertions
    return char_edits, len(text), word_edits, len(text.split())


def tolerant_errors(text: str, heard: str, language: Language) -> tuple[int, int]:
    """Word edits and words, where spellings that are accepted for one word count as the same word."""
    return errors(tolerant(text, language), tolerant(heard, language))[2:]
