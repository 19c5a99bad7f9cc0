"""What the analyses of single clips and of pairs have in common."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evaluate.findings.kinds import Confirmation, Difference, Effect
from evaluate.ratings import Method, Person, Ratings
from evaluate.statistics import mixed, ranks, sequential
from evaluate.statistics.bootstrap import Figure
from evaluate.statistics.equivalence import detectable, tost
from evaluate.statistics.outcome import NotEnough

# How far from nil a difference may be and still not matter, on each scale; fixed before any test.
# A frozen plan may have another.
MARGIN: dict[Method, float] = {
    "acr": 0.25,
    "cmos": 0.3,
    "preference": 0.2,
    "abx": 0.1,
    "mushra": 5.0,
    "mushra_nr": 5.0,
}
REACH: dict[Method, float] = {"acr": 4, "cmos": 3, "preference": 1, "abx": 0.5, "mushra": 100, "mushra_nr": 100}


def common(
    ratings: Ratings, primary: Difference | None, others: list[Difference], fitted: mixed.Fit | NotEnough
) -> dict[str, Any]:
    corrected = ranks.holm([one.p for one in others if one.p is not None])
    left = iter(corrected)
    others = [replace(one, alone=len(others) == 1, alpha=ratings.alpha) for one in others]
    others = [replace(one, p_holm=next(left)) if one.p is not None else one for one in others]
    margin = MARGIN[ratings.method] if ratings.margin is None else ratings.margin
    known = primary is not None and primary.se is not None and primary.df is not None
    return {
        "primary": primary,
        "others": others,
        "heard": [],
        "matrix": {},
        "confirmations": [],
        "strengths": {},
        "no_strengths": None,
        "equivalence": tost(primary.value, primary.se, primary.df, margin, ratings.alpha)  # type: ignore[union-attr,arg-type]
        if known
        else None,
        "detectable": detectable(primary.se, primary.df, alpha=ratings.alpha) if known else None,  # type: ignore[union-attr,arg-type]
        "variances": fitted.variances if isinstance(fitted, mixed.Fit) else {},
        "effect": None,
        "any_time": None,
        "agreement": {},
        "friedman": None,
    }


def of_contrast(first: str, second: str, n: int, one: mixed.Contrast) -> Difference:
    return Difference(first, second, n, one.estimate, one.low, one.high, one.p, one.df, one.se)


def of_figure(first: str, second: str, one: Figure | None, why: str) -> Difference:
    """A difference that the mixed model could not estimate, by the bootstrap if that can."""
    if one is None:
        return Difference(first, second, 0, 0.0, None, None, method="none", why=why)
    return Difference(first, second, one.n, one.value, one.low, one.high, method="bootstrap", why=one.why or why)


def of_bootstrap(one: Figure, alpha: float) -> Confirmation:
    return Confirmation("bootstrap", one.value, one.low, one.high, why=one.why, alpha=alpha)


def effect(one: mixed.Contrast) -> Effect:
    return Effect(one.estimate, one.low, one.high, one.p)


def any_time(paired: Sequence[tuple[str, str, float]], reach: float, people: Sequence[Person], alpha: float) -> Any:
    if not paired:
        return None
    who, what, values = (list(column) for column in zip(*paired, strict=True))
    order = [one.listener for one in people] or sorted(set(who))
    found = sequential.look(values, who, what, reach, [*order, *sorted(set(who) - set(order))], alpha)
    return None if isinstance(found, NotEnough) else found


def by_ranks(paired: Sequence[tuple[str, str, float]], alpha: float) -> Confirmation:
    """Wilcoxon's test of the listeners' mean differences."""
    by_listener: dict[str, list[float]] = defaultdict(list)
    for who, _, value in paired:
        by_listener[who].append(value)
    means = [float(np.mean(values)) for _, values in sorted(by_listener.items())]
    tested = ranks.wilcoxon(means)
    if isinstance(tested, NotEnough):
        return Confirmation("wilcoxon", None, None, None, why=tested.why)
    return Confirmation("wilcoxon", float(np.median(means)), None, None, tested.p, alpha=alpha)
