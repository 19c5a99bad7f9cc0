"""An export beside the original: what they write or say of the same unseen clips, how big they are and how fast."""

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from evaluate import acoustic
from evaluate.edge.bundle import size_mib
from evaluate.items import Item
from evaluate.recognition import comparable, errors
from recipes.schema import Recipe
from train.adapter import samples_of

VERSIONS = ("float", "int8")


@dataclass(frozen=True)
class Row:
    """One version in figures; those of the other kind of model are None.

    `differs`: edits between its text and the original's, a letter. `mel_db`: mel-cepstral distortion to the
    original's speech, the mean over clips. `duration_change`: seconds longer or shorter, a second of the original.
    """

    version: str
    size_mib: float
    real_time_factor: float  # seconds of work for a second of speech, on one core
    cer: float | None = None
    differs: float | None = None
    mel_db: float | None = None
    duration_change: float | None = None


def measure(recipe: Recipe, family: Any, voice: Any, folder: Path, items: Sequence[Item]) -> list[Row]:
    """The original first, then each version in the folder, all on one core."""
    models = {version: opened(folder / version) for version in VERSIONS}
    compared = _heard if recipe.train.recognises else _spoken
    with one_core():
        return compared(family, voice, models, folder, items)


def faults(recipe: Recipe, rows: Sequence[Row]) -> list[str]:
    """Where a version is further from the original than the recipe tolerates."""
    limits, (original, *others) = recipe.evaluate.edge, rows
    found = []
    for row in others:
        if row.cer is not None and original.cer is not None and row.cer - original.cer > limits.max_cer_change:
            rise = row.cer - original.cer
            found.append(f"{row.version}: CER rises by {rise:.4f}, over evaluate.edge.max_cer_change")
        if row.mel_db is not None and not row.mel_db <= limits.max_mel_db:
            found.append(f"{row.version}: {row.mel_db:.2f} dB from the original, over evaluate.edge.max_mel_db")
        if row.duration_change is not None and not row.duration_change <= limits.max_duration_change:
            share = f"{row.duration_change:.1%}"
            found.append(f"{row.version}: durations change by {share}, over evaluate.edge.max_duration_change")
    return found


def opened(folder: Path) -> Any:
    """The model of a folder, run by the run.py that lies there."""
    plan: Any = importlib.util.spec_from_file_location("run", folder / "run.py")
    module = importlib.util.module_from_spec(plan)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        plan.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module.Model(folder)


@contextmanager
def one_core() -> Iterator[None]:
    """Let torch work on one core, as onnxruntime does here."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _heard(family: Any, _: Any, models: dict[str, Any], folder: Path, items: Sequence[Item]) -> list[Row]:
    clips = [samples_of(family, item.row) for item in items]
    work: dict[str, Callable[[int], Any]] = {
        "original": lambda number: family.transcribe(clips[number], items[number].language)
    }
    work |= {version: partial(_transcribe, model, clips) for version, model in models.items()}
    said, took_s = _timed(work, len(items))
    texts = {
        version: [comparable(text, item.language) for text, item in zip(found, items, strict=True)]
        for version, found in said.items()
    }
    heard_s = sum(len(clip) for clip in clips) / family.rate_hz
    return [
        Row(
            version,
            size_mib(folder / ("merged" if version == "original" else version)),
            took_s[version] / heard_s,
            cer=error_rate([item.text for item in items], texts[version]),
            differs=error_rate(texts["original"], texts[version]),
        )
        for version in work
    ]


def _spoken(family: Any, voice: Any, models: dict[str, Any], folder: Path, items: Sequence[Item]) -> list[Row]:
    work: dict[str, Callable[[int], Any]] = {"original": lambda number: family.synthesise(items[number].text, voice)}
    work |= {version: partial(_speak, model, items) for version, model in models.items()}
    said, took_s = _timed(work, len(items))
    rows = []
    for version, clips in said.items():
        pairs = list(zip(clips, said["original"], strict=True))
        apart = sum(abs(len(one) - len(other)) for one, other in pairs)
        rows.append(
            Row(
                version,
                size_mib(folder / ("merged" if version == "original" else version)),
                took_s[version] * family.rate_hz / sum(len(one) for one in clips),
                mel_db=float(np.mean([_distance_db(one, other, family.rate_hz) for one, other in pairs])),
                duration_change=apart / sum(len(other) for _, other in pairs),
            )
        )
    return rows


def _transcribe(model: Any, clips: Sequence[Any], number: int) -> str:
    text: str = model.transcribe(clips[number])
    return text


def _speak(model: Any, items: Sequence[Item], number: int) -> Any:
    return model.speak(items[number].text)


def _distance_db(one: Any, other: Any, rate_hz: int) -> float:
    if len(one) == len(other) and np.array_equal(one, other):
        return 0.0
    return acoustic.distance(one, other, rate_hz).mcd_db


def error_rate(texts: Sequence[str], heard: Sequence[str]) -> float:
    """Edits of letters over letters, of all clips together. An empty reference counts as one letter."""
    counts = [errors(text, said)[:2] if text else (len(said), 1) for text, said in zip(texts, heard, strict=True)]
    return sum(edits for edits, _ in counts) / sum(letters for _, letters in counts)


def _timed(work: dict[str, Callable[[int], Any]], count: int) -> tuple[dict[str, list[Any]], dict[str, float]]:
    """What each version makes of each clip, in turn, and the seconds it took; once before, to warm up."""
    said: dict[str, list[Any]] = {version: [] for version in work}
    took_s = dict.fromkeys(work, 0.0)
    for version in work:
        work[version](0)
    for number in track(range(count), "comparing", console=Console(stderr=True), disable=count < 5):
        for version, make in work.items():
            started = time.perf_counter()
            said[version].append(make(number))
            took_s[version] += time.perf_counter() - started
    return said, took_s
