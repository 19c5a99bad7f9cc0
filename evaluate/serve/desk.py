"""What stands behind the routes: the models in memory, their voices, and a queue for the one that works."""

import asyncio
import math
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request

from evaluate import feedback, marked, models, stimuli
from evaluate.models import Model
from evaluate.serve.metrics import Metrics
from evaluate.serve.refusal import Refused
from recipes.provenance import is_withdrawn
from recipes.records import Purpose
from recipes.schema import Recipe, Trained, UserError
from train.adapter import (
    adapter_folder,
    base_hash,
    base_revision,
    dataset_folder,
    open_dataset,
    refuse_untrusted,
    revocation,
    share,
    sources,
    voice_of,
)

_MEASURED = 40  # letters of the sentence that a voice's loudness is known by: three seconds
_REMEMBERED = 10_000  # answers about which users can say something
Made = TypeVar("Made")


@dataclass(frozen=True)
class Offered:
    """A model that can be asked for."""

    name: str
    weights: str  # the hash of the adapter, or what names the base
    folder: Path | None  # of the adapter


@dataclass(frozen=True)
class Opened(Offered):
    """A model in memory."""

    family: Any
    voices: dict[str, Any]  # by speaker; none of a recogniser

    @property
    def recognises(self) -> bool:
        return bool(self.family.recognises)


class Desk:
    """The models, and one thread that works with them: a model answers one request at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.settings = recipe, recipe.evaluate.serve
        self.key = key_of(recipe)
        spoken = Counter(open_dataset(recipe)["train"]["language"])
        self.languages = [language for language, _ in spoken.most_common()]
        self.marks = marked.Marks(recipe, None) if recipe.train.recognises else marked.Marks.of(recipe)
        self.recognises = recipe.train.recognises
        self.voices = [] if self.recognises else allowed_voices(recipe)
        self.clips = {voice: marked.clips_of(recipe, voice) for voice in self.voices}
        names = dict.fromkeys([*self.settings.models, *self.settings.later])
        self.offered = {name: _offered(recipe, name) for name in names}
        self.models: dict[str, Opened] = {}
        for name in self.settings.models:
            self._take_in(name)
        self.metrics, self.feedback = Metrics(), feedback.path_of(recipe)
        self.answered: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._inside, self._turn = 0, asyncio.Lock()
        self._thread, self._usual_s = ThreadPoolExecutor(1), 1.0
        self._gains: dict[tuple[str, str], float] = {}

    def _take_in(self, name: str) -> None:
        """Open a model; what it has in common with those that are open is held once."""
        if name not in self.models:
            opened = _open(self.recipe, self.offered[name], self.voices)
            for other in self.models.values():
                share(opened.family, other.family)
            self.models[name] = opened

    async def open(self, request: Request, name: object) -> None:
        """Open a model that the recipe lets wait until it is asked for. Raises Refused where it must not be used."""
        if not isinstance(name, str) or name not in self.offered or name in self.models:
            return
        with self.place():
            try:
                await self.work(request, lambda: self._take_in(name), usual=False)
            except UserError as error:
                print(f"{name} cannot be opened: {error}", flush=True)
                raise Refused(503, "model_unavailable", f"{name} cannot be opened; the log says why") from None

    def model(self, name: object, recognises: bool) -> Opened:
        """A model by its name. Raises Refused where there is none, or what it was made from was withdrawn."""
        found = self.models.get(name) if isinstance(name, str) else None
        if found is None:
            known = ", ".join(self.offered)
            raise Refused(404, "model_not_found", f"no such model here; there is: {known}", "model")
        if found.recognises != recognises:
            does = "transcribes, it does not speak" if found.recognises else "speaks, it does not transcribe"
            raise Refused(400, "wrong_model", f"{found.name} {does}", "model")
        if is_withdrawn(dataset_folder(self.recipe)) or (found.folder and is_withdrawn(found.folder)):
            raise Refused(410, "withdrawn", "this model was made from recordings that were withdrawn since", "model")
        return found

    def allows(self, voice: str) -> bool:
        """Whether the speaker still lets their voice say other words, at this moment."""
        asked: list[Purpose] = ["tts_clone"]
        return all(sources.allowed_now(self.recipe, [(voice, clip, asked) for clip in sorted(self.clips[voice])]))

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue. Raises Refused, with when to come again, where there is none."""
        if self._inside >= self.settings.queue:
            again_s = min(60, max(1, math.ceil(self._usual_s * self._inside)))
            raise Refused(429, "busy", f"{self._inside} requests wait; come again in {again_s} s", None, again_s)
        self._inside += 1
        self.metrics.count("twiza_waiting")
        try:
            yield
        finally:
            self._inside -= 1
            self.metrics.count("twiza_waiting", -1)

    async def work(self, request: Request, job: Callable[[], Made], usual: bool = True) -> tuple[Made, float]:
        """Do the job when its turn has come, first come, first served. What it made, and the seconds it took.

        `usual`: whether others may expect to wait as long for theirs.
        """
        loop = asyncio.get_running_loop()
        async with self._turn:
            if await request.is_disconnected():  # nobody waits for it any more
                raise Refused(499, "gone", "the client went away")
            started = loop.time()
            made = await loop.run_in_executor(self._thread, job)
            took_s = loop.time() - started
        if usual:
            self.expect(took_s)
        return made, took_s

    def expect(self, took_s: float) -> None:
        """Others may expect to wait as long for their turn."""
        self._usual_s += 0.2 * (took_s - self._usual_s)

    def end(self, pieces: Generator[Any]) -> None:
        """End work of which nobody wants the rest, when the thread is done with the piece at hand."""
        with suppress(RuntimeError):  # no thread any more: the server ends
            self._thread.submit(pieces.close)

    def gain(self, model: Opened, voice: str) -> float:
        """The factor that brings a voice to the recipe's loudness, by one sentence of its speaker's, spoken once.

        So it is the same for all that the voice says, whatever was asked before.
        """
        if (model.name, voice) not in self._gains:
            train = open_dataset(self.recipe)["train"]
            texts = [t for t, who in zip(train["text_normalized"], train["speaker"], strict=True) if who == voice]
            said = min(texts, key=lambda text: (abs(len(text) - _MEASURED), text))
            samples, rate_hz = model.family.synthesise(said, model.voices[voice]), model.family.rate_hz
            self._gains[model.name, voice] = stimuli.gain(samples, rate_hz, self.recipe.evaluate.loudness_lufs)
        return self._gains[model.name, voice]

    def remember(self, name: str, model: Opened, kind: str) -> None:
        """Note an answer, without its words, so that users can say something about it."""
        self.answered[name] = {"kind": kind, "model": model.name, "weights": model.weights}
        while len(self.answered) > _REMEMBERED:
            self.answered.popitem(last=False)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(cancel_futures=True)


