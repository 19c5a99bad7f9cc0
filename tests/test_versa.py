"""VERSA's figures beside ours: how its scorer is called, and what is read of what it writes.

VERSA itself is not installed here. A small program with its documented options stands in its place.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluate import versa
from evaluate.metrics import metric_of
from evaluate.systems import Item, Rendered
from recipes.schema import Recipe, UserError, load
from tests.conftest import ROOT
from tests.test_systems import evaluated

ITEMS = {item.id: item for item in (Item(f"text {n}", "zgh-Tfng", f"s{n % 6}") for n in range(12))}

# Says of each clip how loud it is, and writes down how it was called.
STAND_IN = """
import argparse, json, sys
import numpy as np, soundfile
asked = argparse.ArgumentParser()
for name in ("pred", "gt", "text", "score_config", "output_file", "io"):
    asked.add_argument("--" + name)
found = asked.parse_args()
open({log!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
if "broken" in open(found.score_config).read():
    sys.exit("no such metric")
texts = dict(line.rstrip("\\n").split(maxsplit=1) for line in open(found.text, encoding="utf-8"))
with open(found.output_file, "w") as out:
    for line in open(found.pred):
        key, path = line.split()
        samples, rate_hz = soundfile.read(path)
        if texts[key].endswith(" 3"):
            continue  # as too short
        row = {{"key": key, "loud": float(np.abs(samples).mean()), "hyp_text": "x", "empty": float("nan")}}
        out.write(json.dumps(row) + "\\n")
"""


def clips(system: str, loud: float) -> list[Rendered]:
    draw = np.random.default_rng(3)
    return [
        Rendered(system, item, (loud * draw.uniform(0.5, 1.5, 1600)).astype(np.float32), 16_000)  # type: ignore[arg-type]
        for item in ITEMS.values()
    ]


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe that asks for VERSA, with the stand-in as its scorer."""
    (tmp_path / "scorer.py").write_text(STAND_IN.format(log=str(tmp_path / "calls")), encoding="utf-8")
    (tmp_path / "versa.yaml").write_text("- name: loud\n", encoding="utf-8")
    monkeypatch.setenv("VERSA_SCORE", f"{sys.executable} {tmp_path / 'scorer.py'}")
    recipe = load(ROOT / "recipes" / "demo.yaml", [f"work_dir={tmp_path / 'work'}"])
    return evaluated(recipe, versa=tmp_path / "versa.yaml", resamples=200)


def test_each_number_becomes_a_figure_with_n_an_interval_by_speaker_and_differences(asking: Recipe) -> None:
    figures, left_out = versa.measure(asking, [*clips("adapter", 0.2), *clips("base", 0.1)])
    assert list(figures) == ["VERSA: loud"] and left_out == {"clip that VERSA gave no figure for": 2}
    row = figures["VERSA: loud"]
    assert list(row) == ["adapter", "base", "adapter - base"]
    louder = row["adapter - base"]
    assert louder and louder.value == pytest.approx(0.1, abs=0.005) and louder.apart_from_zero
    assert (louder.n, louder.clusters) == (11, 6)  # speakers are drawn, not clips
    assert metric_of("VERSA: loud").heading == "VERSA: loud (as VERSA defines it)"


def test_it_is_called_as_its_documentation_says_and_once_for_the_same_clips(asking: Recipe, tmp_path: Path) -> None:
    spoken = clips("adapter", 0.2)
    assert versa.measure(asking, spoken) == versa.measure(asking, spoken)
    (call,) = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert call.startswith(f"--score_config {tmp_path / 'versa.yaml'} --io soundfile --pred ") and "--gt" not in call
    versa.measure(asking, clips("adapter", 0.3))
    assert len((tmp_path / "calls").read_text(encoding="utf-8").splitlines()) == 2


def test_a_scorer_that_fails_or_is_not_there_is_said_in_one_line(
    asking: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "versa.yaml").write_text("- name: broken\n", encoding="utf-8")
    with pytest.raises(UserError, match="no such metric"):
        versa.measure(asking, clips("adapter", 0.2))
    with pytest.raises(UserError, match="no such file"):
        versa.command(evaluated(asking, versa=tmp_path / "none.yaml"))
    monkeypatch.setenv("VERSA_SCORE", "versa-score-that-nobody-has")
    with pytest.raises(UserError, match="install VERSA"):
        versa.command(asking)


def test_a_recipe_that_does_not_ask_for_it_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERSA_SCORE", "versa-score-that-nobody-has")
    recipe = load(ROOT / "recipes" / "demo.yaml")
    assert versa.command(recipe) == [] and versa.measure(recipe, clips("adapter", 0.2)) == ({}, {})


def test_both_forms_of_its_output_are_read_and_texts_are_left_out(tmp_path: Path) -> None:
    one, other = [*ITEMS][:2]
    rows = [
        json.dumps(
            {"key": one, "utmos": 3.2, "whisper_hyp_text": "ⴰⵣⵓⵍ", "whisper_wer_delete": 1, "dnsmos": float("nan")}
        ),
        str({"key": other, "utmos": 2.5, "vad_info": [1, 2]}),
        "",
    ]
    (tmp_path / "scores.jsonl").write_text("\n".join(rows), encoding="utf-8")
    found = versa.read(tmp_path / "scores.jsonl", ITEMS)
    assert found == {one: {"utmos": 3.2, "whisper_wer_delete": 1.0}, other: {"utmos": 2.5}}


@pytest.mark.parametrize(
    "line", ["{", "[1, 2]", '{"key": "of another test", "utmos": 3}', "__import__('os').getcwd()"]
)
def test_what_is_no_score_of_these_clips_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "scores.jsonl").write_text(f"{json.dumps({'key': next(iter(ITEMS))})}\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2"):
        versa.read(tmp_path / "scores.jsonl", ITEMS)
