"""A recipe is checked whole before anything runs: this is what it may hold, and what it says when it is wrong."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recipes.command import next_command
from recipes.schema import Lora, Recipe, RecipeError, load
from tests.conftest import ROOT

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
GOOD = """\
name: demo
work_dir: work
collect:
  source: corpus
prepare:
  purpose: asr_train
train:
  family: whisper
  base: openai/whisper-small
  learning_rate: 2e-6
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "r.yaml").write_text(GOOD, encoding="utf-8")
    return tmp_path / "r.yaml"


def faults(path: Path, text: str | None = None, *overrides: str) -> list[str]:
    """The lines of the error that a recipe causes."""
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load(path, overrides)
    return str(caught.value).splitlines()


def test_what_is_not_given_has_a_default(path: Path) -> None:
    recipe = load(path)
    assert recipe.prepare.rate_hz == 16_000
    assert recipe.train.learning_rate == 2e-6  # YAML itself reads `2e-6` as a text
    assert recipe.train.wandb.mode == "offline"


def test_relative_paths_are_beside_the_recipe_and_hub_names_stay(path: Path) -> None:
    recipe = load(path, ["train.aligner=./models/asr"])
    assert recipe.collect.source == path.parent / "corpus"
    assert recipe.folder("train") == path.parent / "work" / "train"
    assert recipe.train.base == "openai/whisper-small"
    assert recipe.train.aligner == str(path.parent / "models" / "asr")


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_right_one(path: Path) -> None:
    (fault,) = faults(path, GOOD.replace("learning_rate", "learning_rat"))
    assert fault == f"{path}, line 10: train.learning_rat: unknown key; did you mean `learning_rate`?"


def test_all_faults_come_at_once_with_place_and_value(path: Path) -> None:
    text = (
        GOOD.replace("asr_train", "everything")
        .replace("whisper\n", "wisper\n")
        .replace("  source: corpus", "  sorce: x")
    )
    found = faults(path, text)
    assert len(found) == 4
    assert f"{path}, line 3: collect.source: required and not given" in found
    assert any("line 4: collect.sorce: unknown key; did you mean `source`?" in fault for fault in found)
    assert any("line 6: prepare.purpose:" in fault and "'everything'" in fault for fault in found)
    assert any("line 8: train.family:" in fault and "'wisper'" in fault for fault in found)


def test_overrides_are_checked_like_the_file(path: Path) -> None:
    assert load(path, ["train.lora.r=8", "prepare.vad=null"]).train.lora.r == 8
    (fault,) = faults(path, None, "train.lora.q=8")
    known = f"known here: {', '.join(Lora.model_fields)}"
    assert fault == f"{path}, command line: train.lora.q: unknown key; {known}"
    assert "command line" in faults(path, None, "train.lora.r=-1")[0]
    for override in ("train.lora.r", "=8", "train..r=8"):
        assert faults(path, None, override) == [f"{override}: an override is written key.path=value"]
    assert faults(path, None, "name.x=1") == ["name.x=1: name holds a value, not a section"]
    (fault,) = faults(path, None, "evaluate.systems.0=base")
    assert fault == f"{path}, command line: evaluate.systems: Input should be a valid list"


def test_a_key_given_twice_is_refused(path: Path) -> None:
    (fault,) = faults(path, GOOD + "name: other\n")
    assert fault == f"{path}, line 11: name: given twice"


