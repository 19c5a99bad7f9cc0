"""The web app of the listening test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from evaluate.listen import farewell, trials, welcome
from evaluate.listen.visit import Running, visit
from recipes.provenance import refuse_withdrawn
from recipes.schema import Recipe
from web.guard import Bounds
from web.page import safe, static

_FORM_BYTES = 64 * 1024
_SAID = {404: "gone", 408: "again", 413: "too_large", 429: "wait"}


def application(recipe: Recipe, host: str | None = None, pilot: bool = False) -> Starlette:
    """The web app of a recipe's test. Raises UserError when there is nothing to listen to."""
    refuse_withdrawn(recipe.folder("evaluate"), "run python -m evaluate on this recipe, for other clips")
    running = Running(recipe, pilot)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        running.close()

    outside = recipe.evaluate.listen.address
    app = Starlette(
        routes=routes(),
        lifespan=lifespan,
        middleware=[
            *safe(host or recipe.evaluate.listen.host, urlsplit(outside).hostname if outside else None),
            Middleware(Bounds, size=_FORM_BYTES, sizes={}),
        ],
        exception_handlers={HTTPException: told_why},
    )
    app.state.running = running
    return app


def routes() -> list[BaseRoute]:
    """Every page, in the order in which a listener meets them."""
    both = ["GET", "POST"]
    return [
        Route("/", welcome.start),
        Route("/enter", welcome.enter, methods=both),
        Route("/notice", welcome.notice),
        Route("/consent", welcome.consent, methods=["POST"]),
        Route("/about", welcome.about, methods=both),
        Route("/ready", welcome.ready),
        Route("/sound/{language}/{item}", welcome.sound),
        Route("/test", trials.show),
        Route("/clip/{token}", trials.clip),
        Route("/picture/{token}", trials.picture),
        Route("/answer", trials.answer, methods=["POST"]),
        Route("/pause", farewell.pause),
        Route("/resume", farewell.resume, methods=both),
        Route("/withdraw", farewell.withdraw, methods=both),
        Route("/leave", farewell.leave, methods=["POST"]),
        Route("/progress", farewell.progress, methods=both),
        static(),
    ]


async def told_why(request: Request, error: Exception) -> Response:
    """What went wrong, as a page in the listener's language."""
    assert isinstance(error, HTTPException)
    if request.url.path.startswith(("/clip/", "/picture/", "/sound/", "/static/")):
        return PlainTextResponse("not here", error.status_code)
    here = await visit(request)
    return here.message(_SAID.get(error.status_code, "again"), error.status_code)
