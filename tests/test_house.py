"""The rules of the house: who may import whom, what is installed, and that importing costs nothing."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAGES = ["collect", "prepare", "train", "evaluate"]
PRODUCT = ["recipes", *STAGES, "web"]
# A stage reaches the one before it through this module alone.
FACES = {"prepare": "collect.ledger", "train": "prepare.dataset", "evaluate": "train.adapter"}
FILES = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]


def imported_by(path: Path) -> set[str]:
    """Full names of the modules a file imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return names


def of_house(names: set[str], folder: str) -> set[str]:
    """Which of the names belong to a folder of ours."""
    return {name for name in names if name == folder or name.startswith(folder + ".")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    names = imported_by(path)
    for folder in {"tests", "benchmarks"} | ({*STAGES, "web"} if own in ("recipes", "web") else set()):
        if folder != own:
            assert not of_house(names, folder)
    if own in STAGES:
        for stage in STAGES:
            reached = of_house(names, stage)
            if stage in (own, FACES.get(own, "").split(".")[0]) and stage != own:
                assert all(f"{name}.".startswith(FACES[own] + ".") or name == stage for name in reached), reached
            elif stage != own:
                assert not reached


def test_recipes_need_only_pydantic_and_yaml() -> None:
    for path in (ROOT / "recipes").glob("*.py"):
        outside = {name.split(".")[0] for name in imported_by(path)} - set(sys.stdlib_module_names)
        assert outside <= {"pydantic", "yaml", "recipes"}, path


# Packages whose name on the index is not the one they are imported by.
IMPORTED_AS = {"pyyaml": "yaml", "pillow": "PIL", "c2pa-python": "c2pa", "markdown-it-py": "markdown_it"}
# Not imported by name: read by another package, or found as data.
UNSEEN = {"pandas", "pg8000", "python-multipart", "resemble-perth", "silero-vad", "speechmos"}


def declared(kind: list[str]) -> set[str]:
    """Names of the packages in a list of pyproject.toml."""
    return {re.split(r"[<>=; ]", line, maxsplit=1)[0].lower() for line in kind}


def test_every_package_that_is_imported_is_declared_and_the_other_way_round() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    outside = {name.split(".")[0] for path in FILES for name in imported_by(path)}
    outside -= {*sys.stdlib_module_names, *PRODUCT}
    optional = extras["edge"] + extras["personal"] + extras["ray"] + extras["provenance"] + extras["watermark"]
    assert outside == {
        IMPORTED_AS.get(name, name.replace("-", "_"))
        for name in declared(project["dependencies"] + optional) - UNSEEN
    }


def test_the_lock_holds_every_declared_package_and_names_no_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; python_version (<|>=) \"3\.\d+\")?", pin) for pin in pins)
    locked = {pin.split("==")[0] for pin in pins}
    assert declared(project["dependencies"] + project["optional-dependencies"]["dev"]) <= locked


def test_every_folder_says_in_one_line_what_it_is_for() -> None:
    # Without an __init__.py of its own an installed `evaluate` would win.
    for folder in PRODUCT:
        lines = (ROOT / folder / "__init__.py").read_text(encoding="utf-8").strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith('"""') and lines[0].endswith('."""')


def test_nothing_of_ours_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["packages"] == []
    # Two packages that bring top-level folders of our names.
    assert not declared(settings["project"]["dependencies"]) & {"evaluate", "torchtune"}


@pytest.mark.parametrize("module", ["recipes.schema", "collect.ingest", "prepare.dataset"])
def test_importing_costs_nothing(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_that_hide_what_a_file_is_for_are_not_used() -> None:
    assert not [path for path in FILES if path.stem in ("utils", "common", "helpers", "misc", "base")]
