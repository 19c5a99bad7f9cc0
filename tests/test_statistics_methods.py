"""The methods of evaluate/statistics: published answers, laws, and what they say where there is none."""

import random
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluate.ratings import Score
from evaluate.statistics import (
    agreement,
    bootstrap,
    bradley_terry,
    mixed,
    moments,
    ordinal,
    permutation,
    ranks,
    sequential,
)
from evaluate.statistics.bradley_terry import Strengths
from evaluate.statistics.equivalence import detectable, tost
from evaluate.statistics.mixed import Fit
from evaluate.statistics.ordinal import OrdinalFit
from evaluate.statistics.outcome import NoEstimate, NotEnough
from evaluate.statistics.screening import post_screening

# Diameters of 24 plates by 6 samples: Davies and Goldsmith, "Statistical methods in research and production", 1972.
PENICILLIN = """
27 23 26 23 23 21  27 23 26 23 23 21  25 21 25 24 24 20  26 23 25 23 23 20  25 22 26 22 23 20  24 22 25 23 22 19
24 20 23 21 22 19  26 22 26 24 24 21  24 21 24 22 22 20  24 21 24 23 22 19  26 23 26 24 24 21  25 22 26 24 24 20
26 24 26 24 25 22  26 23 26 23 23 20  26 23 25 24 24 22  25 22 25 23 23 20  25 21 24 23 23 20  25 22 24 23 23 19
24 21 23 21 21 19  26 23 26 24 24 21  25 21 24 22 22 18  25 22 25 22 22 20  24 21 24 22 24 19  24 21 24 22 21 18
"""
# Bitterness from 1 to 5 by nine judges, of cold and warm, without and with contact: Randall, "The analysis of sensory
# data by generalised linear model", Biometrical Journal 31, 1989. A judge: cold (no, no, yes, yes), warm alike.
WINE = "23344455 12132354 23325544 32323253 23433333 32322454 11222323 22233334 12323244"
WARM, CONTACT = np.tile([0, 0, 0, 0, 1, 1, 1, 1], 9), np.tile([0, 0, 1, 1], 18)
# Citations from a column's journal to a row's: Stigler 1994, in Agresti, "Categorical data analysis", 2002, p. 448.
CITED = {"Biometrika": (714, 730, 498, 221), "CommStat": (33, 425, 68, 17), "JASA": (320, 813, 1072, 142),
         "JRSS-B": (284, 276, 325, 188)}  # fmt: skip
# Home wins and defeats of the eastern American League, 1987, by row at home to column: Agresti 1990, p. 372.
TEAMS = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
BASEBALL = """
-   4-3 4-2 4-3 6-1 4-2 6-0
3-3 -   4-2 4-3 6-0 6-1 4-3
2-5 4-3 -   2-4 4-3 4-2 6-0
3-3 5-1 2-5 -   4-3 4-2 6-1
5-1 2-5 3-3 4-2 -   5-2 6-0
2-5 3-3 3-4 4-3 4-2 -   2-4
2-5 1-5 1-6 2-4 1-6 3-4 -
"""
# Eight sound fields compared by ear on flute music, from 111 and 110 down to 001 and 000: how often the first won,
# neither, the second. Kousgaard, Scandinavian Journal of Statistics 11, 1984.
FLUTES = ("1002355312243323331154241542", "1112100021111000210100012012", "3441100222201232014301302001")
FIELDS = ("000", "001", "010", "011", "100", "101", "110", "111")
KOUSGAARD_TABLE_3 = (-0.581, -1.039, 0.347, 0.205, 0.276, 0.347, 0.311, 0.135)
ROUNDING = """
5.40 5.50 5.55  5.85 5.70 5.75  5.20 5.60 5.50  5.55 5.50 5.40  5.90 5.85 5.70  5.45 5.55 5.60  5.40 5.40 5.35
5.45 5.50 5.35  5.25 5.15 5.00  5.85 5.80 5.70  5.25 5.20 5.10  5.65 5.55 5.45  5.60 5.35 5.45  5.05 5.00 4.95
5.50 5.50 5.40  5.45 5.55 5.50  5.55 5.55 5.35  5.45 5.50 5.55  5.50 5.45 5.25  5.65 5.60 5.40  5.70 5.65 5.55
6.30 6.30 6.25
"""  # seconds of 22 players around first base, three ways: Hollander and Wolfe, 1973, p. 140


