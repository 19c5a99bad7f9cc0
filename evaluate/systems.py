"""What is compared, and on what: base model, adapter, recordings; sentences that training never saw."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from recipes.provenance import file_digest, write_text
from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder, base_hash, normalise, open_dataset, open_model, samples_of, voice_of

System = Literal["base", "adapter", "recordings"]


@dataclass(frozen=True)
class Item:
    """One sentence that all systems say, or one recording that all hear."""

    text: str  # normalised
    language: str
    speaker: str  # whose voice says it
    row: Any = None  # the dataset's row, where there is a recording

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.speaker} {self.text}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Rendered:
    """One item as one system gave it: speech, or for recognisers the text it wrote."""

    system: System
    item: Item
    samples: NDArray[np.float32] | None = None
    rate_hz: int = 0
    text: str = ""


def items(recipe: Recipe) -> tuple[list[Item], int]:
    """What is evaluated, and how many were left out because training had the same sentence.

    Recognisers hear the test split; generators say its sentences and those of `evaluate.sentences`.
    """
    data = open_dataset(recipe)
    seen = set(data["train"]["text_normalized"]) | set(data["valid"]["text_normalized"])
    found = [Item(row["text_normalized"], row["language"], row["speaker"], row) for row in data["test"]]
    if recipe.evaluate.sentences and not recipe.train.recognises:
        voice = Counter(data["train"]["speaker"]).most_common(1)[0][0]
        found += [Item(text, language, voice) for text, language in sentences(recipe)]
    unseen = [item for item in found if item.text not in seen]
    if not unseen:
        raise UserError("no unseen sentence to evaluate: give prepare.split.test a share, or evaluate.sentences")
    return list({item.id: item for item in unseen}.values())[: recipe.evaluate.max_sentences], len(found) - len(
        unseen
    )


def sentences(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The unseen sentences of the recipe's text file, normalised, with their language."""
    path, language = recipe.evaluate.sentences, recipe.evaluate.language
    if path is None:
        return
    if language is None:
        raise UserError("evaluate.language: say in which language and script evaluate.sentences is written")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise UserError(f"{path}: no such file (evaluate.sentences)") from None
    for line in lines:
        if text := normalise(line, language):
            yield text, language


def compared(recipe: Recipe) -> list[System]:
    """The systems of the recipe that exist: a model from a `config` has no base, recognition no recordings."""
    absent: set[System] = set()
    if recipe.train.base is None:
        absent.add("base")
    if recipe.train.recognises:
        absent.add("recordings")
    return [system for system in recipe.evaluate.systems if system not in absent]


def render(recipe: Recipe, system: System, wanted: list[Item]) -> list[Rendered]:
    """All items by one system. What was rendered before by the same weights is read from disk."""
    if system == "recordings":
        rate = recipe.prepare.rate_hz
        return [Rendered(system, i, recorded(i), rate) for i in wanted if i.row is not None]
    folder = recipe.folder("evaluate") / "rendered" / identity(recipe, system)
    todo = [item for item in wanted if not _file(recipe, folder, item).exists()]
    if todo:
        model = open_model(recipe, system)
        voices = {} if recipe.train.recognises else voice_of(model, recipe)
        for item in track(todo, f"{system}", console=Console(stderr=True), disable=len(todo) < 5):
            if recipe.train.recognises:
                heard = model.transcribe(samples_of(model, item.row), item.language)
                write_text(_file(recipe, folder, item), json.dumps({"text": heard}, ensure_ascii=False))
            else:
                speech = model.synthesise(item.text, voices[item.speaker])
                _write(_file(recipe, folder, item), speech, model.rate_hz)
    return [_read(recipe, system, folder, item) for item in wanted]


def recorded(item: Item) -> NDArray[np.float32]:
    """The recording of an item, at the dataset's rate."""
    from train.adapter import decode

    return decode(item.row["audio"])


def identity(recipe: Recipe, system: System) -> str:
    """A name for the weights of a system: other weights, other name."""
    settings = recipe.train
    parts = [settings.family, base_hash(settings.base) or f"{settings.base}@{settings.revision}"]
    if system == "adapter":
        parts += [file_digest(path) for path in sorted(adapter_folder(recipe).glob("*.safetensors"))]
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:16]


def _file(recipe: Recipe, folder: Path, item: Item) -> Path:
    return folder / f"{item.id}.{'json' if recipe.train.recognises else 'flac'}"


def _read(recipe: Recipe, system: System, folder: Path, item: Item) -> Rendered:
    path = _file(recipe, folder, item)
    if recipe.train.recognises:
        return Rendered(system, item, text=json.loads(path.read_text(encoding="utf-8"))["text"])
    samples, rate_hz = soundfile.read(path, dtype="float32")
    return Rendered(system, item, samples, rate_hz)


def _write(path: Path, samples: NDArray[np.float32], rate_hz: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    peak = max(1.0, float(np.abs(samples).max(initial=0.0)))
    soundfile.write(part, samples / peak, rate_hz, "PCM_16", format="FLAC")
    os.replace(part, path)
