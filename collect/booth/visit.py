"""What every page of the recording booth stands on: who visits, what the form says, who works for it."""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from collect.booth.notice import Told
from collect.booth.prompts import Prompt
from collect.booth.sittings import Course, Sitting, Sittings
from collect.ledger import Ledger
from recipes.records import Clip, Language
from recipes.schema import Interface, Recipe, Record, UserError
from web.guard import Attempts
from web.page import page, strings

PAGES = Path(__file__).parent / "pages"
COOKIE = "booth"
_AHEAD = 20  # prompts that a page holds, so that a lost connection stops nobody
_DECODERS = 4

P = ParamSpec("P")
R = TypeVar("R")


class Booth:
    """The open booth. Ledger and sittings are used from one thread, so that every request sees a whole state."""

    def __init__(
        self,
        recipe: Recipe,
        ledger: Ledger,
        prompts: Mapping[Language, list[Prompt]],
        told: Mapping[Interface, Told],
    ) -> None:
        if recipe.collect.record is None:
            raise UserError("the recipe has no section collect.record; docs/booth.md shows one")
        self.recipe = recipe
        self.settings: Record = recipe.collect.record
        self.ledger = ledger
        self.sittings = Sittings(recipe.folder("collect"))
        self.prompts = prompts
        self.told = told
        self.attempts = Attempts()
        self.decoding = asyncio.Semaphore(_DECODERS)
        self._secret = ledger.keys.derived("booth")
        self._one = ThreadPoolExecutor(1, "ledger")
        self._many = ThreadPoolExecutor(_DECODERS, "decode")

    async def do(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run something that touches ledger or sittings, after what was asked for before it."""
        return await asyncio.get_running_loop().run_in_executor(self._one, lambda: work(*args, **kwargs))

    async def compute(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run something that only counts. `decoding` bounds how much sound is in memory: hold it meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._many, lambda: work(*args, **kwargs))

    def close(self) -> None:
        self._many.shutdown()
        self._one.shutdown()
        self.sittings.close()

    # -------------------------------------------------- names

    def csrf(self, token: str) -> str:
        """What forms of a browser's session carry."""
        return hmac.new(self._secret, b"csrf " + token.encode(), hashlib.sha256).hexdigest()

    def owner(self, speaker: str) -> str:
        """A speaker's name in the store of a page: it opens nothing, and tells two speakers of one phone apart."""
        return hmac.new(self._secret, b"owner " + speaker.encode(), hashlib.sha256).hexdigest()[:16]

    @cached_property
    def by_id(self) -> dict[str, Prompt]:
        """Every prompt by its name."""
        return {prompt.id: prompt for prompts in self.prompts.values() for prompt in prompts}

    # -------------------------------------------------- a speaker's course

    def may_record(self, speaker: str) -> bool:
        """Whether the speaker's consent covers keeping a recording made now."""
        language = next(iter(self.prompts))
        clip = Clip(
            id="-", speaker=speaker, language=language, transcript="", audio="-", rate_hz=1, duration_s=1, source="-"
        )
        return self.ledger.permit(clip, "store_prepare")

    def offered(self, course: Course) -> list[Prompt]:
        """The prompts of a course, in order. Who does not read hears or sees theirs."""
        found = [prompts for language, prompts in self.prompts.items() if language == course.language]
        return [p for prompts in found for p in prompts if course.manner == "read" or p.kind != "read"]

    def standing(self, speaker: str, course: Course) -> tuple[list[Prompt], int, int]:
        """The prompts to come, how many are recorded, and how many there are."""
        offered = self.offered(course)
        recorded = {clip.source for clip in self.ledger.clips(speaker)}
        passed = self.sittings.skipped(speaker)
        done = {prompt.id for prompt in offered if source(prompt) in recorded}
        left = [prompt for prompt in offered if prompt.id not in done | passed]
        return left[:_AHEAD], len(done), len(offered)


def source(prompt: Prompt) -> str:
    """What a clip's `source` says of the prompt it answers."""
    return f"booth/{prompt.id}"


@dataclass(frozen=True)
class Visit:
    """One request: the browser's secret, its sitting, and the language of the page."""

    booth: Booth
    request: Request
    token: str
    sitting: Sitting | None

    @property
    def language(self) -> Interface:
        """Of the sitting, or the one asked for, or the recipe's first."""
        languages = self.booth.settings.languages
        asked = self.sitting.interface if self.sitting else self.request.query_params.get("language")
        return next((language for language in languages if language == asked), languages[0])

    @property
    def speaker(self) -> str | None:
        return self.sitting.speaker if self.sitting else None

    @property
    def t(self) -> dict[str, str]:
        return strings(self.language, PAGES)

    @property
    def told(self) -> Told:
        return self.booth.told[self.language]

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page, with what every page of the booth holds."""
        shell = {
            "csrf": self.booth.csrf(self.token),
            "owner": self.booth.owner(self.speaker) if self.speaker else "",
            "settings": self.booth.settings,
            "told": self.told,
            "leave": self.speaker is not None,
        }
        return self.keep(page(PAGES, template, self.language, status, **shell, **values))

    def message(self, text: str, status: int = 200, link: str = "/") -> Response:
        """A page that says one thing."""
        return self.page("message.html", status, text=text, link=link)

    def go(self, path: str) -> Response:
        return self.keep(RedirectResponse(path, 303))

    def keep(self, response: Response) -> Response:
        """Give the browser its secret, when it has none."""
        if COOKIE not in self.request.cookies:
            asked, outside = self.request.url, urlsplit(self.booth.settings.address or "")
            https = "https" in (asked.scheme, outside.scheme if outside.hostname == asked.hostname else "")
            response.set_cookie(COOKIE, self.token, httponly=True, samesite="strict", secure=https)
        return response

    async def form(self, files: int = 0) -> FormData:
        """The form, sent by a page of this session. Raises HTTPException 403 for any other."""
        form = await self.request.form(max_files=files, max_fields=60)
        self.check(str(form.get("csrf", "")))
        return form

    def check(self, csrf: str) -> None:
        """Raises HTTPException 403 unless it is this session's."""
        known = COOKIE in self.request.cookies
        if not known or not hmac.compare_digest(csrf.encode(), self.booth.csrf(self.token).encode()):
            raise HTTPException(403)

    @property
    def client(self) -> str:
        """Who tries codes."""
        return self.request.client.host if self.request.client else ""


async def visit(request: Request) -> Visit:
    """Who asks. A browser without a secret gets one with the answer."""
    booth: Booth = request.app.state.booth
    token = request.cookies.get(COOKIE)
    sitting = await booth.do(booth.sittings.find, token) if token else None
    return Visit(booth, request, token or secrets.token_urlsafe(32), sitting)


# ---------------------------------------------------------------- choices
