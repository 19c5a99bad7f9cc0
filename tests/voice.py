"""A voice and a recogniser that are tiny and real: dataset, adapter, recipe, made once for all tests."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from prepare import dataset
from recipes.schema import Family, Recipe, load
from tests import tiny
from train import adapter
from train.families import open_family


def ready(folder: Path, family: Family = "fastspeech2", **evaluate: Any) -> Recipe:
    """A copy with a dataset and an adapter of random weights; the recipe is `recipe.yaml` there."""
    shutil.copytree(_made(family), folder, dirs_exist_ok=True)
    settings = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    settings["evaluate"] = {"resamples": 100} | evaluate
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return load(folder / "recipe.yaml")


@cache
def _made(family: Family) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="voice-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = {
        "name": "tiny-voice",
        "work_dir": "work",
        "collect": {"source": "recordings"},
        "prepare": {"purpose": "tts_clone", "languages": ["zgh-Tfng"]},
        "train": {"family": family, "method": "full", "config": tiny.CONFIGS[family], "precision": "fp32"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    recipe = load(folder / "recipe.yaml")
    dataset.write(recipe, tiny.utterances())
    torch.manual_seed(1)
    adapter.save(recipe, open_family(recipe.train, letters=["".join(tiny.TEXTS)]))
    return folder
