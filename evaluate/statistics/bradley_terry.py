"""How strong each system is, from which of two was preferred: Bradley and Terry's model with ties and a side.

    A wins : B wins : tie  =  a·s : b/s : t·sqrt(a·b)

Ties are Davidson's (Journal of the American Statistical Association 65(329), 1970), the advantage of the side that is
heard first is that of Davidson and Beaver (Biometrics 33(4), 1977). Unlike running ratings (Elo), the estimate does
not depend on the order of the answers. Standard errors respect that listeners and sentences repeat: the two-way
clustered covariance of Cameron, Gelbach and Miller (Journal of Business and Economic Statistics 29(2), 2011).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluate.statistics.outcome import NotEnough, numbered

Real = NDArray[np.float64]

_APART = "some systems were never compared with the others"


@dataclass(frozen=True, eq=False)
class Strengths:
    """Log strengths, their mean nil; of systems in `systems`' order."""

    systems: list[str]
    values: Real  # (systems,)
    covariance: Real | None  # (systems, systems); None where there is no finite estimate
    side: float | None  # log odds of the first; None: not asked
    side_se: float | None
    ties: float | None  # Davidson's t; None: there are none
    log_likelihood: float
    n: int
    clusters: int  # of the smaller of listeners and sentences; 0: every comparison counted by itself
    why: str | None = None  # why there is no finite estimate: values are then those with ½ added to each outcome

    def difference(self, first: str, second: str) -> tuple[float, float | None]:
        """Log odds that `first` is preferred to `second`, and its standard error."""
        along = np.zeros(len(self.systems))
        along[self.systems.index(first)] += 1
        along[self.systems.index(second)] -= 1
        error = None if self.covariance is None else float(np.sqrt(along @ self.covariance @ along))
        return float(along @ self.values), error


def fit(
    first: Sequence[str],
    second: Sequence[str],
    scores: ArrayLike,
    weights: ArrayLike | None = None,
    listeners: Sequence[object] | None = None,
    items: Sequence[object] | None = None,
    side: bool = True,
) -> Strengths | NotEnough:
    """Fit to comparisons (n,). `scores`: above 0 the second won, below it the first, 0 a tie."""
    systems = sorted({*first, *second})
    if len(systems) < 2:
        return NotEnough("fewer than two systems were compared")
    outcome = np.where(np.asarray(scores) < 0, 0, np.where(np.asarray(scores) > 0, 1, 2))
    count = np.ones(len(outcome)) if weights is None else np.asarray(weights, dtype=float)
    seen = np.flatnonzero(count > 0)
    place = {system: at for at, system in enumerate(systems)}
    a, b = (np.array([place[names[row]] for row in seen.tolist()], np.int64) for names in (first, second))
    outcome, count = outcome[seen], count[seen]
    if not side:
        turned = a > b
        a, b = np.where(turned, b, a), np.where(turned, a, b)
        outcome = np.where(turned & (outcome < 2), 1 - outcome, outcome)
    ties, others = bool((outcome == 2).any()), len(systems) - 1
    design = _design(a, b, len(systems), side, ties)
    counts = np.eye(3)[outcome] * count[:, None]
    why = _endless(design, outcome)
    if why == _APART and side:  # each pair was heard in one order only: its side cannot be told from its strength
        return fit(first, second, scores, weights, listeners, items, side=False)
    if why:
        counts = counts + 0.5 * _spread_out(a, b, ties)
    at = _climb(design, counts)
    log, bend, slopes = _likelihood(design, counts, at)
    clusters = [numbered([labels[row] for row in seen.tolist()]) for labels in (listeners, items) if labels]
    covariance = None if why else _covariance(bend, slopes, clusters)
    centre = np.eye(len(systems))[:, 1:] - 1 / len(systems)
    return Strengths(
        systems,
        centre @ at[:others],
        None if covariance is None else centre @ covariance[:others, :others] @ centre.T,
        float(at[others]) if side else None,
        float(np.sqrt(covariance[others, others])) if side and covariance is not None else None,
        float(np.exp(at[-1])) if ties else None,
        log,
        int(count.sum()),
        min((number for _, number in clusters), default=0),
        why,
    )


