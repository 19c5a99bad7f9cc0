"""For whom a system is worse: gaps between groups of speakers, of listeners, and of how the two match.

Recordings of one person repeat each other, so whole people are drawn, and for ratings sentences too. A group's gap is
its own figure less that of everybody else who is shown. The intervals of all gaps of a table hold together
(Bonferroni): looking at twenty groups finds no group by chance more often than looking at one.
Groups of fewer than `min_cell` people are not shown, for they would be about persons; nor is the smallest of the
others, where all less those who are shown would be so few people (those who said nothing included). A gap that is not
found is no proof that there is none; how large it may still be is what its interval says.

Beside each gap stands the same drawn towards none, as far as it may be noise (partial pooling over the groups of a
table); by it the worst group is found, so that a small group is not named for its noise.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evaluate.ratings import Ratings
from evaluate.statistics.outcome import numbered
from evaluate.statistics.shrinkage import shrunken

FACTORS = ("dialect", "gender", "age_band")
CELL = "dialect × gender × age_band"
Kind = Literal["speaker", "listener", "match"]
Metric = Literal["rating", "preference", "CER"]  # preference: won less lost, -1 to 1 (of CMOS: -3 to 3)
Facts = Mapping[str, Mapping[str, str]]  # person → factor → group
_DRAWS = 1000


@dataclass(frozen=True)
class Observation:
    """One rating, or one recording's errors (`value`) of so many (`of`)."""

    system: str
    value: float
    of: float
    speaker: str
    item: str
    listener: str | None
    groups: Mapping[tuple[Kind, str], str]  # kind and factor → group


@dataclass(frozen=True)
class Gap:
    """One group of one factor. Figures are None where the group is too small to show, or nothing to compare with."""

    system: str
    kind: Kind
    factor: str
    group: str
    people: int
    n: int
    value: float | None
    gap: float | None  # against the others: of errors, above 0 is worse; of ratings, below 0 is
    low: float | None
    high: float | None
    worse: float | None = None  # the gap, turned so that above 0 is worse for the group
    surely: Literal["worse", "better"] | None = None
    shrunken: float | None = None  # the gap after partial pooling; None without an interval

    @property
    def hidden(self) -> bool:
        return self.value is None


@dataclass(frozen=True)
class Bias:
    """All gaps of an evaluation; and for each system the group that is worst off, where gaps are more than noise."""

    metric: Metric
    gaps: list[Gap]
    worst: dict[str, Gap]
    min_cell: int

    def of(self, system: str) -> list[Gap]:
        return [gap for gap in self.gaps if gap.system == system]

    def json(self) -> dict[str, Any]:
        """For programs: of groups that are not shown, how many there are of each factor."""
        hidden = Counter((gap.system, gap.kind, gap.factor) for gap in self.gaps if gap.hidden)
        rows = [{"system": s, "kind": k, "factor": f, "groups": count} for (s, k, f), count in sorted(hidden.items())]
        return asdict(self) | {"gaps": [asdict(gap) for gap in self.gaps if not gap.hidden], "hidden": rows}


def of_errors(
    measured: Iterable[tuple[str, str, str, float, float]], speakers: Facts, min_cell: int, seed: int
) -> Bias:
    """Gaps in error rates. `measured`: system, speaker, item, edits, characters."""
    rows = [
        Observation(system, edits, chars, speaker, item, None, _groups("speaker", speakers.get(speaker, {})))
        for system, speaker, item, edits, chars in measured
    ]
    return _bias("CER", rows, min_cell, seed)


def of_ratings(ratings: Ratings, voices: Mapping[str, str], speakers: Facts, min_cell: int, seed: int) -> Bias:
    """Gaps in ratings, of those that count (`findings.counted`). `voices`: item → whose voice says it.

    Comparisons count for the plan's first system.
    """
    listeners = {one.listener: _facts(one.facts) for one in ratings.people if not one.excluded}
    shown = {one.listener for one in ratings.people if one.excluded}
    groups: dict[tuple[str, str], Mapping[tuple[Kind, str], str]] = {}  # of a listener and a voice
    rows = []
    scores = [(one.listener, one.item, one.system, one.score) for one in ratings.scores]
    if not scores and ratings.method != "abx":
        first, second = ratings.primary
        met = [one for one in ratings.comparisons if {one.first, one.second} == {first, second}]
        scores = [(one.listener, one.item, first, one.score if one.second == first else -one.score) for one in met]
    for who, item, system, score in scores:
        if who in shown or score != score:
            continue
        speaker = voices.get(item, "")
        if (who, speaker) not in groups:
            theirs, voice = listeners.get(who, {}), speakers.get(speaker, {})
            groups[who, speaker] = _groups("speaker", voice) | _groups("listener", theirs) | _match(voice, theirs)
        rows.append(Observation(system, float(score), 1.0, speaker, item, who, groups[who, speaker]))
    return _bias("rating" if ratings.scores else "preference", rows, min_cell, seed)


