"""The analysis of two clips against each other: preference, CMOS, ABX."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.findings.kinds import Confirmation, Difference
from evaluate.findings.shared import REACH, any_time, by_ranks, common, effect, of_bootstrap, of_contrast, of_figure
from evaluate.ratings import Comparison, Method, Ratings
from evaluate.statistics import bradley_terry, mixed
from evaluate.statistics.bootstrap import crossed_mean
from evaluate.statistics.outcome import NotEnough


def compared(ratings: Ratings, resamples: int, seed: int, confirm: bool = True) -> dict[str, Any]:
    rows = ratings.comparisons
    met: dict[frozenset[str], list[Comparison]] = defaultdict(list)
    for one in rows:
        met[frozenset((one.first, one.second))].append(one)
    asked = ratings.primary if frozenset(ratings.primary) in met else None
    fits: dict[tuple[str, str], mixed.Fit | NotEnough] = {}

    def difference(first: str, second: str) -> Difference:
        values, second_side, who, what = _toward(met[frozenset((first, second))], first, ratings.method)
        fixed = np.column_stack([np.ones(len(values)), second_side])
        fitted = mixed.fit(values, fixed if np.ptp(second_side) > 0 else fixed[:, :1], who, what)
        fits[first, second] = fitted
        if isinstance(fitted, NotEnough):
            drawn = crossed_mean(values, who, what, resamples, seed, ratings.alpha)
            return of_figure(first, second, drawn, fitted.why)
        apart = fitted.contrast(np.eye(len(fitted.beta))[0], 1 - ratings.alpha)
        return of_contrast(first, second, len(values), apart)

    primary = difference(*asked) if asked else None
    names = sorted({name for one in rows for name in (one.first, one.second)})
    pairs = [pair for pair in combinations(names, 2) if frozenset(pair) in met]
    others = [difference(*pair) for pair in pairs if not asked or {*pair} != {*asked}]
    fitted = fits[asked] if asked else NotEnough("the plan's two systems were not compared")
    found = common(ratings, primary, others, fitted)
    found["matrix"] = _matrix(rows, names) if ratings.method != "abx" else {}
    if isinstance(fitted, mixed.Fit) and len(fitted.beta) > 1:
        found["effect"] = effect(fitted.contrast(np.eye(len(fitted.beta))[1]))
    if not confirm or not rows:
        return found
    if ratings.method != "abx":
        found |= _strengths(rows, asked, ratings.alpha)
    if asked:
        values, _, who, what = _toward(met[frozenset(asked)], asked[0], ratings.method)
        by_pair = [*zip(who, what, values.tolist(), strict=True)]
        drawn = crossed_mean(values, who, what, resamples, seed, ratings.alpha)
        found["confirmations"] = [
            *([of_bootstrap(drawn, ratings.alpha)] if drawn else []),
            *found.get("confirmations", []),
            by_ranks(by_pair, ratings.alpha),
        ]
        found["any_time"] = any_time(by_pair, REACH[ratings.method], ratings.people, ratings.alpha)
    return found


def _toward(
    rows: Sequence[Comparison], first: str, method: Method
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str], list[str]]:
    """Scores above 0 where `first` was better, whether it was heard second (½ or -½), listeners, sentences."""
    side = np.array([0.5 if one.second == first else -0.5 for one in rows])
    values = np.array([one.score for one in rows], float)
    values = values - 0.5 if method == "abx" else values * 2 * side
    return values, side, [one.listener for one in rows], [one.item for one in rows]


def _matrix(rows: Sequence[Comparison], names: Sequence[str]) -> dict[str, dict[str, tuple[int, int, int]]]:
    counts: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for one in rows:
        sign = int(np.sign(one.score))
        counts[one.first, one.second][-sign] += 1
        counts[one.second, one.first][sign] += 1
    return {
        row: {column: (of[1], of[0], of[-1]) for column in names if (of := counts.get((row, column)))}
        for row in names
    }


def _strengths(rows: Sequence[Comparison], asked: tuple[str, str] | None, alpha: float) -> dict[str, Any]:
    """Bradley and Terry's strengths of all systems, and what they say of the plan's comparison."""
    from scipy.stats import t

    columns = ([getattr(one, name) for one in rows] for name in ("first", "second", "score", "listener", "item"))
    first, second, scores, who, what = columns
    fitted = bradley_terry.fit(first, second, scores, listeners=who, items=what)
    if isinstance(fitted, NotEnough):
        return {"no_strengths": fitted.why}
    far = float(t.ppf(0.975, max(1, fitted.clusters - 1)))
    found: dict[str, Any] = {"strengths": {}, "no_strengths": fitted.why}
    for place, name in enumerate(fitted.systems):
        value = float(fitted.values[place])
        half = None if fitted.covariance is None else far * float(np.sqrt(max(0.0, fitted.covariance[place, place])))
        found["strengths"][name] = (value, None, None) if half is None else (value, value - half, value + half)
    if asked:
        value, error = fitted.difference(*asked)
        far = float(t.ppf(1 - alpha / 2, max(1, fitted.clusters - 1)))
        low, high = (None, None) if error is None else (value - far * error, value + far * error)
        why = f"no finite estimate: {fitted.why}" if fitted.why else None
        shown = value if error else None
        found["confirmations"] = [Confirmation("bradley_terry", shown, low, high, why=why, alpha=alpha)]
    return found