def penicillin() -> tuple[NDArray[np.float64], list[int], list[int]]:
    table = np.array(PENICILLIN.split(), float)
    plate, sample = np.divmod(np.arange(len(table)), 6)
    return table, plate.tolist(), sample.tolist()


# ---------------------------------------------------------------- the crossed mixed model


def test_plates_and_samples_of_penicillin() -> None:
    """As lme4 gives them: Bates et al. 2015, and the vignette of the package."""
    diameter, plate, sample = penicillin()
    fit = mixed.fit(diameter, np.ones((144, 1)), plate, sample)
    assert isinstance(fit, Fit)
    assert fit.beta[0] == pytest.approx(22.9722, abs=1e-4)
    assert fit.covariance[0, 0] ** 0.5 == pytest.approx(0.8086, abs=1e-4)
    spreads = {name: variance**0.5 for name, variance in fit.variances.items()}
    assert spreads == pytest.approx({"listener": 0.8467, "item": 1.9316, "residual": 0.5499}, abs=1e-4)
    assert fit.criterion == pytest.approx(330.8606, abs=1e-3)
    assert fit.contrast([1]).df == 5  # of six samples, whatever the plates


def crossed(
    listeners: int, items: int, systems: int, seed: int, latin: bool = False
) -> tuple[NDArray[np.float64], ...]:
    """Ratings with known variances, no system better than another: scores, listeners, items, systems."""
    draw = np.random.default_rng(seed)
    who, what, which = (axis.ravel() for axis in np.indices((listeners, items, systems)))
    scores = 3 + draw.normal(0, 0.3**0.5, listeners)[who] + draw.normal(0, 0.1**0.5, items)[what]
    scores += draw.normal(0, 0.08**0.5, (listeners, systems))[who, which]
    scores += draw.normal(0, 0.08**0.5, (items, systems))[what, which] + draw.normal(0, 0.5**0.5, len(who))
    kept = (who + what) % systems == which if latin else np.ones(len(who), bool)
    return scores[kept], who[kept], what[kept], which[kept]


def fitted(
    scores: NDArray[np.float64], who: NDArray[np.int64], what: NDArray[np.int64], which: NDArray[np.int64]
) -> Fit:
    found = mixed.fit(scores, np.eye(int(which.max()) + 1)[which], who.tolist(), what.tolist(), which.tolist())
    assert isinstance(found, Fit)
    return found


def test_the_mixed_model_agrees_with_statsmodels() -> None:
    from pandas import DataFrame
    from statsmodels.regression.mixed_linear_model import MixedLM

    scores, who, what, which = crossed(8, 7, 2, 3)
    frame = DataFrame({"y": scores, "who": who, "what": what, "which": which, "all": 1})
    parts = {
        "who": "0 + C(who)",
        "what": "0 + C(what)",
        "both": "0 + C(who):C(which)",
        "fits": "0 + C(what):C(which)",
    }
    theirs = MixedLM.from_formula(
        "y ~ 0 + C(which)", groups="all", re_formula="0", vc_formula=parts, data=frame
    ).fit()
    ours = fitted(scores, who, what, which)
    assert ours.beta == pytest.approx(theirs.fe_params.to_numpy(), abs=1e-3)
    assert ours.criterion == pytest.approx(-2 * theirs.llf, abs=1e-3)
    names = {"who": "listener", "what": "item", "both": "listener:system", "fits": "item:system"}
    for name, variance in zip(theirs.model.exog_vc.names, theirs.vcomp, strict=True):
        assert ours.variances[names[name]] == pytest.approx(variance, abs=2e-3)
    assert ours.variances["residual"] == pytest.approx(theirs.scale, abs=1e-3)
    assert ours.contrast([1, -1]).se == pytest.approx(
        float(np.array([1, -1]) @ theirs.cov_params().to_numpy()[:2, :2] @ [1, -1]) ** 0.5, rel=2e-3
    )


