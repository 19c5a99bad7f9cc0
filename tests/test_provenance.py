"""Where a result came from: what is signed, and that the signature follows from the content."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recipes import provenance
from recipes.schema import Recipe, load
from tests.conftest import ROOT


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return load(ROOT / "recipes" / "demo.yaml", [f"work_dir={tmp_path}"])


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert provenance.file_digest(tmp_path / "abc") == expected


@given(st.lists(st.text("0123456789abcdef", min_size=1), unique=True).flatmap(lambda ids: st.permutations(ids)))
def test_the_digest_of_ids_does_not_hang_on_their_order(ids: list[str]) -> None:
    assert provenance.digest(ids) == provenance.digest(sorted(ids))
    assert provenance.digest([*ids, "one more"]) != provenance.digest(ids)


def test_versions_are_those_installed() -> None:
    versions = provenance.package_versions()
    assert versions["torch"] == version("torch") and versions["numpy"] == version("numpy")
    assert list(versions) == sorted(versions)


def test_a_lineage_is_laid_beside_its_result_and_read_back(recipe: Recipe, tmp_path: Path) -> None:
    line = provenance.lineage(
        recipe, "dataset", purpose="tts_clone", clips=provenance.digest(["a", "b"]), parents=["c"]
    )
    provenance.sign_folder(recipe, tmp_path / "dataset", line)
    assert provenance.read_lineage(tmp_path / "dataset") == line
    assert line.recipe == recipe.digest() and line.seed == recipe.seed
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", line.code)


def test_the_recipe_beside_a_result_makes_the_same_result(recipe: Recipe, tmp_path: Path) -> None:
    provenance.sign_folder(recipe, tmp_path / "elsewhere" / "dataset", provenance.lineage(recipe, "dataset"))
    assert load(tmp_path / "elsewhere" / "dataset" / "recipe.yaml").digest() == recipe.digest()


def test_a_damaged_lineage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text('{"kind": "rumour"}', encoding="utf-8")
    with pytest.raises(ValidationError):
        provenance.read_lineage(tmp_path)
    with pytest.raises(FileNotFoundError):
        provenance.read_lineage(tmp_path / "nothing")


def clone(folder: Path) -> None:
    """A repository of one commit that holds the code of `recipes`."""
    (folder / "recipes").mkdir(parents=True)
    for name in ("__init__.py", "provenance.py", "records.py", "schema.py", "faults.py"):
        shutil.copy(ROOT / "recipes" / name, folder / "recipes")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message=one")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def code_version(folder: Path) -> str:
    """What `code_version` says of the code in a folder."""
    code = "from recipes.provenance import code_version; print(code_version())"
    command = [sys.executable, "-B", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_the_code_is_named_by_its_commit_and_a_plus_says_that_it_was_changed(tmp_path: Path) -> None:
    clone(tmp_path / "twiza")
    commit = git(tmp_path / "twiza", "rev-parse", "HEAD")
    assert code_version(tmp_path / "twiza") == commit
    with open(tmp_path / "twiza" / "recipes" / "records.py", "a", encoding="utf-8") as file:
        file.write("\n")
    assert code_version(tmp_path / "twiza") == commit + "+"


def test_a_copy_inside_another_repository_does_not_take_its_commit(tmp_path: Path) -> None:
    clone(tmp_path / "other")
    clone(tmp_path / "other" / "twiza")
    shutil.rmtree(tmp_path / "other" / "twiza" / ".git")
    assert code_version(tmp_path / "other" / "twiza") == "unknown"


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "note.txt"
    provenance.write_text(path, "old")

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(OSError, match="No space left"):
        provenance.write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(path.parent.iterdir()) == [path]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == provenance.file_digest(path)
