"""Designs of listening tests: what is balanced over listeners, exactly and not on average."""

from collections import Counter
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.design import PAIRED, SLIDERS, Shape, Trial, cycle, order, sequence, trials_within, williams
from evaluate.ratings import Method

METHODS: list[Method] = ["acr", "preference", "cmos", "abx", "mushra", "mushra_nr"]


def shape(method: Method, systems: int, rounds: int, spare: int = 0, seed: str = "7", **more: int) -> Shape:
    """A test in which each listener has `rounds` trials of every kind, and `spare` sentences are left."""
    names = tuple(f"k{n}" for n in range(systems))
    pairs = (("k0", "k1"), ("k0", "k1"), *(("k0", f"k{n}") for n in range(2, systems))) if method in PAIRED else ()
    bare = Shape(method, (), names, pairs, 0, seed)
    trials = rounds * bare.symbols
    items = tuple(f"i{n}" for n in range(trials + spare))
    return Shape(method, items, names, pairs, trials, seed, **more)


shapes = st.builds(
    shape, st.sampled_from(METHODS), st.integers(2, 5), st.integers(1, 4), st.integers(0, 3), st.text()
)


def scored(found: Shape, number: int) -> list[Trial]:
    return [trial for trial in order(found, number) if trial.kind == "scored"]


def equal(counts: Counter[object], kinds: int) -> bool:
    """Whether each of `kinds` things was counted, equally often."""
    return len(counts) == kinds and len(set(counts.values())) == 1


# ---------------------------------------------------------------- squares


@given(st.integers(1, 12))
def test_in_a_williams_square_every_symbol_has_every_place_and_follows_every_other_equally_often(n: int) -> None:
    rows = williams(n)
    assert len(rows) == (n if n % 2 == 0 or n == 1 else 2 * n)
    for place in range(n):
        assert equal(Counter(row[place] for row in rows), n)
    following = Counter(pair for row in rows for pair in pairwise(row))
    assert n == 1 or equal(following, len(list(permutations(range(n), 2))))


def test_the_square_of_four_is_the_published_one_but_for_names() -> None:
    # Williams 1949: each row of the square of four is its first row moved on.
    assert williams(4) == [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]


@given(st.integers(2, 7), st.integers(1, 40), st.text())
def test_places_and_carry_over_stay_balanced_where_rows_meet(n: int, length: int, seed: str) -> None:
    rows = len(williams(n))
    found = [sequence(n, length, number, seed) for number in range(rows)]
    for place in range(length):
        assert equal(Counter(one[place] for one in found), n)
    following = Counter(pair for one in found for pair in pairwise(one) if pair[0] != pair[1])
    counts = [following[pair] for pair in permutations(range(n), 2)]
    whole = length % n == 0
    assert not whole or max(counts) - min(counts) <= rows // n


# ---------------------------------------------------------------- trials


@given(shapes, st.integers(0, 500))
def test_an_order_is_decided_by_seed_and_number_alone(found: Shape, number: int) -> None:
    assert order(found, number) == order(found, number)
    trials = scored(found, number)
    assert len(trials) == found.trials == len({trial.item for trial in trials})  # no sentence twice


@given(shapes, st.integers(0, 3))
def test_over_a_cycle_of_listeners_every_sentence_meets_every_symbol_equally_often(found: Shape, turn: int) -> None:
    numbers = range(turn * cycle(found), (turn + 1) * cycle(found))
    met = Counter((t.item, frozenset(t.systems)) for number in numbers for t in scored(found, number))
    by_item: dict[str, Counter[frozenset[str]]] = {}
    for (item, systems), count in met.items():
        by_item.setdefault(item, Counter())[systems] = count
    assert len(by_item) == found.trials
    assert len({frozenset(counts.items()) for counts in by_item.values()}) == 1
    if found.method == "acr":
        assert equal(met, found.trials * len(found.systems))


@given(shapes, st.integers(0, 3))
def test_every_slot_holds_every_system_equally_often(found: Shape, turn: int) -> None:
    slots: Counter[tuple[frozenset[str], int, str]] = Counter()
    for number in range(turn * cycle(found), (turn + 1) * cycle(found)):
        for trial in scored(found, number):
            for slot, system in enumerate(trial.systems):
                slots[frozenset(trial.systems), slot, system] += 1
    for systems in {key[0] for key in slots}:
        if len(systems) > 1 or found.method == "acr":
            counts = Counter({key: count for key, count in slots.items() if key[0] == systems})
            assert len(set(counts.values())) == 1  # A and B, and X