def test_the_slope_of_the_likelihood_is_its_slope() -> None:
    scores, who, what, which = crossed(6, 9, 3, 5, latin=True)
    sides = [mixed._Side.of(name, level, int(level.max()) + 1, which) for name, level in (("item", what), ("l", who))]
    tables = mixed._Tables(scores, np.eye(3)[which], *sides)
    at = np.array([0.4, 0.2, 0.9, 0.1])
    _, slope = tables.deviance(at)
    steps = 1e-5 * np.eye(4)
    by_hand = [(tables.deviance(at + step)[0] - tables.deviance(at - step)[0]) / 2e-5 for step in steps]
    assert slope == pytest.approx(by_hand, rel=1e-5)


def test_the_order_of_rows_changes_nothing() -> None:
    columns = crossed(10, 8, 2, 4)
    order = np.random.default_rng(1).permutation(len(columns[0]))
    one, other = fitted(*columns), fitted(*(column[order] for column in columns))
    assert one.contrast([1, -1]).low == pytest.approx(other.contrast([1, -1]).low, abs=1e-6)
    assert one.variances == pytest.approx(other.variances, abs=1e-5)


@pytest.mark.parametrize(
    ("scores", "who", "what", "which"),
    [
        ([3.0, 4, 5], [0, 1, 2], [0, 0, 0], [0, 1, 0]),  # one sentence
        ([3.0] * 12, [0, 1, 2] * 4, [0, 1, 2, 3] * 3, [0, 1] * 6),  # everything alike
        ([1.0, 2] * 6, [0, 1, 2] * 4, [0, 1, 2, 3] * 3, [0, 1] * 6),  # each system always the same
    ],
)
def test_too_little_to_estimate_from_is_an_answer(
    scores: list[float], who: list[int], what: list[int], which: list[int]
) -> None:
    assert isinstance(mixed.fit(scores, np.eye(2)[which], who, what, which), NotEnough)


def test_an_interval_holds_no_difference_as_often_as_it_says() -> None:
    """`python -m benchmarks.evaluate` does this at full size; pooling all ratings holds it in 8 of 10."""
    held = sum(abs((c := fitted(*crossed(12, 10, 2, run)).contrast([1, -1])).estimate) <= c.high - c.estimate
               for run in range(60))  # fmt: skip
    assert held >= 54


# ---------------------------------------------------------------- the ordinal model


def wine() -> tuple[list[int], NDArray[np.int64], list[int]]:
    ratings = [int(one) for one in WINE if one != " "]
    return ratings, np.column_stack([WARM, CONTACT]), np.repeat(np.arange(9), 8).tolist()


def test_bitter_wine_without_judges() -> None:
    """Christensen, "Cumulative link models for ordinal regression with the R package ordinal"."""
    ratings, effects, _ = wine()
    fit = ordinal.fit(ratings, effects)
    assert isinstance(fit, OrdinalFit)
    assert fit.beta == pytest.approx([2.5031, 1.5278], abs=1e-3)
    assert fit.thresholds == pytest.approx([-1.3444, 1.2508, 3.4669, 5.0064], abs=1e-3)
    assert fit.log_likelihood == pytest.approx(-86.492, abs=1e-3)
    assert fit.se == pytest.approx([0.5287, 0.4766], abs=1e-3)


@pytest.mark.parametrize("nodes", [9, 60])
def test_bitter_wine_with_judges(nodes: int) -> None:
    ratings, effects, judges = wine()
    fit = ordinal.fit(ratings, effects, judges, nodes)
    assert isinstance(fit, OrdinalFit)
    assert fit.beta == pytest.approx([3.0619, 1.8334], abs=1e-3)
    assert fit.thresholds == pytest.approx([-1.6235, 1.5128, 4.2271, 6.0862], abs=1e-3)
    assert (fit.variance, fit.log_likelihood) == pytest.approx((1.2877, -81.5325), abs=1e-3)


