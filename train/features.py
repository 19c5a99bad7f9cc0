"""Utterances as the arrays a family learns from: computed once, kept on disk, read when their batch comes."""

import hashlib
import json
import math
import os
import shutil
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from safetensors.numpy import save_file

from prepare.dataset import decode
from train.checkpoints import full_disk_named
from train.families import Example, Family, Prompted, Samples, Skip

_PROMPT_S = 5.0  # long enough to know a voice by, short enough to leave room
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I16": "<i2", "I32": "<i4", "I64": "<i8", "BOOL": "?"}
_SHARD = 256  # utterances in a file: little memory while encoding, a short header to read for a batch


class Place(NamedTuple):
    """Where in a shard an array lies."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int  # byte of the file


@dataclass(frozen=True)
class Features:
    """Encoded utterances of one split, and what was skipped."""

    folder: Path
    ids: list[str]
    durations_s: list[float]
    skipped: list[tuple[str, str]]  # utterance id, reason
    _places: dict[int, list[list[Place]]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    def examples(self, indices: list[int]) -> list[Example]:
        """The arrays of some utterances. Threads and forked processes may read at the same time."""
        return [self._example(index) for index in indices]

    def _example(self, index: int) -> Example:
        number, at = divmod(index, _SHARD)
        path = _shard(self.folder, number)
        if number not in self._places:
            self._places[number] = _places(path)
        # Read, not mapped: what was read once is no memory of this process.
        return {place.name: _array(path, place) for place in self._places[number][at]}


def encode_split(family: Family, rows: Any, voices: Mapping[str, Samples], folder: Path, key: str) -> Features:
    """Encode `rows` of a dataset, or find them encoded already.

    `key` names all that the arrays depend on besides the rows: family, base, tokenizer, aligner.
    """
    digest = hashlib.sha256("\n".join([key, *rows["id"]]).encode()).hexdigest()[:16]
    whole, part = folder / digest, folder / f".{digest}.part"
    if not whole.exists():
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _encode(family, rows, voices, part)
        os.replace(part, whole)
    about = json.loads((whole / "about.json").read_text(encoding="utf-8"))
    return Features(whole, about["ids"], about["durations_s"], [tuple(skip) for skip in about["skipped"]])


def _encode(family: Family, rows: Any, voices: Mapping[str, Samples], folder: Path) -> None:
    """Fill a folder with shards of arrays and `about.json`."""
    about: dict[str, list[Any]] = {"ids": [], "durations_s": [], "skipped": []}
    arrays: dict[str, NDArray[Any]] = {}
    with Progress(disable=len(rows) < 20, console=Console(stderr=True)) as progress:
        for row in progress.track(rows, description="encoding"):
            try:
                voice = voices.get(row["speaker"], np.zeros(0, np.float32))
                example = family.encode(row["text_normalized"], samples_of(family, row), voice)
            except Skip as reason:
                about["skipped"].append((row["id"], str(reason)))
                continue
            shard, number = divmod(len(about["ids"]), _SHARD)
            arrays |= {f"{number}.{name}": np.ascontiguousarray(array) for name, array in example.items()}
            about["ids"].append(row["id"])
            about["durations_s"].append(row["duration_s"])
            if number == _SHARD - 1:
                _save(arrays, folder, shard)
                arrays = {}
    if arrays:
        _save(arrays, folder, (len(about["ids"]) - 1) // _SHARD)
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _save(arrays: dict[str, NDArray[Any]], folder: Path, shard: int) -> None:
    with full_disk_named(folder):
        save_file(arrays, _shard(folder, shard))


def _places(path: Path) -> list[list[Place]]:
    """The arrays of each utterance of a shard.

    Source: safetensors' format: a length of eight bytes, a header of JSON, then the bytes of all arrays.
    """
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    found: dict[int, list[Place]] = {}
    for key, about in header.items():
        number, _, name = key.partition(".")
        place = Place(name, _DTYPES[about["dtype"]], tuple(about["shape"]), 8 + size + about["data_offsets"][0])
        found.setdefault(int(number), []).append(place)
    return [found[number] for number in sorted(found)]


def _array(path: Path, place: Place) -> NDArray[Any]:
    values: NDArray[Any] = np.fromfile(path, place.dtype, math.prod(place.shape), offset=place.start)
    return values.reshape(place.shape)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.safetensors"


def samples_of(family: Family, row: Mapping[str, Any]) -> Samples:
    """The audio of a dataset row at the rate the family hears or speaks."""
    return resampled(decode(row["audio"]), row["rate_hz"], family.rate_hz)


def resampled(samples: Samples, rate_hz: int, wanted_hz: int) -> Samples:
    """Samples (n,) at another rate."""
    if rate_hz == wanted_hz:
        return samples
    return np.asarray(soxr.resample(samples, rate_hz, wanted_hz), dtype=np.float32)


def prompts(rows: Iterable[tuple[str, float]], most: int = 20) -> dict[str, int]:
    """Each speaker's utterance that is to show their voice: nearest to 5 s among their first `most`.

    `rows`: speaker and duration (s) of each utterance. Returns speaker → index.
    """
    chosen: dict[str, tuple[float, int]] = {}
    seen: dict[str, int] = {}
    for index, (speaker, duration_s) in enumerate(rows):
        seen[speaker] = seen.get(speaker, 0) + 1
        if seen[speaker] <= most:
            chosen[speaker] = min(chosen.get(speaker, (math.inf, 0)), (abs(duration_s - _PROMPT_S), index))
    return {speaker: index for speaker, (_, index) in chosen.items()}


def speaker_voices(family: Family, rows: Any, most: int = 20) -> dict[str, Samples]:
    """Each speaker's mean voice, over the first `most` of their utterances; or the prompt that stands for it."""
    if family.recognises:
        return {}
    if isinstance(family, Prompted):
        chosen = prompts(zip(rows["speaker"], rows["duration_s"], strict=True), most)
        found_at = {speaker: rows[index] for speaker, index in chosen.items()}
        return {s: family.prompt(s, row["text_normalized"], samples_of(family, row)) for s, row in found_at.items()}
    found: dict[str, list[Samples]] = {}
    for row in rows:
        clips = found.setdefault(row["speaker"], [])
        if len(clips) < most:
            clips.append(family.voice(samples_of(family, row)))
    return {speaker: np.asarray(np.mean(clips, axis=0), np.float32) for speaker, clips in found.items()}
