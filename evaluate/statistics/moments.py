"""What a single system's ratings look like: more than their mean."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from evaluate.statistics.outcome import NotEnough


@dataclass(frozen=True)
class Spread:
    """How ratings are spread."""

    n: int
    median: float
    low_quartile: float
    high_quartile: float
    counts: dict[str, int]  # of each rating; of a scale of 100, by tens
    bimodality: float | None  # above 5/9: perhaps two opinions, not one; None: too few

    @property
    def two_opinions(self) -> bool:
        return self.bimodality is not None and self.bimodality > 5 / 9


def spread(values: ArrayLike) -> Spread:
    """Of ratings (n,), n at least 1."""
    found = np.asarray(values, dtype=float)
    low, middle, high = (float(mark) for mark in np.quantile(found, (0.25, 0.5, 0.75)))
    width = 1 if np.ptp(found) <= 10 else 10
    steps, often = np.unique(np.minimum(found // width * width, 90 if width == 10 else np.inf), return_counts=True)
    counts = {f"{step:g}": int(count) for step, count in zip(steps, often, strict=True)}
    return Spread(len(found), middle, low, high, counts, bimodality(found))


def bimodality(values: ArrayLike) -> float | None:
    """(skewness² + 1) / (kurtosis + 3(n-1)²/((n-2)(n-3))): 5/9 for a uniform distribution, 1/3 for a normal one.

    Source: ITU-R BS.1534-3, Attachment 3; None for fewer than four values, or all alike.
    """
    from scipy.stats import kurtosis, skew

    found = np.asarray(values, dtype=float)
    n = len(found)
    if n < 4 or np.ptp(found) == 0:
        return None
    asymmetry, tails = skew(found, bias=False), kurtosis(found, bias=False)
    return float((asymmetry**2 + 1) / (tails + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))))


def crowdmos(table: ArrayLike) -> tuple[float, float] | NotEnough:
    """Mean and half of its 95 % interval as CrowdMOS gives it, to compare with figures of others.

    `table`: (listeners, sentences), NaN where there is no rating. Source: Ribeiro et al., "CrowdMOS: An approach for
    crowdsourcing mean opinion score studies", ICASSP 2011, section 3. It has no interaction of listener and system.
    """
    from scipy.stats import t

    found = np.asarray(table, dtype=float)
    given = ~np.isnan(found)
    by_item, by_listener, total = given.sum(axis=0), given.sum(axis=1), int(given.sum())
    if total < 2 or not ((by_item > 1).any() and (by_listener > 1).any()):
        return NotEnough("nobody rated two sentences, or no sentence was rated twice")
    whole = np.nanvar(found)
    of_one_listener = np.mean([np.nanvar(row) for row in found if (~np.isnan(row)).sum() > 1])
    of_one_item = np.mean([np.nanvar(column) for column in found.T if (~np.isnan(column)).sum() > 1])
    listener, item = max(whole - of_one_listener, 0.0), max(whole - of_one_item, 0.0)
    rest = max(of_one_listener + of_one_item - whole, 0.0)
    variance = (item * (by_item**2).sum() + listener * (by_listener**2).sum()) / total**2 + rest / total
    half = t.ppf(0.975, min(found.shape) - 1) * np.sqrt(variance)
    return float(np.nanmean(found)), float(half)
