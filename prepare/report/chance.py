"""How sure a difference between groups of people's recordings is.

Recordings of one person are alike: one bad microphone is many bad recordings. So the test deals people to
the groups by lot, and asks how often a group of such a deal loses as much as the group did. It takes the worst
cell of each deal, so that one level holds for all reasons and all groups of a table together: a permutation test
of the maximum (Westfall and Young, "Resampling-based multiple testing", 1993).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DEALS = 1999  # of people to groups

Real = NDArray[np.float64]


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


@dataclass(frozen=True, eq=False)
class Counts:
    """People (or recordings) in groups: how many recordings of each, and how many of these each reason took."""

    reasons: tuple[str, ...]  # what is counted
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


def by_people(counts: Counts, seed: int) -> Real:
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


def by_recordings(counts: Counts, without_worst: bool = False) -> Real:
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
