"""Gaps between groups: found where they are, not found where they are not, and not shown of few people."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData

from evaluate.bias import CELL, Bias, disclosed, of_errors, of_ratings
from evaluate.findings import analyse, counted
from evaluate.gates import gates
from evaluate.listen.welcome import _facts
from evaluate.ratings import Person, Ratings, Score
from evaluate.statistics import Figure
from evaluate.statistics.shrinkage import shrunken, spread
from recipes.schema import Gates
from tests.panels import rated

Row = tuple[str, str, str, float, float]


def errors(
    speakers: int, seed: int, worse: float = 0.0, spread: float = 0.05, sentences: int = 12
) -> tuple[list[Row], dict[str, dict[str, str]]]:
    """Speakers of three dialects; those from Rif have `worse` more errors, and each differs from the others."""
    draw = np.random.default_rng(seed)
    facts, rows = {}, []
    for one in range(speakers):
        dialect = ("Sous", "Rif", "Atlas")[one % 3]
        facts[f"s{one}"] = {"dialect": dialect, "gender": ("female", "male")[one % 2]}
        rate = np.clip(0.2 + worse * (dialect == "Rif") + draw.normal(0, spread), 0.01, 0.9)
        rows += [
            ("adapter", f"s{one}", f"s{one} {n}", float(draw.binomial(40, rate)), 40.0) for n in range(sentences)
        ]
    return rows, facts


def gap(bias: Bias, factor: str, group: str, kind: str = "speaker") -> object:
    return next(one for one in bias.gaps if (one.kind, one.factor, one.group) == (kind, factor, group))


def test_the_group_that_is_worse_off_is_named() -> None:
    rows, facts = errors(45, 1, worse=0.15)
    found = of_errors(rows, facts, min_cell=5, seed=1)
    worst = found.worst["adapter"]
    assert (worst.factor, worst.group, worst.surely) == ("dialect", "Rif", "worse")
    assert worst.gap and worst.low and worst.high and 0.1 < worst.gap < 0.2 and worst.low < 0.15 < worst.high
    assert worst.people == 15 and worst.n == 15 * 12


def test_where_all_groups_are_alike_few_tests_find_a_gap() -> None:
    """Speakers differ, and there are several groups: both would make chance look like a gap."""
    found = [of_errors(*errors(30, seed), min_cell=5, seed=1) for seed in range(60)]
    by_dialect = [any(one.surely for one in bias.gaps if one.factor == "dialect") for bias in found]
    assert sum(by_dialect) <= 6


def test_groups_of_few_people_are_not_shown() -> None:
    rows, facts = errors(20, 2)  # seven of Sous and of Rif, six of Atlas, three of whom are of Figuig
    facts |= {f"s{n}": facts[f"s{n}"] | {"dialect": "Figuig"} for n in (2, 5, 8)}
    found = of_errors(rows, facts, min_cell=5, seed=1)
    assert {one.group: one.hidden for one in found.gaps if one.factor == "dialect"} == {
        "Sous": False, "Rif": False, "Atlas": True, "Figuig": True}  # fmt: skip
    small = gap(found, "dialect", "Atlas")
    assert (small.n, small.gap, small.low) == (0, None, None)  # type: ignore[attr-defined]
    alone = of_errors(rows, facts, min_cell=8, seed=1)
    assert all(one.hidden for one in alone.gaps if one.factor == "dialect")


@pytest.mark.parametrize("told", [{"s0": {"gender": "male"}}, {"s0": {}}])  # one man; or one who said nothing
def test_what_is_shown_leaves_no_few_people_to_be_worked_out(told: dict[str, dict[str, str]]) -> None:
    """From the figure of nine and that of eight, the ninth person's would follow."""
    rows, _ = errors(9, 2)
    facts = {f"s{n}": {"gender": "female"} for n in range(9)} | told
    assert all(one.hidden for one in of_errors(rows, facts, min_cell=5, seed=1).gaps)
    whole = of_errors(rows, {f"s{n}": {"gender": "female"} for n in range(9)}, min_cell=5, seed=1)
    assert [(one.group, one.people) for one in whole.gaps] == [("female", 9)]


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12)), st.integers(0, 12), st.integers(2, 6))
def test_numbers_of_people_leave_no_few_to_be_worked_out(counts: dict[str, int], silent: int, least: int) -> None:
    people = sum(counts.values()) + silent
    told = disclosed(counts, people, least)
    shown = {group: count for group, count in told.items() if count is not None}
    assert told.keys() == counts.keys() and all(counts[group] == count >= least for group, count in shown.items())
    left = people - sum(shown.values())
    assert not shown or left == 0 or left >= least


