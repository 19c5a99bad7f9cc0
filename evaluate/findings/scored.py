"""The analysis of clips that were rated one by one, or beside others on one scale."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate.findings.kinds import Confirmation, Difference, Heard
from evaluate.findings.shared import REACH, any_time, by_ranks, common, effect, of_bootstrap, of_contrast, of_figure
from evaluate.ratings import Method, Ratings, Score
from evaluate.statistics import agreement, mixed, moments, ordinal, permutation, ranks
from evaluate.statistics.bootstrap import crossed_means
from evaluate.statistics.outcome import NoEstimate, NotEnough


def scored(ratings: Ratings, resamples: int, seed: int, confirm: bool = True) -> dict[str, Any]:
    rows = ratings.scores
    values = np.array([one.score for one in rows], float)
    who, what, which = ([getattr(one, name) for one in rows] for name in ("listener", "item", "system"))
    systems = sorted(set(which))
    alphas = (0.05, ratings.alpha)  # a system's mean always has its interval of 95 %
    means, pairs = crossed_means(values, who, what, which, resamples, seed, alphas) if rows else ({}, {})
    design = (np.array(which)[:, None] == np.array(systems)[None, :]).astype(float)
    place = np.array([one.position for one in rows], float)
    place = (place - place.mean()) / 10 if len(place) else place
    with_order = np.column_stack([design, place]) if rows and np.ptp(place) > 0 else design
    fitted = mixed.fit(values, with_order, who, what, which) if rows else NotEnough("no ratings")
    if isinstance(fitted, NotEnough) and rows:
        fitted = mixed.fit(values, design, who, what, which)

    def difference(first: str, second: str) -> Difference:
        n = which.count(first) + which.count(second)
        if isinstance(fitted, NotEnough):
            return of_figure(first, second, pairs[first, second], fitted.why)
        along = _along(first, second, systems, len(fitted.beta))
        return of_contrast(first, second, n, fitted.contrast(along, 1 - ratings.alpha))

    asked = ratings.primary if {*ratings.primary} <= {*systems} else None
    primary = difference(*asked) if asked else None
    others = [difference(*pair) for pair in combinations(systems, 2) if not asked or {*pair} != {*asked}]
    found = common(ratings, primary, others, fitted)
    found["heard"] = [Heard(name, means[name], moments.spread(values[np.array(which) == name])) for name in systems]
    if isinstance(fitted, mixed.Fit) and len(fitted.beta) > len(systems):
        found["effect"] = effect(fitted.contrast(np.eye(len(fitted.beta))[-1]))
    if not confirm or not rows:
        return found
    found["agreement"] = _agreement(ratings.method, who, [*zip(what, which, strict=True)], values)
    found["friedman"] = _friedman(rows, systems)
    if asked:
        by_pair = _paired(rows, *asked)
        found["confirmations"] = [
            of_bootstrap(pairs[asked], ratings.alpha),
            *([_by_order(values, which, who, asked, systems, ratings.alpha)] if ratings.method == "acr" else []),
            by_ranks(by_pair, ratings.alpha),
            *([_by_swaps(by_pair, resamples, seed, ratings.alpha)] if ratings.method.startswith("mushra") else []),
        ]
        found["any_time"] = any_time(by_pair, REACH[ratings.method], ratings.people, ratings.alpha)
    return found


def _along(first: str, second: str, systems: Sequence[str], effects: int) -> NDArray[np.float64]:
    along = np.zeros(effects)
    along[systems.index(first)], along[systems.index(second)] = 1, -1
    return along


def _paired(rows: Sequence[Score], first: str, second: str) -> list[tuple[str, str, float]]:
    """Listener, sentence, difference: within a sentence where both were heard, else against a listener's mean."""
    cells: dict[tuple[str, str], list[float]] = defaultdict(list)
    by_item: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for one in rows:
        cells[one.listener, one.system].append(one.score)
        by_item[one.listener, one.item, one.system].append(one.score)
    found = []
    for (who, item, system), scores in by_item.items():
        other = by_item.get((who, item, second))
        if system == first and other:
            found.append((who, item, float(np.mean(scores) - np.mean(other))))
    if found:
        return found
    for (who, item, system), scores in by_item.items():
        for mine, against, sign in ((first, second, 1.0), (second, first, -1.0)):
            if system == mine and (who, against) in cells:
                found.append((who, item, sign * float(np.mean(scores) - np.mean(cells[who, against]))))
    return found


def _by_order(
    values: NDArray[np.float64],
    which: list[str],
    who: list[str],
    asked: tuple[str, str],
    systems: list[str],
    alpha: float,
) -> Confirmation:
    """The ordinal model, in log odds of a better rating."""
    from scipy.stats import norm

    others = [name for name in systems if name != asked[1]]
    effects = (np.array(which)[:, None] == np.array(others)[None, :]).astype(float)
    fitted = ordinal.fit(values.round().astype(int).tolist(), effects, who)
    if isinstance(fitted, NotEnough | NoEstimate):
        return Confirmation("ordinal", None, None, None, why=str(fitted))
    place = others.index(asked[0])
    value, half = float(fitted.beta[place]), float(norm.ppf(1 - alpha / 2) * fitted.se[place])
    p = float(2 * norm.sf(abs(value) / fitted.se[place]))
    return Confirmation("ordinal", value, value - half, value + half, p, alpha=alpha)


def _by_swaps(paired: Sequence[tuple[str, str, float]], draws: int, seed: int, alpha: float) -> Confirmation:
    """The permutation test within listener and sentence, where both systems are rated in one trial."""
    tested = permutation.swapped([value for _, _, value in paired], draws, seed)
    if isinstance(tested, NotEnough):
        return Confirmation("permutation", None, None, None, why=tested.why)
    return Confirmation("permutation", tested.statistic, None, None, tested.p, alpha=alpha)


def _friedman(rows: Sequence[Score], systems: Sequence[str]) -> ranks.Test | None:
    """Of the listeners' mean ratings of each system, where they rated all."""
    cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in rows:
        cells[one.listener][one.system].append(one.score)
    table = [[float(np.mean(of[s])) for s in systems] for _, of in sorted(cells.items()) if len(of) == len(systems)]
    found = ranks.friedman(table) if table else NotEnough("nobody rated all systems")
    return None if isinstance(found, NotEnough) else found


def _agreement(
    method: Method, who: Sequence[str], stimuli: Sequence[object], values: NDArray[np.float64]
) -> dict[str, float | str]:
    level: agreement.Level = "ordinal" if method == "acr" else "interval"
    found = {
        "alpha": agreement.alpha(stimuli, values.tolist(), level),
        "icc": agreement.consistency(stimuli, who, values.tolist()),
    }
    return {name: value.why if isinstance(value, NotEnough) else value for name, value in found.items()}
