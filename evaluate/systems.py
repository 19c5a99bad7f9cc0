"""What is compared, and on what: base model, adapter, recordings; sentences that training never saw."""

import hashlib
import json
import os
import shutil
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

from recipes.provenance import digest, file_digest, write_text
from recipes.records import Language
from recipes.schema import Recipe, UserError
from train.adapter import (
    adapter_folder,
    base_hash,
    base_revision,
    decode,
    normalise,
    open_dataset,
    open_model,
    samples_of,
    voice_of,
)

System = Literal["base", "adapter", "recordings"]


@dataclass(frozen=True)
class Item:
    """One sentence that all systems say, or one recording that all hear."""

    text: str  # normalised
    language: Language
    speaker: str  # whose voice says it
    row: Any = None  # the dataset's row, where there is a recording
    heard: bool = False  # by recognisers: then the recording counts, not the sentence alone

    @property
    def id(self) -> str:
        content = [self.speaker, self.text, *([self.row["id"]] if self.heard else [])]
        return hashlib.sha256(" ".join(content).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Rendered:
    """One item as one system gave it: speech, or for recognisers the text it wrote."""

    system: System
    item: Item
    samples: NDArray[np.float32] | None = None
    rate_hz: int = 0
    text: str = ""


def items(recipe: Recipe) -> tuple[list[Item], dict[str, int]]:
    """What is evaluated, and what was left out: reason → how many.

    Recognisers hear the test split; generators say its sentences and those of `evaluate.sentences`.
    """
    data, hears = open_dataset(recipe), recipe.train.recognises
    seen = set(data["train"]["text_normalized"]) | set(data["valid"]["text_normalized"])
    found = [Item(row["text_normalized"], row["language"], row["speaker"], row, hears) for row in data["test"]]
    if recipe.evaluate.sentences and not hears:
        voice = Counter(data["train"]["speaker"]).most_common(1)[0][0]
        found += [Item(text, language, voice) for text, language in sentences(recipe)]
    unseen = [item for item in found if item.text and item.text not in seen]
    once = list({item.id: item for item in reversed(unseen)}.values())[::-1]  # the first of each, with its recording
    kept = once[: recipe.evaluate.max_sentences]
    if not kept:
        raise UserError("no unseen sentence to evaluate: give prepare.split.test a share, or evaluate.sentences")
    empty = sum(not item.text for item in found)
    silent = sum(item.row is not None and not may_be_heard(item) for item in kept)
    left_out = {
        "recording not played: its speaker did not allow listen_test": 0 if hears else silent,
        "training had the same sentence": len(found) - empty - len(unseen),
        "the same sentence twice": len(unseen) - len(once),
        "more than evaluate.max_sentences": len(once) - len(kept),
        "no letter of the language in the line": empty,
    }
    return kept, {reason: count for reason, count in left_out.items() if count}


def sentences(recipe: Recipe) -> Iterator[tuple[str, Language]]:
    """The sentences of the recipe's text file, normalised, with their language; blank lines passed over."""
    path, language = recipe.evaluate.sentences, recipe.evaluate.language
    if path is None:
        return
    if language is None:
        raise UserError("evaluate.language: say in which language and script evaluate.sentences is written")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: {cause} (evaluate.sentences)") from None
    for line in filter(str.strip, lines):
        yield normalise(line, language), language


def compared(recipe: Recipe) -> list[System]:
    """The systems of the recipe that exist: a model from a `config` has no base, recognition no recordings.

    Raises UserError when none is left.
    """
    absent: set[System] = set()
    if recipe.train.base is None:
        absent.add("base")
    if recipe.train.recognises:
        absent.add("recordings")
    found = [system for system in dict.fromkeys(recipe.evaluate.systems) if system not in absent]
    if not found:
        raise UserError(
            f"evaluate.systems: nothing to evaluate; this recipe has no {' and no '.join(sorted(absent))}"
        )
    return found


def render(recipe: Recipe, system: System, wanted: list[Item]) -> list[Rendered]:
    """All items by one system. What the same weights rendered before, of the same data, is read from disk."""
    if system == "recordings":
        rate = recipe.prepare.rate_hz
        return [Rendered(system, item, recorded(item), rate) for item in wanted if may_be_heard(item)]
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


def may_be_heard(item: Item) -> bool:
    """Whether there is a recording, of a speaker who agreed that listeners hear it."""
    return item.row is not None and "listen_test" in item.row["purposes"]


def recorded(item: Item) -> NDArray[np.float32]:
    """The recording of an item, at the dataset's rate."""
    return decode(item.row["audio"])


def identity(recipe: Recipe, system: System) -> str:
    """A name for what decides a system's output: its weights, and the utterances its voices come from."""
    settings, data = recipe.train, open_dataset(recipe)
    parts = [settings.family, base_hash(settings.base) or f"{settings.base}@{base_revision(settings)}"]
    parts += [recipe.digest("prepare"), digest(name for split in data.values() for name in split["id"])]
    parts += [str(settings.vocoder), str(settings.speaker_encoder)]
    if system == "adapter":
        parts += [file_digest(path) for path in sorted(adapter_folder(recipe).glob("*.safetensors"))]
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:16]


def forget(recipe: Recipe) -> None:
    """Remove what other weights, or other data, rendered: a voice that left must not live on here."""
    kept = {identity(recipe, "base"), identity(recipe, "adapter")}
    for folder in (recipe.folder("evaluate") / "rendered").glob("*"):
        if folder.name not in kept:
            shutil.rmtree(folder)


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
