"""How far listeners agree with each other."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluate.statistics.mixed import fit
from evaluate.statistics.outcome import NotEnough

Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Icc:
    """Intraclass correlations of single raters and of the mean of k of them."""

    one_1: float
    two_1: float
    three_1: float
    one_k: float
    two_k: float
    three_k: float


def alpha(units: Sequence[object], values: Sequence[float], level: Level) -> float | NotEnough:
    """Krippendorff's alpha of ratings (n,) of units (n,): 1 is full agreement, 0 is chance.

    Units with one rating say nothing. Source: Krippendorff, "Computing Krippendorff's alpha-reliability", 2011.
    """
    by_unit: dict[object, Counter[float]] = {}
    for unit, value in zip(units, values, strict=True):
        by_unit.setdefault(unit, Counter())[value] += 1
    rated = [counts for counts in by_unit.values() if counts.total() > 1]
    kinds = sorted({value for counts in rated for value in counts})
    if len(kinds) < 2:
        return NotEnough("no unit was rated twice" if not rated else "all ratings are alike")
    table = np.array([[counts[kind] for kind in kinds] for counts in rated], dtype=float)  # (units, kinds)
    weight = 1 / (table.sum(axis=1) - 1)
    pairs = (table * weight[:, None]).T @ table - np.diag(weight @ table)
    often = pairs.sum(axis=1)
    apart = _distance(np.array(kinds, dtype=float), often, level)
    by_chance = (np.outer(often, often) - np.diag(often)) / (often.sum() - 1)
    return float(1 - (pairs * apart).sum() / (by_chance * apart).sum())


def _distance(kinds: NDArray[np.float64], often: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    if level == "nominal":
        return 1 - np.eye(len(kinds))
    if level == "interval":
        return np.subtract.outer(kinds, kinds) ** 2
    middle = np.cumsum(often) - often / 2
    return np.subtract.outer(middle, middle) ** 2


def icc(table: ArrayLike) -> Icc:
    """Of a table (targets, raters) without gaps. Source: Shrout and Fleiss, Psychological Bulletin 86(2), 1979."""
    found = np.asarray(table, dtype=float)
    n, k = found.shape
    centre = found.mean()
    rows = k * np.sum((found.mean(axis=1) - centre) ** 2) / (n - 1)
    columns = n * np.sum((found.mean(axis=0) - centre) ** 2) / (k - 1)
    within = np.sum((found - found.mean(axis=1, keepdims=True)) ** 2) / (n * (k - 1))
    rest = (within * n * (k - 1) - columns * (k - 1)) / ((n - 1) * (k - 1))
    return Icc(
        float((rows - within) / (rows + (k - 1) * within)),
        float((rows - rest) / (rows + (k - 1) * rest + k * (columns - rest) / n)),
        float((rows - rest) / (rows + (k - 1) * rest)),
        float((rows - within) / rows),
        float((rows - rest) / (rows + (columns - rest) / n)),
        float((rows - rest) / rows),
    )


def consistency(targets: Sequence[object], raters: Sequence[object], values: Sequence[float]) -> float | NotEnough:
    """ICC(2,1) where not everybody rated everything: the targets' share of the variance, by the mixed model."""
    found = fit(values, np.ones((len(values), 1)), raters, targets)
    if isinstance(found, NotEnough):
        return found
    return found.variances["item"] / sum(found.variances.values())


def blinding(guesses: Iterable[bool | None]) -> tuple[float, float, float] | NotEnough:
    """Bang's blinding index with its 95 % interval: 0 is guessing, 1 is knowing, -1 is always wrong.

    `guesses`: right, wrong, or None for "cannot tell". Source: Bang, Ni and Davis, Controlled Clinical Trials
    25(2), 2004.
    """
    found = list(guesses)
    if len(found) < 5:
        return NotEnough("fewer than five listeners guessed")
    right, wrong = (sum(one is kind for one in found) / len(found) for kind in (True, False))
    index = right - wrong
    half = 1.96 * float(np.sqrt(max(0.0, right + wrong - index**2) / len(found)))
    return index, max(-1.0, index - half), min(1.0, index + half)
