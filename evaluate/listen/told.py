"""What listeners are told and asked, word for word, as the report has to give it."""

from evaluate.listen.trials import question_of
from evaluate.listen.visit import PAGES
from recipes.schema import Interface, Listen
from web.page import strings

_SCALES = {
    "acr": ("scale5", "scale4", "scale3", "scale2", "scale1"),
    "cmos": ("better3", "better2", "better1", "better0"),
    "preference": ("clip", "no_difference"),
    "abx": ("clip",),
}


def instructions(asked: Listen, language: Interface) -> list[str]:
    """The sentences of the pages: what the test is, how it goes, what a trial asks, and what may be answered."""
    t = strings(language, PAGES)
    ready = ["ready_place", "ready_play", *(["ready_volume"] if asked.training else []), "ready_free"]
    answers = [t[key] for key in _SCALES.get(asked.method, _SCALES["acr"])]
    if asked.method in ("preference", "abx"):
        answers = [f"{t['clip']} A", f"{t['clip']} B", *answers[1:]]
    question = [part for part in question_of(asked.method, t) if part]
    whole = [t["notice_what"].format(minutes=f"{asked.minutes:g}"), *(t[key] for key in ready)]
    return [*whole, *question, " / ".join(answers).replace("{it}", "A")]
