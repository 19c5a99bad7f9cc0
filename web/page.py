"""The page shell: templates, sentences in five languages, directions, safe headers."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recipes.schema import INTERFACES
from web.tifinagh import latin

HERE = Path(__file__).parent
LANGUAGES = INTERFACES
_RIGHT_TO_LEFT = ("ary",)
# BCP 47 tags of the pages, and of transcripts by script.
_TAGS = {"en": "en", "fr": "fr", "ary": "ary-Arab", "zgh": "zgh-Tfng", "zgh-Latn": "zgh-Latn"}

_HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    b"img-src 'self' data:; media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    b"frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cache-control": b"no-store",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=(self)",
}


@cache
def strings(language: str, folder: Path = HERE) -> dict[str, str]:
    """Every sentence of an app's pages in one language: those that all share, and those in its own folder.

    Tamazight in Latin letters is that in Tifinagh, letter for letter, where no other text is given.
    """
    table: dict[str, dict[str, str]] = {}
    for path in dict.fromkeys((HERE / "strings.yaml", folder / "strings.yaml")):
        if path.is_file():
            table |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return {key: in_language(row, language) for key, row in table.items()}


def in_language(row: Mapping[Any, str], language: str) -> str:
    """One sentence, given by language."""
    if language == "zgh-Latn" and language not in row:
        return latin(row["zgh"])
    return row[language]


@cache
def _environment(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader([folder, HERE / "templates"]), autoescape=True, undefined=StrictUndefined
    )


def page(folder: Path, template: str, language: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page in a language of the interface. `folder`: where the app keeps its own templates."""
    shell = {"lang": _TAGS[language], "dir": direction(_TAGS[language]), "t": strings(language, folder)}
    text = _environment(folder).get_template(template).render(**shell, language=language, **values)
    return HTMLResponse(text, status)


def once_more(request: Request, cookie: str) -> HTMLResponse | None:
    """A page that asks for itself again, to whoever followed a link from elsewhere; None to all others.

    Browsers keep a strict cookie back until a page of ours asks.
    """
    elsewhere = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    if cookie in request.cookies or not elsewhere or "again" in request.query_params:
        return None
    return HTMLResponse('<!doctype html><meta http-equiv="refresh" content="0; url=/?again=1"><title>…</title>')


def direction(tag: str) -> str:
    """`rtl` for Arabic script, else `ltr`, by a BCP 47 tag with script."""
    return "rtl" if tag.endswith("-Arab") or tag in _RIGHT_TO_LEFT else "ltr"


def static() -> Mount:
    """The files that all pages share."""
    return Mount("/static", StaticFiles(directory=HERE / "static"))


def tag(language: str) -> str:
    """The BCP 47 tag of a language of the interface."""
    return _TAGS[language]


def safe(host: str, known_as: str | None = None) -> list[Middleware]:
    """Middleware that sets the headers and answers to this machine's names alone.

    On `0.0.0.0` or `::` it answers to every name, unless `known_as` says under which one it is reached.
    """
    names = None if host in ("0.0.0.0", "::") else {"127.0.0.1", "localhost", "::1", host.lower()}
    if known_as:
        names = {"127.0.0.1", "localhost", "::1", known_as.lower()}
    return [Middleware(Guard, names=names)]


class Guard:
    """Sets security headers on every answer, takes away those that tell files apart, and answers to `names` alone.

    A page elsewhere whose name leads to this machine (DNS rebinding) would send a name that is none of ours.
    """

    def __init__(self, app: ASGIApp, names: set[str] | None) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message["headers"] if k not in (*_HEADERS, b"etag", b"last-modified")]
                message["headers"] = [*kept, *_HEADERS.items()]
            await send(message)

        app = self.app
        if scope["type"] == "http" and not self.known(Headers(scope=scope).get("host", "")):
            app = PlainTextResponse("This address is not served here.", 400)
        await app(scope, receive, guarded)

    def known(self, host: str) -> bool:
        try:
            return self.names is None or urlsplit(f"//{host}").hostname in self.names
        except ValueError:
            return False