def test_what_a_speaker_did_not_say_is_no_group() -> None:
    rows, facts = errors(20, 3)
    found = of_errors(rows, {who: {"gender": of["gender"]} for who, of in facts.items()}, 5, 1)
    assert {one.factor for one in found.gaps} == {"gender"}
    assert of_errors(rows, {}, 5, 1).gaps == []


def rated_by(shift: float) -> Ratings:
    """Listeners from Sous give `shift` points more to the voice, which is from Sous."""
    ratings = rated(30, 12, everything=True, rounded=False, seed=4)
    home = {one.listener for one in ratings.people if one.facts["varieties"] == "Sous"}
    return replace(ratings, scores=[replace(s, score=s.score + shift * (s.listener in home)) for s in ratings.scores])


VOICES = {f"i{n:03}": "v1" for n in range(12)}
SPEAKER = {"v1": {"dialect": "Sous", "gender": "female", "age_band": "18-29"}}


def test_listeners_of_another_dialect_may_find_a_voice_worse() -> None:
    found = of_ratings(rated_by(1.5), VOICES, SPEAKER, 5, 1)
    other = gap(found, "dialect", "other", "match")
    assert other.surely == "worse" and other.gap < -1 and other.people == 20  # type: ignore[attr-defined]
    sous = gap(found, "dialect", "Sous", "listener")
    assert sous.surely == "better"  # type: ignore[attr-defined]
    one_voice = gap(found, "dialect", "Sous", "speaker")
    assert one_voice.hidden  # type: ignore[attr-defined]


def test_the_three_facts_together_are_a_group_too() -> None:
    found = of_ratings(rated_by(0), VOICES, SPEAKER, 2, 1)
    cells = [one for one in found.gaps if (one.system, one.kind, one.factor) == ("base", "listener", CELL)]
    assert sum(one.people for one in cells) == 30 and all(" × " in one.group for one in cells)


def test_listeners_who_do_not_count_and_those_who_said_nothing() -> None:
    ratings = rated_by(0)
    people = [Person(one.listener, {}, {}, "trap" if n < 3 else None) for n, one in enumerate(ratings.people)]
    assert of_ratings(replace(ratings, people=people), VOICES, {}, 5, 1).gaps == []


def test_a_listener_who_speaks_several_varieties_matches_each() -> None:
    ratings = rated_by(0)
    told = _facts(FormData([("varieties", "tashelhit"), ("varieties", "centre")]))  # as the listening test keeps it
    several = [replace(one, facts=told) for one in ratings.people]
    speaker = {"v1": SPEAKER["v1"] | {"dialect": "tashelhit"}}
    found = of_ratings(replace(ratings, people=several), VOICES, speaker, 5, 1)
    assert [one.group for one in found.gaps if (one.kind, one.system) == ("match", "base")] == ["same"]


def test_a_variety_of_two_words_is_matched_as_a_whole() -> None:
    ratings = rated_by(0)
    same = [replace(one, facts={"varieties": "Middle Atlas"}) for one in ratings.people]
    speaker = {"v1": {"dialect": "middle atlas"}}
    found = of_ratings(replace(ratings, people=same), VOICES, speaker, 5, 1)
    assert {one.group for one in found.gaps if one.kind == "match"} == {"same"}


def test_whom_the_standard_excludes_is_in_no_group() -> None:
    """Six of twelve, all women, do not hear the hidden reference: BS.1534-3 takes them out, of the groups too."""
    women = {f"l{n}" for n in range(6)}
    rows = [
        Score(f"l{n}", f"i{item}", system, 50.0 if system == "recordings" and n < 6 else score + item % 3, item + 1)
        for n in range(12)
        for item in range(10)
        for system, score in (("adapter", 60.0), ("base", 40.0), ("recordings", 95.0))
    ]
    people = [Person(f"l{n}", {"gender": "female" if f"l{n}" in women else "male"}) for n in range(12)]
    ratings = Ratings("mushra", rows, [], people, ("adapter", "base"))
    assert analyse(ratings, 100).listeners == 6
    groups = {(one.group, one.people) for one in of_ratings(counted(ratings), VOICES, {}, 5, 1).gaps}
    assert groups == {("male", 6)}