def _facts(told: Mapping[str, str]) -> dict[str, str]:
    """A listener's facts by the names that speakers' have: the variety they speak is their dialect."""
    names = {"dialect": "varieties", "gender": "gender", "age_band": "age_band"}
    return {name: told.get(name) or told[other] for name, other in names.items() if told.get(name) or told.get(other)}


def _groups(kind: Kind, facts: Mapping[str, str]) -> dict[tuple[Kind, str], str]:
    found = {(kind, factor): facts[factor] for factor in FACTORS if facts.get(factor)}
    if len(found) == len(FACTORS):
        found[kind, CELL] = " × ".join(facts[factor] for factor in FACTORS)
    return found


def _match(voice: Mapping[str, str], listener: Mapping[str, str]) -> dict[tuple[Kind, str], str]:
    """Whether voice and listener are alike, in each factor and in all three."""
    both = [factor for factor in FACTORS if voice.get(factor) and listener.get(factor)]
    alike = {factor: _alike(voice[factor], listener[factor]) for factor in both}
    found: dict[tuple[Kind, str], str] = {("match", factor): "same" if alike[factor] else "other" for factor in both}
    if len(both) == len(FACTORS):
        found["match", CELL] = "same" if all(alike.values()) else "other"
    return found


def _alike(one: str, other: str) -> bool:
    """Listeners may name several varieties, by their codes, with spaces between, as the listening test has them."""
    return one.casefold() in {other.casefold(), *other.casefold().split()}


# ---------------------------------------------------------------- figures


def _bias(metric: Metric, rows: Sequence[Observation], min_cell: int, seed: int) -> Bias:
    bad = 1.0 if metric == "CER" else -1.0
    gaps: list[Gap] = []
    for system in sorted({row.system for row in rows}):
        mine = [row for row in rows if row.system == system]
        alike = {id(row.groups): row.groups for row in mine}  # many rows share theirs
        for kind, factor in sorted({key for one in alike.values() for key in one}):
            gaps += _table(mine, kind, factor, bad, min_cell, seed)
    worst: dict[str, Gap] = {}
    for gap in gaps:
        if gap.worse is not None and gap.worse > 0 and gap.shrunken != 0:
            before = worst.get(gap.system)
            if before is None or _rank(gap) > _rank(before):
                worst[gap.system] = gap
    return Bias(metric, gaps, worst, min_cell)


def _rank(gap: Gap) -> tuple[bool, float, float]:
    """Who is worst off: whoever surely is, then by the shrunken gap, then by the gap as it was found."""
    return gap.surely == "worse", abs(gap.shrunken or 0.0), gap.worse or 0.0


def _table(rows: Sequence[Observation], kind: Kind, factor: str, bad: float, min_cell: int, seed: int) -> list[Gap]:
    """Every group of one factor against the others."""
    by_group: dict[str, list[Observation]] = defaultdict(list)
    for row in rows:
        if group := row.groups.get((kind, factor)):
            by_group[group].append(row)
    people = {group: len({_person(kind, row) for row in of}) for group, of in by_group.items()}
    shown = _shown(rows, kind, factor, people, min_cell)
    hidden = [
        Gap(rows[0].system, kind, factor, group, people[group], 0, None, None, None, None)
        for group in sorted(by_group)
        if group not in shown
    ]
    if not shown:
        return hidden
    counted = [row for group in shown for row in by_group[group]]
    where = {group: place for place, group in enumerate(shown)}
    which = np.array([where[row.groups[kind, factor]] for row in counted])
    values, spreads, alone = _estimates(counted, kind, which, len(shown), seed)
    found = []
    for group, place in where.items():
        one = Gap(
            counted[0].system,
            kind,
            factor,
            group,
            people[group],
            len(by_group[group]),
            float(values[place]),
            *[None] * 3,
        )
        if len(shown) > 1:
            rest = len({_person(kind, row) for row in counted if row.groups[kind, factor] != group})
            fewest = min(people[group], rest)
            one = _against(one, float(alone[place]), float(spreads[place]), fewest, len(shown), bad)
        found.append(one)
    return _pooled(found, spreads) + hidden


