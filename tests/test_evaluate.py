"""How a finding is put into words and pictures."""

from pathlib import Path

import numpy as np
import pytest

from evaluate import plots, report, results, stimuli
from evaluate.objective import Measured
from evaluate.results import Results
from evaluate.statistics import Figure, crossed_mean
from evaluate.systems import Item, Rendered
from recipes.schema import UserError, load
from tests.conftest import ROOT

RECIPE = load(ROOT / "recipes" / "demo.yaml")


def measured(system: str, edits: list[int]) -> list[Measured]:
    return [
        Measured(system, f"i{n}", "s1", f"text {n}", "x", wrong, 10, min(wrong, 2), 2, 1.0, 0, 2)  # type: ignore[arg-type]
        for n, wrong in enumerate(edits)
    ]


def said(seed: int, text: str = "ⴰⵣⵓⵍ") -> Rendered:
    samples = np.random.default_rng(seed).standard_normal(1600).astype(np.float32)
    return Rendered("base", Item(text, "zgh-Tfng", f"s{seed}"), samples, 16_000)


# ---------------------------------------------------------------- in words


BETTER = Figure(-0.3, -0.4, -0.2, 30, 30)
UNSURE = Figure(-0.1, -0.3, 0.1, 30, 30)
WORSE = Figure(0.3, 0.2, 0.4, 30, 30)
FEW = Figure(-0.3, None, None, 2, 2, "not enough data for an interval")


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (BETTER, "The adapter is better than the base: 30.00 fewer errors (95 % interval 20.00 to 40.00)"),
        (WORSE, "The adapter is worse than the base: 30.00 more errors (95 % interval 20.00 to 40.00)"),
        (
            UNSURE,
            "No difference between adapter and base can be told (-10.00 errors, 95 % interval -30.00 to +10.00)",
        ),
        (FEW, "The adapter gives -30.00 errors against the base (not enough data for an interval)"),
    ],
)
def test_a_difference_is_put_into_words_with_how_sure_it_is(gap: Figure, words: str) -> None:
    assert report.verdict(gap, 100, "errors") == words


def test_there_is_less_loss_and_there_are_fewer_errors() -> None:
    assert "0.30 less loss" in report.verdict(BETTER, 1, "loss")
    assert "0.30 more loss" in report.verdict(WORSE, 1, "loss")


def test_the_summary_says_what_is_not_known() -> None:
    rate = Figure(0.5, 0.4, 0.6, 30, 30)
    figures = {"CER": {"base": rate, "adapter": rate, "recordings": rate, "adapter - base": UNSURE}}
    found = Results(30, {"training had the same sentence": 2}, figures, [])
    said = " ".join(report.summary(RECIPE, found, {}))
    assert "No difference between adapter and base can be told" in said
    assert (
        "on the same 30 unseen sentences: 50.0 (40.0 to 60.0) with it, 50.0 (40.0 to 60.0) with the base model"
        in said
    )
    assert (
        "The recogniser that counted is itself wrong on 50.0 (40.0 to 60.0) of 100 characters of recordings" in said
    )
    assert "Nobody has compared them by ear yet" in said
    assert "Left out: 2, training had the same sentence." in said
    of_a_recogniser = " ".join(report.summary(load(ROOT / "recipes" / "nano_asr.yaml"), found, {}))
    assert "ear" not in of_a_recogniser.split()  # there is nothing to listen to


@pytest.mark.parametrize(
    ("liked", "told"),
    [
        (Figure(0.7, 0.6, 0.8, 60, 20), True),
        (Figure(0.3, 0.2, 0.4, 60, 20), True),
        (Figure(0.6, 0.45, 0.75, 60, 20), False),
        (Figure(0.9, None, None, 10, 1, "not enough data for an interval"), False),
        (crossed_mean([1.0] * 36, [n // 6 for n in range(36)], [n % 6 for n in range(36)], 100, 1), True),
        (crossed_mean([0.5] * 36, [n // 6 for n in range(36)], [n % 6 for n in range(36)], 100, 1), False),
    ],
)
def test_a_preference_is_claimed_only_where_the_answers_tell_one(liked: Figure, told: bool) -> None:
    found = Results(30, {}, {}, [])
    words = report.summary(RECIPE, found, {"preferred over base": {"adapter": liked}})[-1]
    assert words.startswith("Listeners preferred the adapter in") and f"{liked.n} in all" in words
    assert ("does not tell which of the two they prefer" in words) != told


def test_no_figure_is_shown_without_its_uncertainty() -> None:
    assert report.cells(None) == ("", "nothing to measure", "0")
    assert report.cells(BETTER) == ("-0.300", "-0.400 to -0.200", "30")
    assert report.cells(FEW) == ("-0.300", "not enough data for an interval", "2")


# ---------------------------------------------------------------- the page and its parts


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path})
    figures = {"CER": {"base": BETTER, "adapter": FEW, "recordings": None}}
    written = Results(2, {"the same sentence twice": 1}, figures, measured("base", [1, 2]))
    results.write(recipe, written)
    assert results.read(recipe) == written


@pytest.mark.parametrize("content", ["", "{}", '{"items": 1, "left_out": 2, "figures": {}, "measured": []}'])
def test_results_of_another_version_are_asked_for_again(tmp_path: Path, content: str) -> None:
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path})
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"results\.json: not as this version writes it; run python -m evaluate"):
        results.read(recipe)


def test_clips_that_have_no_room_in_the_page_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPE.model_copy(update={"work_dir": tmp_path})
    spoken = [said(n, f"text {n}") for n in range(3)]
    stimuli.make(recipe, spoken)
    rows = [Measured("base", s.item.id, s.item.speaker, s.item.text, "x", 1, 10, 1, 2, 0.1, 1, 2) for s in spoken]
    found = Results(3, {}, {}, rows)
    players, silent = report.players(recipe, found)
    assert silent == 0 and all(row["systems"][0]["sound"] for row in players)
    monkeypatch.setattr(report, "_PLAYERS_MIB", 1e-6)
    players, silent = report.players(recipe, found)
    assert silent == 2 and [bool(row["systems"][0]["sound"]) for row in players] == [True, False, False]
    assert [row["text"] for row in players] == ["text 0", "text 1", "text 2"]  # the words are there all the same


def test_a_plot_says_in_words_what_it_shows_and_is_the_same_every_time() -> None:
    drawn = plots.intervals("C<R", {"base": BETTER, "adapter": None, "adapter - base": FEW})
    assert 'role="img" aria-label="C&lt;R: base -0.300 [-0.400, -0.200] (n = 30)"' in drawn
    assert drawn == plots.intervals("C<R", {"base": BETTER})


def test_curves_need_two_validations_and_leave_room_for_every_point(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert plots.curves(path) is None
    path.write_text('{"step": 0, "valid_loss": 2.0}\n{"step": 5, "loss": 1.5}\n')
    assert plots.curves(path) is None
    path.write_text(path.read_text() + '{"step": 9, "valid_loss": 1.25, "probe_cer": 0.0}\n')
    drawn = plots.curves(path)
    assert drawn and "validation loss 2.000 at step 0, 1.250 at step 9" in drawn


def test_clips_of_a_report_can_be_read_by_every_browser(tmp_path: Path) -> None:
    from evaluate.stimuli import wav

    tone = np.sin(np.arange(16_000) / 20).astype(np.float32) * 0.3
    assert report._compressed(wav(tone, 16_000))[:2] in (b"\xff\xf3", b"\xff\xfb", b"ID")