# ---------------------------------------------------------------- gates


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(3.6, 4.0, "passed"), (3.4, 4.0, "not shown"), (3.0, 3.4, "failed"), (None, None, "not shown")],
)
def test_a_quality_is_reached_where_the_whole_interval_reaches_it(
    low: float | None, high: float | None, verdict: str
) -> None:
    (gate,) = gates(Gates(min_rating=3.5), Figure(3.7, low, high, 99, 20), None, None)
    assert (gate.key, gate.verdict) == ("min_rating", verdict)
    (turned,) = gates(Gates(max_cer=3.5), None, Figure(3.7, low, high, 99, 20), None)
    assert turned.verdict == {"passed": "failed", "failed": "passed"}.get(verdict, verdict)


def test_a_gap_beyond_the_limit_fails_and_names_its_group() -> None:
    bias = of_errors(*errors(45, 1, worse=0.15), 5, 1)
    (gate,) = gates(Gates(max_gap=0.05), None, None, bias)
    assert gate.verdict == "failed" and gate.about and gate.about.group == "Rif"
    (wide,) = gates(Gates(max_gap=0.4), None, None, bias)
    assert wide.verdict == "passed"
    (unknown,) = gates(Gates(max_gap=0.01), None, None, of_errors(*errors(45, 2), 5, 1))
    assert unknown.verdict == "not shown"
    assert gates(Gates(), None, None, bias) == []


# ---------------------------------------------------------------- partial pooling


def test_with_like_errors_shrinking_is_the_rule_of_james_and_stein() -> None:
    """1 - k s² / Σ d², never below nil: k gaps d with one standard error s."""
    gaps = np.array([0.5, -0.2, 0.9, -1.2])
    assert shrunken(gaps, [0.4] * 4) == pytest.approx(gaps * (1 - 4 * 0.16 / np.sum(gaps**2)))
    assert shrunken(gaps, [1.0] * 4).tolist() == [0, 0, 0, 0]  # they differ no more than noise does
    assert shrunken([], []).tolist() == []


def test_simulated_gaps_are_nearer_to_the_truth_after_shrinking_and_their_spread_is_found() -> None:
    """True gaps with a spread of 0.3 in groups of unlike sizes: the error falls, most of all of the small."""
    draw = np.random.default_rng(3)
    se = np.array([0.1] * 6 + [0.6] * 6)
    raw, pooled, spreads = [], [], []
    for _ in range(400):
        true = draw.normal(0, 0.3, 12)
        seen = true + draw.normal(0, se)
        raw.append((seen - true) ** 2)
        pooled.append((shrunken(seen, se) - true) ** 2)
        spreads.append(spread(seen, se))
    assert np.mean(spreads) == pytest.approx(0.09, rel=0.15)
    small, large = slice(6, 12), slice(0, 6)
    assert np.mean(pooled, axis=0)[small].mean() < 0.4 * np.mean(raw, axis=0)[small].mean()
    assert np.mean(pooled, axis=0)[large].mean() < np.mean(raw, axis=0)[large].mean()


def test_a_small_group_does_not_make_the_headline_by_its_noise() -> None:
    """Only the 60 speakers of Rif are worse off, a little; those of Atlas and Figuig, five each, often look worst."""
    raw, pooled = [], []
    for seed in range(30):
        draw = np.random.default_rng(seed)
        rows: list[Row] = []
        facts = {}
        for dialect, people, worse in (("Sous", 60, 0.0), ("Rif", 60, 0.03), ("Atlas", 5, 0.0), ("Figuig", 5, 0.0)):
            for one in range(people):
                who = f"{dialect}{one}"
                facts[who] = {"dialect": dialect}
                rate = np.clip(0.2 + worse + draw.normal(0, 0.08), 0.01, 0.9)
                rows += [("adapter", who, f"{who} {n}", float(draw.binomial(40, rate)), 40.0) for n in range(6)]
        found = of_errors(rows, facts, min_cell=5, seed=1)
        raw.append(max(found.gaps, key=lambda one: one.worse or 0).group)
        pooled.append(found.worst["adapter"].group if found.worst else "nobody")
    assert raw.count("Atlas") + raw.count("Figuig") >= 6
    assert pooled.count("Atlas") + pooled.count("Figuig") <= 2
    assert pooled.count("Rif") >= raw.count("Rif")