def _shown(
    rows: Sequence[Observation], kind: Kind, factor: str, people: Mapping[str, int], min_cell: int
) -> list[str]:
    """The groups of a factor that tell of no few people: neither themselves nor what they leave of all rows."""
    shown = sorted((group for group in people if people[group] >= min_cell), key=lambda group: (people[group], group))
    while shown:
        rest = {_person(kind, row) for row in rows if row.groups.get((kind, factor)) not in shown}
        if not 0 < len(rest) < min_cell:
            break
        shown = shown[1:]
    return sorted(shown)


def disclosed(counts: Mapping[str, int], people: int, min_cell: int) -> dict[str, int | None]:
    """Numbers of people by group, None where one, or all less the others, would tell of few. `people`: of all."""
    shown = sorted((count, group) for group, count in counts.items() if count >= min_cell)
    while shown and 0 < people - sum(count for count, _ in shown) < min_cell:
        shown = shown[1:]
    told = {group for _, group in shown}
    return {group: count if group in told else None for group, count in counts.items()}


def _pooled(gaps: list[Gap], spreads: NDArray[np.float64]) -> list[Gap]:
    """Gaps with their shrunken values, where they have an interval. `spreads`: their standard errors."""
    known = [place for place, gap in enumerate(gaps) if gap.gap is not None and gap.low is not None]
    values = dict(zip(known, shrunken([gaps[n].gap or 0.0 for n in known], spreads[known]).tolist(), strict=True))
    return [replace(gap, shrunken=values.get(place)) for place, gap in enumerate(gaps)]


def _against(one: Gap, others: float, se: float, people: int, groups: int, bad: float) -> Gap:
    """The gap to the others, with an interval that holds for all groups of the table together."""
    gap = float(one.value or 0.0) - others
    low, high = _interval(gap, se, people, groups if groups > 2 else 1)
    told = low is not None and high is not None and not low <= 0 <= high
    surely: Literal["worse", "better"] | None = ("worse" if gap * bad > 0 else "better") if told else None
    return replace(one, gap=gap, low=low, high=high, worse=gap * bad, surely=surely)


def _person(kind: Kind, row: Observation) -> str:
    """Whose group it is. How listener and voice match is the listener's."""
    return row.speaker if kind == "speaker" or row.listener is None else row.listener


def _interval(gap: float, se: float, people: int, tests: int) -> tuple[float | None, float | None]:
    from scipy.stats import t

    if people < 3 or se < 1e-12:
        return None, None
    half = float(t.ppf(1 - 0.025 / tests, people - 1)) * se
    return gap - half, gap + half


def _estimates(
    rows: Sequence[Observation], kind: Kind, which: NDArray[np.int64], groups: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Each group's figure, the standard error of its gap, and the figure of all others. Each (groups,)

    Drawn anew are the people whose groups they are and, across them, the sentences; for groups of speakers who are
    rated, the listeners.
    """
    who, people = numbered([_person(kind, row) for row in rows])
    across = [(row.listener if kind == "speaker" else row.item) if row.listener else "" for row in rows]
    what, others = numbered(across)
    draw = np.random.default_rng(seed)
    by_person = draw.multinomial(people, np.full(people, 1 / people), _DRAWS).astype(float)
    by_other = draw.multinomial(others, np.full(others, 1 / others), _DRAWS).astype(float)
    values, sizes = (np.array([getattr(row, name) for row in rows], float) for name in ("value", "of"))
    whole, drawn = np.zeros((2, groups)), np.zeros((2, groups, _DRAWS))
    for group in range(groups):
        mine = np.flatnonzero(which == group)
        theirs, place = np.unique(who[mine], return_inverse=True)
        for part, column in enumerate((values, sizes)):
            table = np.zeros((len(theirs), others))
            np.add.at(table, (place, what[mine]), column[mine])
            whole[part, group] = table.sum()
            drawn[part, group] = ((by_person[:, theirs] @ table) * by_other).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = drawn[0] / drawn[1] - (drawn[0].sum(0) - drawn[0]) / (drawn[1].sum(0) - drawn[1])
        alone = (whole[0].sum() - whole[0]) / (whole[1].sum() - whole[1])
    known = np.isfinite(apart)
    spread = np.array([one[sure].std() if sure.sum() > 1 else 0.0 for one, sure in zip(apart, known, strict=True)])
    return whole[0] / whole[1], spread, alone
