"""What a listening test can tell, before anyone listens: power, and variances from a pilot."""

import numpy as np
import pytest

from evaluate import power
from evaluate.power import ASSUMED, components, estimated, fewest, smallest
from evaluate.ratings import Comparison, Ratings, Score


@pytest.mark.parametrize(
    ("listeners", "items", "difference", "simulated"),
    [(20, 20, 0.3, 0.54), (30, 20, 0.3, 0.64), (30, 30, 0.3, 0.76), (20, 20, 0.5, 0.94), (30, 30, 0.2, 0.41)],
)
def test_power_of_ratings_is_that_of_a_simulation(
    listeners: int, items: int, difference: float, simulated: float
) -> None:
    # Two thousand simulated tests with these variances, and a test over both listeners and sentences.
    found = power.power("mushra_nr", listeners, items, items, difference, ASSUMED["acr"], 0.05)
    assert found == pytest.approx(simulated, abs=0.06)


@pytest.mark.parametrize(("listeners", "simulated"), [(20, 0.67), (30, 0.81)])
def test_power_of_votes_is_no_more_than_a_simulation_whose_test_says_too_often_that_there_is_something(
    listeners: int, simulated: float
) -> None:
    found = power.power("preference", listeners, 20, 20, 0.1, ASSUMED["preference"], 0.05)
    assert simulated - 0.15 < found <= simulated


def test_more_listeners_sentences_and_difference_are_more_power() -> None:
    def chance(listeners: int = 20, trials: int = 10, difference: float = 0.3) -> float:
        return power.power("cmos", listeners, trials, trials, difference, ASSUMED["cmos"], 0.05)

    assert chance() < min(chance(listeners=40), chance(trials=20), chance(difference=0.5))
    assert chance(difference=0.0) == pytest.approx(0.05, abs=1e-6)  # false alarms
    assert chance(listeners=1) == chance(trials=1) == 0.0


def test_the_smallest_difference_and_the_fewest_listeners_have_the_power_wanted() -> None:
    def chance(listeners: int, difference: float) -> float:
        return power.power("acr", listeners, 12, 24, difference, ASSUMED["acr"], 0.05)

    found = smallest(lambda difference: chance(20, difference), "acr", 0.8)
    assert found and chance(20, found) == pytest.approx(0.8, abs=1e-6)
    number = fewest(lambda listeners: chance(listeners, 0.5), 0.8)
    assert number and chance(number, 0.5) >= 0.8 > chance(number - 1, 0.5)
    # With so few sentences no number of listeners is enough: the sentences themselves are a draw.
    assert fewest(lambda n: power.power("acr", n, 3, 3, 0.2, ASSUMED["acr"], 0.05), 0.8) is None


def test_variances_come_back_from_values_that_have_them() -> None:
    draw = np.random.default_rng(5)
    count = 60
    harsh, hard = 0.4 * draw.normal(size=count), 0.6 * draw.normal(size=count)
    values = 3 + harsh[:, None] + hard[None, :] + draw.normal(size=(count, count))
    names = [[f"l{n}" for n in range(count) for _ in range(count)], [f"i{n}" for n in range(count)] * count]
    some = draw.permutation(values.size)[:1500]  # not everybody heard everything
    found = components(values.ravel()[some], [[row[n] for n in some] for row in names])
    assert found == pytest.approx([harsh.var(ddof=1), hard.var(ddof=1), 1.0], abs=0.1)


def test_a_pilot_tells_the_variances_of_its_comparison() -> None:
    draw = np.random.default_rng(2)
    taste, hard = 0.5 * draw.normal(size=30), 0.4 * draw.normal(size=20)
    rows = []
    for listener in range(30):
        for item in range(20):
            better = 0.3 + taste[listener] + hard[item] + draw.normal()
            first, second = ("a", "b") if (listener + item) % 2 else ("b", "a")
            rows.append(
                Comparison(f"l{listener}", f"i{item}", first, second, better if second == "a" else -better, 1)
            )
    found = estimated(Ratings("cmos", [], rows, [], ("a", "b")))
    assert found and found.source == "a pilot"
    assert (found.listener, found.item, found.residual) == pytest.approx((0.25, 0.16, 1.0), abs=0.13)
    assert estimated(Ratings("cmos", [], rows[:4], [], ("a", "b"))) is None  # too few to tell


def test_a_pilot_of_single_ratings_tells_them_too() -> None:
    draw = np.random.default_rng(3)
    kind = {"a": 0.5, "b": 0.0}
    harsh, hard = draw.normal(size=40), draw.normal(size=24)
    with_l = {s: 0.4 * draw.normal(size=40) for s in kind}
    with_i = {s: 0.4 * draw.normal(size=24) for s in kind}
    rows = []
    for who in range(40):
        for item in range(24):
            system = "ab"[(who + item) % 2]  # each sentence from one system
            value = 3 + kind[system] + harsh[who] + hard[item] + with_l[system][who] + with_i[system][item]
            rows.append(Score(f"l{who}", f"i{item}", system, float(value + 0.7 * draw.normal()), 1))
    found = estimated(Ratings("acr", rows, [], [], ("a", "b")))
    assert found and (found.listener, found.item, found.residual) == pytest.approx((0.32, 0.32, 0.98), abs=0.25)
