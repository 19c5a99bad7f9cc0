"""The routes of the speech server, and what every request passes: key, count, time, answer in OpenAI's shape."""

import asyncio
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from evaluate import feedback
from evaluate.serve import metrics, requests
from evaluate.serve.desk import Desk
from evaluate.serve.refusal import Refused
from recipes.schema import Recipe
from web.guard import Attempts, Bounds
from web.page import safe

_BODY_BYTES = 2**20
_MORE_BYTES = 2**20  # around the recording in its form; and by which one may be too large and be told so in words


@dataclass
class Noted:
    """What is known of a request when it is answered: for its line in the log."""

    model: str = "-"
    text: str = ""
    refused: str = ""
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    started: float = field(default_factory=time.perf_counter)


Handler = Callable[[Request, Desk, Noted], Awaitable[Response]]


def application(recipe: Recipe) -> Starlette:
    """The web app, with its models in memory. Raises UserError when one cannot be opened, or must not be."""
    desk, asked = Desk(recipe), recipe.evaluate.serve
    wrong_keys = Attempts(each=20)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()

    def route(path: str, handler: Handler, *methods: str) -> Route:
        return Route(path, _passed(desk, wrong_keys, path, handler), methods=list(methods or ("GET",)))

    upload = int(asked.max_mib * 2**20) + 2 * _MORE_BYTES
    app = Starlette(
        routes=[
            route("/v1/audio/speech", speech, "POST"),
            route("/v1/audio/transcriptions", transcription, "POST"),
            route("/v1/feedback", verdict, "POST"),
            route("/v1/models", models),
            route("/v1/models/{model}", models),
            route("/metrics", counted),
            Route("/health", health),
        ],
        lifespan=lifespan,
        middleware=[
            *safe(asked.host, urlsplit(asked.address).hostname if asked.address else None),
            Middleware(Bounds, size=_BODY_BYTES, sizes={"/v1/audio/transcriptions": upload}),
        ],
        exception_handlers={HTTPException: told},
    )
    app.state.desk = desk
    return app


def _passed(
    desk: Desk, wrong_keys: Attempts, path: str, handler: Handler
) -> Callable[[Request], Awaitable[Response]]:
    """What every request passes."""
    name = path.removeprefix("/v1/").partition("/{")[0].removeprefix("/")

    async def passed(request: Request) -> Response:
        noted, status = Noted(), 500
        try:
            _key(request, desk, wrong_keys)
            response = await handler(request, desk, noted)
            status = response.status_code
        except Refused as refused:
            status, noted.refused = refused.status, refused.code
            response = refused.response()
        except HTTPException as error:  # by the bounds, while the body came in
            status, noted.refused = error.status_code, "body"
            raise
        finally:
            _account(desk, name, noted, status, time.perf_counter() - noted.started)
        response.headers["x-request-id"] = noted.name
        return response

    return passed


def _key(request: Request, desk: Desk, wrong_keys: Attempts) -> None:
    """Raises Refused without the key, and for a while after many wrong ones."""
    if desk.key is None:
        return
    client = request.client.host if request.client else ""
    if not wrong_keys.allowed(client):
        raise Refused(429, "too_many_wrong_keys", "too many wrong keys; come again in ten minutes", None, 600)
    sent = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not hmac.compare_digest(sent.encode(), desk.key.encode()):
        wrong_keys.wrong(client)
        desk.metrics.count("twiza_misuse_total", signal="wrong_key")
        raise Refused(401, "invalid_api_key", "a key is needed: Authorization: Bearer KEY")


def _account(desk: Desk, route: str, noted: Noted, status: int, took_s: float) -> None:
    """Count a request, and write its line: without its words, unless the recipe asks for them."""
    labels = {"route": route, "model": noted.model, "status": str(status)}
    desk.metrics.count("twiza_requests_total", 1, **labels)
    if noted.refused:
        desk.metrics.count("twiza_refusals_total", reason=noted.refused)
    if route in ("metrics", "models"):
        return
    desk.metrics.observe("twiza_request_seconds", took_s, route=route)
    words = f" {noted.text!r}" if desk.settings.log_text and noted.text else ""
    why = f" {noted.refused}" if noted.refused else ""
    print(f"{noted.name} {route} {noted.model} {status}{why} {took_s:.2f} s{words}", flush=True)


# ---------------------------------------------------------------- routes


async def speech(request: Request, desk: Desk, noted: Noted) -> Response:
    """POST /v1/audio/speech: text as sound."""
    sent = await requests.read_json(request)
    await desk.open(request, sent.get("model"))
    asked = requests.speech(sent, desk)
    noted.model, noted.text = asked.model.name, asked.text
    if asked.pieces:
        return await _streamed(request, desk, noted, asked)
    with desk.place():
        made, took_s = await desk.work(request, lambda: requests.speak(desk, asked))
    _worked(desk, asked.model.name, took_s, made.duration_s)
    desk.remember(noted.name, asked.model, "speech")
    return Response(made.data, media_type=made.media_type, headers={"x-synthetic-speech": made.statement})


