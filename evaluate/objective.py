"""Measurements on what systems said or wrote: error rates, duration, loss. Each with n and an interval."""

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from rich.console import Console
from rich.progress import track

from evaluate.statistics import Figure, mean, ratio, ratio_difference
from evaluate.systems import Rendered, System
from recipes.provenance import write_text
from recipes.records import Language
from recipes.schema import Evaluate, Recipe
from train.adapter import (
    base_hash,
    losses,
    normalise,
    open_dataset,
    open_model,
    open_recogniser,
    resampled,
    tolerant,
    voice_of,
)

_LOSS_ROWS = 100  # utterances of the validation split whose loss is measured one by one
_BY_SPEAKER = 5  # speakers from which on they are the clusters, not sentences


@dataclass(frozen=True)
class Measured:
    """One item of one system in figures."""

    system: System
    item: str
    speaker: str
    text: str
    heard: str | None  # None where no recogniser listened
    char_edits: int
    chars: int
    word_edits: int
    words: int
    duration_s: float
    tolerant_edits: int  # of words, where accepted spellings of a word are one
    tolerant_words: int


def measure(recipe: Recipe, rendered: Sequence[Rendered]) -> list[Measured]:
    """Listen to generated speech with the recipe's recogniser, or read what a recogniser wrote; count errors."""
    name = recipe.evaluate.recogniser
    judge = Judge(recipe, name) if name and not recipe.train.recognises else None
    results = []
    for one in track(rendered, "measuring", console=Console(stderr=True), disable=not judge):
        heard = one.text if recipe.train.recognises else judge.hear(one) if judge else None
        if heard is not None:
            heard = comparable(heard, one.item.language)
        duration_s = len(one.samples) / one.rate_hz if one.samples is not None else 0.0
        item, counts = one.item, errors(one.item.text, heard or "")
        tolerated = tolerant_errors(item.text, heard or "", item.language)
        results.append(Measured(one.system, item.id, item.speaker, item.text, heard, *counts, duration_s, *tolerated))
    if judge:
        judge.forget()
    return results


class Judge:
    """A recogniser that hears generated speech; what it heard before is read from disk."""

    def __init__(self, recipe: Recipe, name: str) -> None:
        self.folder, self.name = recipe.folder("evaluate") / "heard", name
        self.weights = base_hash(name) or name
        self.model: Any = None
        self.asked: set[Path] = set()

    def hear(self, one: Rendered) -> str:
        """What was said in a clip, as the recogniser writes it."""
        assert one.samples is not None
        content = f"{self.weights} {one.item.language} {one.rate_hz} ".encode() + one.samples.tobytes()
        path = self.folder / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
        self.asked.add(path)
        if not path.exists():
            self.model = self.model or open_recogniser(self.name)
            samples = resampled(one.samples, one.rate_hz, self.model.rate_hz)
            heard = self.model.transcribe(samples, one.item.language)
            write_text(path, json.dumps({"text": heard}, ensure_ascii=False))
        found: str = json.loads(path.read_text(encoding="utf-8"))["text"]
        return found

    def forget(self) -> None:
        """Remove what was heard in clips that are no longer compared."""
        for path in set(self.folder.glob("*.json")) - self.asked:
            path.unlink()


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


def figures(recipe: Recipe, measured: Sequence[Measured]) -> dict[str, dict[str, Figure | None]]:
    """Metric → system → figure; and under `adapter - base` the paired difference."""
    settings, seed = recipe.evaluate, recipe.seed
    table: dict[str, dict[str, Figure | None]] = {}
    systems = list(dict.fromkeys(m.system for m in measured))
    pairs = {
        "CER": ("char_edits", "chars"),
        "WER": ("word_edits", "words"),
        "WER, any accepted spelling": ("tolerant_edits", "tolerant_words"),
    }
    for metric, (top, bottom) in pairs.items():
        if any(m.heard is None for m in measured):
            continue
        table[metric] = {}
        for system in systems:
            rows = [m for m in measured if m.system == system]
            columns = [getattr(m, top) for m in rows], [getattr(m, bottom) for m in rows]
            table[metric][system] = ratio(*columns, clusters(rows), settings.resamples, seed)
        if both := paired(measured):
            columns_of = [([getattr(m, top) for m in side], [getattr(m, bottom) for m in side]) for side in both]
            table[metric]["adapter - base"] = ratio_difference(
                columns_of[0], columns_of[1], clusters(both[0]), settings.resamples, seed
            )
    if not recipe.train.recognises:
        table["duration ratio"] = durations(recipe, measured, systems, settings)
    return table


