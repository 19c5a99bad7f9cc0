"""Whether a filter leaves out more of one group than of the others, and how sure that is."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prepare.figures import apart
from prepare.report.chance import Counts, by_people, by_recordings, share_interval
from prepare.report.outcomes import FACTORS, Came, Outcome

ANY = "all reasons"
SEVERAL = "several"  # groups too small to be shown by themselves
_LEVEL = 0.05

# more: surely more than the others, by people. here: more of these recordings, and not of one person alone; but too
# few people, or too unlike, to say that it is the group. few: no outcome could have told. alike: no difference seen.
Verdict = Literal["more", "here", "few", "alike"]


@dataclass(frozen=True)
class Loss:
    """What one reason left out of a group, and of all others."""

    lost: int
    of: int
    others_lost: int
    others: int
    verdict: Verdict = "alike"

    @property
    def share(self) -> float:
        return self.lost / self.of if self.of else 0.0

    @property
    def others_share(self) -> float:
        return self.others_lost / self.others if self.others else 0.0


@dataclass(frozen=True)
class Group:
    """Recordings that have something in common."""

    name: str
    people: int  # a synthetic voice is nobody
    came: int
    stayed: int
    came_s: float  # as recorded
    stayed_s: float
    low: float | None  # of the share that stayed: a 95 % interval; None where one person says nothing of others
    high: float | None
    few: bool = False  # too few people, here or elsewhere, for any difference to be told
    losses: Mapping[str, Loss] = field(default_factory=dict)  # by reason, `ANY` first

    @property
    def marked(self) -> bool:
        """Whether the filters take surely more of it than of the others."""
        return self.losses[ANY].verdict == "more"


@dataclass(frozen=True)
class Table:
    """Groups by one fact about recordings or their speakers."""

    factor: str
    groups: tuple[Group, ...]
    names: Mapping[str, str]  # of a fact's value: the name of its group


def tables(came: Came, least: int, seed: int) -> list[Table]:
    """By each fact that tells groups apart, groups of at least so many people, the largest first.

    A language is no fact about a person, and is shown however few speak it.
    """
    names = {factor: _names(came, factor, 1 if factor == "language" else least) for factor in FACTORS}
    names = {factor: called for factor, called in names.items() if len(set(called.values())) > 1}
    found = []
    for factor, called in names.items():
        parts = defaultdict[str, list[Outcome]](list)
        for one in came.outcomes:
            parts[called[one.groups[factor]]].append(one)
        found.append(Table(factor, _compared(came, parts, len(names), seed), called))
    return found


def speakers(came: Came) -> tuple[Group, ...]:
    """Each speaker beside all others, recording by recording: who loses surely more first."""
    parts = defaultdict[str, list[Outcome]](list)
    for one in came.outcomes:
        parts[one.clip.speaker].append(one)
    if len(parts) < 2:
        return ()
    counts = _counts([[one] for one in parts.values()])
    verdicts = np.where(by_recordings(counts) < _LEVEL, "more", "alike")
    groups = [_group(came, name, part, False) for name, part in parts.items()]
    found = _with_losses(groups, counts, verdicts)
    return tuple(sorted(found, key=lambda group: (group.losses[ANY].verdict != "more", -group.losses[ANY].share)))


def _names(came: Came, factor: str, least: int) -> dict[str, str]:
    """What each value of a fact is called: by itself, or `SEVERAL` where that would show too few people."""
    people = defaultdict[str, set[str]](set)
    for one in came.outcomes:
        people[one.groups[factor]] |= {one.clip.speaker} - came.synthetic
    several = apart({value: who for value, who in people.items() if who}, least)[1]
    together = set[str]().union(*(people[value] for value in several))
    if 0 < len(together) < least:
        return dict.fromkeys(people, SEVERAL)
    return {value: SEVERAL if value in several else value for value in people}


def _compared(came: Came, parts: Mapping[str, list[Outcome]], count: int, seed: int) -> tuple[Group, ...]:
    """Groups with what each reason takes of them. `count`: of the tables that are tested."""
    ordered = sorted(parts, key=lambda name: (name == SEVERAL, -len(parts[name]), name))
    units = [_by_speaker(parts[name]) for name in ordered]
    counts = _counts(units)
    verdicts = np.where(by_people(counts, seed) * count < _LEVEL, "more", "alike")
    size = len(counts.group)
    few = [math.comb(size, len(one)) <= count / _LEVEL for one in units]  # no deal is rare enough
    verdicts[np.asarray(few)] = "few"
    either_way = np.maximum(by_recordings(counts), by_recordings(counts, without_worst=True))
    verdicts[(verdicts != "more") & (either_way * count < _LEVEL)] = "here"
    groups = [
        replace(_group(came, name, parts[name], True), few=alone) for name, alone in zip(ordered, few, strict=True)
    ]
    return tuple(_with_losses(groups, counts, verdicts))


def _with_losses(groups: Sequence[Group], counts: "Counts", verdicts: NDArray[np.str_]) -> list[Group]:
    lost, of = counts.lost_by_group, counts.of_group
    found = []
    for at, group in enumerate(groups):
        losses = {}
        for column, reason in enumerate(counts.reasons):
            here, there = int(lost[at, column]), int(lost[:, column].sum() - lost[at, column])
            rest, verdict = int(of.sum() - of[at]), str(verdicts[at, column])
            losses[reason] = Loss(here, int(of[at]), there, rest, verdict)  # type: ignore[arg-type]
        found.append(replace(group, losses=losses))
    return found


def _group(came: Came, name: str, part: Sequence[Outcome], of_many: bool) -> Group:
    """A group and how much of it stayed. `of_many`: the interval is of people like these, not of one's recordings."""
    clips = {one.clip.id: one.clip.duration_s for one in part}
    people = _by_speaker(part) if of_many else [[one] for one in part]
    low, high = share_interval([sum(one.kept for one in person) for person in people], [len(p) for p in people])
    return Group(
        name=name,
        people=len({one.clip.speaker for one in part} - came.synthetic),
        came=len(part),
        stayed=sum(one.kept for one in part),
        came_s=sum(clips.values()),
        stayed_s=sum(one.figures["duration_s"] for one in part if one.kept),
        low=low,
        high=high,
    )


def _by_speaker(part: Iterable[Outcome]) -> list[list[Outcome]]:
    found = defaultdict[str, list[Outcome]](list)
    for one in part:
        found[one.clip.speaker].append(one)
    return list(found.values())


def _counts(groups: Sequence[Sequence[Sequence[Outcome]]]) -> Counts:
    """Counts of groups of people's recordings."""
    kinds = Counter(one.kind for people in groups for person in people for one in person if not one.kept)
    reasons = (ANY, *(kind for kind, _ in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))))
    rows, of, membership = [], [], []
    for at, people in enumerate(groups):
        for person in people:
            lost = Counter(one.kind for one in person if not one.kept)
            rows.append([lost.total(), *(lost[kind] for kind in reasons[1:])])
            of.append(len(person))
            membership.append(at)
    return Counts(reasons, np.array(membership), np.array(of, float), np.array(rows, float))
