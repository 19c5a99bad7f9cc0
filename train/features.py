"""Utterances as the arrays a family learns from: computed once, kept on disk, read by memory map."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from rich.progress import Progress
from safetensors import safe_open
from safetensors.numpy import save_file

from prepare.dataset import decode
from train.families import Example, Family, Samples, Skip


@dataclass(frozen=True)
class Features:
    """Encoded utterances of one split, and what was skipped."""

    path: Path
    ids: list[str]
    durations_s: list[float]
    names: list[str]
    skipped: list[tuple[str, str]]  # utterance id, reason

    def __len__(self) -> int:
        return len(self.ids)

    def examples(self, indices: list[int]) -> list[Example]:
        """The arrays of some utterances."""
        with safe_open(self.path, "np") as file:
            return [{name: file.get_tensor(f"{i}.{name}") for name in self.names} for i in indices]


def encode_split(family: Family, rows: Any, voices: Mapping[str, Samples], folder: Path, key: str) -> Features:
    """Encode `rows` of a dataset, or find them encoded already.

    `key` names all that the arrays depend on besides the rows: family, base, tokenizer, aligner.
    """
    digest = hashlib.sha256("\n".join([key, *rows["id"]]).encode()).hexdigest()[:16]
    path = folder / f"{digest}.safetensors"
    if not path.exists():
        _encode(family, rows, voices, path)
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["about"])
    return Features(path, about["ids"], about["durations_s"], about["names"], [tuple(s) for s in about["skipped"]])


def _encode(family: Family, rows: Any, voices: Mapping[str, Samples], path: Path) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    ids: list[str] = []
    durations_s: list[float] = []
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    with Progress(disable=len(rows) < 20) as progress:
        for row in progress.track(rows, description="encoding"):
            try:
                voice = voices.get(row["speaker"], np.zeros(0, np.float32))
                example = family.encode(row["text_normalized"], samples_of(family, row), voice)
            except Skip as reason:
                skipped.append((row["id"], str(reason)))
                continue
            names = list(example)
            arrays |= {f"{len(ids)}.{name}": np.ascontiguousarray(array) for name, array in example.items()}
            ids.append(row["id"])
            durations_s.append(row["duration_s"])
    about = {"ids": ids, "durations_s": durations_s, "names": names, "skipped": skipped}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    try:
        save_file(arrays, part, metadata={"about": json.dumps(about)})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def samples_of(family: Family, row: Mapping[str, Any]) -> Samples:
    """The audio of a dataset row at the rate the family hears or speaks."""
    return resampled(decode(row["audio"]), row["rate_hz"], family.rate_hz)


def resampled(samples: Samples, rate_hz: int, wanted_hz: int) -> Samples:
    """Samples (n,) at another rate."""
    if rate_hz == wanted_hz:
        return samples
    return np.asarray(soxr.resample(samples, rate_hz, wanted_hz), dtype=np.float32)


def speaker_voices(family: Family, rows: Any, most: int = 20) -> dict[str, Samples]:
    """Each speaker's mean voice, over the first `most` of their utterances."""
    if family.recognises:
        return {}
    found: dict[str, list[Samples]] = {}
    for row in rows:
        clips = found.setdefault(row["speaker"], [])
        if len(clips) < most:
            clips.append(family.voice(samples_of(family, row)))
    return {speaker: np.mean(clips, axis=0).astype(np.float32) for speaker, clips in found.items()}
