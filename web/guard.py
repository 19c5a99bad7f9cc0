"""What stands between the network and a page that changes something: sizes, times, origins, attempts."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping

from starlette.datastructures import FormData, Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.codes import typed

_SAFE = ("GET", "HEAD", "OPTIONS")


class Bounds:
    """Refuses bodies over their size while they stream in, senders that stop sending, and foreign origins.

    `sizes`: bytes that a body may have, by path; `size` for all other paths. `pause_s`: how long to wait for
    the next part of a body.
    """

    def __init__(self, app: ASGIApp, size: int, sizes: Mapping[str, int], pause_s: float = 30) -> None:
        self.app, self.size, self.sizes, self.pause_s = app, size, sizes, pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        limit = self.sizes.get(scope["path"], self.size)
        if scope["method"] not in _SAFE and foreign(headers):
            return await PlainTextResponse("sent from another site", 403)(scope, receive, send)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return await PlainTextResponse("a length that is no number", 400)(scope, receive, send)
        if int(length) > limit:
            return await PlainTextResponse("too large", 413)(scope, receive, send)
        await self.app(scope, self._counted(receive, limit), send)

    def _counted(self, receive: Receive, limit: int) -> Receive:
        left, more = limit, True

        async def counted() -> Message:
            nonlocal left, more
            if not more:  # the body is here: what is waited for now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout(self.pause_s):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            left -= len(message.get("body", b""))
            more = bool(message.get("more_body"))
            if left < 0:
                raise HTTPException(413)
            return message

        return counted


def foreign(headers: Headers) -> bool:
    """Whether a request that changes something comes from another site's page. Browsers name the origin."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return True
    return headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


class Attempts:
    """Wrong codes: in `window_s` seconds a client has `each`, and all clients have `together`."""

    def __init__(
        self, each: int = 10, together: int = 500, window_s: float = 600, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._each, self._together, self._window_s, self._clock = each, together, window_s, clock
        self._wrong: deque[tuple[float, str]] = deque()

    def allowed(self, client: str) -> bool:
        """Whether this client may try now."""
        oldest = self._clock() - self._window_s
        while self._wrong and self._wrong[0][0] < oldest:
            self._wrong.popleft()
        mine = sum(who == client for _, who in self._wrong)
        return mine < self._each and len(self._wrong) < self._together

    def code(self, form: FormData, client: str) -> str:
        """The code in a form. Raises HTTPException 429 when too many wrong ones came before."""
        if not self.allowed(client):
            raise HTTPException(429)
        return typed(str(form.get("code", "")))

    def wrong(self, client: str) -> None:
        """Note a wrong code."""
        self._wrong.append((self._clock(), client))
