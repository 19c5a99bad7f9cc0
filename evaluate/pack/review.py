"""The page on which somebody listens, approves and rejects: on this machine, for the one who runs it."""

import json
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from evaluate.pack import manifest
from evaluate.pack.manifest import PAGES, Decision
from evaluate.pack.speak import Spoken, folder_of
from recipes.provenance import refuse_withdrawn
from recipes.schema import Recipe, UserError
from web import serve as web
from web.guard import Bounds
from web.page import LANGUAGES, page, safe, static, strings
from web.ranges import part

_HOST = "127.0.0.1"
_FORM_BYTES = 16 * 1024
_NOTE_CHARS = 300


def serve(recipe: Recipe, port: int) -> None:
    """Show the page until Ctrl-C."""
    app = application(recipe)
    with web.door(_HOST, port, "try another: --port 0") as listening:
        print(f"listen and approve: {web.address(listening)}/   (Ctrl-C ends it)", flush=True)
        web.serve(app, listening)


def application(recipe: Recipe) -> Starlette:
    """The web app of a pack. Raises UserError where there is none, or what it was made from was withdrawn."""
    spoken = read(recipe)
    app = Starlette(
        routes=[
            Route("/", show),
            Route("/sound/{sound}", sound),
            Route("/decide", decide, methods=["POST"]),
            static(),
        ],
        middleware=[*safe(_HOST), Middleware(Bounds, size=_FORM_BYTES, sizes={})],
    )
    app.state.recipe, app.state.spoken = recipe, {one.sound: one for one in spoken}
    return app


def read(recipe: Recipe) -> list[Spoken]:
    """The phrases of the pack on disk, in its order."""
    folder = folder_of(recipe)
    refuse_withdrawn(folder, "run python -m prepare and python -m train, then evaluate.pack, on this recipe")
    try:
        rows = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["phrases"]
    except (OSError, ValueError, KeyError):
        raise UserError(f"{folder}: no pack yet; run python -m evaluate.pack on this recipe first") from None
    stems = [next(row[kind] for kind in ("wav", "opus") if kind in row).rpartition(".")[0] for row in rows]
    return [Spoken(**json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))) for stem in stems]


async def show(request: Request) -> Response:
    """All phrases: those with flags first, then those that nobody decided about."""
    recipe, spoken = request.app.state.recipe, request.app.state.spoken
    language = _language(request.query_params.get("lang", ""))
    rows = [manifest.seen(recipe, one) for one in spoken.values()]
    rows.sort(key=lambda row: (row["decided"] is not None, not row["flags"]))
    others = [(one, strings(one, PAGES)["name"]) for one in LANGUAGES]
    left = sum(row["decided"] is None for row in rows)
    values = {"phrases": rows, "recipe": recipe, "languages": others, "left": left, "most": _NOTE_CHARS}
    return page(PAGES, "approve.html", language, **values)


async def sound(request: Request) -> Response:
    """A phrase, as MP3."""
    refuse = folder_of(request.app.state.recipe)
    one = _one(request, request.path_params["sound"])
    try:
        refuse_withdrawn(refuse, "")
        data = manifest.compressed(request.app.state.recipe, one)
    except (UserError, OSError):
        raise HTTPException(410, "withdrawn, or another pack took its place") from None
    return part(data, request.headers.get("range"), "audio/mpeg")


async def decide(request: Request) -> Response:
    """Keep one decision, and go back to the phrase after it."""
    fields = {key: found[0] for key, found in parse_qs((await request.body()).decode(), max_num_fields=8).items()}
    recipe, one = request.app.state.recipe, _one(request, fields.get("sound", ""))
    note = " ".join(fields.get("note", "").split())[:_NOTE_CHARS]
    match fields.get("decided"):
        case "approved" | "rejected" as decided:
            manifest.decide(recipe, [Decision(one.sound, one.id, decided, note)])
        case "undone":
            manifest.decide(recipe, [], undone=[one.sound])
        case _:
            raise HTTPException(400, "approved, rejected or undone")
    manifest.tables(recipe, list(request.app.state.spoken.values()))
    return RedirectResponse(f"/?lang={_language(fields.get('lang', ''))}", 303)


def _one(request: Request, name: str) -> Spoken:
    one: Spoken | None = request.app.state.spoken.get(name)
    if one is None:
        raise HTTPException(404, "no such phrase in this pack")
    return one


def _language(asked: str) -> str:
    return asked if asked in LANGUAGES else LANGUAGES[0]
