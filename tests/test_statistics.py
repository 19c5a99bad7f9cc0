"""Intervals: known answers, laws, and that they cover what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.statistics import crossed_mean, mean, ratio, ratio_difference


def test_a_ratio_is_sum_over_sum_not_a_mean_of_ratios() -> None:
    figure = ratio([1, 0, 5], [10, 10, 5], ["a", "b", "c"], resamples=500, seed=1)
    assert figure is not None
    assert figure.value == pytest.approx(6 / 25)
    assert figure.low is not None and figure.high is not None
    assert 0 <= figure.low < 6 / 25 < figure.high <= 1


def test_nothing_to_divide_by_is_an_answer() -> None:
    assert ratio([], [], [], 100, 1) is None
    assert ratio([0], [0], ["a"], 100, 1) is None


def test_two_clusters_are_not_enough_for_an_interval() -> None:
    figure = mean([1.0, 2.0, 3.0, 4.0], ["a", "a", "b", "b"], 100, 1)
    assert figure is not None and figure.low is None
    assert "not enough data" in str(figure)


def test_the_same_system_twice_differs_by_nothing() -> None:
    side = ([1, 2, 3, 4], [10, 10, 10, 10])
    figure = ratio_difference(side, side, "abcd", 200, 1)
    assert figure is not None
    assert (figure.value, figure.low, figure.high) == (0, 0, 0)
    assert not figure.apart_from_zero


def test_pairing_sees_a_difference_that_separate_intervals_hide() -> None:
    draw = np.random.default_rng(3)
    hard = draw.uniform(0, 20, 40)  # sentences differ far more than systems
    chars = np.full(40, 30.0)
    better, worse = (hard, chars), (hard + 1, chars)
    figure = ratio_difference(better, worse, range(40), 1000, 1)
    assert figure is not None and figure.apart_from_zero and figure.value == pytest.approx(-1 / 30)
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


def test_intervals_of_ratings_cover_when_listeners_and_sentences_repeat() -> None:
    assert 0.91 <= coverage(crossed=True) <= 1.0
    assert coverage(crossed=False) < 0.7  # what pooling all ratings would give
