"""What every page of the listening test stands on: the running test, and who visits it."""

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from evaluate import blind, seal
from evaluate.listen.course import Step, course
from evaluate.listen.pictures import pictures
from evaluate.listen.sound import Sounds, rate_of
from evaluate.panel import Listener, Panel
from evaluate.stimuli import sound
from recipes.provenance import is_withdrawn
from recipes.schema import Interface, Recipe
from web.guard import Attempts
from web.page import page, strings

PAGES = Path(__file__).parent / "pages"
COOKIE = "listener"
_KEPT_DAYS = 30
_SECRET_BYTES = 32
_DIGITS = 20
_REMEMBERED = 500  # listeners whose way is kept in memory
_SENT = 64  # files that are kept in memory, because players ask for parts of them
_SOUNDS = {".ogg": "audio/ogg", ".mp3": "audio/mpeg", ".wav": "audio/wav"}

P = ParamSpec("P")
R = TypeVar("R")


class Running:
    """The open test. What touches the database runs beside the pages: in one thread on SQLite, in several else."""

    def __init__(self, recipe: Recipe, pilot: bool = False) -> None:
        self.recipe, self.settings = recipe, recipe.evaluate.listen
        self.blind = blind.current(recipe, pilot)
        some = next(iter(next(iter(self.blind.clips.values())).values()))
        self.sounds = Sounds(recipe, rate_of(sound(recipe, some)))
        self.pictures = pictures(self.settings)
        self.spoken = _spoken(recipe)
        self.panel = Panel(recipe, self.blind.name)
        self.attempts = Attempts()
        self.began: dict[tuple[str, int], float] = {}  # when the first clip of a step was asked for
        self._secret = seal.derived(recipe, f"names {self.blind.name}")
        self._fingerprints = seal.derived(recipe, "fingerprints")
        self._ways: OrderedDict[tuple[str, str], list[Step]] = OrderedDict()
        self._sent: OrderedDict[str, bytes] = OrderedDict()
        self._workers = ThreadPoolExecutor(1 if self.panel.one_writer else 8, "panel")

    async def do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run something that touches the database."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, lambda: work(*args, **kwargs))

    def close(self) -> None:
        self._workers.shutdown()
        self.panel.close()

    @property
    def over(self) -> bool:
        """Whether a planned test was unsealed: from then on nobody is blind, and nothing more is answered."""
        return self.blind.plan is not None and bool(seal.unsealings(self.recipe, self.blind.name))

    @property
    def nothing_to_hear(self) -> bool:
        """Whether a recording in the test was withdrawn."""
        return is_withdrawn(self.recipe.folder("evaluate"))

    # -------------------------------------------------- names

    def named(self, *words: object) -> str:
        """A name that says nothing without the secret: 32 hexadecimal digits."""
        return hmac.new(self._secret, repr(words).encode(), hashlib.sha256).hexdigest()[:32]

    def digits(self, *words: object) -> str:
        """The same as a code that people keep and type."""
        found = hmac.new(self._secret, repr(words).encode(), hashlib.sha256).digest()
        return f"{int.from_bytes(found, 'big') % 10**_DIGITS:0{_DIGITS}d}"

    def fingerprint(self, secret: str) -> str:
        """A secret as it is stored. Invitations outlive the test for which they were printed."""
        return hmac.new(self._fingerprints, secret.encode(), hashlib.sha256).hexdigest()

    def code_of(self, listener: str) -> str:
        """What a listener goes on with, or withdraws with."""
        return self.digits("code", listener)

    @property
    def organiser(self) -> str:
        """What the organiser types to see the progress."""
        return self.digits("organiser")

    # -------------------------------------------------- a listener's way

    def way(self, listener: Listener) -> list[Step]:
        """Every step of a listener."""
        key = listener.name, listener.facts.get("varieties", "")
        if key not in self._ways:
            self._ways[key] = course(self.blind, self.settings, listener)
            if len(self._ways) > _REMEMBERED:
                self._ways.popitem(last=False)
        self._ways.move_to_end(key)
        return self._ways[key]

    def tokens(self, listener: Listener, number: int, step: Step) -> list[str]:
        """One-time names of what a step plays."""
        return [self.named("clip", listener.name, number, slot) for slot in range(len(step.sounds))]

    def shown(self, listener: Listener, number: int, step: Step) -> dict[int, str]:
        """One-time names of the pictures of a step, by choice."""
        there = [value for value in step.answers if (step.question, value) in self.pictures]
        return {value: self.named("picture", listener.name, number, value) for value in there}

    def sent(self, step: Step, slot: int, token: str) -> bytes:
        """A clip's file. Raises OSError where the stimulus was replaced since."""
        if token not in self._sent:
            self._sent[token] = self.sounds.sent(step.sounds[slot], (*step.sounds, *step.alike), token)
            if len(self._sent) > _SENT:
                self._sent.popitem(last=False)
        return self._sent[token]

    def seconds(self, listener: Listener, number: int) -> float | None:
        """How long ago the listener asked for the first clip of a step; None where the server was started since."""
        start = self.began.get((listener.name, number))
        return round(time.monotonic() - start, 1) if start is not None else None