def durations(
    recipe: Recipe, measured: Sequence[Measured], systems: Sequence[System], settings: Evaluate
) -> dict[str, Figure | None]:
    """Seconds a character, over those of the speaker's training recordings: 1 is the speaker's own pace."""
    train = open_dataset(recipe)["train"]
    pace: dict[str, float] = {}
    for speaker in set(train["speaker"]):
        rows = [i for i, who in enumerate(train["speaker"]) if who == speaker]
        spoken = sum(train["duration_s"][i] for i in rows)
        pace[speaker] = spoken / sum(len(train["text_normalized"][i]) for i in rows)
    usual = sum(train["duration_s"]) / sum(map(len, train["text_normalized"]))
    found: dict[str, Figure | None] = {}
    for system in systems:
        rows_of = [m for m in measured if m.system == system]
        expected = [m.chars * pace.get(m.speaker, usual) for m in rows_of]
        spoken_s = [m.duration_s for m in rows_of]
        found[system] = ratio(spoken_s, expected, clusters(rows_of), settings.resamples, recipe.seed)
    return found


def validation_losses(recipe: Recipe, systems: Sequence[System]) -> tuple[dict[str, Figure | None], dict[str, int]]:
    """The loss of base and adapter on the validation split, utterance by utterance, and its paired difference.

    With it, why some utterances were left out: reason → how many.
    """
    data = open_dataset(recipe)["valid"]
    rows = [data[i] for i in range(min(len(data), _LOSS_ROWS))]
    values: dict[str, Any] = {}
    for system in ("base", "adapter"):
        if system in systems:
            model = open_model(recipe, system)
            voices = {} if model.recognises else voice_of(model, recipe)
            values[system] = np.array(losses(model, rows, voices))
    if not values:
        return {}, {}
    kept = ~np.any([np.isnan(v) for v in values.values()], axis=0)
    left_out = {
        f"validation utterances beyond the first {_LOSS_ROWS}": len(data) - len(rows),
        "validation utterances that the model cannot encode": int((~kept).sum()),
    }
    counted = [row for row, keep in zip(rows, kept, strict=True) if keep]
    where = repeats([row["speaker"] for row in counted], [row["text_normalized"] for row in counted])
    settings, seed = recipe.evaluate, recipe.seed
    found = {system: mean(v[kept], where, settings.resamples, seed) for system, v in values.items()}
    if len(values) == 2:
        difference = values["adapter"][kept] - values["base"][kept]
        found["adapter - base"] = mean(difference, where, settings.resamples, seed)
    return found, {reason: count for reason, count in left_out.items() if count}


def repeats(speakers: list[str], texts: list[str]) -> list[str]:
    """The clusters of observations: their speakers where there are enough of them, else their sentences."""
    return speakers if len(set(speakers)) >= _BY_SPEAKER else texts


def clusters(rows: Sequence[Measured]) -> list[str]:
    return repeats([m.speaker for m in rows], [m.text for m in rows])


def paired(measured: Sequence[Measured]) -> tuple[list[Measured], list[Measured]] | None:
    """Adapter and base on the items that both have, in the same order."""
    sides = {s: {m.item: m for m in measured if m.system == s} for s in ("adapter", "base")}
    common = [item for item in sides["adapter"] if item in sides["base"]]
    if not common:
        return None
    return [sides["adapter"][item] for item in common], [sides["base"][item] for item in common]
