"""Finished work that is kept, one file a clip, so that an interrupted run goes on where it stopped.

A part is named by what decides it: the clip, its transcript, the settings, the code of the steps and
the versions of the libraries under them. When one of these changes, the name changes and the clip is
done again. A file holds one line of JSON and then the FLAC bytes.
"""

import fcntl
import json
import os
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError

from prepare.dataset import audio_digest
from recipes import provenance, records
from recipes.records import Language, Quality, Row, Word
from recipes.schema import Recipe, UserError

_LIBRARIES = ("numpy", "onnxruntime", "pyloudnorm", "scipy", "silero-vad", "soundfile", "soxr")
# What decides what a clip becomes, beside the text front-ends.
_STEPS = (
    "active_level.py",
    "chain.py",
    "clicks.py",
    "clip.py",
    "fingerprint.py",
    "limits.py",
    "noise.py",
    "quality.py",
    "reverberation.py",
    "steps.py",
    "voice.py",
)
# Settings that choose among clips or arrange utterances, and do not touch what a clip becomes.
_ELSEWHERE = {"purpose", "also_for", "languages", "speakers", "same_audio", "max_same_text", "split", "workers"}


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
    sound: str  # what it is known by: prepare.fingerprint
    audio: str


class Refusal(Row):
    """Why a clip or a stretch of one is no utterance, and what had been measured on it by then."""

    reason: str
    quality: Quality | None = None


class Part(Row):
    """What a clip became: `finished`, `rejected`, or `pieces` that are parts of their own.

    A piece is named `NAME-01` and so on; stretches that could not be used are in `dropped`.
    """

    finished: Finished | None = None
    rejected: Refusal | None = None
    pieces: int | None = None
    dropped: list[Refusal] = Field(default_factory=list)

    @property
    def quality(self) -> Quality | None:
        """The figures of a clip that became one utterance or none."""
        found = self.finished or self.rejected
        return found.quality if found else None


def key(recipe: Recipe, clip: records.Clip) -> str:
    """The name of a clip's part."""
    settings = recipe.prepare.model_dump(mode="json", exclude=_ELSEWHERE)
    made_of = [clip.id, clip.transcript, clip.language, json.dumps(settings, sort_keys=True), _code()]
    if recipe.prepare.align:
        made_of.append(_recogniser(recipe.prepare.align.model))
    return provenance.digest([json.dumps(made_of)])


def clip_of(name: str) -> str:
    """The name of the part that a piece belongs to; any other part's own."""
    return name.partition("-")[0]


def utterances(recipe: Recipe, name: str) -> tuple[dict[str, Finished], list[Refusal]] | None:
    """What became of a clip, by the names of its part or pieces, and what of it did not come through.

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


def save_pieces(recipe: Recipe, name: str, made: Sequence[tuple[Finished, bytes]], dropped: list[Refusal]) -> None:
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


def keep_only(recipe: Recipe, names: Container[str]) -> None:
    """Remove parts that nothing asks for any more, and what killed runs left half-written."""
    for path in _folder(recipe).glob("*"):
        if clip_of(path.name) not in names:
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
    text = (path for path in (here / "text").rglob("*") if path.suffix in (".py", ".yaml", ".txt"))
    sources = [*(here / name for name in _STEPS), *sorted(text)]
    return provenance.digest([*map(provenance.file_digest, sources), *_versions(_LIBRARIES)])


def _versions(libraries: Iterable[str]) -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, version

    for name in libraries:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} absent"
