"""Splits: by hash, disjoint, stable; and refused, with what to do, where they cannot be had."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare.split import assign
from recipes.schema import SplitBy, UserError

names = st.sets(st.text(min_size=1, max_size=8), min_size=3, max_size=60)


def test_shares_are_near_those_asked_for() -> None:
    found = list(assign(map(str, range(10_000)), SplitBy(valid=0.1, test=0.2), seed=17).values())
    assert found.count("valid") == pytest.approx(1_000, abs=100)
    assert found.count("test") == pytest.approx(2_000, abs=130)


def test_nobody_moves_when_others_come() -> None:
    few = assign(map(str, range(500)), SplitBy(), seed=17)
    many = assign(map(str, range(5_000)), SplitBy(), seed=17)
    assert few == {name: many[name] for name in few}


def test_another_seed_is_another_split() -> None:
    groups = [str(n) for n in range(500)]
    assert assign(groups, SplitBy(), seed=1) != assign(groups, SplitBy(), seed=2)


@given(names, st.randoms())
def test_neither_order_nor_repeats_matter(groups: set[str], draw: object) -> None:
    settings = SplitBy(exact=True)
    assert assign([*sorted(groups), *groups], settings, 17) == assign(sorted(groups, reverse=True), settings, 17)


@given(names, st.floats(0, 0.4), st.floats(0, 0.4))
def test_exact_shares(groups: set[str], valid: float, test: float) -> None:
    try:
        found = list(assign(groups, SplitBy(valid=valid, test=test, exact=True), seed=17).values())
    except UserError:
        assert len(groups) < 6  # rounding up to one each can leave nothing of so few
        return
    assert len(found) == len(groups)
    assert found.count("valid") == (max(1, round(len(groups) * valid)) if valid else 0)
    assert found.count("test") == (max(1, round(len(groups) * test)) if test else 0)
    assert "train" in found


def test_300_sentences_give_240_30_30() -> None:
    found = list(assign(map(str, range(300)), SplitBy(by="sentence", exact=True), seed=17).values())
    assert [found.count(split) for split in ("train", "valid", "test")] == [240, 30, 30]


@pytest.mark.parametrize(
    ("groups", "settings", "message"),
    [
        (["amina"], {}, "3 splits need 3 different speakers, there is 1: set prepare.split.by to sentence"),
        (["a", "b"], {"by": "sentence"}, "3 splits need 3 different sentences, there are 2: add clips"),
        (["a", "b", "c"], {"valid": 0.5, "test": 0.6}, "valid and test together leave nothing to train on"),
        (
            list("abcd"),
            {"valid": 0.49, "test": 0.49, "exact": True},
            "leaves none to train on: ask for smaller shares",
        ),
        (
            list("abcd"),
            {"valid": 0.01, "test": 0.01},
            "leave valid and test empty: set prepare.split.exact to true",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(groups: list[str], settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        assign(groups, SplitBy.model_validate(settings), seed=17)


def test_one_voice_can_all_be_trained_on() -> None:
    assert assign(["amina"], SplitBy(valid=0, test=0), seed=17) == {"amina": "train"}
