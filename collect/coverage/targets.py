"""What to record next: how far each of the recipe's targets is reached, in plain sentences."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from collect.coverage.tally import Voice, allowing
from recipes.records import Language
from recipes.schema import Target

_LANGUAGES = {
    "ary": "Darija",
    "zgh": "Standard Tamazight",
    "shi": "Tashelhit",
    "tzm": "Central Atlas Tamazight",
    "rif": "Tarifit",
    "kab": "Kabyle",
}
_SCRIPTS = {"Arab": "Arabic", "Tfng": "Tifinagh", "Latn": "Latin"}
_PEOPLE = {"female": "women", "male": "men", "other": "people of another gender", None: "people"}
_MINORS = {"female": "girls", "male": "boys", "other": "minors of another gender", None: "minors"}


@dataclass(frozen=True)
class Step:
    """A target, what counts towards it, and what is missing."""

    target: Target
    hours: float  # at most `max_h_each` of each speaker
    speakers: int
    more_h: float
    more_people: int  # who have not recorded for it yet

    @property
    def reached(self) -> float:
        """Share of the target, by hours or by speakers, whichever is less; at most 1."""
        return min(1.0, self.hours / self.target.hours, self.speakers / self.target.speakers)


def steps(targets: Sequence[Target], voices: Sequence[Voice]) -> list[Step]:
    """Each target with what is missing; the furthest from being reached first. Synthetic voices do not count."""
    found = [_step(target, voices) for target in targets]
    return sorted(found, key=lambda step: step.reached)


def _step(target: Target, voices: Iterable[Voice]) -> Step:
    each: dict[str, float] = {}
    for voice in allowing(voices, target.purpose):
        if not voice.synthetic and _is_of(voice, target):
            each[voice.speaker] = each.get(voice.speaker, 0.0) + voice.hours
    most = target.max_h_each or math.inf
    counted = sorted((min(one, most) for one in each.values()), reverse=True)
    if target.purpose == "tts_clone":  # a voice is made of one speaker: a little of many others adds nothing to it
        del counted[target.speakers :]
    missing = max(0.0, target.hours - sum(counted))
    # What those who are there may still add under the ceiling; the rest needs other people.
    room = sum(most - one for one in counted)
    others = math.ceil(round((missing - room) / most, 6)) if missing > room else 0
    return Step(target, sum(counted), len(counted), missing, max(others, target.speakers - len(counted), 0))


def _is_of(voice: Voice, target: Target) -> bool:
    """Whether a voice is of those that a target asks for."""
    facts = ("language", "dialect", "gender", "age_band")
    return all(getattr(target, fact) in (None, getattr(voice, fact)) for fact in facts)


# ---------------------------------------------------------------- in words


def sentence(step: Step, fewest: int = 1) -> str:
    """What is there, and what to record. Of fewer than `fewest` people it says neither how many nor how much."""
    target = step.target
    who = f"{language_name(target.language)}, {_who(target)}, for {target.purpose}"
    wanted = _count(target.speakers, "speaker")
    if 0 < step.speakers < fewest:
        return f"{who}: fewer than {fewest} people so far; {span(target.hours)} of {wanted} are wanted"
    each = f" (at most {span(target.max_h_each)} of each counts)" if target.max_h_each else ""
    return f"{who}: {span(step.hours)} of {span(target.hours)}, {step.speakers} of {wanted}{each}: {_missing(step)}"


def _missing(step: Step) -> str:
    if step.reached == 1.0:
        return "reached"
    more = "1 more person" if step.more_people == 1 else f"{step.more_people} more people"
    if not step.more_h:
        return f"the hours are there; record {more}"
    if not step.speakers:
        return f"record {span(step.more_h)}, from {_count(step.more_people, 'speaker')}"
    return f"record {span(step.more_h)} more" + (f", from {more}" if step.more_people else "")


def _who(target: Target) -> str:
    """`women 30-44, dialect tarifit`, or `anyone`."""
    if target.age_band == "under18":
        said = f"{_MINORS[target.gender]} under 18" if target.gender else "under 18"
    elif target.age_band:
        said = f"{_PEOPLE[target.gender]} {target.age_band}"
    else:
        said = _PEOPLE[target.gender] if target.gender else "anyone"
    return said + (f", dialect {target.dialect}" if target.dialect else "")


def language_name(language: Language) -> str:
    """`Tarifit (Latin)` for `rif-Latn`."""
    tongue, script = language.split("-")
    return f"{_LANGUAGES[tongue]} ({_SCRIPTS[script]})"


def span(hours: float) -> str:
    """`24 min`, `1.6 h`: hours in words. More than nothing is never said to be nothing."""
    if round(hours * 60) >= 60:
        return f"{hours:.1f}".removesuffix(".0") + " h"
    return f"{max(1, round(hours * 60))} min" if hours else "0 min"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