@given(st.integers(2, 5), st.integers(1, 4))
def test_a_listener_of_acr_hears_each_system_equally_often_and_each_sentence_from_one(
    systems: int, rounds: int
) -> None:
    found = shape("acr", systems, rounds, spare=2)
    for number in range(2 * cycle(found)):
        heard = Counter(trial.systems[0] for trial in scored(found, number))
        assert equal(heard, systems) and set(heard.values()) == {rounds}


@given(st.sampled_from(PAIRED), st.integers(2, 4), st.integers(1, 4))
def test_sides_differ_by_one_at_most_within_a_listener(method: Method, systems: int, rounds: int) -> None:
    found = shape(method, systems, rounds)
    for number in range(cycle(found)):
        for pair in set(found.pairs):
            turned = Counter(t.systems[:2] for t in scored(found, number) if {*t.systems} == {*pair})
            assert abs(turned[pair] - turned[pair[::-1]]) <= found.pairs.count(pair)


def test_the_pair_that_matters_most_is_asked_twice_as_often() -> None:
    met = Counter(frozenset(t.systems) for t in scored(shape("preference", 3, 6), 0))
    assert met == {frozenset(("k0", "k1")): 12, frozenset(("k0", "k2")): 6}


@given(st.integers(2, 5), st.integers(2, 6))
def test_with_sliders_every_sentence_has_every_place_equally_often(systems: int, trials: int) -> None:
    found = shape("mushra", systems, trials)
    places = Counter((place, t.item) for n in range(cycle(found)) for place, t in enumerate(scored(found, n)))
    assert equal(places, trials * trials)


def test_later_listeners_hear_the_other_sentences_too() -> None:
    found = shape("acr", 2, 3, spare=6)
    heard = Counter(t.item for number in range(2 * cycle(found)) for t in scored(found, number))
    assert equal(heard, 12)


# ---------------------------------------------------------------- what does not count


@pytest.mark.parametrize("method", METHODS)
def test_training_comes_first_and_repeats_gold_and_traps_in_between(method: Method) -> None:
    found = shape(method, 3, 6, spare=4, training=2, repeats=2, gold=1, traps=1)
    for number in range(30):
        trials = order(found, number)
        kinds = [trial.kind for trial in trials]
        assert kinds[:3] == ["training", "training", "scored"]
        counts = {"training": 2, "scored": found.trials, "repeat": 2, "gold": 1, "trap": 1}
        assert +Counter(kinds) == {kind: n for kind, n in counts.items() if kind != "gold" or method not in SLIDERS}
        heard = {trial.item for trial in trials if trial.kind == "scored"}
        for place, trial in enumerate(trials):
            if trial.kind == "training":
                assert trial.item not in heard  # there were sentences to spare
            if trial.kind == "repeat":
                first = next(p for p, t in enumerate(trials) if t.kind == "scored" and t.item == trial.item)
                assert first < place and trials[first].systems == trial.systems
            if trial.kind == "gold":
                assert len(set(trial.systems)) == 1 and trial.broken


def test_a_session_has_at_most_so_many_ratings_and_minutes() -> None:
    assert trials_within(1, [10.0] * 100, ratings=40, each=1, minutes=20, extra=3, training=2) == 37
    assert trials_within(3, [10.0] * 100, ratings=40, each=1, minutes=20, extra=3, training=2) == 36
    assert trials_within(1, [10.0] * 100, ratings=40, each=1, minutes=2, extra=1, training=1) == 10
    assert trials_within(1, [20.0] * 20, ratings=40, each=6, minutes=20, extra=0, training=1) == 6  # six sliders
    assert trials_within(4, [10.0] * 3, ratings=40, each=1, minutes=20, extra=0, training=0) == 0


@given(st.lists(st.floats(1, 120), min_size=1, max_size=60), st.integers(1, 4), st.floats(1, 20), st.integers(0, 4))
def test_whichever_sentences_a_listener_gets_the_time_is_kept(
    seconds: list[float], symbols: int, minutes: float, extra: int
) -> None:
    fit = trials_within(symbols, seconds, 40, 1, minutes, extra, 0)
    longest = sorted(seconds)[-fit:] if fit else []
    assert fit + extra <= 40 or fit == 0
    assert not fit or sum(longest) + extra * max(seconds) <= 60 * minutes + 1e-6
