"""What is counted, and how a finding is put into words."""

from pathlib import Path

import numpy as np
import pytest

from evaluate import objective, report
from evaluate.objective import Measured
from evaluate.results import Results
from evaluate.statistics import Figure
from recipes.schema import load
from tests.conftest import ROOT

RECIPE = load(ROOT / "recipes" / "demo.yaml")


@pytest.mark.parametrize(
    ("text", "heard", "counts"),
    [
        ("ⴰⵣⵓⵍ", "ⴰⵣⵓⵍ", (0, 4, 0, 1)),
        ("فين غادي", "فين", (5, 8, 1, 2)),
        ("كتب", "", (3, 3, 1, 1)),
        ("ab cd", "ab xd ef", (4, 5, 2, 2)),
    ],
)
def test_errors_are_edits_over_what_was_said(text: str, heard: str, counts: tuple[int, int, int, int]) -> None:
    assert objective.errors(text, heard) == counts


def measured(system: str, edits: list[int]) -> list[Measured]:
    return [
        Measured(system, f"i{n}", "s1", f"text {n}", "x", wrong, 10, min(wrong, 2), 2, 1.0)  # type: ignore[arg-type]
        for n, wrong in enumerate(edits)
    ]


def test_base_and_adapter_are_compared_on_the_same_sentences() -> None:
    rows = measured("base", [5, 6, 7, 8]) + measured("adapter", [1, 2, 1, 2])
    recipe = load(ROOT / "recipes" / "nano_asr.yaml")  # a recogniser: no durations to measure
    found = objective.figures(recipe, rows)
    assert found["CER"]["base"] and found["CER"]["base"].value == pytest.approx(26 / 40)
    gap = found["CER"]["adapter - base"]
    assert gap and gap.value == pytest.approx(-20 / 40) and gap.apart_from_zero


def test_speakers_are_the_clusters_where_there_are_enough_of_them() -> None:
    rows = [Measured("base", str(n), f"s{n % 6}", f"t{n}", "", 0, 1, 0, 1, 1.0) for n in range(12)]
    assert len(set(objective.clusters(rows))) == 6
    assert len(set(objective.clusters(rows[:1] * 12))) == 1


BETTER = Figure(-0.3, -0.4, -0.2, 30, 30)
UNSURE = Figure(-0.1, -0.3, 0.1, 30, 30)
WORSE = Figure(0.3, 0.2, 0.4, 30, 30)
FEW = Figure(-0.3, None, None, 2, 2)


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (BETTER, "the adapter is better by 30.00 (95 % interval 20.00 to 40.00)"),
        (WORSE, "the adapter is worse by 30.00 (95 % interval 20.00 to 40.00)"),
        (UNSURE, "no difference can be told (-10.00, 95 % interval -30.00 to +10.00)"),
        (FEW, "a difference of -30.00, with not enough data to say how sure"),
    ],
)
def test_a_difference_is_put_into_words_with_how_sure_it_is(gap: Figure, words: str) -> None:
    assert report.verdict(gap, 100) == words


def test_the_summary_says_what_is_not_known() -> None:
    rate = Figure(0.5, 0.4, 0.6, 30, 30)
    found = Results(30, 2, {"CER": {"base": rate, "adapter": rate, "adapter - base": UNSURE}}, [])
    said = " ".join(report.summary(RECIPE, found, {}))
    assert "Of 100 characters, 50.0 (40.0 to 60.0) are wrong with the base model" in said
    assert "no difference can be told" in said
    assert "Nobody has listened yet" in said
    assert "2 sentences were left out because training had the same ones" in said


def test_no_figure_is_shown_without_its_uncertainty() -> None:
    assert report.show(None) == "nothing to measure"
    assert "[" in report.show(BETTER) and "n = 30" in report.show(BETTER)
    assert "not enough data for an interval" in report.show(FEW)


def test_clips_of_a_report_can_be_read_by_every_browser(tmp_path: Path) -> None:
    from evaluate.stimuli import wav

    tone = np.sin(np.arange(16_000) / 20).astype(np.float32) * 0.3
    assert report._compressed(wav(tone, 16_000))[:2] in (b"\xff\xf3", b"\xff\xfb", b"ID")
