"""What a listening test can tell: power of the comparison of two systems, with listeners and sentences that repeat.

Its mean has three sources of error: listeners differ in it, sentences differ in it, and the rest. With L listeners, I
sentences and n comparisons of each listener its variance is v_listener/L + v_item/I + v_rest/(L n). It is tested with
Student's t on as many degrees of freedom as the fewer of listeners and sentences leave, which is careful. Shares of
votes are reckoned as logits (Agresti, "Categorical Data Analysis", 2013, section 13.3); nearly all votes are
reckoned as 91 of 100, beyond which Wald's test would find less (Hauck and Donner, JASA 72, 1977).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluate.ratings import Method, Ratings

_MOST = 2000  # listeners or sentences that are thought of
_FURTHEST = 0.41  # of a share from half: the error of a logit beyond it grows faster than the logit does
_CERTAIN = 100.0  # standard errors from nil at which a difference is found for certain
_VOTES: tuple[Method, ...] = ("preference", "abx")

USUAL_DIFFERENCE: dict[Method, float] = {
    "acr": 0.5,
    "cmos": 0.5,
    "mushra": 12.0,
    "mushra_nr": 12.0,
    "preference": 0.1,
    "abx": 0.1,
}
UNIT: dict[Method, str] = {
    "acr": "of 1 to 5",
    "cmos": "of -3 to 3",
    "mushra": "of 0 to 100",
    "mushra_nr": "of 0 to 100",
    "preference": "of the votes beyond half",
    "abx": "of the answers beyond half",
}


@dataclass(frozen=True)
class Variances:
    """Of the comparison of two systems: between listeners, between sentences, and of one comparison; and whence.

    In preference and ABX the first two are of logits, and the rest follows from the share.
    """

    listener: float
    item: float
    residual: float
    source: str


# Ratings of 1 to 5: listener x system 0.08, sentence x system 0.08, residual 0.50; each counts twice in a difference.
_RATED = Variances(0.16, 0.16, 1.0, "assumed")
_SLIDER = Variances(100.0, 100.0, 625.0, "assumed")  # the same, 25 of 100 for each of the four steps
_LOGIT = Variances(0.25, 0.25, 1.0, "assumed")  # half a logit between listeners, and between sentences
ASSUMED: dict[Method, Variances] = {
    "acr": _RATED,
    "cmos": _RATED,
    "mushra": _SLIDER,
    "mushra_nr": _SLIDER,
    "preference": _LOGIT,
    "abx": _LOGIT,
}


def power(
    method: Method, listeners: int, trials: int, items: int, difference: float, variances: Variances, alpha: float
) -> float:
    """How likely the difference is found.

    `trials`: comparisons of one listener, in ACR ratings of each system; `items`: sentences that all listeners hear.
    """
    from scipy.stats import nct, t

    if listeners < 2 or items < 2 or trials < 1:
        return 0.0
    size, residual = difference, variances.residual
    if method in _VOTES:
        share = 0.5 + min(difference, _FURTHEST)
        spread = variances.listener + variances.item
        size = math.log(share / (1 - share)) * math.sqrt(1 + 0.346 * spread)  # of one listener, not of the crowd
        residual = 1 / (share * (1 - share))
    used = min(items, listeners * trials)
    error = math.sqrt(variances.listener / listeners + variances.item / used + residual / (listeners * trials))
    free = min(listeners, used) - 1
    limit = t.ppf(1 - alpha / 2, free)
    shift = min(size / error, _CERTAIN)
    wrong_way = float(nct.cdf(-limit, free, shift))  # scipy gives nan where it is nil
    return float(nct.sf(limit, free, shift)) + (0.0 if math.isnan(wrong_way) else wrong_way)


def smallest(chance: Callable[[float], float], method: Method, wanted: float) -> float | None:
    """The smallest difference that is found with the power wanted."""
    low, high = 0.0, {"acr": 4.0, "cmos": 3.0, "preference": 0.49, "abx": 0.49}.get(method, 100.0)
    if chance(high) < wanted:
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if chance(middle) >= wanted else (middle, high)
    return high


def fewest(chance: Callable[[int], float], wanted: float) -> int | None:
    """The smallest number with the power wanted; None when two thousand are not enough."""
    low, high = 0, _MOST
    if chance(high) < wanted:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if chance(middle) >= wanted else (middle, high)
    return high


# ---------------------------------------------------------------- from a pilot


def estimated(found: Ratings) -> Variances | None:
    """The variances of a pilot's primary comparison; None where it has too few answers to tell."""
    rated = found.method == "acr"
    rows = _rated(found) if rated else _compared(found)
    factors: list[list[str]] = [[row[0] for row in rows], [row[1] for row in rows]]
    if min((len(set(names)) for names in factors), default=0) < 3 or len(rows) < 2 * sum(
        len(set(n)) for n in factors
    ):
        return None
    values = np.array([row[2] for row in rows])
    if rated:  # what counts is how listeners and sentences differ between the two systems; twice, for a difference
        systems = [row[3] for row in rows]
        with_system = [[f"{name} {system}" for name, system in zip(names, systems, strict=True)] for names in factors]
        parts = [2 * part for part in components(values, with_system, [*factors, systems])]
    else:
        parts = components(values, factors)
    if found.method in _VOTES:
        share = min(max(float(values.mean()), 0.05), 0.95)
        slope = share * (1 - share)  # of the share, by its logit
        parts = [parts[0] / slope**2, parts[1] / slope**2, 1.0]
    return Variances(parts[0], parts[1], parts[2], "a pilot") if parts[2] > 0 else None