def test_listeners_of_extreme_opinions_do_not_upset_the_ordinal_model() -> None:
    draw = np.random.default_rng(1)
    who, which = np.repeat(np.arange(60), 40), np.tile(np.arange(2), 1200)
    opinion = 0.8 * which + draw.normal(0, 3, 60)[who] + draw.logistic(size=2400)
    ratings = np.digitize(opinion, [-2, -0.5, 0.5, 2]) + 1
    fit = ordinal.fit(ratings.tolist(), which[:, None], who.tolist())
    assert isinstance(fit, OrdinalFit)
    assert abs(fit.beta[0] - 0.8) < 3 * fit.se[0] < 0.5 and 5 < fit.variance < 15


@pytest.mark.parametrize("higher", [[3, 3, 3], [2, 3, 3]])
def test_a_system_rated_apart_without_exception_has_no_finite_effect(higher: list[int]) -> None:
    assert isinstance(ordinal.fit([1, 1, 2, *higher], [[0]] * 3 + [[1]] * 3), NoEstimate)
    assert isinstance(ordinal.fit([1, 3, 2, 1, *higher[1:]], [[0]] * 3 + [[1]] * 3), OrdinalFit)


# ---------------------------------------------------------------- preference


def strengths(rows: list[tuple[str, str, float, int]], side: bool) -> Strengths:
    first, second, scores, weights = (list(column) for column in zip(*rows, strict=True))
    found = bradley_terry.fit(first, second, scores, weights, side=side)
    assert isinstance(found, Strengths)
    return found


def test_citations_between_journals() -> None:
    names = list(CITED)
    rows = [
        (one, other, score, count)
        for i, one in enumerate(names)
        for j, other in enumerate(names[:i])
        for score, count in ((-1.0, CITED[one][j]), (1.0, CITED[other][i]))
    ]
    found = strengths(rows, side=False)
    got = {name: found.difference(name, "Biometrika") for name in names[1:]}
    assert got["CommStat"] == pytest.approx((-2.94907, 0.10255), abs=1e-5)
    assert got["JASA"] == pytest.approx((-0.47957, 0.06059), abs=1e-5)
    assert got["JRSS-B"] == pytest.approx((0.26895, 0.07083), abs=1e-5)
    perfect = 0.0
    for i, one in enumerate(names):
        for j, other in enumerate(names[:i]):
            won, lost = CITED[one][j], CITED[other][i]
            perfect += won * np.log(won / (won + lost)) + lost * np.log(lost / (won + lost))
    assert 2 * (perfect - found.log_likelihood) == pytest.approx(4.2934, abs=1e-4)


def baseball() -> list[tuple[str, str, float, int]]:
    rows = []
    for home, line in zip(TEAMS, BASEBALL.split("\n")[1:-1], strict=True):
        for away, cell in zip(TEAMS, line.split(), strict=True):
            if cell != "-":
                won, lost = (int(count) for count in cell.split("-"))
                rows += [(home, away, -1.0, won), (home, away, 1.0, lost)]
    return rows


def test_teams_and_the_advantage_of_being_at_home() -> None:
    found = strengths(baseball(), side=True)
    assert (found.side, found.side_se) == pytest.approx((0.3023, 0.131), abs=1e-4)
    chances = np.exp(found.values) / np.exp(found.values).sum()
    assert sorted(chances) == pytest.approx([0.044, 0.088, 0.137, 0.157, 0.164, 0.190, 0.220], abs=6e-4)
    plain = strengths(baseball(), side=False)
    above = sorted(plain.values - plain.values.min())[1:]
    assert above == pytest.approx([0.68, 1.11, 1.25, 1.29, 1.44, 1.58], abs=6e-3)


