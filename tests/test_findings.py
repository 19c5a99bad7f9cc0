"""What a listening test found, from panels whose true opinion is known."""

import random
from dataclasses import asdict, replace

import numpy as np
import pytest

from evaluate.findings import Confirmation, Difference, Findings, analyse
from evaluate.ratings import Comparison, Person, Ratings, Score
from tests.panels import compared, rated


@pytest.fixture(scope="module")
def found() -> Findings:
    return analyse(rated(24, 20, seed=2), 500)


def test_the_interval_holds_the_true_difference(found: Findings) -> None:
    """0.5 points, which the ends of the scale make a little less."""
    assert found.primary and found.primary.low and found.primary.high
    assert found.primary.low < 0.5 < found.primary.high and found.primary.method == "mixed"
    assert (found.n, found.listeners, found.items, found.excluded) == (480, 24, 20, {})
    against_people = next(one for one in found.others if "recordings" in (one.first, one.second))
    assert against_people.winner == "recordings" and against_people.p_holm is not None


def test_the_interval_holds_the_truth_in_most_panels() -> None:
    held = 0
    for seed in range(20):
        primary = analyse(rated(16, 12, rounded=False, seed=seed), 100).primary
        assert primary and primary.low is not None and primary.high is not None
        held += primary.low <= 0.5 <= primary.high
    assert held >= 17


def test_every_method_is_asked_and_their_agreement_is_said(found: Findings) -> None:
    assert [one.method for one in found.confirmations] == ["bootstrap", "ordinal", "wilcoxon"]
    assert found.robust in (True, False)
    assert set(found.variances) == {"listener", "listener:system", "item", "item:system", "residual"}
    assert found.detectable and 0.2 < found.detectable < 0.8
    assert found.equivalence and found.equivalence.margin == 0.25
    assert 0 < found.agreement["alpha"] < 1  # type: ignore[operator]
    assert found.friedman and found.friedman.p < 0.01
    assert found.any_time and not found.any_time.may_stop and found.any_time.low < 0.5 < found.any_time.high


def test_the_margin_of_equivalence_is_the_plans_where_it_has_one() -> None:
    for ratings in (rated(12, 9), compared(12, 9)):
        found = analyse(replace(ratings, margin=2.5), 100).equivalence
        assert found and found.margin == 2.5 and found.equivalent


def test_the_plans_alpha_decides_intervals_verdicts_and_equivalence(found: Findings) -> None:
    usual = found.primary
    assert usual and usual.p and usual.low is not None and usual.low > 0 and usual.winner == "adapter"
    strict = analyse(replace(rated(24, 20, seed=2), alpha=usual.p / 2), 500)
    assert strict.primary and strict.primary.low and strict.primary.low < 0 and strict.primary.winner is None
    assert strict.primary.value == usual.value and strict.primary.p == usual.p and strict.alpha == usual.p / 2
    assert strict.equivalence and found.equivalence and strict.equivalence.low < found.equivalence.low
    assert strict.detectable and found.detectable and strict.detectable > found.detectable
    for one, other in zip(strict.confirmations, found.confirmations, strict=True):
        assert one.low is None or (other.low is not None and one.low < other.low)
    assert strict.any_time and found.any_time and strict.any_time.low <= found.any_time.low
    assert [one.mean for one in strict.heard] == [one.mean for one in found.heard]  # 95 % as ever


def test_pairs_keep_to_the_plans_alpha_too() -> None:
    lax, strict = (analyse(replace(compared(24, 20), alpha=alpha), 300) for alpha in (0.2, 0.001))
    assert lax.primary and strict.primary and lax.primary.low and strict.primary.low
    assert strict.primary.low < lax.primary.low
    for one, other in zip(strict.confirmations, lax.confirmations, strict=True):
        assert one.low is None or (other.low is not None and one.low < other.low)
    assert strict.strengths == lax.strengths


def test_rank_tests_say_something_below_alpha_alone() -> None:
    found = Confirmation("wilcoxon", 0.3, None, None, 0.03)
    assert (found.sign, replace(found, alpha=0.01).sign) == (1, 0)


