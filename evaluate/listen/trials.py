"""The listening test itself: the current step as a page, its clips, and what is answered."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from evaluate.listen.course import Incomplete, Step, read, sentence_of_traps
from evaluate.listen.visit import Running, Visit, visit
from evaluate.panel import Answer, Listener
from recipes.schema import Interface
from web.page import direction, in_language
from web.ranges import part

_LABELS = "ABCDEFGHIJKL"


async def show(request: Request) -> Response:
    """The listener's next step, or thanks."""
    return await _shown(await visit(request))


async def _shown(here: Visit, incomplete: bool = False) -> Response:
    running, listener = here.running, here.listener
    if listener is None:
        return here.go("/")
    if not listener.asked:
        return here.go("/about")
    if running.nothing_to_hear:
        return here.message("gone_now", 503)
    steps = running.way(listener)
    number = await running.do(running.panel.given, listener.name)
    if number >= len(steps):
        return here.go("/pause")
    if running.over:
        return here.message("closed", 410)
    status = 400 if incomplete else 200
    return here.page("trial.html", status, **_page(here, listener, number, steps), incomplete=incomplete, here="test")


def _page(here: Visit, listener: Listener, number: int, steps: list[Step]) -> dict[str, Any]:
    """What the page of a step holds: of its clips, one-time names and labels alone."""
    running, step, t = here.running, steps[number], here.t
    tokens = running.tokens(listener, number, step)
    slots = [{"number": n, "token": tokens[n], "label": label} for n, label in enumerate(labels_of(step))]
    kind = kind_of(running, step)
    text, language = sentence_of(running, step)
    question, lead = question_of(kind, t)
    return {
        "number": number,
        "total": len(steps),
        "practice": step.kind == "training",
        "kind": kind,
        "question": question,
        "lead": lead,
        "text": text,
        "text_lang": language,
        "text_dir": direction(language),
        "slots": slots,
        "named": {"number": len(slots), "token": tokens[-1]} if step.named else None,
        "rows": rows_of(kind, step, t) or meanings(running, step, here.language),
        "pictures": running.shown(listener, number, step),
        "knows": step.is_trial,
        "skip": {"headphones": t["skip_tones"], "guess": t["skip_guess"]}.get(step.kind, ""),
        "form_token": running.named("form", listener.name, number),
    }


def kind_of(running: Running, step: Step) -> str:
    """What a page asks."""
    if step.is_trial:
        return running.settings.method
    return f"guess_{step.item}" if step.kind == "guess" else step.kind


def labels_of(step: Step) -> list[str]:
    """What the clips of a page are called."""
    count = len(step.clips)
    if count == 1:
        return [""]
    return list("ABX") if count == 3 and step.answers == (-1, 1) else list(_LABELS[:count])


def sentence_of(running: Running, step: Step) -> tuple[str, str]:
    """The sentence that is said; of a trap, which says another, the one that is shown with it."""
    if not step.is_trial:
        return "", ""
    item = sentence_of_traps(running.blind) if step.kind == "trap" else step.item
    clip = next(iter(running.blind.clips[item].values()))
    return clip.text, clip.language


def question_of(kind: str, t: Mapping[str, str]) -> tuple[str, str]:
    return {
        "acr": (t["natural"], t["listen_one"]),
        "preference": (t["prefer"], t["listen_each"]),
        "cmos": (t["compare"], t["listen_each"]),
        "abx": (t["same_as"], t["listen_each"]),
        "mushra": (t["against_reference"], t["listen_each"]),
        "mushra_nr": (t["natural_each"], t["listen_each"]),
        "headphones": (t["quietest"], t["quietest_why"]),
        "comprehension": (t["understood"], t["listen_one"]),
        "guess_person": (t["guess_person"], t["guess_lead"]),
        "guess_taught": (t["guess_taught"], t["guess_lead"]),
    }[kind]


@dataclass(frozen=True)
class Choice:
    """One line that may be chosen. `letter`: of the clip that the words name; `mark`: a number beside them.

    `sign`: the same for those who do not read; `spoken`: the name of its recording. `alt`: what its picture shows.
    """

    value: int
    text: str
    letter: str = ""
    mark: str = ""
    sign: str = ""
    spoken: str = ""
    alt: str = ""


