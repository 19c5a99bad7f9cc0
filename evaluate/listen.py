"""A blind listening test in the browser: `python -m evaluate.listen RECIPE`, then open the address it prints.

Which clip comes from which system stays on the server: pages hold one-time names that mean nothing
elsewhere. A listener who comes back finds the same order at the same place.
"""

import hashlib
import hmac
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from evaluate import stimuli
from evaluate.answers import Answer, Answers, Listener
from evaluate.design import Trial, in_pairs, trials
from recipes.command import run
from recipes.provenance import is_withdrawn, refuse_withdrawn
from recipes.schema import Recipe, UserError
from web.page import LANGUAGES, direction, page, safe, static, strings
from web.ranges import part
from web.serve import address, door, serve

_PAGES = Path(__file__).parent / "pages"
_COOKIE = "listener"
_LABELS = "AB"


def main(recipe: Recipe) -> None:
    app = application(recipe)
    asked = recipe.evaluate.listen
    with door(asked.host, asked.port, "try another: evaluate.listen.port=0") as listening:
        print(f"listening test: {address(listening)}/   (Ctrl-C ends it)")
        print(f"afterwards: python -m evaluate.report {sys.argv[1] if len(sys.argv) > 1 else 'RECIPE'}", flush=True)
        serve(app, listening)


def application(recipe: Recipe) -> Starlette:
    """The web app of a recipe's test. Raises UserError when there is nothing to listen to."""
    if recipe.train.recognises:
        raise UserError(f"{recipe.train.family} recognises speech: there is nothing to listen to")
    refuse_withdrawn(recipe.folder("evaluate"), "run python -m evaluate on this recipe, for other clips")
    try:
        found = stimuli.read(recipe)
    except OSError:
        raise UserError("no stimuli yet; run python -m evaluate on this recipe first") from None
    if not found:
        raise UserError("no sentence has a clip: evaluate.systems and evaluate.sentences leave nothing to listen to")
    asked, pairs = recipe.evaluate.listen, in_pairs(found)
    if not (asked.scale or (asked.preference and pairs)):
        raise UserError("evaluate.listen: nothing is asked: set scale (or preference, of two systems) to true")
    test = Test(recipe, found, Answers(recipe, stimuli.name_of_test(found)), stimuli.secret(recipe))
    routes = [
        Route("/", test.show),
        Route("/start", test.start, methods=["POST"]),
        Route("/answer", test.answer, methods=["POST"]),
        Route("/clip/{token}", test.clip),
        static(),
    ]
    app = Starlette(routes=routes, middleware=safe(recipe.evaluate.listen.host), exception_handlers={404: test.gone})
    app.state.test = test
    return app


