"""Audio at rest: FLAC under the speaker's key, in files named by the recording, complete or not there."""

import io
import os
import time
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from collect.keys import KeyStore
from recipes.schema import UserError

_DAY_S = 86_400


def put(folder: Path, keys: KeyStore, speaker: str, name: str, samples: NDArray[np.float32], rate_hz: int) -> str:
    """Keep samples, float32 (n, channels), as encrypted 24-bit FLAC. Returns the path relative to the folder.

    The bytes are on the disk, under their name, when this returns.
    """
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), rate_hz, "PCM_24", format="FLAC", compression_level=0.25)
    path = folder / name[:2] / f"{name}.flac.sealed"
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        _sync(folder)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(part, "wb") as file:
            file.write(keys.seal(speaker, buffer.getvalue(), name))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)
    return path.relative_to(folder).as_posix()


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


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
