"""Tests by ranks, and Holm's correction for many of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evaluate.statistics.outcome import NotEnough


@dataclass(frozen=True)
class Test:
    """A test's statistic and its p."""

    __test__ = False  # not one for pytest

    statistic: float
    p: float
    n: int


def wilcoxon(differences: ArrayLike, alternative: str = "two-sided") -> Test | NotEnough:
    """Wilcoxon's signed ranks of differences (n,), one a listener; exact where there are few and no ties.

    Source: Wilcoxon, Biometrics Bulletin 1(6), 1945. Differences of nil are left out.
    """
    from scipy.stats import rankdata, wilcoxon

    found = np.asarray(differences, dtype=float)
    found = found[found != 0]
    if len(found) < 5:
        return NotEnough("fewer than five listeners who heard a difference")
    ranks = rankdata(np.abs(found))
    exact = len(found) <= 50 and len(np.unique(np.abs(found))) == len(found)
    p = wilcoxon(found, alternative=alternative, method="exact" if exact else "asymptotic").pvalue
    return Test(float(ranks[found > 0].sum()), float(p), len(found))


def friedman(table: ArrayLike) -> Test | NotEnough:
    """Friedman's test of a table (listeners, systems) without gaps. Source: Friedman, JASA 32(200), 1937."""
    from scipy.stats import friedmanchisquare

    found = np.asarray(table, dtype=float)
    if found.ndim != 2 or found.shape[0] < 3 or found.shape[1] < 3:
        return NotEnough("fewer than three systems, or fewer than three listeners who rated all of them")
    if np.all(found == found[:, :1]):
        return NotEnough("every listener rated all systems alike")
    result = friedmanchisquare(*found.T)
    return Test(float(result.statistic), float(result.pvalue), len(found))


def holm(chances: Sequence[float]) -> list[float]:
    """p values, each as if all were tested at once. Source: Holm, Scandinavian Journal of Statistics 6(2), 1979."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    found, most = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(chances) - rank) * chances[place]))
        found[place] = most
    return found
