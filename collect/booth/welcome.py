"""The booth until somebody is a speaker: language, invitation, notice, consent, code; and coming back with it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from collect import audio, vault
from collect.audio import Decoded
from collect.booth import hearing
from collect.booth.prompts import SOUNDS
from collect.booth.sittings import Course
from collect.booth.visit import COOKIE, Booth, Visit, visit
from collect.chain import Receipt
from collect.consent import Event, State
from collect.decoding import containers, limits
from collect.ledger import Speaker
from recipes.records import Purpose
from web.codes import new_code, shown
from web.page import once_more, strings, tag

_ADULT = 18  # years


@dataclass(frozen=True)
class Agreed:
    """What somebody consented to, and how. `voice`: the spoken consent, with the SHA-256 of its file."""

    purposes: list[Purpose]
    adult_on: date | None = None
    voice: Decoded | None = None
    evidence: tuple[str, ...] = ()


class Fault(Exception):
    """A form that cannot be taken as it is. Its text is the key of a sentence."""


# ---------------------------------------------------------------- language, invitation


async def start(request: Request) -> Response:
    """The languages; whoever sits here already goes on."""
    here = await visit(request)
    if again := once_more(request, COOKIE):
        return again
    if here.speaker:
        return here.go("/record")
    names = [(code, strings(code)["name"], tag(code)) for code in here.booth.settings.languages]
    return here.page("language.html", languages=names)


async def language(request: Request) -> Response:
    """A sitting begins, or changes its language."""
    here = await visit(request)
    form = await here.form()
    chosen = str(form.get("language"))
    if chosen not in here.booth.settings.languages:
        return here.go("/")
    sitting = await here.booth.do(here.booth.sittings.begin, here.token, chosen)
    if sitting.speaker:
        return here.go("/record")
    return here.go("/enter" if here.booth.settings.invited and not sitting.invited else "/notice")


async def enter(request: Request) -> Response:
    """The one-time code of an invitation."""
    here = await visit(request)
    if here.sitting is None:
        return here.go("/")
    if request.method == "GET":
        return here.page("code_asked.html", fault="", what="enter")
    code = here.booth.attempts.code(await here.form(), here.client)
    fingerprint = here.booth.ledger.keys.fingerprint(code)
    admitted: bool = await here.booth.do(here.booth.sittings.redeem, here.token, fingerprint)
    if admitted:
        return here.go("/notice")
    here.booth.attempts.wrong(here.client)
    return here.page("code_asked.html", 403, fault=here.t["code_wrong"], what="enter")


# ---------------------------------------------------------------- notice, consent


async def notice(request: Request) -> Response:
    """What the speaker is told."""
    here = await visit(request)
    return here.page("notice.html") if _admitted(here) else here.go("/")


async def sound(request: Request) -> Response:
    """A recording of the notice, or of one of its sentences."""
    booth: Booth = request.app.state.booth
    told = next((told for name, told in booth.told.items() if name == request.path_params["language"]), None)
    path = told.sounds.get(request.path_params["item"]) if told else None
    return FileResponse(path, media_type=SOUNDS[path.suffix]) if path else Response(status_code=404)


def _admitted(here: Visit) -> bool:
    sitting = here.sitting
    return sitting is not None and bool(sitting.invited or sitting.speaker or not here.booth.settings.invited)


async def consent(request: Request) -> Response:
    """Each purpose by itself, none of them ticked; and what was ticked, kept."""
    here = await visit(request)
    form = await here.form(files=1) if request.method == "POST" else FormData()
    try:
        if not _admitted(here):
            return here.go("/")
        covered: bool = await here.booth.do(here.booth.may_record, here.speaker or "")
        if not covered and request.method == "GET":
            return here.page("consent.html", fault="", ticked=(), form=form, today=date.today())
        if not covered:
            await here.booth.do(admit, here, await _agreed(here, form))
        return here.go("/code")
    except Fault as fault:
        filled = {"fault": here.t[str(fault)], "ticked": form.getlist("purpose"), "form": form, "today": date.today()}
        return here.page("consent.html", 400, **filled)
    finally:
        await form.close()


async def _agreed(here: Visit, form: FormData) -> Agreed:
    """What the form says. Raises Fault with what is missing."""
    given = form.getlist("purpose")
    purposes = [purpose for purpose in here.booth.settings.purposes if purpose in given]
    if "store_prepare" not in purposes:
        raise Fault("fault_store")
    adult_on = None
    if form.get("who") == "minor":
        adult_on = _adult_on(str(form.get("born", "")))
        if form.get("guardian") != "yes":
            raise Fault("fault_guardian")
    elif form.get("who") != "adult":
        raise Fault("fault_age")
    voice, evidence = await _spoken(here.booth, form.get("voice"))
    return Agreed(purposes, adult_on, voice, evidence)


def _adult_on(born: str) -> date:
    """The day on which somebody turns 18. Raises Fault when it is no date of a person under 18."""
    try:
        day = date.fromisoformat(born)
    except ValueError:
        raise Fault("fault_birth") from None
    adult_on = later(day, _ADULT * 12)
    if day > date.today() or adult_on <= date.today():
        raise Fault("fault_birth")
    return adult_on


async def _spoken(booth: Booth, file: object) -> tuple[Decoded | None, tuple[str, ...]]:
    """A spoken consent and its evidence; nothing when none was sent. Raises Fault when it cannot be heard."""
    if not isinstance(file, UploadFile) or not file.size:
        return None, ()
    data = await file.read()
    try:
        if containers.kind(data) != "wav":  # what the page makes
            raise Fault("fault_voice")
        async with booth.decoding:
            voice = await booth.compute(audio.decode, data, booth.settings.max_clip_s / 60, 1)
    except limits.Refused:
        raise Fault("fault_voice") from None
    if hearing.listen(voice.samples, voice.rate_hz).refusal:
        raise Fault("fault_voice")
    return voice, (hashlib.sha256(data).hexdigest(),)


def admit(here: Visit, agreed: Agreed) -> None:
    """Write the consent down; the evidence first, the code last. Sent twice, it is one consent.

    The speaker's code name is that of the sitting in which they first consented.
    """
    booth, sitting = here.booth, here.sitting
    assert sitting is not None
    speaker = sitting.speaker or f"s-{sitting.id}"
    if not booth.may_record(speaker):
        if agreed.voice is not None:
            folder = booth.recipe.folder("collect") / "evidence"
            sound = vault.Sound(speaker, agreed.evidence[0], agreed.voice.samples, agreed.voice.rate_hz)
            vault.put(folder, booth.ledger.keys, [sound])
        booth.ledger.enrol(Speaker(code=speaker))
        receipt = booth.ledger.record(_event(here, speaker, agreed))
    else:
        receipt = booth.ledger.end()  # of a request that was cut off after the consent was written down
    known = booth.sittings.course(speaker) or Course(receipt)
    booth.sittings.set_course(speaker, Course(receipt, known.language, known.manner, known.dialect, known.region))
    if booth.sittings.code(here.token) is None or sitting.speaker is None:
        code = new_code()
        booth.ledger.add_code(speaker, code)
        booth.sittings.bind(here.token, speaker, code)


def _event(here: Visit, speaker: str, agreed: Agreed) -> Event:
    booth, now = here.booth, here.booth.ledger.now()
    past = booth.ledger.consents(speaker)
    state: State = "renewed" if past and past[-1].state not in ("requested", "withdrawn") else "granted"
    return Event(
        speaker=speaker,
        state=state,
        purposes=agreed.purposes,
        notice=booth.ledger.add_notice(here.told.notice, here.told.audio()),
        language=here.told.notice.language,
        controller=booth.settings.controller,
        at=now,
        expires=_moment(now, booth.settings.consent_months),
        adult_on=agreed.adult_on,
        by="guardian" if agreed.adult_on else "self",
        how="spoken" if agreed.voice else "tick",
        evidence=agreed.evidence,
    )


def later(day: date, months: int) -> date:
    """The same day some months on; the month's last where it has no such day."""
    count = day.year * 12 + day.month - 1 + months
    for last in (day.day, 30, 29, 28):
        try:
            return day.replace(year=count // 12, month=count % 12 + 1, day=min(day.day, last))
        except ValueError:
            continue
    raise AssertionError


def _moment(now: datetime, months: int) -> datetime:
    return datetime.combine(later(now.date(), months), now.timetz())


# ---------------------------------------------------------------- code


async def code(request: Request) -> Response:
    """The speaker's code, to write down."""
    here = await visit(request)
    if here.speaker is None:
        return here.go("/")
    return here.page("code_shown.html", **await here.booth.do(paper, here))


def paper(here: Visit) -> dict[str, Any]:
    """What is on a speaker's receipt."""
    booth, speaker = here.booth, here.speaker
    assert speaker is not None
    events = booth.ledger.consents(speaker)
    course = booth.sittings.course(speaker)
    receipt = course.receipt if course else Receipt(0, "")
    clips = list(booth.ledger.clips(speaker))
    return {
        "code": shown(booth.sittings.code(here.token) or ""),
        "receipt": receipt,
        "consent": events[-1] if events else None,
        "allowed": _sentences(here, events[-1].purposes if events else ()),
        "clips": len(clips),
        "length": _clock(sum(clip.duration_s for clip in clips)),
        "url": (booth.settings.address or str(here.request.base_url).rstrip("/")) + "/withdraw",
    }


def _clock(duration_s: float) -> str:
    """Minutes and seconds."""
    return f"{int(duration_s) // 60}:{int(duration_s) % 60:02d}"


def _sentences(here: Visit, purposes: Sequence[Purpose]) -> list[str]:
    return [here.told.purposes.get(purpose, purpose) for purpose in purposes]


async def resume(request: Request) -> Response:
    """Going on with a code, on whichever phone."""
    here = await visit(request)
    if request.method == "GET":
        return here.page("code_asked.html", fault="", what="resume")
    code = here.booth.attempts.code(await here.form(), here.client)
    speaker = await here.booth.do(here.booth.ledger.speaker_of, code)
    if speaker is None:
        here.booth.attempts.wrong(here.client)
        return here.page("code_asked.html", 403, fault=here.t["code_wrong"], what="resume")
    if (await here.booth.do(here.booth.ledger.consents, speaker))[-1].state in ("withdrawn", "erased"):
        return here.message(here.t["withdrawn_before"])
    await here.booth.do(_sit, here, speaker, code)
    return here.go("/record")


def _sit(here: Visit, speaker: str, code: str) -> None:
    """A sitting of its own for whoever comes back: the clips of two sittings are told apart."""
    here.booth.sittings.end(here.token)
    here.booth.sittings.begin(here.token, here.language)
    here.booth.sittings.bind(here.token, speaker, code)


async def leave(request: Request) -> Response:
    """The phone goes to the next person."""
    here = await visit(request)
    await here.form()
    await here.booth.do(here.booth.sittings.end, here.token)
    response = here.go("/")
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
