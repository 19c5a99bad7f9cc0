"""Looking before the end: an interval that holds at every look, however often one looks and whenever one stops.

A usual interval looked at after each listener ends up without the truth far more often than in 5 of 100 tests. The
part of the listeners is a confidence sequence by betting against each possible difference: a bet that wins 2 / alpha
times its stake rules a difference out, and by Ville's inequality a true one is ruled out with probability alpha at
most, over all looks together. Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables
by betting", Journal of the Royal Statistical Society B 86(1), 2024, theorem 3 (hedged capital) and equation 26.

The sentences were drawn once, before anyone listened, so no look draws them anew: their part is Student's interval of
the sentences' means. Each part has half of alpha. It is honest, and wide: the interval of a test of fixed size is
narrower.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluate.statistics.outcome import NotEnough, numbered

_GRID = 801  # differences that are tried


@dataclass(frozen=True)
class Look:
    """An interval valid at every look."""

    estimate: float
    low: float
    high: float
    listeners: int

    @property
    def may_stop(self) -> bool:
        return self.low > 0 or self.high < 0


def look(
    differences: ArrayLike,
    listeners: Sequence[object],
    items: Sequence[object],
    reach: float,
    order: Sequence[object],
    alpha: float = 0.05,
) -> Look | NotEnough:
    """The interval after these listeners. `differences`: (n,), each within ± `reach`, e.g. 4 on a scale of 1 to 5.

    `order`: the listeners as they came, which must not change between looks.
    """
    from scipy.stats import t

    values = np.asarray(differences, dtype=float)
    present = set(listeners)
    rank = {who: place for place, who in enumerate(who for who in order if who in present)}
    where = np.array([rank[who] for who in listeners], np.int64)
    what, sentences = numbered(items)
    if len(rank) < 2 or sentences < 2:
        return NotEnough("fewer than two listeners or two sentences")
    means = np.bincount(where, values) / np.bincount(where)
    of_items = np.bincount(what, values) / np.bincount(what)
    low, high = betting(means / (2 * reach) + 0.5, alpha / 2)
    half = float(t.ppf(1 - alpha / 4, sentences - 1) * of_items.std(ddof=1) / np.sqrt(sentences))
    return Look(float(means.mean()), (low - 0.5) * 2 * reach - half, (high - 0.5) * 2 * reach + half, len(means))


def betting(values: NDArray[np.float64], alpha: float) -> tuple[float, float]:
    """The means of values (n,) within 0 to 1 that no bet has ruled out so far, at this look or an earlier one."""
    n = np.arange(1, len(values) + 1)
    mean = (0.5 + np.cumsum(values)) / (n + 1)
    spread = (0.25 + np.cumsum((values - mean) ** 2)) / (n + 1)
    before = np.concatenate([[0.25], spread[:-1]])
    stake = np.sqrt(2 * np.log(2 / alpha) / (before * n * np.log(n + 1)))[:, None]
    tried = np.linspace(0, 1, _GRID)[None, :]
    with np.errstate(divide="ignore"):
        up, down = np.minimum(stake, 0.5 / tried), np.minimum(stake, 0.5 / (1 - tried))
    apart = values[:, None] - tried
    won = np.maximum(np.cumsum(np.log1p(up * apart), axis=0), np.cumsum(np.log1p(-down * apart), axis=0))
    left = np.flatnonzero(won.max(axis=0) < np.log(2 / alpha))
    if not len(left):
        return float(values.mean()), float(values.mean())
    step = 1 / (_GRID - 1)
    return max(0.0, float(tried[0, left[0]]) - step), min(1.0, float(tried[0, left[-1]]) + step)
