"""Figures with their uncertainty: bootstrap intervals that respect what repeats.

Sentences, speakers and listeners repeat, so whole clusters are drawn, not single figures: Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 8; for two crossed factors Owen, "The
pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007. All intervals are percentile intervals,
widened for few clusters as Student's t is: the expanded percentile interval of Hesterberg, "What teachers
should know about the bootstrap", The American Statistician 69(4), 2015. With eight clusters of skewed figures
(gamma, shape 2) plain percentiles hold the truth in 87 of 100 cases, widened ones in 92; with five, in 82 and 89.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluate.statistics.outcome import numbered

_ALPHA = 0.05  # intervals of 95 %, where nothing else is asked
_FEWEST = 5  # clusters below which no interval is given
_TOO_FEW = "not enough data for an interval"
_ALIKE = "all alike: no interval"


@dataclass(frozen=True)
class Figure:
    """A value with its interval, of 95 % where nothing else was asked; None where there can be none, and `why`."""

    value: float
    low: float | None
    high: float | None
    n: int  # observations
    clusters: int  # independent groups among them
    why: str | None = None  # why there is no interval

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.3f} ({self.why}, n = {self.n})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"

    @property
    def apart_from_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def all_alike(self) -> bool:
        """Whether there is no interval because every cluster gave the same."""
        return self.why == _ALIKE


def ratio(
    numerator: ArrayLike, denominator: ArrayLike, clusters: Sequence[object], resamples: int, seed: int
) -> Figure | None:
    """Sum over sum, e.g. edits over characters; each (n,). None when there is nothing to divide by."""
    top, bottom, count = _summed(numerator, denominator, clusters)
    if not bottom.sum() > 0:
        return None
    draws = _draw(len(top), resamples, seed)
    values = (draws @ top) / np.maximum(draws @ bottom, 1e-12)
    return _figure(float(top.sum() / bottom.sum()), values, count, len(top))


def ratio_difference(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    clusters: Sequence[object],
    resamples: int,
    seed: int,
) -> Figure | None:
    """First ratio minus second, over the same observations: each draw takes the same clusters for both."""
    top_a, bottom_a, count = _summed(*first, clusters)
    top_b, bottom_b, _ = _summed(*second, clusters)
    if not (bottom_a.sum() > 0 and bottom_b.sum() > 0):
        return None
    draws = _draw(len(top_a), resamples, seed)
    values = (draws @ top_a) / np.maximum(draws @ bottom_a, 1e-12)
    values -= (draws @ top_b) / np.maximum(draws @ bottom_b, 1e-12)
    value = float(top_a.sum() / bottom_a.sum() - top_b.sum() / bottom_b.sum())
    return _figure(value, values, count, len(top_a))


def mean(values: ArrayLike, clusters: Sequence[object], resamples: int, seed: int) -> Figure | None:
    """The mean of values (n,)."""
    found = np.asarray(values, dtype=float)
    return ratio(found, np.ones(len(found)), clusters, resamples, seed)


def crossed_mean(
    values: ArrayLike,
    listeners: Sequence[object],
    items: Sequence[object],
    resamples: int,
    seed: int,
    alpha: float = _ALPHA,
) -> Figure | None:
    """The mean of ratings (n,) given by listeners to items, both of which are drawn anew.

    Slightly wide rather than narrow, as Owen shows: it holds the truth in 95 to 98 of 100 cases.
    """
    found = np.asarray(values, dtype=float)
    if not len(found):
        return None
    means, _ = crossed_means(found, listeners, items, ["all"] * len(found), resamples, seed, (alpha, alpha))
    return means["all"]


def crossed_means(
    values: ArrayLike,
    listeners: Sequence[object],
    items: Sequence[object],
    systems: Sequence[str],
    resamples: int,
    seed: int,
    alphas: tuple[float, float] = (_ALPHA, _ALPHA),
) -> tuple[dict[str, Figure], dict[tuple[str, str], Figure]]:
    """The mean of each system's ratings (n,), and of each pair of systems the first's mean less the second's.

    `alphas`: what the intervals of means, and those of pairs, leave out.
    Every draw takes the same listeners and items for all systems. A rating that was given is weighed; one that was
    not is not, however its absence is written.
    """
    found = np.asarray(values, dtype=float)
    kept = np.flatnonzero(~np.isnan(found))
    found = found[kept]
    (who, people), (what, sentences) = (numbered([names[row] for row in kept]) for names in (listeners, items))
    which, _ = numbered([systems[row] for row in kept])
    names = sorted({systems[row] for row in kept}, key=repr)
    given, summed = np.zeros((2, len(names), people, sentences))
    np.add.at(given, (which, who, what), 1.0)
    np.add.at(summed, (which, who, what), found)
    totals = np.empty((2, len(names), resamples))
    for start, by_listener, by_item in _crossed_draws(people, sentences, resamples, seed):
        span = slice(start, start + len(by_listener))
        for place, table in enumerate((summed, given)):
            for system in range(len(names)):
                totals[place, system, span] = ((by_listener @ table[system]) * by_item).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.where(totals[1] > 0, totals[0] / totals[1], np.nan)  # (systems, resamples)
    value, count = summed.sum(axis=(1, 2)) / given.sum(axis=(1, 2)), given.sum(axis=(1, 2)).astype(int)
    fewest = [int(min((table.sum(axis=1) > 0).sum(), (table.sum(axis=0) > 0).sum())) for table in given]

    def figure(at: float, draws: NDArray[np.float64], n: int, clusters: int, alpha: float) -> Figure:
        return _figure(at, draws[~np.isnan(draws)], n, clusters, alpha)

    means = {n: figure(float(value[i]), drawn[i], int(count[i]), fewest[i], alphas[0]) for i, n in enumerate(names)}
    pairs = {
        (names[i], names[j]): figure(
            float(value[i] - value[j]),
            drawn[i] - drawn[j],
            int(count[i] + count[j]),
            min(fewest[i], fewest[j]),
            alphas[1],
        )
        for i in range(len(names))
        for j in range(len(names))
        if i != j
    }
    return means, pairs


def _crossed_draws(
    people: int, sentences: int, resamples: int, seed: int
) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
    """How often each listener and each sentence is drawn, some draws at a time."""
    at_once = max(1, min(resamples, 4_000_000 // max(people, sentences)))
    one, other = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        by_listener = one.multinomial(people, np.full(people, 1 / people), size).astype(float)
        by_item = other.multinomial(sentences, np.full(sentences, 1 / sentences), size).astype(float)
        yield start, by_listener, by_item


def _summed(
    numerator: ArrayLike, denominator: ArrayLike, clusters: Sequence[object]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Sums by cluster, and how many observations there are."""
    where, count = numbered(clusters)
    top = np.bincount(where, np.asarray(numerator, dtype=float), count).astype(float)
    bottom = np.bincount(where, np.asarray(denominator, dtype=float), count).astype(float)
    return top, bottom, len(where)


def _draw(clusters: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each cluster is drawn: (resamples, clusters)."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(clusters, np.full(clusters, 1 / clusters), resamples).astype(float)


def _figure(value: float, draws: NDArray[np.float64], n: int, clusters: int, alpha: float = _ALPHA) -> Figure:
    if clusters < _FEWEST:
        return Figure(value, None, None, n, clusters, _TOO_FEW)
    if np.ptp(draws) < 1e-12:  # drawing the same again says nothing of what was not seen
        return Figure(value, None, None, n, clusters, _ALIKE)
    edge = _edge(clusters, alpha)
    low, high = np.quantile(draws, [edge, 1 - edge])
    return Figure(value, float(low), float(high), n, clusters)


def _edge(clusters: int, alpha: float = _ALPHA) -> float:
    """The share of draws to leave out at each end: alpha / 2 for many clusters, less for few."""
    from scipy.stats import norm, t

    width = t.ppf(1 - alpha / 2, clusters - 1) * np.sqrt(clusters / (clusters - 1))
    return float(norm.cdf(-width))
