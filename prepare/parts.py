"""Finished work that is kept, one file a clip, so that an interrupted run goes on where it stopped.

A part is named by what decides it: the clip, its transcript, the settings, the code of the steps and
the versions of the libraries under them. When one of these changes, the name changes and the clip is
done again. A file holds one line of JSON and then the FLAC bytes.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError

from prepare.dataset import audio_digest
from recipes import provenance, records
from recipes.records import Language, Quality, Row, Word
from recipes.schema import Recipe, UserError

_LIBRARIES = ("numpy", "onnxruntime", "pyloudnorm", "silero-vad", "soundfile", "soxr")
# Settings that choose among clips or arrange utterances, and do not touch what a clip becomes.
_ELSEWHERE = {"purpose", "also_for", "languages", "speakers", "split", "workers"}


class Finished(Row):
    """An utterance that a clip became. `audio` is the digest of its FLAC bytes."""

    text: str
    text_normalized: str
    language: Language
    flags: list[str]
    rate_hz: int
    duration_s: float
    words: list[Word]
    quality: Quality
    audio: str


class Part(Row):
    """What a clip became: `finished`, `rejected` with the reason, or `pieces` that are parts of their own.

    A piece is named `NAME-01` and so on; reasons of stretches that could not be used are in `dropped`.
    """

    finished: Finished | None = None
    rejected: str | None = None
    pieces: int | None = None
    dropped: list[str] = Field(default_factory=list)


def namer(recipe: Recipe) -> Callable[[records.Clip], str]:
    """What gives a clip's part its name."""
    settings = recipe.prepare.model_dump(mode="json", exclude=_ELSEWHERE)
    alike = [json.dumps(settings, sort_keys=True), _code()]
    if recipe.prepare.align:
        alike.append(_recogniser(recipe.prepare.align.model))

    def name(clip: records.Clip) -> str:
        return provenance.digest([json.dumps([clip.id, clip.transcript, clip.language, *alike])])

    return name


def clip_of(name: str) -> str:
    """The name of the part that a piece belongs to; any other part's own."""
    return name.partition("-")[0]


def utterances(recipe: Recipe, name: str) -> tuple[dict[str, Finished], list[str]] | None:
    """What became of a clip, by the names of its part or pieces, and the reasons of what did not come through.

    None where it is not finished, or damaged.
    """
    part = load(recipe, name)
    if part is None:
        return None
    if part.pieces is None:
        return {name: part.finished} if part.finished else {}, [part.rejected] if part.rejected else []
    names = [f"{name}-{number:02}" for number in range(1, part.pieces + 1)]
    pieces = {piece: found.finished for piece in names if (found := load(recipe, piece)) and found.finished}
    return (pieces, part.dropped) if len(pieces) == part.pieces else None


def save_pieces(recipe: Recipe, name: str, made: Sequence[tuple[Finished, bytes]], dropped: list[str]) -> None:
    """Write the pieces of a clip, and then the part that says how many they are."""
    for number, (finished, audio) in enumerate(made, 1):
        save(recipe, f"{name}-{number:02}", Part(finished=finished), audio)
    save(recipe, name, Part(pieces=len(made), dropped=dropped))


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


def remove(recipe: Recipe, name: str) -> None:
    """Remove a part, if it is there."""
    (_folder(recipe) / name).unlink(missing_ok=True)


def keep_only(recipe: Recipe, wanted: Callable[[str], bool]) -> None:
    """Remove parts that nothing asks for any more, and what killed runs left half-written."""
    if not _folder(recipe).is_dir():
        return
    with os.scandir(_folder(recipe)) as entries:
        for entry in entries:
            if not wanted(clip_of(entry.name)):
                os.unlink(entry.path)


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
def _recogniser(model: str) -> str:
    """Digest of the code and the weights that place words in time. A model on the hub is named by the recipe."""
    here = Path(__file__).parent
    sources = [here / name for name in ("align.py", "recogniser.py", "viterbi.py")]
    if Path(model).is_dir():
        sources += [path for path in Path(model).iterdir() if path.suffix in (".json", ".safetensors")]
    return provenance.digest([*map(provenance.file_digest, sources), *_versions(("numba", "torch", "transformers"))])


@cache
def _code() -> str:
    """Digest of the source that decides what a clip becomes, and of the libraries under it."""
    here = Path(__file__).parent
    names = ("clip.py", "quality.py", "steps.py", "voice.py", "chain.py")
    text = (path for path in (here / "text").rglob("*") if path.suffix in (".py", ".yaml", ".txt"))
    sources = [*(here / name for name in names), *sorted(text)]
    return provenance.digest([*map(provenance.file_digest, sources), *_versions(_LIBRARIES)])


def _versions(libraries: Iterable[str]) -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, version

    for name in libraries:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} absent"