def key_of(recipe: Recipe) -> str | None:
    """The key that clients send; None where none is asked for. Raises UserError where it is not set."""
    name = recipe.evaluate.serve.key_env
    if name is None:
        return None
    if not (key := os.environ.get(name, "").strip()):
        raise UserError(f"evaluate.serve.key_env: the environment variable {name} is not set, or empty")
    return key


def allowed_voices(recipe: Recipe) -> list[str]:
    """Who may be asked for. Raises UserError for one whose owner does not allow it."""
    allow, asked = marked.voices(recipe), recipe.evaluate.serve.voices
    if asked is None:
        return allow
    if not asked or (wrong := sorted(set(asked) - set(allow))):
        who = f"{wrong[0]} is no speaker who allows tts_clone" if asked else "nobody is named"
        raise UserError(f"evaluate.serve.voices: {who}; allowed: {', '.join(allow)}")
    return asked


def _offered(recipe: Recipe, name: str) -> Offered:
    """What is known of a model before it is opened. Raises UserError for one that must not be used."""
    model = _named(recipe, name)
    folder = (model.folder or adapter_folder(recipe)) if model.which == "adapter" else None
    if folder is None:
        base = base_hash(recipe.train.base) or f"{recipe.train.base}@{base_revision(recipe.train)}"
        return Offered(name, f"none, base {base}", None)
    if not folder.is_dir():
        raise UserError(f"{folder}: no adapter there yet; run python -m train on this recipe first")
    refuse_untrusted(recipe, folder)
    return Offered(name, revocation.weights_digest(folder), folder)


def _open(recipe: Recipe, offered: Offered, voices: list[str]) -> Opened:
    family = models.open_one(recipe, _named(recipe, offered.name))
    known = voice_of(family, recipe)
    return Opened(**vars(offered), family=family, voices={voice: known[voice] for voice in voices})


def _named(recipe: Recipe, name: str) -> Model:
    """A model of ours by its name. Raises UserError where the recipe has none of it."""
    trained = {s.name: s for s in recipe.evaluate.systems if isinstance(s, Trained)}
    if name in ("base", "adapter"):
        return Model.of(name)
    if name not in trained:
        known = ", ".join(["base", "adapter", *trained])
        raise UserError(f"evaluate.serve.models: no model {name}; {known} (evaluate.systems names other adapters)")
    return Model.of(trained[name])
