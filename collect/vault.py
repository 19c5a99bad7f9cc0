"""Audio at rest: FLAC files named by the recording they came from, complete or not there."""

import io
import os
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from recipes.schema import UserError


def put(folder: Path, name: str, samples: NDArray[np.float32], rate_hz: int) -> str:
    """Keep samples, float32 (n, channels), as 24-bit FLAC. Returns the path relative to the folder.

    The bytes are on the disk, under their name, when this returns.
    """
    path = folder / name[:2] / f"{name}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), rate_hz, "PCM_24", format="FLAC")
    part = path.with_suffix(f".{os.getpid()}")
    try:
        with open(part, "wb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return path.relative_to(folder).as_posix()


def get(folder: Path, audio: str) -> tuple[NDArray[np.float32], int]:
    """Samples, float32 (n, channels), and their rate. Raises UserError when the file is gone or damaged."""
    path = folder / audio
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise UserError(f"{path}: lost or damaged ({error}); run collect.ingest again") from None
    return samples, int(rate_hz)