@dataclass(frozen=True)
class Test:
    """A running test: its stimuli, its answers, and the secret that makes names."""

    __test__ = False  # not one for pytest

    recipe: Recipe
    stimuli: list[stimuli.Stimulus]
    answers: Answers
    secret: bytes

    async def show(self, request: Request) -> Response:
        """The start page, the listener's next trial, or thanks."""
        listener = self.listener(request)
        if listener is None:
            language = self.language(request)
            names = [(code, strings(code)["name"], code) for code in LANGUAGES]
            return page(_PAGES, "start.html", language, languages=names, pairs=in_pairs(self.stimuli))
        if is_withdrawn(self.recipe.folder("evaluate")):
            return await self.gone(request)
        order = self.order(listener)
        number = self.answers.given(listener) + 1
        if number > len(order):
            t = strings(listener.language)
            return page(_PAGES, "message.html", listener.language, heading=t["thanks"], detail=t["close"], link=False)
        return self.trial(listener, order[number - 1], number, len(order))

    async def start(self, request: Request) -> Response:
        """A new listener, who agreed to take part."""
        form = await request.form()
        language = str(form.get("language"))
        if form.get("agree") != "yes" or language not in LANGUAGES or not self.same_origin(request):
            return RedirectResponse("/", 303)
        answer = RedirectResponse("/", 303)
        listener = self.listener(request) or self.answers.enrol(language)
        answer.set_cookie(_COOKIE, listener.code, max_age=30 * 86_400, httponly=True, samesite="strict")
        return answer

    async def answer(self, request: Request) -> Response:
        """Keep an answer to the listener's current trial, and go on."""
        listener = self.listener(request)
        form = await request.form()
        if listener is None or not self.same_origin(request):
            return RedirectResponse("/", 303)
        order, number = self.order(listener), self.answers.given(listener) + 1
        token = self.token(listener, "form", number)
        if number <= len(order) and hmac.compare_digest(str(form.get("form")), token):
            given = self.read(order[number - 1], listener, number, form)
            if given:
                self.answers.add(given)
        return RedirectResponse("/", 303)

    async def clip(self, request: Request) -> Response:
        """The sound of a token of this listener's current trial; nobody else's, no other trial's."""
        listener = self.listener(request)
        if listener is None or is_withdrawn(self.recipe.folder("evaluate")):
            return Response(status_code=404)
        order, number = self.order(listener), self.answers.given(listener) + 1
        clips = order[number - 1].clips if number <= len(order) else ()
        for label, clip in zip(_LABELS, clips, strict=False):
            if hmac.compare_digest(request.path_params["token"], self.token(listener, label, number)):
                try:
                    return part(stimuli.sound(self.recipe, clip), request.headers.get("range"), "audio/wav")
                except FileNotFoundError:  # evaluated anew since this server started
                    break
        return Response(status_code=404)

    async def gone(self, request: Request, error: Exception | None = None) -> Response:
        """A page that is not there."""
        language = self.language(request)
        t = strings(language)
        return page(_PAGES, "message.html", language, 404, heading=t["gone"], detail=t["back"], link=True)

    # -------------------------------------------------- what the pages need

    def listener(self, request: Request) -> Listener | None:
        code = request.cookies.get(_COOKIE)
        return self.answers.listener(code) if code else None

    def language(self, request: Request) -> str:
        """The language asked for, or the recipe's."""
        asked = request.query_params.get("language")
        return asked if asked in LANGUAGES else self.recipe.evaluate.listen.interface

    def order(self, listener: Listener) -> list[Trial]:
        return trials(self.stimuli, f"{self.recipe.seed} {listener.seed}")

    def token(self, listener: Listener, slot: str, number: int) -> str:
        """A name for one slot of one trial of one listener; without the secret it says nothing."""
        text = f"{listener.code} {slot} {number}".encode()
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()[:32]

    def trial(self, listener: Listener, trial: Trial, number: int, total: int) -> Response:
        settings = self.recipe.evaluate.listen
        clips = [(label, self.token(listener, label, number)) for label, _ in zip(_LABELS, trial.clips, strict=False)]
        return page(
            _PAGES,
            "trial.html",
            listener.language,
            number=number,
            total=total,
            text=trial.text,
            text_lang=trial.language,
            text_dir=direction(trial.language),
            clips=clips,
            scale=settings.scale,
            preference=settings.preference,
            form_token=self.token(listener, "form", number),
        )

    def read(self, trial: Trial, listener: Listener, number: int, form: Any) -> Answer | None:
        """The answer in a form, by system; None when something in it is missing or out of range."""
        settings = self.recipe.evaluate.listen
        by_label = dict(zip(_LABELS, (clip.system for clip in trial.clips), strict=False))
        ratings = {}
        for label, system in by_label.items() if settings.scale else ():
            value = str(form.get(f"rating{label}"))
            if value not in ("1", "2", "3", "4", "5"):
                return None
            ratings[system] = int(value)
        preferred = None
        if settings.preference and len(by_label) == 2:
            choice = str(form.get("prefer"))
            if choice not in (*by_label, "none"):
                return None
            preferred = by_label.get(choice, "none")
        return Answer(listener.seed, number, trial.item, list(by_label.values()), ratings, preferred)

    def same_origin(self, request: Request) -> bool:
        """Whether a form was sent from a page of ours (browsers name the origin of every form)."""
        origin = request.headers.get("origin")
        return origin is None or origin.split("://")[-1] == request.headers.get("host")


if __name__ == "__main__":
    run(main, __doc__ or "")