def test_sound_fields_compared_by_ear_with_ties() -> None:
    pairs = [(one, other) for one in range(7, -1, -1) for other in range(one - 1, -1, -1)]
    rows = [
        (FIELDS[one], FIELDS[other], score, int(counts[at]))
        for at, (one, other) in enumerate(pairs)
        for score, counts in zip((-1.0, 0.0, 1.0), FLUTES, strict=True)
    ]
    found = strengths(rows, side=False)
    assert found.ties is not None and found.ties > 0
    slope, shift = np.polyfit(found.values, KOUSGAARD_TABLE_3, 1)
    assert (slope, shift) == pytest.approx((0.5, 0.0), abs=1e-3)  # he measures in half log odds
    assert np.corrcoef(found.values, KOUSGAARD_TABLE_3)[0, 1] > 0.999999


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([("a", "b", -1.0, 3), ("b", "c", -1.0, 2), ("c", "b", -1.0, 1)], "never lost to the others"),
        ([("a", "b", -1.0, 3), ("a", "b", 1.0, 2), ("c", "d", -1.0, 2), ("c", "d", 1.0, 2)], "never compared"),
    ],
)
def test_who_never_lost_has_no_finite_strength(rows: list[tuple[str, str, float, int]], why: str) -> None:
    found = strengths(rows, side=False)
    assert found.why and why in found.why
    assert found.covariance is None and np.isfinite(found.values).all()
    assert found.difference("a", "b")[0] > 0 and found.difference("a", "b")[1] is None


def test_a_side_that_cannot_be_told_from_strength_is_not_asked_for() -> None:
    found = strengths([("a", "b", -1.0, 3), ("a", "b", 1.0, 2)], side=True)
    assert found.why is None and found.side is None and found.difference("a", "b")[0] == pytest.approx(np.log(1.5))


def test_one_win_back_makes_it_finite() -> None:
    rows = [("a", "b", -1.0, 3), ("b", "c", -1.0, 2), ("c", "a", -1.0, 1)]
    assert strengths(rows, side=False).why is None


# ---------------------------------------------------------------- ranks, margins, agreement


def test_ranks() -> None:
    """Depression before and after a tranquilliser, and times around a base: Hollander and Wolfe, 1973."""
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    found = ranks.wilcoxon(before - after, "greater")
    assert isinstance(found, ranks.Test) and (found.statistic, found.p) == (40, pytest.approx(0.01953, abs=1e-5))
    times = ranks.friedman(np.array(ROUNDING.split(), float).reshape(22, 3))
    assert isinstance(times, ranks.Test)
    assert (times.statistic, times.p) == (pytest.approx(11.1429, abs=1e-4), pytest.approx(0.003805, abs=1e-6))
    assert isinstance(ranks.wilcoxon([0, 0, 1, 2]), NotEnough)
    assert isinstance(ranks.friedman([[1, 2], [2, 1]]), NotEnough)


def test_holm() -> None:
    assert ranks.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_only_raises_and_keeps_the_order(chances: list[float]) -> None:
    found = ranks.holm(chances)
    assert all(raised >= chance for raised, chance in zip(found, chances, strict=True))
    order = sorted(range(len(chances)), key=chances.__getitem__)
    assert all(found[a] <= found[b] for a, b in pairwise(order))


def test_no_difference_is_shown_only_by_an_interval_within_the_margin() -> None:
    assert tost(0.05, 0.1, 30, 0.25).equivalent
    assert not tost(0.05, 0.15, 30, 0.25).equivalent  # nil is not ruled out, and neither is 0.25
    assert tost(0.05, 0.1, 30, 0.25).p == pytest.approx(0.0275, abs=5e-4)  # t = 2 with 30 degrees of freedom
    assert detectable(0.1, 10_000) == pytest.approx(0.28, abs=1e-3)  # (1.96 + 0.84) standard errors


