"""Splits: by hash, disjoint, stable; and refused, with what to do, where they cannot be had."""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rapidfuzz.distance import Levenshtein

from prepare.near import Near
from prepare.split import Said, assign, divide
from prepare.text import normalise
from prepare.unseen import sentences
from recipes.provenance import digest
from recipes.records import Split
from recipes.schema import Recipe, SplitBy, UserError, load
from tests.conftest import ROOT

names = st.sets(st.text(min_size=1, max_size=8), min_size=3, max_size=60)
By = Literal["speaker", "sentence", "both"]


def corpus(speakers: int, sentences: int, each: int) -> dict[str, Said]:
    """Each speaker reads `each` of the sentences, next to those of the speaker before."""
    return {
        f"{voice}-{number}": Said(f"speaker {voice}", f"{(voice * each + number) % sentences:05} " * 4)
        for voice in range(speakers)
        for number in range(each)
    }


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


# ---------------------------------------------------------------- the shipped recipes


def told(found: dict[str, Split]) -> dict[str, tuple[int, str]]:
    """Of each split, how many and which."""
    return {
        split: (list(found.values()).count(split), digest(name for name in found if found[name] == split)[:16])
        for split in ("train", "valid", "test")
    }


def test_the_demo_is_split_as_its_nano_models_and_its_documentation_know_it() -> None:
    demo = load(ROOT / "recipes" / "demo.yaml")
    with open(ROOT / "recipes" / "sample" / "metadata.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["language"] == "zgh-Tfng"]
    said = {row["file"]: Said(row["speaker"], normalise(row["text"], "zgh-Tfng")) for row in rows}
    splits, left_out = divide(said, demo.prepare.split, demo.seed)
    assert not left_out
    assert told({said[name].sentence: split for name, split in splits.items()}) == {
        "train": (33, "6f768fd6e885d2aa"),
        "valid": (5, "dda6de0081c09bc7"),
        "test": (6, "eed397390994f7cb"),
    }


def test_the_nano_recogniser_is_split_as_it_was_trained() -> None:
    nano = load(ROOT / "recipes" / "nano_asr.yaml")
    assert nano.collect.synthetic
    texts = nano.collect.synthetic.texts.items()
    said = [normalise(line, tag) for tag, path in texts for line in path.read_text(encoding="utf-8").splitlines()]
    assert told(assign(filter(None, said), nano.prepare.split, nano.seed)) == {
        "train": (1174, "590f6cb5a2ad761d"),
        "valid": (28, "faf4f5efff85848f"),
        "test": (29, "2a23f0af33fd097b"),
    }


# ---------------------------------------------------------------- no voice and no sentence in two splits


patient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
utterances = st.dictionaries(
    st.integers(0, 10_000).map(str),
    st.builds(Said, st.integers(0, 30).map("speaker {}".format), st.text("abc ", min_size=8, max_size=14)),
    min_size=30,
    max_size=80,
)


@patient
@given(utterances, st.sampled_from(["speaker", "sentence", "both"]), st.sampled_from([None, 0.7, 0.85]))
def test_nothing_is_in_two_splits_and_nothing_disappears(
    said: dict[str, Said], by: By, similar: float | None
) -> None:
    ask = SplitBy(by=by, valid=0.3, test=0.3, similar=similar)
    try:
        splits, left_out = divide(said, ask, seed=17)
    except UserError:
        return
    assert splits.keys() | left_out.keys() == said.keys() and not splits.keys() & left_out.keys()
    where: dict[str, set[Split]] = {}
    for name, split in splits.items():
        for key in {"speaker": [0], "sentence": [1], "both": [0, 1]}[by]:
            where.setdefault((said[name].speaker, said[name].sentence)[key], set()).add(split)
    assert all(len(found) == 1 for found in where.values())
    least = similar or {"both": 0.85}.get(by)
    if by == "speaker" or least is None:
        return
    kept = {(said[name].sentence, split) for name, split in splits.items()}
    for one, first in kept:
        for other, second in kept:
            assert first == second or Levenshtein.normalized_similarity(one, other) < least


@patient
@given(utterances, utterances, st.sampled_from(["speaker", "sentence", "both"]), st.sampled_from([None, 0.7]))
def test_clips_that_are_added_move_nobody(
    said: dict[str, Said], more: dict[str, Said], by: By, similar: float | None
) -> None:
    ask = SplitBy(by=by, valid=0.3, test=0.3, similar=similar)
    try:
        few, _ = divide(said, ask, seed=17)
        many, left_out = divide(more | said, ask, seed=17)
    except UserError:
        return
    for name, split in few.items():
        assert many.get(name, split) == split and (name in many) != (name in left_out)


def test_both_keeps_most_where_speakers_read_their_own_sentences() -> None:
    said = corpus(speakers=100, sentences=5_000, each=20)
    splits, left_out = divide(said, SplitBy(by="both", similar=0.99), seed=17)
    assert len(splits) == len(said) and not left_out
    assert Counter(splits.values())["test"] == pytest.approx(200, abs=100)


def test_both_says_of_each_utterance_that_is_left_out_why() -> None:
    said = corpus(speakers=50, sentences=200, each=200)  # each reads all
    splits, left_out = divide(said, SplitBy(by="both", similar=0.99), seed=17)
    assert len(left_out) == 10_000 - len(splits) and Counter(splits.values())["train"] > 5_000
    assert set(left_out.values()) == {
        f"its sentence is in {one}, its speaker in {other}"
        for one in ("train", "valid", "test")
        for other in ("train", "valid", "test")
        if one != other
    }


def test_one_sentence_that_all_read_cannot_be_in_one_split_alone() -> None:
    said = {str(n): Said(str(n), "ⴰⵣⵓⵍ") for n in range(100)}
    with pytest.raises(UserError, match=r"valid and test would be empty: record other sentences with each speaker"):
        divide(said, SplitBy(by="both"), seed=17)


def test_one_speaker_cannot_be_in_two_splits() -> None:
    said = {str(n): Said("amina", str(n)) for n in range(100)}
    with pytest.raises(UserError, match=r"different speakers, there is 1: set prepare.split.by to sentence"):
        divide(said, SplitBy(by="both"), seed=17)


# ---------------------------------------------------------------- near-duplicates


def test_a_sentence_nearly_like_one_of_test_is_not_trained_on() -> None:
    said = {str(n): Said("amina", f"{'abcdefghij'[n % 10] * 9}{'klmnopqrst'[n // 10] * 9}") for n in range(100)}
    plain, _ = divide(said, SplitBy(by="sentence"), seed=17)
    test = next(name for name, split in plain.items() if split == "test")
    twins = {f"twin {n}": Said("amina", said[test].sentence[:-1] + letter) for n, letter in enumerate("uvwxyz")}
    splits, left_out = divide(said | twins, SplitBy(by="sentence", similar=0.9), seed=17)
    assert {name for name in twins if splits.get(name, "test") == "test"} == set(twins)
    assert set(left_out.values()) <= {"its sentence is nearly one of test"} and left_out
    assert {name: splits[name] for name in said} == plain


@settings(patient, max_examples=200)
@given(
    st.lists(st.text("abc", min_size=1, max_size=24), max_size=12), st.text("abc", min_size=1, max_size=24), st.data()
)
def test_nothing_near_is_missed_by_not_comparing_all(others: list[str], text: str, data: Any) -> None:
    similar = data.draw(st.floats(0.6, 0.99))
    near = Near(similar)
    for other in others:
        near.add(other)
    found = near.find(text)
    alike = {
        other
        for other in others
        if Levenshtein.distance(text, other) <= (1 - similar) * max(len(text), len(other)) + 1e-9
    }
    assert found in alike if alike else found is None


# ---------------------------------------------------------------- alike in each language, dialect, gender


def test_exact_shares_are_exact_in_each_stratum_too() -> None:
    genders = {f"speaker {n}": ("female",) if n < 30 else ("male",) for n in range(100)}
    found = assign(genders, SplitBy(exact=True, valid=0.1, test=0.2, stratify=["gender"]), 17, genders)
    counts = Counter((genders[name], split) for name, split in found.items())
    assert {key: counts[key] for key in counts if key[1] != "train"} == {
        (("female",), "test"): 6,
        (("male",), "test"): 14,
        (("female",), "valid"): 3,
        (("male",), "valid"): 7,
    }


@patient
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_each_stratum_is_within_one_of_its_share(sizes: list[int], valid: float, test: float) -> None:
    strata = {f"{row} {n}": (str(row),) for row, size in enumerate(sizes) for n in range(size)}
    try:
        found = assign(strata, SplitBy(exact=True, valid=valid, test=test, stratify=["dialect"]), 17, strata)
    except UserError:
        assert len(strata) < 12
        return
    total = Counter(found.values())
    for row, size in enumerate(sizes):
        here = Counter(split for name, split in found.items() if strata[name] == (str(row),))
        assert abs(here["test"] - total["test"] * size / len(strata)) <= 1


@patient
@given(names, names, st.randoms())
def test_with_keep_nobody_moves_though_shares_are_exact(few: set[str], more: set[str], draw: Any) -> None:
    ask = SplitBy(exact=True, keep=True, stratify=["dialect"])
    strata = {name: (draw.choice("ab"),) for name in sorted(few | more)}
    before = assign(few, ask, 17, strata)
    after = assign(few | more, ask, 17, strata, before)
    assert {name: after[name] for name in few} == before
    assert abs(list(after.values()).count("test") - max(1, len(after) / 10)) <= 1.5


def test_strata_and_memory_need_exact_shares() -> None:
    with pytest.raises(ValidationError, match="`stratify` needs `exact: true`"):
        SplitBy(stratify=["gender"])
    with pytest.raises(ValidationError, match="`keep` needs `exact: true`"):
        SplitBy(keep=True)


# ---------------------------------------------------------------- sentences that are for evaluation only


@pytest.fixture
def listed(tmp_path: Path) -> Callable[[str], Recipe]:
    """A recipe with a list of unseen sentences."""

    def made(text: str) -> Recipe:
        (tmp_path / "unseen.txt").write_text(text, encoding="utf-8")
        demo = load(ROOT / "recipes" / "demo.yaml", [f"prepare.split.unseen={tmp_path / 'unseen.txt'}"])
        return demo

    return made


def test_the_list_is_read_in_every_language_of_the_data(listed: Callable[[str], Recipe]) -> None:
    ask = listed("ⴰⵣⵓⵍ!\n\nشحال هادي؟\nsalut\n")
    assert sentences(ask, ["zgh-Tfng", "ary-Arab"]) == {
        normalise("ⴰⵣⵓⵍ!", "zgh-Tfng"),
        normalise("شحال هادي؟", "ary-Arab"),
    }
    with pytest.raises(UserError, match=r"unseen.txt: no sentence in it"):
        sentences(listed("\n"), ["zgh-Tfng"])


@pytest.mark.parametrize("by", ["speaker", "sentence", "both"])
def test_listed_sentences_are_only_tested(by: By) -> None:
    said = corpus(speakers=40, sentences=400, each=10)
    unseen = {said[name].sentence for name in list(said)[::7]}
    splits, left_out = divide(said, SplitBy(by=by, similar=0.99, valid=0.2, test=0.2), 17, unseen)
    assert {split for name, split in splits.items() if said[name].sentence in unseen} == {"test"}
    if by == "sentence":
        assert not left_out
    else:
        assert {reason.partition(", its speaker")[0] for reason in left_out.values()} == {
            "its sentence is on the list prepare.split.unseen"
        }
