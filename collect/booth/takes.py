"""The booth for a speaker: facts about them, microphone check, prompts, uploads, receipt."""

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from collect import audio, ledger
from collect.audio import Decoded
from collect.booth import hearing
from collect.booth.prompts import PICTURES, SOUNDS, Prompt
from collect.booth.sittings import Manner
from collect.booth.spool import Spool
from collect.booth.visit import Visit, source, visit
from collect.booth.welcome import paper
from collect.decoding import containers, limits
from collect.ledger import Speaker
from recipes.records import AgeBand, Clip, Gender
from web.page import direction, tag
from web.places import about_people, named, places

_KEY = re.compile(r"[0-9A-Za-z-]{16,64}")


@dataclass(frozen=True)
class Take:
    """An upload that was heard."""

    sha256: str
    sound: Decoded
    heard: hearing.Heard


# ---------------------------------------------------------------- facts


async def about(request: Request) -> Response:
    """What the speaker wants to tell: nothing has to be said but the language of the sentences."""
    here = await visit(request)
    if here.speaker is None:
        return here.go("/")
    last = (await here.booth.do(here.booth.ledger.consents, here.speaker))[-1]
    profile, contact = "profile_data" in last.purposes, "recontact" in last.purposes
    if request.method == "POST":
        form = await here.form()
        given = {name: str(form.get(name, "")) for name in ("language", "manner", "age_band", "gender", "region")}
        given |= {name: str(form.get(name, "")) for name in ("dialect", "contact")}
        await here.booth.do(_keep_facts, here, given, profile, contact)
        return here.go("/check")
    choices = await here.booth.do(_choices, here)
    if not (profile or contact) and len(choices["languages"]) == 1 and not choices["manners"]:
        await here.booth.do(_keep_facts, here, {"language": choices["languages"][0][0]}, False, False)
        return here.go("/check")
    return here.page("about.html", profile=profile, contact=contact, **choices)


def _choices(here: Visit) -> dict[str, Any]:
    booth, known = here.booth, places()
    kinds = {prompt.kind for prompts in booth.prompts.values() for prompt in prompts}
    bases = {language.partition("-")[0] for language in booth.prompts}
    dialects = {code: row for base in sorted(bases) for code, row in known["dialects"].get(base, {}).items()}
    own = tag(here.language)
    nearest = sorted(booth.prompts, key=lambda one: (one != own, one.partition("-")[0] != own.partition("-")[0]))
    return {
        "languages": [(language, known["languages"][language]) for language in nearest],
        "manners": len(kinds) > 1 and "read" in kinds,
        "dialects": named(dialects, here.language),
        **about_people(here.t, here.language, children=True),
    }


def _keep_facts(here: Visit, given: dict[str, str], profile: bool, contact: bool) -> None:
    """Keep what was chosen; facts about the person only where they allowed it."""
    booth, speaker, known = here.booth, here.speaker, places()
    assert speaker is not None
    course = booth.sittings.course(speaker)
    if course is None:
        return
    language = next(
        (language for language in booth.prompts if language == given["language"]), next(iter(booth.prompts))
    )
    manner: Manner = "listen" if given.get("manner") == "listen" else "read"
    course = replace(course, language=language, manner=manner)
    if not booth.offered(course):
        course = replace(course, manner="read")
    if profile:
        region = given["region"] if given["region"] in known["regions"] else None
        dialects = known["dialects"].get(language.partition("-")[0], {})
        course = replace(course, region=region, dialect=given["dialect"] if given["dialect"] in dialects else None)
        age: AgeBand | None = next((band for band in get_args(AgeBand) if band == given["age_band"]), None)
        gender: Gender | None = next((one for one in get_args(Gender) if one == given["gender"]), None)
        booth.ledger.describe(Speaker(code=speaker, age_band=age, gender=gender))
    if contact and given["contact"].strip():
        booth.ledger.keys.keep_contact(speaker, given["contact"].strip()[:200])
    booth.sittings.set_course(speaker, course)


# ---------------------------------------------------------------- prompts


async def check(request: Request) -> Response:
    """Is the microphone on, is it quiet here?"""
    here = await visit(request)
    return here.page("check.html") if here.speaker else here.go("/")


async def record(request: Request) -> Response:
    """The next prompts; a page holds several, so that a lost connection stops nobody."""
    here = await visit(request)
    if here.speaker is None:
        return here.go("/")
    if not await here.booth.do(here.booth.may_record, here.speaker):
        return here.go("/notice")
    course = await here.booth.do(here.booth.sittings.course, here.speaker)
    if course is None or course.language is None:
        return here.go("/about")
    left, done, total = await here.booth.do(here.booth.standing, here.speaker, course)
    if not left:
        return here.go("/receipt")
    booth = {
        "prompts": [_sheet(prompt) for prompt in left],
        "done": done,
        "total": total,
        "max_s": here.booth.settings.max_clip_s,
        "said": {key: text for key, text in here.t.items() if key.startswith(("say_", "kind_"))},
    }
    return here.page("record.html", booth=booth)


def _sheet(prompt: Prompt) -> dict[str, Any]:
    """A prompt for the page."""
    return {
        "id": prompt.id,
        "kind": prompt.kind,
        "text": prompt.text,
        "lang": prompt.language,
        "dir": direction(prompt.language),
        "audio": f"/prompt/{prompt.id}/audio" if prompt.audio else None,
        "picture": f"/prompt/{prompt.id}/picture" if prompt.picture else None,
    }


async def part(request: Request) -> Response:
    """The sound or picture of a prompt, for speakers."""
    here = await visit(request)
    prompt = here.booth.by_id.get(request.path_params["prompt"])
    if here.speaker is None or prompt is None:
        return Response(status_code=404)
    path = prompt.audio if request.path_params["part"] == "audio" else prompt.picture
    return (
        FileResponse(path, media_type=(SOUNDS | PICTURES)[path.suffix.lower()]) if path else Response(status_code=404)
    )


