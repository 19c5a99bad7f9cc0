"""The audio of annotators: signed links that expire, and the server behind them.

The vault stays the only copy. Each request asks the ledger again, so that a withdrawn clip plays no more.
"""

import hashlib
import hmac
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collect.keys import Gone, KeyStore
from collect.ledger import Ledger, Refused
from recipes.records import Clip
from recipes.schema import Label, UserError
from web.page import safe
from web.ranges import part

_DAY_S = 86_400


@dataclass(frozen=True)
class Source:
    """Where annotators hear clips: `link` makes a clip's address, `lasts` says whether a task's is still good."""

    link: Callable[[Clip], str]
    lasts: Callable[[str, str], bool]


def signed(settings: Label, keys: KeyStore) -> Source:
    """Audio behind links to the audio server."""
    key = signing_key(keys)
    return Source(
        lambda clip: link(settings, key, clip.id),
        lambda clip, audio: lasts(settings, key, clip, audio),
    )


def signing_key(keys: KeyStore) -> bytes:
    """The key of the links, derived from the master key."""
    return keys.derived("label-audio")


def link(settings: Label, key: bytes, clip: str) -> str:
    """A link to a clip's audio that works for `link_days`, to the end of the hour."""
    until = math.ceil((time.time() + settings.link_days * _DAY_S) / 3600) * 3600
    query = urlencode({"until": until, "sign": _sign(key, clip, until)})
    return f"{settings.audio_url.rstrip('/')}/audio/{clip}.flac?{query}"


def lasts(settings: Label, key: bytes, clip: str, audio: str) -> bool:
    """Whether a link is ours, of this address, and not yet in the last third of its days."""
    there = urlsplit(audio)
    if not audio.startswith(f"{settings.audio_url.rstrip('/')}/audio/{clip}.flac?"):
        return False
    until, sign = (parse_qs(there.query).get(name, [""])[0] for name in ("until", "sign"))
    left_s = settings.link_days * _DAY_S / 3
    return _signed(key, clip, until, sign) and int(until) - time.time() > left_s


def application(settings: Label, ledger: Ledger) -> Starlette:
    """The audio server. It answers to signed links alone, and to pages of Label Studio's origin alone."""
    parts = urlsplit(settings.url)
    origin = f"{parts.scheme}://{parts.netloc}"
    key, one_at_a_time = signing_key(ledger.keys), threading.Lock()

    def audio(request: Request) -> Response:
        headers = {"vary": "Origin"}
        if request.headers.get("origin") == origin:
            headers |= {
                "access-control-allow-origin": origin,
                "access-control-expose-headers": "Content-Length, Content-Range, Accept-Ranges",
                "access-control-allow-headers": "Range",
            }
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        name = request.path_params["clip"]
        asked = request.query_params
        until = asked.get("until", "")
        if not _signed(key, name, until, asked.get("sign", "")):
            return Response("not a link of ours\n", 403, headers)
        if int(until) < time.time():
            return Response("this link has expired\n", 410, headers)
        try:
            with one_at_a_time:  # the ledger's memory of consents is not for two threads
                clip = ledger.clip(name)
                data = ledger.flac(clip, "store_prepare") if clip else None
        except (Refused, Gone):
            data = None
        except UserError:
            return Response("this recording is lost\n", 404, headers)
        if data is None:
            return Response("this recording was withdrawn\n", 410, headers)
        return part(data, request.headers.get("range"), "audio/flac", headers)

    routes = [Route("/audio/{clip}.flac", audio, methods=["GET", "OPTIONS"])]
    # Behind a proxy, the address that browsers know is not the one listened on.
    return Starlette(routes=routes, middleware=safe(settings.host, urlsplit(settings.audio_url).hostname))


def _sign(key: bytes, clip: str, until: int) -> str:
    return hmac.new(key, f"{clip} {until}".encode(), hashlib.sha256).hexdigest()


def _signed(key: bytes, clip: str, until: str, sign: str) -> bool:
    """Whether a signature is the one of a clip and a moment."""
    if not (until.isascii() and until.isdigit() and len(until) < 12):
        return False
    return hmac.compare_digest(_sign(key, clip, int(until)).encode(), sign.encode())
