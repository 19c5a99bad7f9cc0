"""What an evaluation found, on disk: `results.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from evaluate.objective import Measured
from evaluate.statistics import Figure
from evaluate.uses import Uses
from recipes.provenance import file_digest, lineage, read_lineage, sign_folder, unmark, write_text
from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder, dataset_folder, dataset_hash, register


@dataclass(frozen=True)
class Results:
    """Figures by metric and system, and the items behind them."""

    items: int
    left_out: dict[str, int]  # reason → how many
    figures: dict[str, dict[str, Figure | None]]
    measured: Sequence[Measured]


def write(recipe: Recipe, results: Results, uses: Uses | None = None) -> None:
    """Lay the results, their recipe and lineage into the evaluation's folder.

    `uses`: what recordings served for in it, each of which a withdrawal must find.
    """
    folder = recipe.folder("evaluate")
    write_text(folder / "results.json", json.dumps(asdict(results), ensure_ascii=False, indent=1))
    unmark(folder)
    made = adapter_folder(recipe)
    if not made.is_dir():  # the base alone was measured
        sign_folder(recipe, folder, lineage(recipe, "report", base=recipe.train.base))
        _note(recipe, [dataset_hash(recipe)] if dataset_folder(recipe).is_dir() else [], uses or {})
        return
    line = read_lineage(made)
    sign_folder(
        recipe,
        folder,
        lineage(
            recipe,
            "report",
            purpose=line.purpose,
            clips=line.clips,
            parents=[file_digest(made / "lineage.json")],
            base=line.base,
            base_revision=line.base_revision,
            base_hash=line.base_hash,
        ),
    )
    _note(recipe, [file_digest(made / "lineage.json")], uses or {})


def _note(recipe: Recipe, parents: list[str], uses: Uses) -> None:
    """Tell the ledger of the report, and of the clips that listeners hear."""
    folder = recipe.folder("evaluate")
    name = file_digest(folder / "lineage.json")
    heard: Uses = {purpose: clips for purpose, clips in uses.items() if purpose == "listen_test"}
    register(recipe, "report", name, folder, parents, uses)
    if not recipe.train.recognises:
        register(recipe, "listening_test", f"listening {name}", folder, [name], heard)


def read(recipe: Recipe) -> Results:
    """The results of a recipe. Raises UserError when it was not evaluated yet, or by another version."""
    path = recipe.folder("evaluate") / "results.json"
    if not path.is_file():
        raise UserError(f"{path}: no results yet; run python -m evaluate on this recipe first")
    try:
        return TypeAdapter(Results).validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(
            f"{path}: not as this version writes it; run python -m evaluate on this recipe again"
        ) from None
