"""Speech (or, of recognisers, text) by models of ours; what the same weights made before is read from disk."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from evaluate.items import Item, Rendered
from recipes.provenance import digest, file_digest, write_text
from recipes.schema import Recipe, Trained, UserError
from train.adapter import (
    adapter_folder,
    base_hash,
    base_revision,
    open_dataset,
    open_model,
    quicken,
    samples_of,
    voice_of,
)


@dataclass(frozen=True)
class Model:
    """A system that is a model of ours."""

    name: str
    which: Literal["base", "adapter"]
    folder: Path | None = None  # of its adapter; None: the recipe's own, or none

    @classmethod
    def of(cls, system: str | Trained) -> "Model":
        """What a recipe's word or mapping means. Raises UserError for a folder without an adapter."""
        if not isinstance(system, Trained):
            return cls(system, "adapter" if system == "adapter" else "base")
        for folder in (system.adapter, system.adapter / "adapter"):
            if (folder / "lineage.json").is_file():
                return cls(system.name, "adapter", folder)
        raise UserError(f"{system.adapter}: no adapter there ({system.name}); name a folder that training made")


def open_one(recipe: Recipe, model: Model) -> Any:
    """The model itself. Raises UserError as `train.adapter.open_model` does."""
    opened = open_model(recipe, model.which, model.folder)
    quicken(opened.model)
    return opened


def render(recipe: Recipe, model: Model, wanted: Sequence[Item]) -> list[Rendered]:
    """All items by one model."""
    folder = recipe.folder("evaluate") / "rendered" / identity(recipe, model)
    todo = [item for item in wanted if not _file(recipe, folder, item).exists()]
    if todo:
        opened = open_one(recipe, model)
        voices = {} if recipe.train.recognises else voice_of(opened, recipe)
        for item in track(todo, model.name, console=Console(stderr=True), disable=len(todo) < 5):
            path = _file(recipe, folder, item)
            if recipe.train.recognises:
                heard = opened.transcribe(samples_of(opened, item.row), item.language)
                write_text(path, json.dumps({"text": heard}, ensure_ascii=False))
            else:
                speech, took_s, memory_mib = metered(partial(opened.synthesise, item.text, voices[item.speaker]))
                write_text(path.with_suffix(".json"), json.dumps({"took_s": took_s, "memory_mib": memory_mib}))
                write_sound(path, speech, opened.rate_hz)
    return [_read(recipe, model.name, folder, item) for item in wanted]


def identity(recipe: Recipe, model: Model) -> str:
    """A name for what decides a model's output: its weights and those beside it, and where its voices come from."""
    settings, data = recipe.train, open_dataset(recipe)
    parts = [settings.family, base_hash(settings.base) or f"{settings.base}@{base_revision(settings)}"]
    parts += [recipe.digest("prepare"), digest(name for split in data.values() for name in split["id"])]
    parts += [base_hash(name) or str(name) for name in (settings.vocoder, settings.speaker_encoder, settings.codec)]
    parts += [str(settings.mms_adapter), str(settings.quantise)]
    if model.which == "adapter":
        parts.append(str(settings.audio_context))  # the base hears as much as it was published with
        folder = model.folder or adapter_folder(recipe)
        parts += [file_digest(path) for path in sorted(folder.glob("*.safetensors"))]
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:16]


def metered(work: Callable[[], Any]) -> tuple[Any, float, float | None]:
    """What `work` gives, the seconds it took, and the MiB that the process (or the GPU) held at most meanwhile.

    The high-water mark of a process is Linux's VmHWM, set back before; elsewhere it is not known (None).
    """
    import torch

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        _forget_peak()
    started = time.perf_counter()
    found = work()
    if gpu:
        torch.cuda.synchronize()
    took_s = time.perf_counter() - started
    return found, took_s, torch.cuda.max_memory_allocated() / 2**20 if gpu else _peak_mib()


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak since the start is then reported
        return


def _peak_mib() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


def _file(recipe: Recipe, folder: Path, item: Item) -> Path:
    return folder / f"{item.id}.{'json' if recipe.train.recognises else 'flac'}"


def _read(recipe: Recipe, name: str, folder: Path, item: Item) -> Rendered:
    path = _file(recipe, folder, item)
    if recipe.train.recognises:
        return Rendered(name, item, text=json.loads(path.read_text(encoding="utf-8"))["text"])
    samples, rate_hz = soundfile.read(path, dtype="float32")
    noted = path.with_suffix(".json")
    took = json.loads(noted.read_text(encoding="utf-8")) if noted.exists() else {}
    return Rendered(name, item, samples, rate_hz, took_s=took.get("took_s"), memory_mib=took.get("memory_mib"))


def write_sound(path: Path, samples: NDArray[np.float32], rate_hz: int) -> None:
    """Samples, float32 (n,), as FLAC; what is beyond full scale is turned down whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    peak = max(1.0, float(np.abs(samples).max(initial=0.0)))
    soundfile.write(part, samples / peak, rate_hz, "PCM_16", format="FLAC")
    os.replace(part, path)