def test_faults_between_keys_say_what_to_do(path: Path) -> None:
    assert (
        "name a `base` model, or give a `config`"
        in faults(path, GOOD.replace("  base: openai/whisper-small\n", ""))[0]
    )
    assert "min_duration_s must be below" in faults(path, None, "prepare.min_duration_s=30")[0]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_what_is_no_mapping_is_no_recipe(path: Path, text: str) -> None:
    assert "a recipe is a mapping with the keys name, work_dir" in faults(path, text)[0]


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("corpus", '""', "line 4: collect.source: a path is needed"),
        ("corpus", "~nobody-of-that-name/x", "line 4: collect.source: there is no such user's home folder"),
        ("2e-6", ".inf", "line 10: train.learning_rate: Input should be a finite number, got inf"),
        ("2e-6", "2026-02-30", "not YAML: day is out of range for month"),
        ("corpus", "&loop [*loop]", "nested too deep, or an alias that holds itself"),
        ("corpus", "!!python/object/apply:os.getcwd []", "not YAML: could not determine a constructor"),
        ("name: demo", "1: demo", "line 1: 1: Keys should be strings, got 1"),
    ],
)
def test_odd_values_are_refused_without_a_traceback(path: Path, right: str, wrong: str, said: str) -> None:
    assert said in "\n".join(faults(path, GOOD.replace(right, wrong)))


def test_what_is_no_yaml_is_said_so(path: Path) -> None:
    assert "not YAML" in faults(path, "name: [\n")[0]
    assert "cannot be read" in faults(path.with_name("gone.yaml"))[0]


@given(st.floats(1e-9, 10, allow_nan=False))
def test_numbers_survive_the_command_line(value: float) -> None:
    recipe = load(RECIPES[0], [f"train.learning_rate={value}"])
    assert recipe.train.learning_rate == value


def test_values_never_change_after_loading(path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(path).seed = 3


def test_a_family_that_cannot_be_trained_by_itself_says_why(path: Path) -> None:
    with pytest.raises(RecipeError, match=r"train: Voxtral TTS cannot be trained .* they lack the encoder"):
        load(path, ["train.family=voxtral_tts"])
    assert load(path, ["train.family=voxtral_tts", "train.codec=./encoder"]).train.codec


def test_each_family_has_a_recipe_for_darija_and_one_for_tamazight() -> None:
    names = {path.stem for path in RECIPES}
    families = ("whisper", "mms", "qwen3_asr", "voxtral", "voxtral_tts", "speecht5", "csm", "pocket_tts")
    assert names >= {f"{family}_{language}" for family in families for language in ("darija", "tamazight")}


def test_there_are_recipes() -> None:
    assert {"demo.yaml", "nano_asr.yaml", "nano_tts.yaml"} <= {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_loads_and_opens_with_the_command_that_runs_it(path: Path) -> None:
    load(path)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# make demo" or (first.startswith("# python -m ") and first.endswith(f"recipes/{path.name}"))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "recipes", *words], cwd=ROOT, capture_output=True, text=True)


def test_the_command_prints_the_resolved_recipe(path: Path, tmp_path: Path) -> None:
    done = run(str(path), "seed=3")
    assert done.returncode == 0
    whole: dict[str, Any] = yaml.safe_load(done.stdout)
    assert whole["seed"] == 3 and whole["evaluate"]["listen"]["port"] == 8765
    (tmp_path / "again.yaml").write_text(done.stdout, encoding="utf-8")
    assert load(tmp_path / "again.yaml").digest() == load(path, ["seed=3"]).digest()


def test_the_command_names_the_fault_and_shows_no_traceback(path: Path) -> None:
    done = run(str(path), "nmae=x")
    assert done.returncode == 2
    assert done.stderr == f"{path}, command line: nmae: unknown key; did you mean `name`?\n"


def test_the_digest_changes_with_any_value(path: Path) -> None:
    assert load(path).digest() != load(path, ["seed=18"]).digest()
    assert load(path).digest("train") == load(path, ["seed=18"]).digest("train")
    assert isinstance(load(path), Recipe)


def test_the_next_command_is_for_the_same_recipe_with_the_same_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["freeze", "my recipe.yaml", "train.max_steps=60", "name=a b", "--public"]
    monkeypatch.setattr("sys.argv", ["evaluate.plan", *words])
    said = next_command("evaluate.plan", "to go on", "freeze")
    assert said == "to go on: python -m evaluate.plan 'my recipe.yaml' freeze train.max_steps=60 'name=a b'"