def test_krippendorffs_example() -> None:
    rows = ("* * * * * 3 4 1 2 1 1 3 3 * 3", "1 * 2 1 3 3 4 3 * * * * * * *", "* * 2 1 3 4 4 * 2 1 1 3 3 * 4")
    cells = [(unit, float(value)) for row in rows for unit, value in enumerate(row.split()) if value != "*"]
    units, values = zip(*cells, strict=True)
    levels: list[tuple[Literal["nominal", "ordinal", "interval"], float]]
    levels = [("nominal", 0.6914), ("ordinal", 0.8067), ("interval", 0.8108)]
    for level, expected in levels:
        assert agreement.alpha(units, values, level) == pytest.approx(expected, abs=1e-4)
    assert isinstance(agreement.alpha([1, 2], [3.0, 4.0], "ordinal"), NotEnough)


def test_shrout_and_fleiss() -> None:
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = agreement.icc(table)
    assert (found.one_1, found.two_1, found.three_1) == pytest.approx((0.166, 0.290, 0.715), abs=5e-4)
    assert (found.one_k, found.two_k, found.three_k) == pytest.approx((0.443, 0.620, 0.909), abs=5e-4)
    cells = [(target, rater, float(value)) for target, row in enumerate(table) for rater, value in enumerate(row)]
    by_model = agreement.consistency(*(list(column) for column in zip(*cells, strict=True)))  # type: ignore[arg-type]
    assert by_model == pytest.approx(found.two_1, abs=1e-4)


def test_blinding_index() -> None:
    assert agreement.blinding([True] * 50 + [False] * 50)[0] == 0  # type: ignore[index]
    index, low, high = agreement.blinding([True] * 60 + [False] * 20 + [None] * 20)  # type: ignore[misc]
    assert (index, low, high) == pytest.approx((0.4, 0.2432, 0.5568), abs=1e-3)
    assert isinstance(agreement.blinding([True, None]), NotEnough)


# ---------------------------------------------------------------- MUSHRA


def mushra(reference: dict[str, int], anchor: dict[str, int], items: int = 20) -> list[Score]:
    """Listeners who rate so many hidden references too low, and so many mid anchors too high."""
    rows = []
    for who in reference:
        for item in range(items):
            bad, high = item < reference[who], item < anchor.get(who, 0)
            rows.append(Score(who, f"i{item}", "recordings", 80 if bad else 100, item))
            rows.append(Score(who, f"i{item}", "anchor_mid", 95 if high else 40, item))
    return rows


def test_hidden_references_that_were_missed() -> None:
    gone = post_screening(mushra({"a": 1, "b": 3, "c": 4, "d": 0}, {}), "recordings", "anchor_mid")
    assert gone == {"c": "hidden reference below 90 in 4 of 20 items"}


def test_an_anchor_that_many_find_good_is_held_against_nobody() -> None:
    few = {f"l{n}": 4 if n < 1 else 0 for n in range(8)}
    many = {f"l{n}": 4 if n < 3 else 0 for n in range(8)}
    nobody = dict.fromkeys(few, 0)
    assert post_screening(mushra(nobody, few), "recordings", "anchor_mid") == {
        "l0": "mid anchor above 90 in 4 of 20 items"
    }
    assert post_screening(mushra(nobody, many), "recordings", "anchor_mid") == {}  # 3 of 8: above a quarter


# ---------------------------------------------------------------- one system's ratings


def test_crowdmos() -> None:
    """The example of the package mean-opinion-score, after Ribeiro et al. 2011."""
    gap = np.nan
    table = [[4, 5, gap, 4, gap, 3], [4, 4, 4, 5, gap, 4], [gap, 3, 5, 4, gap, 1], [gap] * 6]
    assert moments.crowdmos(table) == pytest.approx((3.8462, 1.3316), abs=1e-4)


def test_bimodality_of_known_distributions() -> None:
    draw = np.random.default_rng(1)
    assert moments.bimodality(draw.random(100_000)) == pytest.approx(5 / 9, abs=2e-3)
    assert moments.bimodality(draw.normal(size=100_000)) == pytest.approx(1 / 3, abs=5e-3)
    assert moments.bimodality([3, 3, 3, 3]) is None
    assert moments.spread([1] * 20 + [5] * 20).two_opinions and not moments.spread(draw.normal(3, 1, 99)).two_opinions
    assert moments.spread([0, 5, 15, 100]).counts == {"0": 2, "10": 1, "90": 1}


