"""The folder of an export: merged weights, networks in floats, networks of eight bits, each with what runs it."""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

from evaluate import marked
from evaluate.edge import graphs, merged
from recipes.schema import Recipe, UserError

FAMILIES = ("whisper", "ctc", "speecht5", "vits")


def networks_of(recipe: Recipe) -> Any:
    """The module that knows the recipe's family. Raises UserError for one that has no export."""
    family = recipe.train.family
    if family not in FAMILIES:
        raise UserError(f"train.family: {family} has no export for small devices; {', '.join(FAMILIES)} have")
    return importlib.import_module(f"evaluate.edge.{family}")


def build(recipe: Recipe, family: Any, voice: Any, folder: Path) -> None:
    """Fill an empty folder. Raises UserError where this model, or this machine, cannot be served."""
    networks, weights = networks_of(recipe), marked.adapter_hash(recipe)
    floats, small = folder / "float", folder / "int8"
    floats.mkdir(parents=True)
    small.mkdir()
    settings = networks.export(family, floats, voice)
    about = {"name": recipe.name, "adapter": weights}
    if not recipe.train.recognises:
        about["marked"] = marked.statement(recipe, weights)
    content = json.dumps(settings | about, ensure_ascii=False, sort_keys=True)
    (floats / "settings.json").write_text(content, encoding="utf-8")
    shutil.copy(Path(__file__).parent / "runners" / f"{recipe.train.family}.py", floats / "run.py")
    for path in sorted(floats.iterdir()):
        kinds = networks.QUANTISED.get(path.name)
        if kinds:
            graphs.quantise(path, small / path.name, kinds, getattr(networks, "APART", ()))
        else:
            shutil.copy(path, small / path.name)
    for path in [*floats.glob("*.onnx"), *small.glob("*.onnx")]:
        graphs.mark(path, about)
    merged.write(family, folder / "merged", voice)


def size_mib(folder: Path) -> float:
    """What all files of a folder weigh, run.py and settings too."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
