"""How a finding is put into words and pictures."""

from pathlib import Path

import numpy as np
import pytest

from evaluate import plots, results
from evaluate.objective import Measured
from evaluate.results import Results
from evaluate.statistics import Figure
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


# ---------------------------------------------------------------- results and their plots


BETTER = Figure(-0.3, -0.4, -0.2, 30, 30)
FEW = Figure(-0.3, None, None, 2, 2, "not enough data for an interval")


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