# ---------------------------------------------------------------- bootstrap and looks before the end


def test_a_gap_is_the_same_however_it_is_written() -> None:
    scores, who, what, which = crossed(12, 10, 2, 1)
    names = np.array(["adapter", "base"])[which]
    given = np.random.default_rng(2).random(len(scores)) < 0.6
    holes = np.where(given, scores, np.nan)
    shuffled = list(np.flatnonzero(given))
    random.Random(1).shuffle(shuffled)
    rows = (holes, who, what, names), (scores[shuffled], who[shuffled], what[shuffled], names[shuffled])
    one, other = (bootstrap.crossed_means(y, a.tolist(), b.tolist(), s.tolist(), 200, 1) for y, a, b, s in rows)
    for mine, theirs in zip(
        (*one[0].values(), *one[1].values()), (*other[0].values(), *other[1].values()), strict=True
    ):
        assert (mine.value, mine.low, mine.high) == pytest.approx((theirs.value, theirs.low, theirs.high))
        assert mine.n == theirs.n


def test_looks_at_every_listener_stop_for_nothing_in_few_tests_only() -> None:
    stopped = peeked = 0
    for run in range(40):
        draw = np.random.default_rng(run)
        values = np.clip(draw.normal(0, 1, 60), -4, 4)
        low, high = 0.0, 1.0
        naive = False
        for n in range(5, 61, 5):
            low, high = sequential.betting(values[:n] / 8 + 0.5, 0.05)
            naive |= abs(values[:n].mean()) > 1.96 * values[:n].std() / np.sqrt(n)
        stopped += not low <= 0.5 <= high
        peeked += naive
    assert stopped <= 2 and peeked > 4


def test_looks_find_a_difference_in_the_end() -> None:
    draw = np.random.default_rng(1)
    who, what = np.divmod(np.arange(200 * 20), 20)
    values = np.clip(1.5 + draw.normal(0, 0.5, 200)[who] + draw.normal(0, 0.3, 20)[what], -4, 4)
    order = list(range(200))
    found = sequential.look(values, who.tolist(), what.tolist(), 4, order)
    assert isinstance(found, sequential.Look) and found.may_stop and found.low < 1.5 < found.high
    few = sequential.look(values[:100], who[:100].tolist(), what[:100].tolist(), 4, order)
    assert isinstance(few, sequential.Look) and not few.may_stop and few.low < 1.5 < few.high


# ---------------------------------------------------------------- permutation

# Crossed less self-fertilised maize, eighths of an inch: Darwin 1876, in Fisher, "The design of experiments", 1935.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_swapping_darwins_maize_gives_fishers_count() -> None:
    found = permutation.swapped(MAIZE, 100, 1)
    assert isinstance(found, ranks.Test)
    assert found.p == 2 * 863 / 2**15 and found.statistic == pytest.approx(20.93, abs=0.01)


def test_swaps_that_are_drawn_come_near_to_all_of_them() -> None:
    """The same with a sixteenth difference, too small to matter: all 65,536 ways are too many to try."""
    found = permutation.swapped([*MAIZE, 1e-9], 20_000, 1)
    assert isinstance(found, ranks.Test) and found.p == pytest.approx(2 * 863 / 2**15, abs=0.005)


@given(st.lists(st.integers(-50, 50), min_size=6, max_size=40))
def test_swapping_knows_no_first_or_second(differences: list[int]) -> None:
    mine, other = (permutation.swapped(values, 200, 1) for values in (differences, [-one for one in differences]))
    if isinstance(mine, NotEnough) or isinstance(other, NotEnough):
        assert sum(one != 0 for one in differences) < 6 and mine == other
        return
    assert mine.p == other.p > 0 and mine.statistic == -other.statistic


def test_five_pairs_cannot_tell() -> None:
    assert isinstance(permutation.swapped([1, 2, 3, 4, 5, 0, 0], 100, 1), NotEnough)
