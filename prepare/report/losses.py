"""Whether a filter leaves out more of one group than of the others, and how sure that is.

Recordings of one person are alike: one bad microphone is many bad recordings. So the test deals people to
the groups by lot, and asks how often a group of such a deal loses as much as the group did. It takes the worst
cell of each deal, so that one level holds for all reasons and all groups of a table together (a permutation test
of the maximum: Westfall and Young, "Resampling-based multiple testing", 1993), and counts the tables (Bonferroni).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prepare.figures import apart
from prepare.report.outcomes import FACTORS, Came, Outcome

ANY = "all reasons"
SEVERAL = "several"  # groups too small to be shown by themselves
_LEVEL = 0.05
_DEALS = 1999  # of people to groups

# more: surely more than the others, by people. here: more of these recordings, and not of one person alone; but too
# few people, or too unlike, to say that it is the group. few: no outcome could have told. alike: no difference seen.
Verdict = Literal["more", "here", "few", "alike"]
Real = NDArray[np.float64]


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
    verdicts = np.where(_by_recordings(counts) < _LEVEL, "more", "alike")
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
    by_people = _by_people(counts, seed) * count
    verdicts = np.where(by_people < _LEVEL, "more", "alike")
    size = len(counts.group)
    few = [math.comb(size, len(one)) * _LEVEL <= count for one in units]  # no deal is rare enough
    verdicts[np.asarray(few)] = "few"
    by_recordings = np.maximum(_by_recordings(counts), _by_recordings(counts, without_worst=True))
    verdicts[(verdicts != "more") & (by_recordings * count < _LEVEL)] = "here"
    groups = [
        replace(_group(came, name, parts[name], True), few=alone) for name, alone in zip(ordered, few, strict=True)
    ]
    return tuple(_with_losses(groups, counts, verdicts))


def _with_losses(groups: Sequence[Group], counts: "_Counts", verdicts: NDArray[np.str_]) -> list[Group]:
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


# ---------------------------------------------------------------- intervals


def share_interval(kept: Sequence[int], of: Sequence[int]) -> tuple[float | None, float | None]:
    """A 95 % interval of a share, from what each person kept of how many; (None, None) for one person.

    Clopper and Pearson's (1934), of as many independent recordings as people's likeness leaves, after Korn
    and Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated from
    survey data", Survey Methodology 24(2), 1998.
    """
    from scipy import stats

    y, n = np.asarray(kept, float), np.asarray(of, float)
    if len(n) < 2:
        return None, None
    share, size = y.sum() / n.sum(), n.sum()
    variance = len(n) / (len(n) - 1) * np.sum((y - share * n) ** 2) / size**2
    worth = share * (1 - share) / variance if variance > 0 else size
    worth = min(size, worth * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, len(n) - 1)) ** 2)
    hits = share * worth
    low = float(stats.beta.ppf(0.025, hits, worth - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, worth - hits)) if hits < worth else 1.0
    return low, high


# ---------------------------------------------------------------- tests


@dataclass(frozen=True, eq=False)
class _Counts:
    """People (or recordings) in groups: how many recordings of each, and how many of these each reason took."""

    reasons: tuple[str, ...]  # `ANY`, then by how much they took
    group: NDArray[np.int64]  # (people,)
    of: Real  # (people,)
    lost: Real  # (people, reasons)

    @property
    def lost_by_group(self) -> Real:
        """(groups, reasons)"""
        summed = np.zeros((int(self.group.max()) + 1, len(self.reasons)))
        np.add.at(summed, self.group, self.lost)
        return summed

    @property
    def of_group(self) -> Real:
        """(groups,)"""
        return np.bincount(self.group, self.of).astype(np.float64)

    @property
    def worst(self) -> tuple[Real, Real]:
        """Of the person in each cell who lost most: how many were lost, and of how many. Each (groups, reasons)"""
        groups = range(int(self.group.max()) + 1)
        rows = [np.flatnonzero(self.group == group) for group in groups]
        who = np.array([mine[self.lost[mine].argmax(axis=0)] for mine in rows])
        return np.take_along_axis(self.lost, who, axis=0), self.of[who]


def _counts(groups: Sequence[Sequence[Sequence[Outcome]]]) -> _Counts:
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
    return _Counts(reasons, np.array(membership), np.array(of, float), np.array(rows, float))


def _by_people(counts: _Counts, seed: int) -> Real:
    """How often people who are dealt to the groups by lot lose as much in some cell: (groups, reasons)."""
    draw = np.random.default_rng(seed)
    size, membership = len(counts.group), np.eye(int(counts.group.max()) + 1)[counts.group]
    excess = counts.lost - np.outer(counts.of, counts.lost.sum(axis=0) / counts.of.sum())
    spread = np.sqrt(np.sum(excess**2, axis=0) / max(1, size - 1))
    excess = np.divide(excess, spread, out=np.zeros_like(excess), where=spread > 1e-12)
    people = membership.sum(axis=0)
    weights = membership / np.sqrt(np.maximum(people * (1 - people / size), 1e-12))
    found = weights.T @ excess
    most = np.array([(weights.T @ excess[draw.permutation(size)]).max() for _ in range(_DEALS)])
    above: Real = (most[:, None, None] >= found - 1e-9).sum(axis=0)
    return (1 + above) / (1 + _DEALS)


def _by_recordings(counts: _Counts, without_worst: bool = False) -> Real:
    """Fisher's exact test of each cell, one-sided, as if every recording were by itself; Holm's correction.

    `without_worst`: leaving out, of each cell, the one person who lost most. (groups, reasons)
    """
    from scipy.stats import hypergeom

    lost = counts.lost_by_group
    of = np.repeat(counts.of_group[:, None], lost.shape[1], axis=1)
    all_lost, all_of = lost.sum(axis=0), counts.of.sum()
    if without_worst:
        their_lost, their_of = counts.worst
        lost, of, all_lost, all_of = lost - their_lost, of - their_of, all_lost - their_lost, all_of - their_of
    chance: Real = hypergeom.sf(lost - 1, all_of, all_lost, of)
    order = np.argsort(chance, axis=None, kind="stable")
    tests = chance.size - np.arange(chance.size)
    adjusted = np.maximum.accumulate(np.minimum(1.0, chance.flatten()[order] * tests))
    found = np.empty(chance.size)
    found[order] = adjusted
    return found.reshape(chance.shape)