def _design(a: NDArray[np.int64], b: NDArray[np.int64], systems: int, side: bool, ties: bool) -> Real:
    """What each parameter adds to the log weight of each outcome: (n, 3 outcomes, parameters)."""
    rows = np.arange(len(a))
    of = np.zeros((len(a), 3, systems))
    of[rows, 0, a], of[rows, 1, b] = 1, 1
    of[rows, 2, a] += 0.5
    of[rows, 2, b] += 0.5
    parts = [of[:, :, 1:]]  # the first system is the reference
    if side:
        parts.append(np.tile(np.array([0.5, -0.5, 0.0])[None, :, None], (len(a), 1, 1)))
    if ties:
        parts.append(np.tile(np.array([0.0, 0.0, 1.0])[None, :, None], (len(a), 1, 1)))
    found = np.concatenate(parts, axis=2)
    if not ties:
        found[:, 2] = np.nan
    return found


def _likelihood(design: Real, counts: Real, at: Real) -> tuple[float, Real, Real]:
    """The log likelihood, minus its second derivative, and each row's slope (n, parameters)."""
    weight = design @ at
    weight = np.where(np.isnan(weight), -np.inf, weight)
    log = weight - np.logaddexp.reduce(weight, axis=1, keepdims=True)
    chance, clean = np.exp(log), np.nan_to_num(design)
    total = counts.sum(axis=1)
    mean = np.einsum("no,nop->np", chance, clean)
    slope = np.einsum("no,nop->np", counts, clean) - total[:, None] * mean
    bend = np.einsum("n,no,nop,noq->pq", total, chance, clean, clean) - np.einsum("n,np,nq->pq", total, mean, mean)
    return float(np.sum(np.where(counts > 0, counts * np.where(counts > 0, log, 0), 0))), bend, slope


def _climb(design: Real, counts: Real) -> Real:
    """The maximum, by Newton's method: the log likelihood is concave."""
    at = np.zeros(design.shape[2])
    log, bend, slope = _likelihood(design, counts, at)
    for _ in range(100):
        step = np.linalg.lstsq(bend, slope.sum(axis=0), rcond=None)[0]
        for _ in range(30):
            new = _likelihood(design, counts, at + step)
            if new[0] >= log - 1e-12:
                break
            step = step / 2
        at, (log, bend, slope) = at + step, new
        if np.abs(step).max() < 1e-10:
            break
    return at


def _endless(design: Real, outcome: NDArray[np.int64]) -> str | None:
    """Why likelihood grows without end, if it does: for some direction no outcome seen becomes less likely."""
    from scipy.optimize import linprog

    rows = []
    for other in range(3):
        gain = design[np.arange(len(outcome)), outcome] - design[:, other]
        rows.append(gain[(outcome != other) & ~np.isnan(gain).any(axis=1)])
    gains = np.unique(np.vstack(rows), axis=0)
    found = linprog(-gains.sum(axis=0), A_ub=-gains, b_ub=np.zeros(len(gains)), bounds=(-1, 1))
    if found.status == 0 and -found.fun > 1e-7:
        return "some system, or group of systems, never lost to the others, or never won"
    spans = np.linalg.matrix_rank(gains) == design.shape[2]
    return None if spans else _APART


def _spread_out(a: NDArray[np.int64], b: NDArray[np.int64], ties: bool) -> Real:
    """One of each outcome for every pair that met, shared by its comparisons: (n, 3)."""
    _, where, often = np.unique(np.column_stack([a, b]), axis=0, return_inverse=True, return_counts=True)
    return np.asarray(np.outer(1 / often[where.ravel()], [1.0, 1.0, 1.0 if ties else 0.0]), dtype=np.float64)


def _covariance(bend: Real, slopes: Real, clusters: list[tuple[NDArray[np.int64], int]]) -> Real:
    """The inverse of the bend; with clusters, the sandwich that adds up their slopes."""
    inverse = np.asarray(np.linalg.inv(bend), dtype=np.float64)
    if not clusters:
        return inverse
    meat = np.zeros_like(bend)
    for where, count in clusters:
        meat += _meat(slopes, where, count)
    if len(clusters) == 2:
        both, number = numbered(list(zip(*(where.tolist() for where, _ in clusters), strict=True)))
        less = meat - _meat(slopes, both, number)
        meat = less if np.linalg.eigvalsh(less).min() > 0 else meat  # where it would go below nil: too wide
    found: Real = inverse @ meat @ inverse
    return found


def _meat(slopes: Real, where: NDArray[np.int64], count: int) -> Real:
    summed = np.zeros((count, slopes.shape[1]))
    np.add.at(summed, where, slopes)
    found: Real = count / max(1, count - 1) * summed.T @ summed
    return found