def _spoken(recipe: Recipe) -> dict[str, dict[str, Path]]:
    """Instructions read aloud, by language and sentence: files of evaluate.listen.spoken/LANGUAGE/."""
    found: dict[str, dict[str, Path]] = {}
    for language in recipe.evaluate.listen.languages:
        found[language] = {}
        names = [language, "zgh"] if language == "zgh-Latn" else [language]
        for name in names if recipe.evaluate.listen.spoken else ():
            for path in sorted((recipe.evaluate.listen.spoken / name).glob("*")):  # type: ignore[operator]
                if path.suffix in _SOUNDS:
                    found[language].setdefault(path.stem, path)
    return found


def kind_of_sound(path: Path) -> str:
    return _SOUNDS[path.suffix]


@dataclass(frozen=True)
class Visit:
    """One request, and the listener to whom the browser's secret belongs."""

    running: Running
    request: Request
    listener: Listener | None

    @property
    def language(self) -> Interface:
        """Of the listener, or the one asked for, or the recipe's first."""
        languages = self.running.settings.languages
        asked = self.listener.language if self.listener else self.request.query_params.get("language")
        return next((language for language in languages if language == asked), languages[0])

    @property
    def t(self) -> Mapping[str, str]:
        return strings(self.language, PAGES)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        shell = {"here": "", "spoken": self.running.spoken[self.language]}
        return page(PAGES, template, self.language, status, **{**shell, **values})

    def message(self, key: str, status: int = 200) -> Response:
        """A page that says one sentence."""
        return self.page("message.html", status, key=key, text=self.t[key])

    def go(self, path: str) -> Response:
        return RedirectResponse(path, 303)

    def keep(self, response: Response, secret: str) -> Response:
        """Give the browser a secret."""
        asked, outside = self.request.url, urlsplit(self.running.settings.address or "")
        https = "https" in (asked.scheme, outside.scheme if outside.hostname == asked.hostname else "")
        age = _KEPT_DAYS * 86_400
        response.set_cookie(COOKIE, secret, max_age=age, httponly=True, samesite="strict", secure=https)
        return response

    async def form(self) -> FormData:
        return await self.request.form(max_files=0, max_fields=60)

    @property
    def client(self) -> str:
        """Who tries codes."""
        return self.request.client.host if self.request.client else ""


async def visit(request: Request) -> Visit:
    """Who asks."""
    running: Running = request.app.state.running
    token = request.cookies.get(COOKIE)
    listener = await running.do(running.panel.find, running.fingerprint(token)) if token else None
    return Visit(running, request, listener)


def new_secret() -> str:
    """A secret for a browser: whoever has it is its listener."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def is_secret(text: str) -> bool:
    """Whether this could be one."""
    return re.fullmatch(r"[A-Za-z0-9_-]{43}", text) is not None