def test_other_comparisons_are_sure_only_after_holms_correction() -> None:
    """Five systems of which none is better: of ten pairs some interval misses nil, and Holm's correction says so."""
    surely = by_interval = 0
    for seed in range(6):
        found = analyse(rated_alike(seed), 100)
        assert len(found.others) == 9
        for one in found.others:
            assert one.p is not None and one.p_holm is not None and one.low is not None and one.high is not None
            assert (one.winner is not None) == (one.p_holm < 0.05)
            by_interval += not one.low <= 0 <= one.high
            surely += one.winner is not None
    assert by_interval > surely == 0


def test_one_other_comparison_needs_no_correction() -> None:
    alone = Difference("a", "b", 40, 0.5, 0.1, 0.9, 0.02, p_holm=0.02)
    assert alone.winner == "a" and replace(alone, alone=False).winner == "a"
    assert replace(alone, alone=False, p_holm=0.06).winner is None
    assert replace(alone, alone=False, p_holm=0.06, alpha=0.1).winner == "a"
    assert replace(alone, alone=False, p=None, p_holm=None).winner is None  # by the bootstrap, which has no p


def rated_alike(seed: int) -> Ratings:
    draw = np.random.default_rng(seed)
    names = ("adapter", "base", "c", "d", "e")
    rows = [
        Score(f"l{who:02}", f"i{item:02}", names[(who + item) % 5], float(3 + draw.normal()), item)
        for who in range(15)
        for item in range(15)
    ]
    return Ratings("acr", rows, [], [], ("adapter", "base"))


def test_ratings_are_shown_as_they_are_spread_not_as_a_mean_alone(found: Findings) -> None:
    best = next(one for one in found.heard if one.system == "recordings")
    assert best.mean.value == max(one.mean.value for one in found.heard)
    assert sum(best.spread.counts.values()) == best.spread.n == best.mean.n


def test_rows_in_another_order_and_rows_without_a_rating_change_nothing(found: Findings) -> None:
    ratings = rated(24, 20, seed=2)
    rows = [*ratings.scores, Score("l0001", "i000", "base", float("nan"), 3)]
    random.Random(1).shuffle(rows)
    again = asdict(analyse(replace(ratings, scores=rows), 500))
    assert repr(again) == repr(asdict(found))


def test_nobody_is_excluded_without_being_counted_and_the_result_with_them_stands_beside() -> None:
    ratings = rated(20, 16)
    careless = [replace(one, excluded="trap missed") if one.listener < "l0003" else one for one in ratings.people]
    found = analyse(replace(ratings, people=careless), 200)
    assert found.excluded == {"trap missed": 3} and found.listeners == 17
    assert found.everybody and found.primary and found.everybody.n > found.primary.n
    assert found.everybody.value == pytest.approx(analyse(ratings, 200).primary.value)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["scores", "comparisons"])
def test_the_result_without_voices_that_listeners_knew_stands_beside(kind: str) -> None:
    ratings = rated(24, 20, seed=2) if kind == "scores" else compared(24, 20, seed=2)
    rows = [replace(one, known=one.item < "i004") for one in getattr(ratings, kind)]
    found = analyse(replace(ratings, **{kind: rows}), 200)
    alone = analyse(replace(ratings, **{kind: [one for one in rows if not one.known]}), 200)
    assert found.known == sum(one.known for one in rows) > 0 and found.strangers == alone.primary
    assert found.primary == analyse(ratings, 200).primary and found.strangers != found.primary
    assert found.listeners == 24 and alone.known == 0 and alone.strangers is None


def test_where_every_voice_was_known_there_is_no_result_without_them() -> None:
    ratings = rated(8, 6)
    found = analyse(replace(ratings, scores=[replace(one, known=True) for one in ratings.scores]), 100)
    assert found.known == found.n and found.strangers is None and found.primary


def test_where_everybody_is_excluded_nothing_is_claimed() -> None:
    ratings = rated(8, 6)
    found = analyse(replace(ratings, people=[replace(one, excluded="traps") for one in ratings.people]), 100)
    assert found.listeners == 0 and found.primary is None and found.everybody and found.excluded == {"traps": 8}


