"""The recording booth: `python -m collect.record RECIPE [--public] [--invite N] [key.path=value ...]`.

A web page on which people consent and then read, repeat or describe, with their phones. It answers to this
machine alone; with --public to others too. --invite N prints N one-time codes and ends.
"""

import argparse
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from collect.booth import farewell, notice, prompts, takes, welcome
from collect.booth.sittings import Sittings
from collect.booth.visit import Booth, visit
from collect.ledger import Ledger, open_ledger
from recipes.command import run
from recipes.schema import Recipe, Record, UserError
from web.codes import new_code, shown
from web.guard import Bounds
from web.page import safe, static
from web.serve import door, serve

_FORM_BYTES = 64 * 1024
_CONSENT_BYTES = 1024 * 1024  # with a spoken consent of ten seconds; in memory, never on the disk as it came
_SAID = {403: "forbidden", 404: "gone", 408: "again", 413: "too_large", 429: "wait"}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--public", action="store_true", help="answer to other machines too")
    parser.add_argument("--invite", type=int, metavar="N", help="print N one-time codes and end")


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    settings = section(recipe)
    with open_ledger(recipe) as ledger:
        if arguments.invite:
            invite(recipe, ledger, arguments.invite)
            return
        host = "0.0.0.0" if arguments.public else settings.host
        app = application(recipe, ledger, host)
        with door(host, settings.port, "give another collect.record.port") as listening:
            greet(settings, host, app.state.booth)
            serve(app, listening)


def section(recipe: Recipe) -> Record:
    """The booth's section. Raises UserError when the recipe has none."""
    if recipe.collect.record is None:
        raise UserError("the recipe has no section collect.record; docs/booth.md shows one")
    return recipe.collect.record


def invite(recipe: Recipe, ledger: Ledger, count: int) -> None:
    """Print one-time codes; what is kept of them opens nothing."""
    codes = [new_code() for _ in range(count)]
    sittings = Sittings(recipe.folder("collect"))
    sittings.invite(ledger.keys.fingerprint(code) for code in codes)
    sittings.close()
    for code in codes:
        print(shown(code))


def greet(settings: Record, host: str, booth: Booth) -> None:
    """Where the booth is, and what the organiser should know."""
    print(f"recording booth: {settings.address or f'http://{host}:{settings.port}'}/   (Ctrl-C ends it)")
    for language, found in booth.prompts.items():
        print(f"  {language}: {len(found)} prompts")
    drafts = [language for language, told in booth.told.items() if told.draft]
    silent = [language for language, told in booth.told.items() if len(told.sounds) < len(told.purposes) + 2]
    if drafts:
        print(f"notice: a draft in {', '.join(drafts)}; have a lawyer check it (collect.record.notices)")
    if silent:
        print(f"notice: not all of it is recorded in {', '.join(silent)}; many people do not read")
    if host not in ("127.0.0.1", "localhost", "::1"):
        print("other machines can reach this. Put TLS in front: browsers give no microphone to http pages")
        if not settings.address:
            print("and set collect.record.address, so that it answers under that name alone")
    print(end="", flush=True)


def application(recipe: Recipe, ledger: Ledger, host: str = "127.0.0.1") -> Starlette:
    """The web app. Raises UserError when notices or prompts cannot be used."""
    settings = section(recipe)
    booth = Booth(recipe, ledger, prompts.read(settings.prompts), notice.read(settings))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        booth.close()

    # A recording as 16-bit WAV at the highest rate that browsers have, and what a form adds to it.
    clip_bytes = math.ceil(settings.max_clip_s + 1) * 2 * 96_000 + _FORM_BYTES
    known_as = urlsplit(settings.address).hostname if settings.address else None
    app = Starlette(
        routes=routes(),
        lifespan=lifespan,
        middleware=[
            *safe(host, known_as),
            Middleware(Bounds, size=_FORM_BYTES, sizes={"/clip": clip_bytes, "/consent": _CONSENT_BYTES}),
        ],
        exception_handlers={HTTPException: told_why},
    )
    app.state.booth = booth
    return app


def routes() -> list[BaseRoute]:
    """Every page, in the order in which a speaker meets them."""
    both = ["GET", "POST"]
    return [
        Route("/", welcome.start),
        Route("/language", welcome.language, methods=["POST"]),
        Route("/enter", welcome.enter, methods=both),
        Route("/notice", welcome.notice),
        Route("/sound/{language}/{item}", welcome.sound),
        Route("/consent", welcome.consent, methods=both),
        Route("/code", welcome.code),
        Route("/about", takes.about, methods=both),
        Route("/check", takes.check),
        Route("/record", takes.record),
        Route("/prompt/{prompt}/{part}", takes.part),
        Route("/clip", takes.upload, methods=["POST"]),
        Route("/skip", takes.skip, methods=["POST"]),
        Route("/receipt", takes.receipt),
        Route("/receipt.txt", takes.receipt_text),
        Route("/resume", welcome.resume, methods=both),
        Route("/withdraw", farewell.withdraw, methods=both),
        Route("/leave", welcome.leave, methods=["POST"]),
        static(),
    ]


async def told_why(request: Request, error: Exception) -> Response:
    """What went wrong, as a page in the speaker's language."""
    assert isinstance(error, HTTPException)
    if request.url.path in ("/clip", "/skip"):
        return PlainTextResponse(_SAID.get(error.status_code, "again"), error.status_code)
    here = await visit(request)
    return here.message(here.t[_SAID.get(error.status_code, "again")], error.status_code)


if __name__ == "__main__":
    run(main, __doc__ or "", options=options)
