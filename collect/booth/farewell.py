"""The booth for whoever takes their consent back: a code, what will happen, and a receipt. Nothing else is asked."""

from collections.abc import Sequence
from dataclasses import replace

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from collect.booth.visit import Visit, visit
from collect.ledger import Speaker
from collect.withdraw import WithdrawalReceipt
from collect.withdraw import withdraw as take_back
from recipes.records import PURPOSES, Purpose


async def withdraw(request: Request) -> Response:
    """First the code, then what to take back, then the receipt."""
    here = await visit(request)
    booth = here.booth
    if request.method == "GET":
        return here.page("code_asked.html", fault="", what="withdraw")
    form = await here.form()
    code = here.booth.attempts.code(form, here.client)
    speaker = await booth.do(booth.ledger.speaker_of, code)
    if speaker is None:
        booth.attempts.wrong(here.client)
        return here.page("code_asked.html", 403, fault=here.t["code_wrong"], what="withdraw")
    purposes = _chosen(form)
    if form.get("what") == "all" or purposes:
        owner = "" if purposes else booth.owner(speaker)
        receipt = await booth.do(_take_back, here, speaker, purposes or None)
        return here.page("withdrawn.html", text=receipt.text(here.language, here.told.purposes), forget=owner)
    fault = here.t["withdraw_choose"] if form.get("what") else ""
    allowed = (await booth.do(booth.ledger.consents, speaker))[-1].purposes
    sentences = [(purpose, here.told.purposes.get(purpose, purpose)) for purpose in allowed]
    return here.page("withdraw.html", 400 if fault else 200, code=code, allowed=sentences, fault=fault)


def _chosen(form: FormData) -> list[Purpose]:
    """The purposes that are taken back by themselves."""
    if form.get("what") != "some":
        return []
    given = form.getlist("purpose")
    return [purpose for purpose in PURPOSES if purpose in given]


def _take_back(here: Visit, speaker: str, purposes: Sequence[Purpose] | None) -> WithdrawalReceipt:
    """Withdraw, and forget at the booth what it knew by those purposes."""
    booth = here.booth
    receipt = take_back(booth.ledger, speaker, purposes)
    if purposes is None:
        booth.sittings.forget(speaker)
        return receipt
    course = booth.sittings.course(speaker)
    if "profile_data" in purposes:
        booth.ledger.describe(Speaker(code=speaker))
        if course:
            booth.sittings.set_course(speaker, replace(course, dialect=None, region=None))
    if "recontact" in purposes:
        booth.ledger.keys.keep_contact(speaker, "")
    return receipt
