"""Intervals: known answers, laws, and that they cover what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.statistics import bootstrap, crossed_mean, mean, ratio, ratio_difference


def test_a_ratio_is_sum_over_sum_not_a_mean_of_ratios() -> None:
    figure = ratio([1, 0, 5, 0, 0], [10, 10, 5, 10, 10], "abcde", resamples=500, seed=1)
    assert figure is not None
    assert figure.value == pytest.approx(6 / 45)
    assert figure.low is not None and figure.high is not None
    assert 0 <= figure.low < 6 / 45 < figure.high <= 1


def test_the_interval_of_many_observations_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(5).normal(10, 2, 400)
    figure = mean(values, range(400), 4000, 1)
    assert figure and figure.low and figure.high
    expected = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert figure.high - figure.value == pytest.approx(expected, rel=0.08)
    assert figure.value - figure.low == pytest.approx(expected, rel=0.08)


def test_what_repeats_within_a_cluster_is_no_new_information() -> None:
    values = np.random.default_rng(6).normal(0, 1, 10)
    once = mean(values, range(10), 1000, 1)
    tenfold = mean(np.repeat(values, 10), np.repeat(range(10), 10).tolist(), 1000, 1)
    assert once and tenfold and (once.low, once.high) == pytest.approx((tenfold.low, tenfold.high))
    assert (tenfold.n, tenfold.clusters) == (100, 10)


def test_nothing_to_divide_by_is_an_answer() -> None:
    assert ratio([], [], [], 100, 1) is None
    assert ratio([0], [0], ["a"], 100, 1) is None


@pytest.mark.parametrize("clusters", [1, 2, 4])
def test_few_clusters_are_not_enough_for_an_interval(clusters: int) -> None:
    figure = mean([1.0, 2.0, 3.0, 4.0], [place % clusters for place in range(4)], 100, 1)
    assert figure is not None and figure.low is None and not figure.apart_from_zero
    assert str(figure) == "2.500 (not enough data for an interval, n = 4)"


def test_without_one_error_nothing_is_known_of_how_rare_they_are() -> None:
    figure = ratio([0] * 30, [10] * 30, range(30), 100, 1)
    assert str(figure) == "0.000 (all alike: no interval, n = 30)"


def test_the_same_system_twice_differs_by_nothing() -> None:
    side = ([1, 2, 3, 4, 5, 6], [10] * 6)
    figure = ratio_difference(side, side, "abcdef", 200, 1)
    assert figure is not None
    assert (figure.value, figure.why) == (0, "all alike: no interval")
    assert not figure.apart_from_zero


def test_pairing_sees_a_difference_that_separate_intervals_hide() -> None:
    draw = np.random.default_rng(3)
    hard = draw.uniform(0, 20, 40)  # sentences differ far more than systems
    chars = np.full(40, 30.0)
    better, worse = (hard, chars), (hard + draw.uniform(0.5, 1.5, 40), chars)
    figure = ratio_difference(better, worse, range(40), 1000, 1)
    assert figure is not None and figure.apart_from_zero and figure.value == pytest.approx(-1 / 30, rel=0.1)
    one, other = (ratio(*side, range(40), 1000, 1) for side in (better, worse))
    assert one and other and one.high and other.low and one.high > other.low


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=3, max_size=30), st.randoms())
def test_the_order_of_rows_changes_nothing(rows: list[tuple[int, int]], shuffle: object) -> None:
    names = [str(place) for place in range(len(rows))]
    top, bottom = zip(*rows, strict=True)
    forward = ratio(top, bottom, names, 50, 1)
    backward = ratio(top[::-1], bottom[::-1], names[::-1], 50, 1)
    assert forward and backward and forward.value == pytest.approx(backward.value)


def coverage(crossed: bool, listeners: int = 16, items: int = 16, runs: int = 200) -> float:
    """How often a nominal 95 % interval holds the true mean when listeners and items both differ."""
    draw = np.random.default_rng(7)
    who, what = np.divmod(np.arange(listeners * items), items)
    held = 0
    for run in range(runs):
        ratings = draw.normal(0, 0.55, listeners)[who] + draw.normal(0, 0.45, items)[what]
        ratings += draw.normal(0, 0.7, len(who))
        if crossed:
            figure = crossed_mean(ratings, who.tolist(), what.tolist(), 300, run)
        else:
            figure = mean(ratings, list(range(len(who))), 300, run)
        assert figure and figure.low is not None and figure.high is not None
        held += figure.low <= 0 <= figure.high
    return held / runs


def test_intervals_cover_where_clusters_are_few() -> None:
    draw = np.random.default_rng(8)
    held = 0
    for run in range(400):
        figure = mean(draw.gamma(2.0, 1.0, 8), range(8), 1000, run)  # skewed, as error rates are
        assert figure and figure.low is not None and figure.high is not None
        held += figure.low <= 2 <= figure.high
    assert held / 400 >= 0.9  # plain percentiles: 0.87


def test_ratings_weigh_as_their_listener_and_their_sentence_were_drawn() -> None:
    """The same as drawing rating by rating, where some are missing and some were given twice."""
    draw = np.random.default_rng(9)
    who, what = draw.integers(0, 7, 60), draw.integers(0, 9, 60)
    ratings = draw.normal(3, 1, 60)
    figure = crossed_mean(ratings, who.tolist(), what.tolist(), 400, 1)
    assert figure and figure.low is not None and figure.high is not None
    names = [sorted(set(labels.tolist()), key=repr) for labels in (who, what)]
    by_listener, by_item = (bootstrap._draw(len(n), 400, 1 + place) for place, n in enumerate(names))
    weights = np.array(
        [by_listener[:, names[0].index(a)] * by_item[:, names[1].index(b)] for a, b in zip(who, what, strict=True)]
    )
    means = (weights.T @ ratings)[weights.sum(0) > 0] / weights.sum(0)[weights.sum(0) > 0]
    edge = bootstrap._edge(7)
    assert (figure.low, figure.high) == pytest.approx(np.quantile(means, [edge, 1 - edge]))
    assert (figure.n, figure.clusters) == (60, 7)


@pytest.mark.parametrize(("clusters", "edge"), [(5, 0.00095), (8, 0.0057), (30, 0.0188), (100_000, 0.025)])
def test_fewer_clusters_leave_out_less_at_each_end(clusters: int, edge: float) -> None:
    """Normal distribution at minus Student's t times sqrt(n / (n - 1)), by hand from tables."""
    assert bootstrap._edge(clusters) == pytest.approx(edge, rel=0.02)


def test_intervals_of_ratings_cover_when_listeners_and_sentences_repeat() -> None:
    assert 0.91 <= coverage(crossed=True) <= 1.0
    assert coverage(crossed=False) < 0.7  # what pooling all ratings would give
