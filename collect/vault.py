"""Audio at rest: FLAC under the speaker's key, in files named by the recording, complete or not there."""

import hashlib
import io
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident

import numpy as np
import soundfile
from numpy.typing import NDArray

from collect.keys import KeyStore
from recipes.provenance import onto_the_disk
from recipes.schema import UserError

_DAY_S = 86_400
_WAITING = 8  # files that wait for the disk at once


@dataclass(frozen=True)
class Sound:
    """What is to be kept: samples, float32 (n, channels), under a speaker's key and a name."""

    speaker: str
    name: str
    samples: NDArray[np.float32]
    rate_hz: int


def put(folder: Path, keys: KeyStore, sounds: Sequence[Sound]) -> list[str]:
    """Keep sounds as encrypted 24-bit FLAC. Returns their paths relative to the folder.

    The bytes are on the disk, under their names, when this returns: each file is written beside, synced,
    renamed, and then its folder is synced. Several sounds wait for the disk together.
    """
    paths = [folder / path_of(sound.speaker, sound.name) for sound in sounds]
    for parent in {path.parent for path in paths}:
        if not parent.is_dir():
            parent.mkdir(parents=True, exist_ok=True)
            onto_the_disk(folder)
    parts = [path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}") for path in paths]
    try:
        sealed = (keys.seal(sound.speaker, flac(sound), sound.name) for sound in sounds)
        if len(sounds) == 1:
            _write(parts[0], next(sealed))
        else:
            with ThreadPoolExecutor(_WAITING) as pool:
                list(pool.map(_write, parts, sealed))
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    for parent in {path.parent for path in paths}:
        onto_the_disk(parent)
    return [path.relative_to(folder).as_posix() for path in paths]


def path_of(speaker: str, name: str) -> str:
    """Where a speaker's sound of this name is kept, relative to the folder.

    Two speakers never share a file, and who holds a recording cannot tell from the folder that it is here.
    """
    place = hashlib.sha256(f"{speaker}\n{name}".encode()).hexdigest()
    return f"{place[:1]}/{place}.flac.sealed"


def flac(sound: Sound) -> bytes:
    """A sound as 24-bit FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(sound.samples, -1, 1), sound.rate_hz, "PCM_24", format="FLAC")
    return buffer.getvalue()


def get(folder: Path, keys: KeyStore, speaker: str, name: str, audio: str) -> bytes:
    """The FLAC bytes. Raises keys.Gone without the speaker's key, UserError when the file is lost or damaged."""
    try:
        sealed = (folder / audio).read_bytes()
    except OSError as error:
        raise UserError(f"{folder / audio}: lost ({error.strerror}); run collect.ingest again") from None
    return keys.open(speaker, sealed, name)


def decode(flac: bytes) -> tuple[NDArray[np.float32], int]:
    """Samples, float32 (n, channels), and their rate."""
    samples, rate_hz = soundfile.read(io.BytesIO(flac), dtype="float32", always_2d=True)
    return samples, int(rate_hz)


def remove(folder: Path, audio: str) -> None:
    """Remove a file, if it is there."""
    (folder / audio).unlink(missing_ok=True)


def sweep(folder: Path, known: set[str]) -> int:
    """Remove what an interrupted write left: files that no clip names, a day old or more. How many."""
    oldest, count = time.time() - _DAY_S, 0
    for path in folder.glob("*/*"):
        if path.relative_to(folder).as_posix() not in known and path.stat().st_mtime < oldest:
            path.unlink()
            count += 1
    return count


def _write(path: Path, data: bytes) -> None:
    try:
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # of a full disk the system does not say which
        raise OSError(error.errno, error.strerror, str(path.parent)) from None