async def _streamed(request: Request, desk: Desk, noted: Noted, asked: requests.Speech) -> Response:
    """Speech piece by piece: it answers when the first is there, and goes on while somebody listens."""
    held, pieces = ExitStack(), requests.speak_on(desk, asked)
    took_s, duration_s = 0.0, 0.0

    async def more() -> requests.Made | None:
        nonlocal took_s, duration_s
        made, more_s = await desk.work(request, lambda: next(pieces, None), usual=False)
        took_s, duration_s = took_s + more_s, duration_s + (made.duration_s if made else 0)
        return made

    def over() -> None:
        desk.end(pieces)
        if took_s:
            desk.expect(took_s)
        _worked(desk, asked.model.name, took_s, duration_s)

    async def rest(first: requests.Made) -> AsyncIterator[bytes]:
        made: requests.Made | None = first
        while made is not None:
            if made.data:  # a codec may keep back a piece that is short
                yield made.data
            made = await more()

    held.enter_context(desk.place())
    held.callback(over)
    try:
        first = await more()
    except BaseException:
        held.close()
        raise
    assert first is not None
    desk.metrics.observe("twiza_first_sound_seconds", time.perf_counter() - noted.started, model=asked.model.name)
    desk.remember(noted.name, asked.model, "speech")
    headers = {"x-synthetic-speech": first.statement}
    return Streamed(rest(first), held, media_type=first.media_type, headers=headers)


class Streamed(StreamingResponse):
    """A response that gives back its place in the queue when it ends, or when nobody listens any more."""

    def __init__(self, content: AsyncIterator[bytes], held: ExitStack, **options: Any) -> None:
        super().__init__(content, **options)
        self.held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.held:
            try:
                await super().__call__(scope, receive, send)
            except Refused:  # gone between two pieces
                return


async def transcription(request: Request, desk: Desk, noted: Noted) -> Response:
    """POST /v1/audio/transcriptions: sound as text."""
    most_bytes = int(desk.settings.max_mib * 2**20)
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > most_bytes + _MORE_BYTES:
        raise requests.too_large(desk)
    with desk.place():
        async with request.form(max_files=1, max_fields=16) as form:
            await desk.open(request, form.get("model"))
            asked = requests.transcription(form, desk)
            noted.model = asked.model.name
            heard, took_s = await desk.work(request, lambda: requests.hear(desk, asked))
    noted.text = heard.text
    _worked(desk, asked.model.name, took_s, heard.duration_s)
    desk.remember(noted.name, asked.model, "transcription")
    return requests.written(heard, asked)


def _worked(desk: Desk, model: str, took_s: float, duration_s: float) -> None:
    desk.metrics.count("twiza_speech_seconds_total", duration_s, model=model)
    if duration_s:
        desk.metrics.observe("twiza_real_time_factor", took_s / duration_s, model=model)


async def verdict(request: Request, desk: Desk, noted: Noted) -> Response:
    """POST /v1/feedback: what a user says of an answer, by its `x-request-id`."""
    sent = await requests.read_json(request)
    about = desk.answered.get(str(sent.get("request")))
    if about is None:
        raise Refused(404, "unknown_request", "no answer with this x-request-id since the server began", "request")
    noted.model = about["model"]
    values = {"request": sent["request"], "rating": sent.get("rating"), "comment": sent.get("comment", "")}
    try:
        said = await asyncio.to_thread(feedback.add, desk.recipe, **about, **values)
    except ValueError:
        raise Refused(400, "no_verdict", "rating is good or bad; comment, at most 500 characters", "rating") from None
    desk.metrics.count("twiza_feedback_total", model=said.model, rating=said.rating)
    return JSONResponse({"object": "feedback", "request": said.request, "rating": said.rating}, 201)


async def models(request: Request, desk: Desk, noted: Noted) -> Response:
    """GET /v1/models, and /v1/models/NAME."""
    rows = {
        name: {"id": name, "object": "model", "created": 0, "owned_by": desk.recipe.name}
        | {"kind": "transcription" if desk.recognises else "speech", "weights": one.weights}
        | {"languages": desk.languages, "voices": desk.voices}
        for name, one in desk.offered.items()
    }
    asked = request.path_params.get("model")
    if asked is None:
        return JSONResponse({"object": "list", "data": list(rows.values())})
    if asked not in rows:
        raise Refused(404, "model_not_found", f"no such model here; there is: {', '.join(rows)}", "model")
    return JSONResponse(rows[asked])


async def counted(request: Request, desk: Desk, noted: Noted) -> Response:
    """GET /metrics."""
    return PlainTextResponse(desk.metrics.text(), headers={"content-type": metrics.KIND})


async def health(request: Request) -> Response:
    """GET /health, for whatever watches over the process; needs no key."""
    return JSONResponse({"status": "ok"})


async def told(request: Request, error: Exception) -> Response:
    """What the bounds, or no route at all, say: in the same shape."""
    assert isinstance(error, HTTPException)
    return Refused(error.status_code, "refused", str(error.detail)).response()
