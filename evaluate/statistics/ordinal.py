"""Ratings as ordered answers, not as lengths: the cumulative logit model, with a random effect of the listener.

    log odds of a rating of k or less = threshold k - effects - listener

Taking the steps of a scale for equal ones gives false alarms, misses and differences of the wrong sign (Liddell and
Kruschke, Journal of Experimental Social Psychology 79, 2018). The listener is integrated out by adaptive
Gauss-Hermite quadrature (Liu and Pierce, Biometrika 81(3), 1994). Sentences are not among the random effects: this
model confirms the crossed one, it does not stand in for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluate.statistics.outcome import NoEstimate, NotEnough, numbered

Real = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OrdinalFit:
    """Effects in log odds of a higher rating, with their standard errors."""

    beta: Real  # (effects,)
    se: Real  # (effects,)
    thresholds: Real  # (categories - 1,)
    variance: float  # of listeners; 0 without them
    log_likelihood: float
    n: int


def fit(
    ratings: Sequence[int], effects: ArrayLike, listeners: Sequence[object] | None = None, nodes: int = 9
) -> OrdinalFit | NoEstimate | NotEnough:
    """Fit to ratings (n,) by maximum likelihood. `effects`: (n, effects), without a column of ones."""
    from scipy.optimize import minimize

    x = np.asarray(effects, dtype=float)
    category, categories = np.unique(np.asarray(ratings), return_inverse=True)[1], len(set(ratings))
    if categories < 2 or np.linalg.matrix_rank(np.column_stack([np.ones(len(x)), x])) <= x.shape[1]:
        return NotEnough("all ratings, or all of an effect, are alike")
    who = numbered(listeners)[0] if listeners is not None else np.zeros(len(x), np.int64)
    cells, weights = np.unique(np.column_stack([who, category, x]), axis=0, return_counts=True)
    if _endless(cells[:, 1:], categories):
        return NoEstimate("some system is rated apart from the others without exception")
    model = _Model(cells, weights.astype(float), categories, listeners is not None, nodes)
    found = minimize(model.loss, model.start(), jac=True, method="BFGS", options={"gtol": 1e-4 * len(x) ** 0.5})
    if np.abs(found.x[categories - 1 : categories - 1 + x.shape[1]]).max() > 20:
        return NoEstimate("an effect grows without end")
    if np.abs(found.jac).max() > 1e-3 * len(x):
        return NotEnough("the ordinal model did not settle")
    return model.fitted(found.x, len(x))


def _endless(cells: Real, categories: int) -> bool:
    """Whether some direction of thresholds and effects makes no observed rating less likely, and one likelier.

    Then likelihood has no maximum (Albert and Anderson, Biometrika 71(1), 1984, for separated data).
    """
    from scipy.optimize import linprog

    cells = np.unique(cells, axis=0)
    category, x = cells[:, 0].astype(int), cells[:, 1:]
    above, below = category < categories - 1, category > 0
    limits = np.eye(categories - 1)
    rows = np.vstack([
        np.hstack([limits[category[above]], -x[above]]),
        np.hstack([-limits[category[below] - 1], x[below]]),
    ])  # fmt: skip
    found = linprog(-rows.sum(axis=0), A_ub=-rows, b_ub=np.zeros(len(rows)), bounds=(-1, 1))
    return bool(found.status == 0 and -found.fun > 1e-7)


class _Model:
    """The likelihood of counted cells: (listener, category, effects), each with how often it came."""

    def __init__(self, cells: Real, weights: Real, categories: int, random: bool, nodes: int) -> None:
        self.who, self.category = cells[:, 0].astype(int), cells[:, 1].astype(int)
        self.x, self.weights, self.categories, self.random = cells[:, 2:], weights, categories, random
        self.nodes, node_weights = np.polynomial.hermite_e.hermegauss(nodes if random else 1)
        self.log_nodes = np.log(node_weights) - 0.5 * np.log(2 * np.pi) + 0.5 * self.nodes**2
        self.people = int(self.who.max()) + 1
        self.mode: Real = np.zeros(self.people)

    def start(self) -> Real:
        shares = np.bincount(self.category, self.weights, self.categories).cumsum() / self.weights.sum()
        limits = np.log(shares[:-1] / (1 - shares[:-1]))
        steps = np.log(np.maximum(np.diff(limits), 1e-3))
        return np.concatenate([limits[:1], steps, np.zeros(self.x.shape[1]), [0.0] if self.random else []])

    def parts(self, parameters: Real) -> tuple[Real, Real, float]:
        """Thresholds, effects, and the spread of listeners."""
        limits = parameters[0] + np.concatenate([[0.0], np.exp(parameters[1 : self.categories - 1]).cumsum()])
        beta = parameters[self.categories - 1 : self.categories - 1 + self.x.shape[1]]
        return limits, beta, float(np.exp(parameters[-1])) if self.random else 0.0

    def loss(self, parameters: Real) -> tuple[float, Real]:
        """Minus the log likelihood, and its slope."""
        limits, beta, spread = self.parts(parameters)
        edges = np.concatenate([[-np.inf], limits, [np.inf]])
        shift = self.x @ beta
        upper, lower = edges[self.category + 1] - shift, edges[self.category] - shift
        center, width = self.peaks(upper, lower, spread)
        b = center[:, None] + width[:, None] * self.nodes  # (people, nodes)
        pull = spread * b[self.who]
        chance, by_upper, by_lower = _log_chance(upper[:, None] - pull, lower[:, None] - pull)
        log = np.zeros_like(b)
        np.add.at(log, self.who, self.weights[:, None] * chance)
        log += self.log_nodes - 0.5 * b**2 + np.log(width)[:, None]
        peak = log.max(axis=1)
        of_person = peak + np.log(np.exp(log - peak[:, None]).sum(axis=1))
        share = np.exp(log - of_person[:, None])[self.who] * self.weights[:, None]  # (cells, nodes)
        up, down = (share * by_upper).sum(1), (share * by_lower).sum(1)
        of_limits = np.bincount(self.category + 1, up, len(edges)) + np.bincount(self.category, down, len(edges))
        of_limits = of_limits[1:-1]
        tail = of_limits[::-1].cumsum()[::-1]  # a step moves every threshold above it
        slope = [tail[:1], tail[1:] * np.exp(parameters[1 : self.categories - 1]), -(up + down) @ self.x]
        if self.random:
            slope.append(np.array([-float((share * (by_upper + by_lower) * pull).sum())]))
        return -float(of_person.sum()), -np.concatenate(slope)

    def peaks(self, upper: Real, lower: Real, spread: float) -> tuple[Real, Real]:
        """Where each listener's integrand is highest, and how wide it is there. Each (people,)"""
        from scipy.special import expit

        bend: Real = np.ones(self.people)
        b: Real = self.mode if spread else 0 * bend
        for _ in range(60 if spread else 0):
            u, low = upper - spread * b[self.who], lower - spread * b[self.who]
            _, by_upper, by_lower = _log_chance(u, low)
            slope = np.bincount(self.who, -spread * self.weights * (by_upper + by_lower), self.people) - b
            curve = expit(u) * expit(-u) + expit(low) * expit(-low)
            bend = np.ones(self.people) + np.bincount(self.who, spread**2 * self.weights * curve, self.people)
            step: Real = np.clip(slope / bend, -1, 1)  # Newton's own step can leap past the peak, and back
            b = b + step
            if np.abs(step).max() < 1e-8:
                break
        self.mode = b
        return b, 1 / np.sqrt(bend)

    def fitted(self, at: Real, n: int) -> OrdinalFit:
        size = 1e-4
        bends = [(self.loss(at + size * d)[1] - self.loss(at - size * d)[1]) / (2 * size) for d in np.eye(len(at))]
        bend = (np.array(bends) + np.array(bends).T) / 2
        limits, beta, spread = self.parts(at)
        mine = slice(self.categories - 1, self.categories - 1 + len(beta))
        se = np.sqrt(np.maximum(np.diag(np.linalg.pinv(bend))[mine], 0))
        return OrdinalFit(beta, se, limits, spread**2, -self.loss(at)[0], n)


def _log_chance(upper: Real, lower: Real) -> tuple[Real, Real, Real]:
    """Log of the logistic distribution's mass between two limits, and its slopes by them."""
    from scipy.special import expit, log_expit

    gap = np.exp(lower - upper)
    more = gap / (1 - gap)
    return log_expit(upper) + log_expit(-lower) + np.log1p(-gap), expit(-upper) + more, -expit(lower) - more
