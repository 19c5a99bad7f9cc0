"""The documentation is true: its commands exist and run, every key is in it, its example goes through."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import soundfile
from pydantic import BaseModel

from recipes.schema import Recipe, load
from tests.babble import babble
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}


def keys(section: type[BaseModel], at: str = "") -> dict[str, Any]:
    """Every key of a recipe with its default."""
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        below = list(sections(field.annotation))
        found[at + name] = "section" if below else ("required" if field.is_required() else field.default)
        for one in below:
            found |= keys(one, f"{at}{name}.")
    return found


def sections(kind: Any) -> Iterator[type[BaseModel]]:
    """The sections that a key may hold, one or a list of several kinds."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from sections(part)


@pytest.mark.parametrize(("key", "default"), keys(Recipe).items())
def test_every_recipe_key_is_documented_with_its_default(key: str, default: Any) -> None:
    row = re.search(rf"^\| `{re.escape(key)}` \|(.*)\|(.*)\|(.*)\|$", PAGES["recipes.md"], re.MULTILINE)
    assert row, f"docs/recipes.md does not name {key}"
    assert row[3].strip(), f"docs/recipes.md does not say what {key} means"
    if isinstance(default, bool):
        assert row[2].strip() == str(default).lower()
    elif isinstance(default, int | float | str) and default != "section":
        assert row[2].strip() == str(default)


def test_no_documented_key_is_gone() -> None:
    assert set(re.findall(r"^\| `([\w.]+)` \|", PAGES["recipes.md"], re.MULTILINE)) == set(keys(Recipe))


def commands() -> list[tuple[str, str]]:
    texts = PAGES | {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "recipes").glob("*.yaml")}
    return sorted(
        {
            (name, found)
            for name, text in texts.items()
            for found in re.findall(r"python -m [\w.]+(?: [\w./-]+)?", text)
        }
    )


ACTIONS = (
    "inventory",
    "arabizi",
    "verify",
    "export",
    "push",
    "pull",
    "status",
    "serve",
    "revoke",
)  # what stands before or after a recipe


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_names_a_script_and_a_recipe_that_exist(page: str, command: str) -> None:
    _, _, module, *words = command.split()
    path = ROOT / module.replace(".", "/")
    script = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    assert script.is_file(), f"{page}: {command}"
    assert any(isinstance(node, ast.If) for node in ast.parse(script.read_text(encoding="utf-8")).body)
    for word in words:
        assert word in ("RECIPE", "FILE", "my-recipe.yaml", *ACTIONS) or (ROOT / word).is_file(), f"{page}: {command}"


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for text in PAGES.values():
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("snippet", re.findall(r"```yaml\n(evaluate:.*?)```", PAGES["systems.md"], re.DOTALL))
def test_every_snippet_of_systems_is_a_recipe(tmp_path: Path, snippet: str) -> None:
    whole = "name: t\nwork_dir: w\ncollect: {source: s}\nprepare: {purpose: tts_clone}\n"
    whole += "train: {family: fastspeech2, base: x/y}\n"
    (tmp_path / "recipe.yaml").write_text(whole + snippet, encoding="utf-8")
    assert load(tmp_path / "recipe.yaml").evaluate.systems


@pytest.mark.parametrize("snippet", re.findall(r"```yaml\n(  .*?)```", PAGES["data.md"], re.DOTALL))
def test_every_snippet_of_a_source_is_a_recipe(tmp_path: Path, snippet: str) -> None:
    basis = re.search(r"^  basis: .*$", PAGES["data.md"], re.MULTILINE)
    assert basis
    whole = "name: t\nwork_dir: w\nprepare: {purpose: asr_train}\ntrain: {family: ctc, base: x/y}\ncollect:\n"
    lines = [snippet, "" if "basis:" in snippet else basis[0], "" if "source:" in snippet else "  source: s"]
    (tmp_path / "recipe.yaml").write_text(whole + "\n".join(lines), encoding="utf-8")
    assert load(tmp_path / "recipe.yaml").collect.basis


def test_links_lead_to_files() -> None:
    for name, text in PAGES.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for link in re.findall(r"\]\(([\w./-]+)\)", text):
            assert (folder / link).exists(), f"{name}: {link}"


def block(kind: str, start: str) -> str:
    """A code block of the README."""
    found = re.search(rf"```{kind}\n({re.escape(start)}.*?)```", README, re.DOTALL)
    assert found, start
    return found[1]


def test_the_walk_through_of_the_readme_goes_through(tmp_path: Path) -> None:
    corpus = tmp_path / "my-corpus"
    (corpus / "clips").mkdir(parents=True)
    table = block("csv", "file,text,speaker")
    (corpus / "metadata.csv").write_text(table, encoding="utf-8")
    (corpus / "consents.csv").write_text(block("csv", "speaker,purposes"), encoding="utf-8")
    for number, line in enumerate(table.splitlines()[1:]):
        soundfile.write(corpus / line.split(",")[0], babble(1.5 + 0.1 * number), 16_000)
    recipe = tmp_path / "my-recipe.yaml"
    recipe.write_text(block("yaml", "# python -m collect.ingest"), encoding="utf-8")
    small = ["train.family=ctc", f"train.base={ROOT}/recipes/nano_asr", "train.precision=fp32", "train.max_steps=2"]
    small += ["train.wandb.mode=disabled"]
    for module in ("recipes", "collect.ingest", "prepare", "train", "evaluate"):
        overrides = small if module in ("train", "evaluate") else []
        command = [sys.executable, "-m", module, str(recipe), *overrides]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for name in ("collect/ledger.sqlite", "collect/refused.csv", "prepare/dataset/rejected.parquet"):
        assert (tmp_path / "work" / name).is_file()
    for name in ("train/adapter/lineage.json", "evaluate/report.html", "evaluate/results.json"):
        assert (tmp_path / "work" / name).is_file()
