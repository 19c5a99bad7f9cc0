"""What a listening test can tell, before anyone listens: power, and variances from a pilot."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate import design, plan, power
from evaluate.power import ASSUMED, components, estimated, fewest, smallest
from evaluate.ratings import Comparison, Method, Ratings, Score
from evaluate.statistics import mixed
from recipes.schema import Evaluate


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


@settings(deadline=None)
@given(
    st.sampled_from([*ASSUMED]),
    st.integers(2, 300),
    st.integers(1, 40),
    st.integers(2, 2000),
    st.floats(0, 100),
    st.floats(1e-6, 0.49),
)
def test_power_is_a_chance_whatever_is_asked(
    method: Method, listeners: int, trials: int, items: int, difference: float, alpha: float
) -> None:
    found = power.power(method, listeners, trials, items, difference, ASSUMED[method], alpha)
    assert 0 <= found <= 1 + 1e-9
    assert found >= power.power(method, listeners, trials, items, difference / 2, ASSUMED[method], alpha) - 1e-9


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([*ASSUMED]), st.integers(3, 100), st.integers(3, 40), st.integers(4, 200))
def test_nothing_smaller_has_the_power_and_nothing_fewer(
    method: Method, listeners: int, trials: int, items: int
) -> None:
    def chance(listeners: int, difference: float) -> float:
        return power.power(method, listeners, trials, items, difference, ASSUMED[method], 0.05)

    found = smallest(lambda difference: chance(listeners, difference), method, 0.8)
    high = {"acr": 4.0, "cmos": 3.0, "preference": 0.49, "abx": 0.49}.get(method, 100.0)
    tried = [high * step / 100 for step in range(101)]
    enough = [difference for difference in tried if chance(listeners, difference) >= 0.8]
    assert (found is None) == (not enough)
    if found is not None:
        assert enough[0] - high / 100 <= found <= enough[0] + 1e-6 * high
    wanted = power.USUAL_DIFFERENCE[method]
    number = fewest(lambda count: chance(count, wanted), 0.8)
    scanned = next((count for count in range(1, 100) if chance(count, wanted) >= 0.8), None)
    assert number == scanned if scanned else number is None or number >= 100


@pytest.mark.parametrize(
    ("method", "trials", "items", "found"), [("acr", 13, 20, 0.42), ("cmos", 36, 36, 0.35), ("mushra", 12, 12, 12.3)]
)
def test_the_smallest_difference_is_not_lost_where_the_far_tail_is_nil(
    method: Method, trials: int, items: int, found: float
) -> None:
    def chance(difference: float) -> float:
        return power.power(method, 20, trials, items, difference, ASSUMED[method], 0.05)

    assert smallest(chance, method, 0.8) == pytest.approx(found, rel=0.01)


# ---------------------------------------------------------------- of the whole test


def shape(method: Method, systems: int, trials: int, items: int) -> design.Shape:
    names = tuple(f"k{n}" for n in range(systems))
    pairs = (("k0", "k1"),) if method in design.PAIRED else ()
    return design.Shape(method, tuple(f"i{n:03}" for n in range(items)), names, pairs, trials, "seed")


def figures(asked: design.Shape, **planned: Any) -> plan.Figures:
    recipe = SimpleNamespace(evaluate=Evaluate(listen={"method": asked.method}, plan=planned))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "variances_of", lambda recipe: ASSUMED[asked.method])
        return plan.figures(recipe, SimpleNamespace(shape=asked))  # type: ignore[arg-type]


def simulated(asked: design.Shape, listeners: int, difference: float, draw: np.random.Generator) -> mixed.Contrast:
    """What the mixed model finds in one test of this design, whose listeners have the variances of ASSUMED."""
    spread, acr = ASSUMED[asked.method], asked.method == "acr"
    names, share = (asked.systems, 0.5) if acr else (("",), 1.0)  # a difference of two ratings varies twice as much

    def drawn(variance: float, of: Sequence[object]) -> dict[object, float]:
        return dict(zip(of, draw.normal(0, variance**0.5, len(of)), strict=True))

    people, sentences = range(listeners), asked.items
    harsh, hard = drawn(0.3 * acr, people), drawn(0.1 * acr, sentences)
    taste = {name: drawn(share * spread.listener, people) for name in names}
    suits = {name: drawn(share * spread.item, sentences) for name in names}
    rows = []
    for who in people:
        for trial in design.order(asked, who):
            name, item = trial.systems[0] if acr else "", trial.item
            value = harsh[who] + hard[item] + taste[name][who] + suits[name][item]
            value += difference * (name == names[0]) + draw.normal(0, (share * spread.residual) ** 0.5)
            rows.append((value, who, item, name))
    values, who_, what, which = (list(column) for column in zip(*rows, strict=True))
    fixed = (np.array(which)[:, None] == np.array(names)[None, :]).astype(float)
    found = mixed.fit(values, fixed, who_, what, which if acr else None)
    assert isinstance(found, mixed.Fit)
    return found.contrast([1, -1, 0] if acr else [1])


@pytest.mark.parametrize(
    "asked", [shape("acr", 3, 12, 24), shape("acr", 3, 36, 36), shape("cmos", 2, 12, 24)], ids=["acr", "long", "cmos"]
)
def test_the_smallest_difference_is_found_in_eighty_of_a_hundred_simulated_tests(asked: design.Shape) -> None:
    found = figures(asked)
    assert found.smallest
    draw = np.random.default_rng(11)
    hits = [simulated(asked, found.listeners, found.smallest, draw).p < 0.05 for _ in range(150)]
    assert np.mean(hits) == pytest.approx(0.8, abs=0.08)


def test_sentences_each_are_those_of_all_systems() -> None:
    found = figures(shape("acr", 3, 6, 60))
    assert (found.sentences, found.trials) == (6, 2)
    assert found.needed_sentences and found.needed_sentences % 3 == 0
    enough = figures(shape("acr", 3, found.needed_sentences, 60))
    short = figures(shape("acr", 3, found.needed_sentences - 3, 60))
    assert enough.power >= 0.8 > short.power
    assert enough.sentences == found.needed_sentences


def test_sentences_beyond_what_a_listener_rates_are_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    asked = replace(shape("acr", 3, 36, 60), repeats=1, gold=1, traps=1)
    found = figures(asked, listeners=20, difference=0.3)
    assert found.most_sentences == 36 and found.needed_sentences and found.needed_sentences > 36
    recipe = SimpleNamespace(evaluate=Evaluate(listen={"method": "acr"}))
    plan.tell(recipe, found)  # type: ignore[arg-type]
    said = f"or {found.needed_sentences} sentences each, and a listener rates 36 at most"
    assert said in capsys.readouterr().out


def test_listeners_of_one_cycle_hear_the_same_sentences() -> None:
    asked = shape("mushra_nr", 6, 6, 60)
    heard = {trial.item for who in range(20) for trial in design.order(asked, who)}
    alone = power.power("mushra_nr", 20, 6, len(heard), 12.0, ASSUMED["mushra_nr"], 0.05)
    assert len(heard) == 24 and figures(asked).power == pytest.approx(alone)


# ---------------------------------------------------------------- from a pilot


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