def test_preferences() -> None:
    found = analyse(compared(24, 20, side=0.6), 500)
    assert found.primary and found.primary.value > 0
    assert found.effect and found.effect.low > 0  # what was heard second had the better chances
    won, tied, lost = found.matrix["adapter"]["recordings"]
    assert won < lost and found.matrix["recordings"]["adapter"] == (lost, tied, won)
    assert max(found.strengths, key=lambda name: found.strengths[name][0]) == "recordings"
    assert [one.method for one in found.confirmations] == ["bootstrap", "bradley_terry", "wilcoxon"]


def test_a_system_that_never_lost_has_no_finite_strength() -> None:
    rows = [
        Comparison(f"l{n % 8}", f"i{n // 8}", *pair, (1.0 if pair[1] == "adapter" else -1.0), n // 8)
        for n in range(64)
        for pair in [("adapter", "base") if n % 2 else ("base", "adapter")]
    ]
    found = analyse(Ratings("preference", [], rows, [], ("adapter", "base")), 200)
    assert found.no_strengths and "never lost" in found.no_strengths
    assert found.primary and found.primary.low is None and found.primary.value == 1
    assert next(one for one in found.confirmations if one.method == "bradley_terry").sign is None


def test_which_is_which_is_guessed_or_known() -> None:
    draw = np.random.default_rng(3)
    rows = [
        Comparison(f"l{who}", f"i{item}", "base", "adapter", float(draw.random() < 0.9), item)
        for who in range(12)
        for item in range(10)
    ]
    found = analyse(Ratings("abx", [], rows, [], ("adapter", "base")), 200)
    assert found.primary and found.primary.low and found.primary.low > 0.25 and found.matrix == {}


def test_mushra_screens_its_listeners_by_the_standard() -> None:
    draw = np.random.default_rng(5)
    rows = []
    for who in range(12):
        for item in range(10):
            for slot, (system, mean) in enumerate(
                {"recordings": 95, "adapter": 70, "base": 60, "anchor_mid": 35}.items()
            ):
                score = 50 if who == 0 and system == "recordings" else mean + draw.normal(0, 2)
                rows.append(Score(f"l{who:02}", f"i{item}", system, float(np.clip(score, 0, 100)), item, slot))
    found = analyse(Ratings("mushra", rows, [], [], ("adapter", "base")), 200)
    assert found.excluded == {"BS.1534-3: hidden reference below 90 too often": 1}
    assert found.primary and found.primary.low and 9 < found.primary.value < 11


def test_mushra_is_screened_by_the_reference_that_the_recipe_names() -> None:
    draw = np.random.default_rng(6)
    means = {"studio": 95, "adapter": 70, "base": 60, "recordings": 80}
    rows = [
        Score(
            f"l{who:02}",
            f"i{item}",
            system,
            50.0 if who == 0 and system == "studio" else mean + draw.normal(0, 2),
            item,
        )
        for who in range(8)
        for item in range(6)
        for system, mean in means.items()
    ]
    found = analyse(Ratings("mushra", rows, [], [], ("adapter", "base"), reference="studio"), 200)
    assert found.excluded == {"BS.1534-3: hidden reference below 90 too often": 1}
    swaps = next(one for one in found.confirmations if one.method == "permutation")
    assert swaps.value == pytest.approx(10, abs=1) and swaps.p == pytest.approx(1 / 201)  # one in all that were tried


@pytest.mark.parametrize("listeners", [0, 1])
def test_few_or_no_ratings_are_answered_not_refused(listeners: int) -> None:
    found = analyse(rated(listeners, 6), 100)
    assert found.listeners == listeners
    assert found.primary is None or (found.primary.low is None and found.primary.why)
    assert found.robust is None


def test_blinding_is_measured_by_what_listeners_guessed() -> None:
    ratings = rated(10, 6)
    people = [
        Person(one.listener, {}, {"guess": "pass" if n < 6 else "fail"}) for n, one in enumerate(ratings.people)
    ]
    found = analyse(replace(ratings, people=people), 100)
    assert found.blinding and found.blinding[0] == pytest.approx(0.2) and found.blinding[1] < 0
