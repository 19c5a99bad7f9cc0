"""Finished work that is kept, one file a clip, so that an interrupted run goes on where it stopped.

A part is named by what decides it: the clip, its transcript, the settings, the code of the steps and
the versions of the libraries under them. When one of these changes, the name changes and the clip is
done again. A file holds one line of JSON and then the FLAC bytes.
"""

import fcntl
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError

from prepare.dataset import audio_digest
from prepare.store import Store, open_store
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
    "segments.py",
    "steps.py",
    "voice.py",
)
# Settings that choose among clips or arrange utterances, and do not touch what a clip becomes.
_ELSEWHERE = {
    *("purpose", "also_for", "languages", "speakers", "split"),
    *("same_audio", "max_same_text", "mos", "voices"),
    *("workers", "executor", "parts"),
}


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


class Rated(Row):
    """DNSMOS ratings of an utterance's FLAC bytes. They outlive limits that are moved in the recipe."""

    by: str  # digest of the code and the networks
    p808: float
    ovrl: float | None = None  # none where P.808 was enough, as are `sig` and `bak`
    sig: float | None = None
    bak: float | None = None


class Refusal(Row):
    """Why a clip or a stretch of one is no utterance, and what had been measured on it by then."""

    reason: str
    quality: Quality | None = None


class Part(Row):
    """What a clip became: `finished`, `rejected`, or `pieces` that are parts of their own.

    A piece is named `NAME-01` and so on; stretches that could not be used are in `dropped`.
    """

    finished: Finished | None = None
    rated: Rated | None = None
    rejected: Refusal | None = None
    pieces: int | None = None
    dropped: list[Refusal] = Field(default_factory=list)

    @property
    def quality(self) -> Quality | None:
        """The figures of a clip that became one utterance or none."""
        found = self.finished or self.rejected
        return found.quality if found else None


def namer(recipe: Recipe) -> Callable[[records.Clip], str]:
    """What gives a clip's part its name."""
    settings = recipe.prepare.model_dump(mode="json", exclude=_ELSEWHERE)
    alike = [json.dumps(settings, sort_keys=True), code()]
    if recipe.prepare.align:
        alike.append(_recogniser(recipe.prepare.align.model))

    def name(clip: records.Clip) -> str:
        return provenance.digest([json.dumps([clip.id, clip.transcript, clip.language, *alike])])

    return name


Outcome = tuple[dict[str, Finished], list[Refusal]]


def clip_of(name: str) -> str:
    """The name of the part that a piece belongs to; any other part's own."""
    return name.partition("-")[0]


def identity(name: str, clip: records.Clip) -> str:
    """The id of the utterance that a part or piece holds; pieces of one clip go by number."""
    return clip.id + name.removeprefix(clip_of(name))


def store(recipe: Recipe) -> Store:
    """Where the parts of a recipe are: `prepare.parts`, or its work folder."""
    return open_store(recipe.prepare.parts or str(recipe.folder("prepare") / "parts"))


def outcomes(recipe: Recipe, names: Sequence[str]) -> dict[str, Outcome]:
    """What became of clips: utterances by the names of part or pieces, and what did not come through.

    Those that are not finished, or damaged, are not in it.
    """
    found = _load(recipe, names)
    pieces = _load(recipe, [piece for name, part in found.items() for piece in _pieces(name, part)])
    became: dict[str, Outcome] = {}
    for name, part in found.items():
        if part.pieces is None:
            made = {name: part.finished} if part.finished else {}
            became[name] = made, [part.rejected] if part.rejected else []
            continue
        mine = {piece: pieces[piece] for piece in _pieces(name, part) if piece in pieces}
        done = {piece: one.finished for piece, one in mine.items() if one.finished}
        if len(done) == part.pieces:
            became[name] = done, part.dropped
    return became


def files(name: str, made: Sequence[tuple[Finished, bytes]], refused: Sequence[Refusal]) -> dict[str, bytes]:
    """A clip's part as a file by its name; of several utterances, their pieces first. `refused`: the rest."""
    if len(made) == 1 and not refused:
        [(finished, audio)] = made
        return {name: _file(Part(finished=finished), audio)}
    if made or len(refused) > 1:
        pieces = {f"{name}-{n:02}": _file(Part(finished=done), audio) for n, (done, audio) in enumerate(made, 1)}
        return {**pieces, name: _file(Part(pieces=len(made), dropped=list(refused)))}
    return {name: _file(Part(rejected=refused[0]))}


def load(recipe: Recipe, name: str) -> Part | None:
    """A part without its audio; None where there is none, or a damaged one."""
    return _load(recipe, [name]).get(name)


def save(recipe: Recipe, name: str, part: Part, audio: bytes) -> None:
    """Write a part anew, of which more is known."""
    store(recipe).write({name: _file(part, audio)})


def load_audio(recipe: Recipe, digests: Mapping[str, str]) -> dict[str, bytes]:
    """The FLAC bytes of parts, given with their digests. Raises UserError for damaged ones, after removing them."""
    kept = store(recipe)
    found = kept.read(digests)
    audio = {name: found.get(name, b"").partition(b"\n")[2] for name in digests}
    for name, digest in digests.items():
        if audio_digest(audio[name]) != digest:
            kept.remove([name])
            raise UserError(f"{kept}/{name}: damaged on disk and removed; run the same command again")
    return audio


def remove(recipe: Recipe, name: str) -> None:
    """Remove a part, if it is there."""
    store(recipe).remove([name])


def keep_only(recipe: Recipe, wanted: Callable[[str], bool]) -> None:
    """Remove parts that nothing asks for any more, and what killed runs left half-written."""
    kept = store(recipe)
    for name in kept.names():
        if not wanted(clip_of(name)):
            kept.remove([name])


def _pieces(name: str, part: Part) -> list[str]:
    return [f"{name}-{number:02}" for number in range(1, (part.pieces or 0) + 1)]


def _file(part: Part, audio: bytes = b"") -> bytes:
    return part.model_dump_json().encode() + b"\n" + audio


def _load(recipe: Recipe, names: Sequence[str]) -> dict[str, Part]:
    """Parts without their audio; of those that came with it, only whole ones."""
    found = {}
    for name, data in store(recipe).heads(names).items():
        head, _, audio = data.partition(b"\n")
        try:
            part = Part.model_validate_json(head)
        except ValidationError:
            continue
        if not audio or (part.finished and audio_digest(audio) == part.finished.audio):
            found[name] = part
    return found


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


@cache
def _recogniser(model: str) -> str:
    """Digest of the code and the weights that place words in time. A model on the hub is named by the recipe."""
    here = Path(__file__).parent
    sources = [here / name for name in ("align.py", "recogniser.py", "viterbi.py")]
    if Path(model).is_dir():
        sources += [path for path in Path(model).iterdir() if path.suffix in (".json", ".safetensors")]
    return provenance.digest([*map(provenance.file_digest, sources), *_versions(("numba", "torch", "transformers"))])


@cache
def code() -> str:
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
