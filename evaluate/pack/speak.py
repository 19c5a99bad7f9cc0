"""Phrases as sound: spoken in batches, then each cut, levelled, encoded and heard, whole on disk before the next.

A file's name is made of what decides its sound. So a run that was killed goes on where it stopped, but for a batch at
most, and another adapter, voice or text makes other files.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyloudnorm
from rich.console import Console
from rich.progress import track

from evaluate import marked, models, stimuli
from evaluate.items import Item, Rendered
from evaluate.models import Model
from evaluate.pack.phrases import Phrase
from evaluate.recognition import Judge, comparable, errors
from recipes.provenance import write_text
from recipes.schema import Recipe, UserError
from train.adapter import base_hash, speak_all, voice_of

_PEAK = 0.98
_LAYOUT = "1"  # of what a name is made of, and of the notes
_ADAPTER = Model("adapter", "adapter")


@dataclass(frozen=True)
class Spoken:
    """A phrase with its files, and what was found of them."""

    id: str
    text: str
    said: str
    language: str
    sound: str  # its files' name, without ending
    formats: list[str]
    voice: str
    duration_s: float
    loudness_lufs: float | None  # None: silence
    heard: str | None  # None: no recogniser listened
    cer: float | None
    unknown: str  # letters that the model never learnt
    stopped: bool  # whether the model ended by itself


def folder_of(recipe: Recipe) -> Path:
    """Where the pack lies."""
    return recipe.folder("evaluate") / "pack"


def all_of(recipe: Recipe, wanted: Sequence[Phrase]) -> list[Spoken]:
    """Every phrase, spoken now or before. Raises UserError when the adapter or its dataset must not be used."""
    if recipe.train.recognises:
        raise UserError(f"{recipe.name}: {recipe.train.family} recognises speech, and a pack needs one that speaks")
    studio = Studio(recipe)
    todo = [phrase for phrase in wanted if not studio.note(phrase).exists()]
    shown = track(studio.speak(todo), "speaking", len(todo), console=Console(stderr=True), disable=len(todo) < 5)
    for _ in shown:
        pass
    return [studio.spoken(phrase) for phrase in wanted]


class Studio:
    """An adapter with a voice, and a recogniser that listens; each is opened when it is first needed."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.settings = recipe, recipe.evaluate.pack
        self.weights, self.marks = marked.adapter_hash(recipe), marked.Marks.of(recipe)
        self.voice = voice_for(recipe)
        judge = recipe.evaluate.recogniser
        self.judge = Judge(recipe, judge) if judge else None
        heard_by = (base_hash(judge) or judge) if judge else ""
        comment = marked.statement(recipe, self.weights)
        parts = [_LAYOUT, models.identity(recipe, _ADAPTER), comment, self.voice, heard_by]
        parts += [str(recipe.evaluate.loudness_lufs), *self.settings.formats]
        parts += [self.marks.identity] if self.marks.identity else []
        self.made_by = " ".join(parts)
        self.folder = folder_of(recipe) / "sounds"

    def spoken(self, phrase: Phrase) -> Spoken:
        """What was found of a phrase."""
        return Spoken(**json.loads(self.note(phrase).read_text(encoding="utf-8")))

    def note(self, phrase: Phrase) -> Path:
        """The note of a phrase; it is written last, and says that all of it is there."""
        content = " ".join([self.made_by, phrase.id, phrase.language, phrase.text])
        return self.folder / f"{phrase.id}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"

    def speak(self, phrases: Sequence[Phrase]) -> Iterator[Phrase]:
        """Speak phrases, like ones together, and keep them; each as soon as it is whole on disk."""
        if not phrases:
            return
        opened = models.open_one(self.recipe, _ADAPTER)
        voice = voice_of(opened, self.recipe)[self.voice]
        for some in speak_all(opened, [phrase.said for phrase in phrases], voice):
            for place, (raw, stopped) in some.items():
                found = self._kept(phrases[place], opened, raw, stopped)
                write_text(self.note(phrases[place]), json.dumps(asdict(found), ensure_ascii=False))
                yield phrases[place]

    def _kept(self, phrase: Phrase, opened: Any, raw: stimuli.Samples, stopped: bool) -> Spoken:
        sound = self.note(phrase).stem
        samples, loudness = finished(raw, opened.rate_hz, self.recipe.evaluate.loudness_lufs)
        samples = self.marks.speech(samples, opened.rate_hz)
        for kind in self.settings.formats:
            data = self.marks.file(samples, opened.rate_hz, kind, self.weights)
            write_bytes(self.folder / f"{sound}.{kind}", data)
        heard, cer = self._heard(phrase, samples, opened.rate_hz)
        return Spoken(
            id=phrase.id,
            text=phrase.text,
            said=phrase.said,
            language=phrase.language,
            sound=sound,
            formats=list(self.settings.formats),
            voice=self.voice,
            duration_s=round(len(samples) / opened.rate_hz, 3),
            loudness_lufs=loudness,
            heard=heard,
            cer=cer,
            unknown="".join(opened.unknown([phrase.said])),
            stopped=stopped,
        )

    def _heard(self, phrase: Phrase, samples: stimuli.Samples, rate_hz: int) -> tuple[str | None, float | None]:
        if self.judge is None:
            return None, None
        item = Item(phrase.said, phrase.language, self.voice)
        heard = comparable(self.judge.hear(Rendered("adapter", item, samples, rate_hz)), phrase.language)
        edits, chars = errors(phrase.said, heard)[:2]
        return heard, round(edits / chars, 4)


def voice_for(recipe: Recipe) -> str:
    """Whose voice speaks. Raises UserError for one whose owner does not allow it."""
    return marked.voice(recipe, recipe.evaluate.pack.voice, "evaluate.pack.voice")


def finished(raw: stimuli.Samples, rate_hz: int, loudness_lufs: float) -> tuple[stimuli.Samples, float | None]:
    """Speech between 200 ms of silence, at a loudness; one that would clip is quieter. And its loudness, measured."""
    samples = stimuli.level(stimuli.edges(raw, rate_hz), rate_hz, loudness_lufs)
    peak = float(np.abs(samples).max(initial=0.0))
    samples = np.asarray(samples * min(1.0, _PEAK / peak) if peak else samples, np.float32)
    least = round(0.4 * rate_hz) + 1  # the gating block of BS.1770
    padded = np.pad(samples, (0, max(0, least - len(samples))))
    measured = float(pyloudnorm.Meter(rate_hz).integrated_loudness(padded)) if peak else -np.inf
    return samples, round(measured, 2) if np.isfinite(measured) else None


def write_bytes(path: Path, data: bytes) -> None:
    """Write beside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
