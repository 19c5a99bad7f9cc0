"""The listening test for whoever stops: a pause, going on with a code, deleting everything; and the organiser."""

import hmac
from collections import Counter, defaultdict
from statistics import median
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from evaluate.answers import checks
from evaluate.listen.visit import COOKIE, PAGES, Running, new_secret, visit
from web.codes import shown
from web.page import page


async def pause(request: Request) -> Response:
    """A stop on the way, or the end: with the code that opens the test again and deletes answers."""
    here = await visit(request)
    if here.listener is None:
        return here.go("/")
    running = here.running
    number = await running.do(running.panel.given, here.listener.name)
    done = here.listener.asked and number >= len(running.way(here.listener))
    return here.page("pause.html", code=shown(running.code_of(here.listener.name)), done=done, here="pause")


async def resume(request: Request) -> Response:
    """Going on with a code, in another browser. The one before is a stranger from then on.

    The browser has a new secret: the one that it came with may be somebody else's, who used it before.
    """
    here = await visit(request)
    if request.method == "GET":
        return here.page("code_asked.html", fault="", what="resume")
    running = here.running
    code = running.attempts.code(await here.form(), here.client)
    found = await running.do(running.panel.holder, running.fingerprint(code))
    if found is None:
        running.attempts.wrong(here.client)
        return here.page("code_asked.html", 403, fault=here.t["code_wrong"], what="resume")
    secret = new_secret()
    await running.do(running.panel.change, found.name, browser=running.fingerprint(secret))
    return here.keep(here.go("/test"), secret)


async def withdraw(request: Request) -> Response:
    """Everything of a listener is deleted: of this browser's, or of whoever has the code."""
    here = await visit(request)
    running = here.running
    if request.method == "GET":
        if here.listener:
            return here.page("withdraw.html", code=running.code_of(here.listener.name))
        return here.page("code_asked.html", fault="", what="withdraw")
    form = await here.form()
    code = running.attempts.code(form, here.client)
    found = await running.do(running.panel.holder, running.fingerprint(code))
    if found is None:
        running.attempts.wrong(here.client)
        return here.page("code_asked.html", 403, fault=here.t["code_wrong"], what="withdraw")
    if form.get("sure") != "yes":
        return here.page("withdraw.html", code=code)
    await running.do(running.panel.withdraw, found.name)
    response = here.message("withdrawn")
    if here.listener and here.listener.name == found.name:
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


async def leave(request: Request) -> Response:
    """The phone is handed to the next person."""
    here = await visit(request)
    response = here.go("/")
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


# ---------------------------------------------------------------- progress


async def progress(request: Request) -> Response:
    """Counts and quality, for the organiser, in English."""
    here = await visit(request)
    if request.method == "GET":
        return _table()
    code = here.running.attempts.code(await here.form(), here.client)
    if not hmac.compare_digest(code, here.running.organiser):
        here.running.attempts.wrong(here.client)
        return _table(403, fault="This code is not right.")
    counts, outcomes = await here.running.do(state, here.running)
    return _table(counts=counts, checks=outcomes)


def _table(status: int = 200, **values: Any) -> Response:
    return page(
        PAGES, "progress.html", "en", status, **{"here": "", "counts": None, "checks": None, "fault": "", **values}
    )


def state(running: Running) -> tuple[dict[str, Any], dict[str, Counter[str]]]:
    """How far the test is and how well it goes: counts alone, over all systems together."""
    rows: dict[str, list[Any]] = defaultdict(list)
    for answer in running.panel.all():
        rows[answer.listener].append(answer)
    listeners = running.panel.listeners()
    finished = sum(
        one.asked and len(rows[one.name]) >= sum(step.kind != "guess" for step in running.way(one))
        for one in listeners
    )
    scored = [answer for given in rows.values() for answer in given if answer.kind == "scored"]
    took = [answer.seconds for answer in scored if answer.seconds is not None]
    counts = {
        "test": "as planned" if running.blind.plan else "a pilot: no plan was frozen",
        "listeners": len(listeners),
        "of them finished": finished,
        "withdrawn, with all answers": running.panel.withdrawn(),
        "answers that count": sum(bool(answer.value) for answer in scored),
        "clips that could not be played": sum(not answer.value for answer in scored),
        "voices that somebody knew": sum(answer.known for answer in scored),
        "seconds for an answer, median": f"{median(took):.0f}" if took else "–",
    }
    outcomes: dict[str, Counter[str]] = {}
    for listener in listeners:
        for name, outcome in checks(running.settings.method, listener, rows[listener.name]).items():
            outcomes.setdefault(name, Counter())[outcome] += 1
    return counts, outcomes