def rows_of(kind: str, step: Step, t: Mapping[str, str]) -> list[Choice]:
    """What may be chosen, in the order of the page."""
    if kind == "acr":
        return [Choice(n, t[f"scale{n}"], mark=str(n), spoken=f"scale{n}") for n in step.answers]
    if kind == "cmos":
        return [_better(t, n) for n in step.answers]
    if kind in ("preference", "abx", "guess_person", "guess_taught"):
        neither, sign = ("cannot_tell", "?") if step.kind == "guess" else ("no_difference", "=")
        named = [Choice(n, t["clip"] + " {it}", it, "", it, f"clip_{it}") for n, it in ((-1, "A"), (1, "B"))]
        return named + [Choice(0, t[neither], sign=sign, spoken=neither)] * (0 in step.answers)
    if kind == "headphones":
        return [Choice(n, t[f"tone{n}"], sign=str(n), spoken=f"tone{n}") for n in step.answers]
    return []


def meanings(running: Running, step: Step, language: Interface) -> list[Choice]:
    """What a recording may mean: in words, as a picture, or both."""
    if step.question is None:
        return []
    found = []
    for n in step.answers:
        one = running.settings.comprehension[step.question].choices[n - 1]
        if isinstance(one, str):
            found.append(Choice(n, one))
        else:
            found.append(Choice(n, one.text or "", alt=in_language(one.alt, language)))
    return found


def _better(t: Mapping[str, str], n: int) -> Choice:
    mark = f"{n:+d}".replace("-", "−") if n else "0"
    it = ("B" if n > 0 else "A") if n else ""
    sign = it + "▲" * abs(n) if n else "="
    return Choice(n, t[f"better{abs(n)}"], it, mark, sign, f"better{abs(n)}{f'_{it}' if it else ''}")


# ---------------------------------------------------------------- what comes back


async def answer(request: Request) -> Response:
    """Keep an answer to the current step. One to an earlier step changes nothing."""
    here = await visit(request)
    running, listener = here.running, here.listener
    form = await here.form()
    if listener is None or not listener.asked or running.over or running.nothing_to_hear:
        return here.go("/test")
    steps = running.way(listener)
    number = await running.do(running.panel.given, listener.name)
    if number >= len(steps) or form.get("form") != running.named("form", listener.name, number):
        return here.go("/test")
    try:
        given = read(steps[number], number, listener.name, form, running.seconds(listener, number))
    except Incomplete:
        return await _shown(here, incomplete=True)
    await running.do(running.panel.add, given, *_skipped(steps, given, form.get("skip") == "yes"))
    running.began.pop((listener.name, number), None)
    return here.go("/test")


def _skipped(steps: list[Step], given: Answer, skip: bool) -> list[Answer]:
    """The other tones, where somebody does not want to hear them."""
    if given.kind != "headphones" or not skip:
        return []
    rest = [n for n, step in enumerate(steps) if step.kind == "headphones" and n > given.step]
    return [Answer(given.listener, n, "headphones", "", (), ()) for n in rest]


async def _so_far(here: Visit) -> tuple[Listener | None, int, list[Step]]:
    """Who it is, the number of the current step, and the steps up to it; None of somebody who has not begun."""
    running, listener = here.running, here.listener
    if listener is None or not listener.asked:
        return None, 0, []
    number = await running.do(running.panel.given, listener.name)
    return listener, number, running.way(listener)[: number + 1]


async def clip(request: Request) -> Response:
    """The sound of a one-time name: of this listener's current step. Earlier ones are gone."""
    here = await visit(request)
    running, asked = here.running, request.path_params["token"]
    listener, number, steps = await _so_far(here)
    if listener is None:
        return PlainTextResponse("not here", 404)
    for place, step in enumerate(steps):
        for slot, token in enumerate(running.tokens(listener, place, step)):
            if token == asked:
                current = place == number and not running.over and not running.nothing_to_hear
                return _sound(here, step, number, slot, token) if current else PlainTextResponse("gone", 410)
    return PlainTextResponse("not here", 404)


async def picture(request: Request) -> Response:
    """The picture of a one-time name: of this listener's current step. Earlier ones are gone."""
    here = await visit(request)
    running, asked = here.running, request.path_params["token"]
    listener, number, steps = await _so_far(here)
    if listener is None:
        return PlainTextResponse("not here", 404)
    for place, step in enumerate(steps):
        for value, token in running.shown(listener, place, step).items():
            if token == asked and (place < number or running.over):
                return PlainTextResponse("gone", 410)
            if token == asked and step.question is not None:
                return Response(running.pictures[step.question, value], media_type="image/jpeg")
    return PlainTextResponse("not here", 404)


def _sound(here: Visit, step: Step, number: int, slot: int, token: str) -> Response:
    running, listener = here.running, here.listener
    assert listener is not None
    running.began.setdefault((listener.name, number), time.monotonic())
    try:
        data = running.sent(step, slot, token)
    except OSError:  # evaluated anew since this server started
        return PlainTextResponse("gone", 410)
    return part(data, here.request.headers.get("range"), "audio/wav")