Row = tuple[str, str, float, str]  # listener, sentence, value, system


def _rated(found: Ratings) -> list[Row]:
    return [(one.listener, one.item, one.score, one.system) for one in found.scores if one.system in found.primary]


def _compared(found: Ratings) -> list[Row]:
    """Every primary comparison: above 0 the first system is better; of votes, as a share."""
    first, second = found.primary
    rows = []
    for one in found.comparisons:
        if {one.first, one.second} == {first, second}:
            score = -one.score if one.first == first and found.method != "abx" else one.score
            rows.append((one.listener, one.item, (1 + score) / 2 if found.method == "preference" else score, ""))
    score_of = {(one.listener, one.item, one.system): one.score for one in found.scores}
    for (listener, item, system), score in score_of.items():
        if system == first and (listener, item, second) in score_of:
            rows.append((listener, item, score - score_of[listener, item, second], ""))
    return rows


def components(
    values: NDArray[np.float64], factors: Sequence[Sequence[str]], fixed: Sequence[Sequence[str]] = ()
) -> list[float]:
    """Variance of each crossed factor, and of the rest, in values (n,); each level of what is fixed has its mean.

    The products of residuals are fitted by least squares, each variance is 0 or more. Source: MINQUE(0), Rao,
    "Estimation of variance and covariance components", Journal of Multivariate Analysis 1, 1971.
    """
    columns = [np.ones((len(values), 1)), *map(_levels, fixed)]
    basis, sizes, _ = np.linalg.svd(np.hstack(columns), full_matrices=False)
    basis = basis[:, sizes > 1e-9 * sizes[0]]

    def left(part: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is left of (n, k) when the means are taken away."""
        return np.asarray(part - basis @ (basis.T @ part), dtype=float)

    parts = []
    for names in factors:
        found = left(_levels(names))
        parts.append(found @ found.T)
    parts.append(left(np.eye(len(values))))
    matrix = np.array([[float((one * other).sum()) for other in parts] for one in parts])
    products = np.array([float(values @ part @ values) for part in parts])
    return [max(0.0, float(value)) for value in np.linalg.lstsq(matrix, products, rcond=None)[0]]


def _levels(names: Sequence[str]) -> NDArray[np.float64]:
    """One column a level: (n, levels)."""
    found = np.array(names)
    return np.asarray(found[:, None] == np.unique(found)[None, :], dtype=float)