async def skip(request: Request) -> Response:
    """A prompt that the speaker would rather not say."""
    here = await visit(request)
    here.check(request.headers.get("x-csrf", ""))
    prompt = request.query_params.get("prompt", "")
    if here.speaker is None or prompt not in here.booth.by_id:
        return JSONResponse({"state": "stranger"}, 401)
    await here.booth.do(here.booth.sittings.skip, here.speaker, prompt)
    return JSONResponse({"state": "skipped"})


# ---------------------------------------------------------------- uploads


async def upload(request: Request) -> Response:
    """Take a recording in. `kept` is said when it is on the disk; sent again under its key, it is the same clip.

    The page's store holds recordings of whoever used the phone: one that is not of this session's speaker waits
    until they come back (`other`).
    """
    here = await visit(request)
    if here.speaker is None:
        return JSONResponse({"state": "stranger"}, 401)
    here.check(request.headers.get("x-csrf", ""))
    key, asked = request.headers.get("idempotency-key", ""), request.query_params
    prompt = here.booth.by_id.get(asked.get("prompt", ""))
    if asked.get("owner") != here.booth.owner(here.speaker):
        return JSONResponse({"state": "other"}, 409)
    if prompt is None or not _KEY.fullmatch(key):
        return JSONResponse({"state": "refused", "why": ["damaged"]}, 400)
    with Spool() as spool:
        await spool.fill(request.stream())
        async with here.booth.decoding:
            take = await here.booth.compute(hear, spool, prompt, here.booth.settings.max_clip_s)
            if isinstance(take, str):
                return JSONResponse({"state": "refused", "why": [take]}, 422)
            if take.heard.doubts and asked.get("keep") != "1":
                return JSONResponse({"state": "doubt", "why": take.heard.doubts}, 409)
            return await here.booth.do(_keep, here, prompt, take, f"{here.speaker} {key}")


def hear(spool: Spool, prompt: Prompt, max_s: float) -> Take | hearing.Refusal:
    """What a recording is; or why nothing could be made of it."""
    data = spool.read()
    try:
        if containers.kind(data) != "wav":  # what the page makes; nothing else comes this way
            return "damaged"
        sound = audio.decode(data, max_s / 60, len(data))
    except limits.Refused as refused:
        if str(refused) == str(limits.too_long(max_s / 60)):
            return "too_long"
        return "silence" if str(refused).startswith("silence") else "damaged"
    heard = hearing.listen(sound.samples, sound.rate_hz, prompt.text)
    return heard.refusal or Take(hashlib.sha256(data).hexdigest(), sound, heard)


def _keep(here: Visit, prompt: Prompt, take: Take, key: str) -> Response:
    """Put a take into the ledger, once."""
    booth, sitting, speaker = here.booth, here.sitting, here.speaker
    assert sitting is not None and speaker is not None
    course = booth.sittings.course(speaker)
    known = booth.ledger.uploaded(key)
    there = booth.ledger.clip(take.sha256)
    if course is None or (known and known.id != take.sha256) or (there and there.speaker != speaker):
        return JSONResponse({"state": "refused", "why": ["damaged"]}, 409)
    clip = Clip(
        id=take.sha256,
        speaker=speaker,
        language=prompt.language,
        dialect=course.dialect,
        region=course.region,
        transcript=prompt.text,
        origin="prompt" if prompt.text else "draft",
        audio="unkept",
        rate_hz=take.sound.rate_hz,
        duration_s=take.sound.duration_s,
        source=source(prompt),
        session=sitting.id,
    )
    try:
        if there is None:
            booth.ledger.add(clip, take.sound.samples, upload=key)
    except ledger.Refused:
        return JSONResponse({"state": "forbidden"}, 403)
    _, done, total = booth.standing(speaker, course)
    return JSONResponse({"state": "kept", "clip": take.sha256, "done": done, "total": total})


# ---------------------------------------------------------------- receipt


async def receipt(request: Request) -> Response:
    """What was given, the code, and how to take it back: at the end, and for a pause."""
    here = await visit(request)
    if here.speaker is None:
        return here.go("/")
    left, done, total = await here.booth.do(_left, here)
    return here.page("receipt.html", left=left, done=done, total=total, **await here.booth.do(paper, here))


def _left(here: Visit) -> tuple[int, int, int]:
    course = here.booth.sittings.course(here.speaker or "")
    if course is None:
        return 0, 0, 0
    left, done, total = here.booth.standing(here.speaker or "", course)
    return len(left), done, total


async def receipt_text(request: Request) -> Response:
    """The receipt as a text file."""
    here = await visit(request)
    if here.speaker is None:
        raise HTTPException(404)
    on = await here.booth.do(paper, here)
    t, consent = here.t, on["consent"]
    lines = [t["receipt_heading"], here.booth.settings.controller, here.booth.settings.contact, ""]
    lines += [f"{t['code_label']} {on['code']}", "", f"{t['allowed']}"]
    lines += [f"- {sentence}" for sentence in on["allowed"]]
    if consent and consent.expires:
        lines += ["", f"{t['from_to']} {consent.at:%Y-%m-%d} – {consent.expires:%Y-%m-%d}"]
    lines += [f"{t['given']} {on['clips']} ({on['length']})", "", t["withdraw_how"], on["url"], ""]
    lines += [f"{t['chain']} {on['receipt'].number} {on['receipt'].hash}"]
    headers = {"content-disposition": 'attachment; filename="twiza-receipt.txt"'}
    return here.keep(PlainTextResponse("\ufeff" + "\n".join(lines) + "\n", headers=headers))
