"""The listening test until somebody listens: language, invitation, notice, consent, a few facts, how it works."""

import secrets
from typing import Any, get_args

from starlette.background import BackgroundTask
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from evaluate.listen import screening
from evaluate.listen.told import DEVICES, VARIETIES
from evaluate.listen.visit import COOKIE, Running, Visit, is_secret, kind_of_sound, new_secret, visit
from recipes.records import AgeBand, Gender
from web.page import once_more, strings, tag
from web.places import about_people, named, places


async def start(request: Request) -> Response:
    """The languages; a listener goes on."""
    here = await visit(request)
    if again := once_more(request, COOKIE):
        return again
    if here.listener:
        return here.go("/test")
    settings = here.running.settings
    spoken = here.running.spoken
    names = [(code, strings(code)["name"], tag(code), "name" in spoken[code]) for code in settings.languages]
    return here.page("language.html", languages=names, next="/enter" if settings.invited else "/notice")


async def enter(request: Request) -> Response:
    """The one-time code of an invitation. It is used up by agreeing, not by looking at the notice."""
    here = await visit(request)
    if request.method == "GET":
        return here.page("code_asked.html", fault="", what="enter")
    code = here.running.attempts.code(await here.form(), here.client)
    if await here.running.do(here.running.panel.invited, here.running.fingerprint(code)):
        return _told(here, code)
    here.running.attempts.wrong(here.client)
    return here.page("code_asked.html", 403, fault=here.t["code_wrong"], what="enter")


async def notice(request: Request) -> Response:
    """What the listener is told."""
    here = await visit(request)
    return here.go("/enter") if here.running.settings.invited else _told(here, "")


def _told(here: Visit, code: str) -> Response:
    settings, t = here.running.settings, here.t
    told = [f"{t['asked_by']} {settings.controller}"] if settings.controller else []
    told += [t["notice_what"].format(minutes=f"{settings.minutes:g}"), t["notice_kept"], t["notice_free"]]
    told += [t["notice_lent"], t["notice_cndp"]]
    return here.page("notice.html", paragraphs=told, contact=settings.contact, code=code, browser=new_secret())


async def consent(request: Request) -> Response:
    """Somebody agreed: from now on they are a listener. The same form sent again is the same listener."""
    here = await visit(request)
    running = here.running
    form = await here.form()
    code = running.attempts.code(form, here.client)
    if running.over:
        return here.message("closed", 410)
    if form.get("agree") != "yes":
        return here.go("/")
    if here.listener is not None:
        return here.go("/about")
    secret = await _secret(running, str(form.get("browser")))
    name = secrets.token_hex(8)
    invitation = running.fingerprint(code) if running.settings.invited else None
    fingerprints = running.fingerprint(secret), running.fingerprint(running.code_of(name))
    listener = await running.do(running.panel.enrol, *fingerprints, name, here.language, invitation)
    if listener is None:
        running.attempts.wrong(here.client)
        return here.page("code_asked.html", 403, fault=here.t["code_wrong"], what="enter")
    response = here.keep(here.go("/about"), secret)
    if running.settings.screening and listener.name == name:
        response.background = BackgroundTask(screening.ask, running, listener.name)
    return response


async def _secret(running: Running, given: str) -> str:
    """The browser's secret: that of the notice, so that a form whose answer was lost can be sent again.

    Where its listener is past the next page it is not given out again: the phone may be in other hands.
    """
    there = await running.do(running.panel.find, running.fingerprint(given))
    return given if is_secret(given) and not (there and there.asked) else new_secret()


# ---------------------------------------------------------------- facts


async def about(request: Request) -> Response:
    """A few facts, each of which can be left out. Asked once: what is heard depends on the varieties spoken."""
    here = await visit(request)
    if here.listener is None or here.listener.asked:
        return here.go("/")
    if request.method == "GET":
        return here.page("about.html", **_choices(here))
    facts = _facts(await here.form())
    await here.running.do(here.running.panel.change, here.listener.name, facts=facts, asked=True)
    return here.go("/ready")


def _choices(here: Visit) -> dict[str, Any]:
    known, t = places(), here.t
    return {
        "varieties": [(t[name], named(known["dialects"][base], here.language)) for base, name in VARIETIES.items()],
        "devices": [(device, t[device]) for device in DEVICES],
        **about_people(t, here.language, children=False),
    }


def _facts(form: FormData) -> dict[str, str]:
    """What was said, of what can be said."""
    known = places()
    spoken = {code for base in VARIETIES for code in known["dialects"][base]}
    allowed = {"device": DEVICES, "age_band": get_args(AgeBand)[1:], "gender": get_args(Gender)}
    allowed["region"] = tuple(known["regions"])
    facts = {name: str(form.get(name)) for name, values in allowed.items() if form.get(name) in values}
    varieties = sorted({str(value) for value in form.getlist("varieties")} & spoken)
    return facts | ({"varieties": " ".join(varieties)} if varieties else {})


async def ready(request: Request) -> Response:
    """How the test goes."""
    here = await visit(request)
    if here.listener is None:
        return here.go("/")
    return here.page("ready.html", training=here.running.settings.training)


async def sound(request: Request) -> Response:
    """An instruction read aloud."""
    running: Running = request.app.state.running
    path = running.spoken.get(request.path_params["language"], {}).get(request.path_params["item"])
    return FileResponse(path, media_type=kind_of_sound(path)) if path else Response(status_code=404)
