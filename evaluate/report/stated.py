"""What has to be reported of a listening test and no figure tells: who was asked, and how, when, and what with.

ITU-T P.808 (06/2021) and ITU-R BS.1534-3, section 10, ask for it. What the recipe does not say is "not stated": a
report does not fall silent about what nobody wrote down.
"""

from typing import Any

from evaluate.bias import disclosed
from evaluate.findings import Findings
from evaluate.listen.told import instructions
from evaluate.report.heard import Heard
from evaluate.report.words import Words
from recipes.schema import Recipe, Stated
from web.page import strings

KEYS = ("recruitment", "pay", "instructions", "conditions")


def rows(recipe: Recipe, heard: Heard, test: Findings, fewest: int, say: Words) -> list[tuple[str, list[str]]]:
    """Rows of the report: a name and its lines. `fewest`: people below which no count is given."""
    said = [(say(f"f_{key}"), [told(getattr(recipe.evaluate.report, key), say)]) for key in KEYS]
    first, last = (say.isolated(day) for day in heard.days or ("", ""))
    return [
        *said,
        (say("f_devices"), [devices(test, fewest, say)]),
        (say("f_days"), [say("f_days_text", first=first, last=last) if heard.days else say("not_stated")]),
    ]


def told(stated: Stated | None, say: Words) -> str:
    """What the recipe says, in the page's language where it is given in it, else in the first that is."""
    if stated is None:
        return say("not_stated")
    if isinstance(stated, str):
        return say.as_it_is(stated)
    return say.as_it_is(stated.get(say.language) or next(iter(stated.values())))


def pages(recipe: Recipe) -> list[tuple[str, list[str]]]:
    """What the pages of the test say: each of their languages by its name, and its sentences."""
    asked = recipe.evaluate.listen
    return [(strings(one)["name"], instructions(asked, one)) for one in asked.languages]


def devices(test: Findings, fewest: int, say: Words) -> str:
    """What people listened with, as far as they said it."""
    counts = test.facts.get("device", {})
    silent = test.listeners - sum(counts.values())
    counts = counts | ({"": silent} if silent else {})
    told = disclosed(counts, test.listeners, fewest)
    names = {device: say(f"device_{device}") if device else say("not_stated") for device in counts}
    return " · ".join(f"{names[one]} {number(told[one], counts[one], fewest, say)}" for one in counts)


def number(told: int | None, people: int, fewest: int, say: Words) -> str:
    """How many people; of a number that would tell of few, no more than that."""
    if told is not None:
        return say.count(told)
    return say("fewer_than", n=say.count(fewest)) if people < fewest else say("not_told")


def json(recipe: Recipe, heard: Heard) -> dict[str, Any]:
    """The same for programs; null is what nobody stated."""
    stated = {key: getattr(recipe.evaluate.report, key) for key in KEYS}
    asked = recipe.evaluate.listen
    return {**stated, "pages": {one: instructions(asked, one) for one in asked.languages}, "days": heard.days}
