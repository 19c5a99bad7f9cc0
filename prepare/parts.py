"""Finished work that is kept, one file a clip, so that an interrupted run goes on where it stopped.

A part is named by what decides it: the clip, its transcript, the settings, the code of the steps and
the versions of the libraries under them. When one of these changes, the name changes and the clip is
done again. A file holds one line of JSON and then the FLAC bytes.
"""

import fcntl
import json
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from prepare.dataset import audio_digest
from recipes import provenance, records
from recipes.records import Language, Quality, Row
from recipes.schema import Recipe, UserError

_LIBRARIES = ("numpy", "onnxruntime", "pyloudnorm", "silero-vad", "soundfile", "soxr")
# Settings that choose among clips or arrange utterances, and do not touch what a clip becomes.
_ELSEWHERE = {"purpose", "also_for", "languages", "speakers", "split", "workers"}


class Finished(Row):
    """What a clip became. `audio` is the digest of its FLAC bytes."""

    text: str
    text_normalized: str
    language: Language
    flags: list[str]
    rate_hz: int
    duration_s: float
    quality: Quality
    audio: str


class Part(Row):
    """Either `finished`, or `rejected` with the reason."""

    finished: Finished | None = None
    rejected: str | None = None


def key(recipe: Recipe, clip: records.Clip) -> str:
    """The name of a clip's part."""
    settings = recipe.prepare.model_dump(mode="json", exclude=_ELSEWHERE)
    made_of = [clip.id, clip.transcript, clip.language, json.dumps(settings, sort_keys=True), _code()]
    return provenance.digest([json.dumps(made_of)])


def save(recipe: Recipe, name: str, part: Part, audio: bytes = b"") -> None:
    """Write a part, whole or not at all."""
    path = _folder(recipe) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{name}.{os.getpid()}")
    try:
        beside.write_bytes(part.model_dump_json().encode() + b"\n" + audio)
        os.replace(beside, path)
    except OSError as error:  # a full disk: the system does not say which file
        raise OSError(error.errno, error.strerror, str(path.parent)) from None
    finally:
        beside.unlink(missing_ok=True)


def load(recipe: Recipe, name: str) -> Part | None:
    """A part without its audio; None where there is none, or a damaged one."""
    try:
        with open(_folder(recipe) / name, "rb") as file:
            return Part.model_validate_json(file.readline())
    except (FileNotFoundError, ValidationError):
        return None


def load_audio(recipe: Recipe, name: str, digest: str) -> bytes:
    """The FLAC bytes of a part. Raises UserError for damaged ones, after removing them."""
    path = _folder(recipe) / name
    with open(path, "rb") as file:
        file.readline()
        audio = file.read()
    if audio_digest(audio) != digest:
        path.unlink()
        raise UserError(f"{path}: damaged on disk and removed; run the same command again")
    return audio


def keep_only(recipe: Recipe, names: Container[str]) -> None:
    """Remove parts that nothing asks for any more, and what killed runs left half-written."""
    for path in _folder(recipe).glob("*"):
        if path.name not in names:
            path.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One run at a time in a folder, or UserError. The lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another run is at work here; wait for it to end") from None
        yield


def _folder(recipe: Recipe) -> Path:
    return recipe.folder("prepare") / "parts"


@cache
def _code() -> str:
    """Digest of the source that decides what a clip becomes, and of the libraries under it."""
    from importlib.metadata import PackageNotFoundError, version

    here = Path(__file__).parent
    names = ("clip.py", "quality.py", "steps.py", "voice.py", "chain.py")
    text = (path for path in (here / "text").rglob("*") if path.suffix in (".py", ".yaml", ".txt"))
    sources = [*(here / name for name in names), *sorted(text)]
    found = [provenance.file_digest(path) for path in sources]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return provenance.digest(found)
