"""A listener's way through the test, step by step: worked out anew from their number whenever it is needed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluate import design
from evaluate.blind import Blind
from evaluate.listen.sound import Clip, tones
from evaluate.panel import Answer, Listener
from recipes.schema import Listen

_TONES = 6
_BEST, _FAIR = 100, 3


@dataclass(frozen=True)
class Step:
    """One page that asks something. `answers`: what may be chosen; empty where there are sliders."""

    kind: str  # comprehension, headphones, guess, or a kind of trial
    item: str
    systems: tuple[str, ...]  # codes by slot
    clips: tuple[Clip, ...]  # by slot
    answers: tuple[int, ...]
    right: frozenset[int] | None = None  # what is right; None where nothing is
    question: int | None = None  # which of the recipe's comprehension questions
    named: Clip | None = None  # MUSHRA's reference, which is named beside the others
    alike: tuple[Clip, ...] = ()  # every clip of the sentences: what is played is as long as the longest

    @property
    def sounds(self) -> tuple[Clip, ...]:
        """All that is played."""
        return (*self.clips, *((self.named,) if self.named else ()))

    @property
    def is_trial(self) -> bool:
        return self.kind not in ("comprehension", "headphones", "guess")

    @property
    def can_be_skipped(self) -> bool:
        return self.kind in ("headphones", "guess")


def course(blind: Blind, asked: Listen, listener: Listener) -> list[Step]:
    """Every step of a listener, in order."""
    steps = _questions(asked, listener, blind.shape.seed)
    if asked.headphones:
        steps += [_tones(f"{blind.shape.seed} {listener.number} tones {turn}") for turn in range(_TONES)]
    trials = design.order(blind.shape, listener.number)
    return [*steps, *(_trial(blind, asked, trial) for trial in trials), *_guess(blind, listener, trials)]


def _questions(asked: Listen, listener: Listener, seed: str) -> list[Step]:
    """Those of the varieties that the listener speaks; all, where they did not say, or said others."""
    spoken = set(listener.facts.get("varieties", "").split())
    numbered = list(enumerate(asked.comprehension))
    chosen = [(n, one) for n, one in numbered if one.variety in spoken] or numbered
    random.Random(f"{seed} {listener.number} questions").shuffle(chosen)
    return [
        Step(
            "comprehension",
            one.variety,
            (),
            (Clip("question", str(n)),),
            tuple(range(1, len(one.choices) + 1)),
            frozenset({one.answer}),
            question=n,
        )
        for n, one in chosen
    ]


def _tones(seed: str) -> Step:
    return Step("headphones", "", (), (Clip("tones", seed),), (1, 2, 3), frozenset({tones(seed)[1]}))


def _trial(blind: Blind, asked: Listen, trial: design.Trial) -> Step:
    answers = answers_of(asked)
    row = blind.clips[trial.item if trial.trap is None else sentence_of_traps(blind)]
    alike = tuple(Clip("stimulus", stimulus.name) for stimulus in row.values())
    if trial.trap is not None:
        slots = {"acr": 1, "abx": 3}.get(asked.method, 2)
        clips = (Clip("trap", str(trial.trap)),) * slots
        right = frozenset({asked.traps[trial.trap].answer})
        return Step("trap", f"trap {trial.trap}", (), clips, answers, right, alike=alike)
    clips = tuple(
        Clip("broken" if slot in trial.broken else "stimulus", row[code].name)
        for slot, code in enumerate(trial.systems)
    )
    named = Clip("stimulus", row[blind.reference].name) if blind.reference else None
    return Step(trial.kind, trial.item, trial.systems, clips, answers, _right(asked, trial), named=named, alike=alike)


def sentence_of_traps(blind: Blind) -> str:
    """The sentence that traps are shown with: they say another, and look like every trial."""
    return next(iter(blind.clips))


def _guess(blind: Blind, listener: Listener, trials: Sequence[design.Trial]) -> list[Step]:
    """The closing question: which of two clips is whose. Of one sentence where the listener rated both in one trial.

    What is right is not in the step, so that it is not in the database either: it waits for the key.
    """
    if blind.guess is None:
        return []
    draw = random.Random(f"{blind.shape.seed} {listener.number} guess")
    rated = [trial for trial in trials if trial.kind == "scored"]
    together = [trial.item for trial in rated if {*blind.guess} <= {*trial.systems}]
    heard = {code: together or [trial.item for trial in rated if code in trial.systems] for code in blind.guess}
    if not all(heard.values()):
        return []
    same = draw.choice(together) if together else None
    pair = [(code, same or draw.choice(heard[code])) for code in blind.guess]
    draw.shuffle(pair)
    clips = tuple(Clip("stimulus", blind.clips[item][code].name) for code, item in pair)
    alike = tuple(Clip("stimulus", one.name) for _, item in pair for one in blind.clips[item].values())
    about = "person" if blind.guess_person else "taught"
    return [Step("guess", about, tuple(code for code, _ in pair), clips, (-1, 0, 1), alike=alike)]


def answers_of(asked: Listen) -> tuple[int, ...]:
    """What may be chosen in a trial of the method; none where there are sliders."""
    ranges = {"acr": range(5, 0, -1), "preference": range(-1, 2), "cmos": range(3, -4, -1), "abx": (-1, 1)}
    return tuple(ranges.get(asked.method, ()))


def _right(asked: Listen, trial: design.Trial) -> frozenset[int] | None:
    """What is right to answer: in ABX always; of gold, what does not take the destroyed clip for a good one."""
    if asked.method == "abx":
        if trial.kind == "gold":
            first_is_broken, x_is_broken = 0 in trial.broken, 2 in trial.broken
            return frozenset({-1 if first_is_broken == x_is_broken else 1})
        return frozenset({-1 if trial.systems[2] == trial.systems[0] else 1})
    if trial.kind != "gold":
        return None
    if asked.method == "acr":
        return frozenset(range(1, _FAIR))
    better = 1 if trial.broken == (0,) else -1
    return frozenset(better * size for size in (1, 2, 3))


# ---------------------------------------------------------------- what a form says


class Incomplete(Exception):
    """A form that is no answer: something is missing, out of range, or was not heard."""


def read(step: Step, number: int, listener: str, form: Mapping[str, Any], seconds: float | None) -> Answer:
    """The answer in a form. `number`: of the step, from 0. Raises Incomplete."""
    unplayable = form.get("unplayable") == "yes"
    heard = _heard(form, len(step.sounds))
    value = [] if unplayable else _value(step, form)
    if value and min(heard, default=0.0) < HEARD:
        raise Incomplete
    right = None if step.right is None or not value else value[0] in step.right
    known = form.get("known") == "yes"
    return Answer(listener, number, step.kind, step.item, step.systems, value, right, heard, known, seconds)


HEARD = 0.95  # share of a clip that must have been played, in media time


def _value(step: Step, form: Mapping[str, Any]) -> list[int]:
    if step.can_be_skipped and form.get("skip") == "yes":
        return []
    names = ["choice"] if step.answers else [f"slider{slot}" for slot in range(len(step.clips))]
    found = [_whole(form.get(name)) for name in names]
    allowed: Sequence[int] = step.answers or range(_BEST + 1)
    if any(value not in allowed for value in found):
        raise Incomplete
    return [value for value in found if value is not None]


def _whole(text: object) -> int | None:
    try:
        return int(str(text)) if len(str(text)) < 5 else None
    except ValueError:
        return None


def _heard(form: Mapping[str, Any], count: int) -> list[float]:
    """The share of each clip that the browser says it played."""
    shares = []
    for slot in range(count):
        try:
            share = float(str(form.get(f"heard{slot}"))[:8])
        except ValueError:
            share = 0.0
        shares.append(round(min(1.0, share), 3) if share > 0 else 0.0)
    return shares
