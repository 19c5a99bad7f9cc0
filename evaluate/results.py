"""What an evaluation found, on disk: `results.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from evaluate.objective import Measured
from evaluate.statistics import Figure
from recipes.provenance import file_digest, lineage, read_lineage, sign_folder, unmark, write_text
from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder, register


@dataclass(frozen=True)
class Results:
    """Figures by metric and system, and the items behind them."""

    items: int
    left_out: dict[str, int]  # reason → how many
    figures: dict[str, dict[str, Figure | None]]
    measured: Sequence[Measured]


def write(recipe: Recipe, results: Results) -> None:
    """Lay the results, their recipe and lineage into the evaluation's folder."""
    folder = recipe.folder("evaluate")
    write_text(folder / "results.json", json.dumps(asdict(results), ensure_ascii=False, indent=1))
    unmark(folder)
    made = adapter_folder(recipe)
    if not made.is_dir():  # the base alone was measured
        sign_folder(recipe, folder, lineage(recipe, "report", base=recipe.train.base))
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
    name = file_digest(folder / "lineage.json")
    register(recipe, "report", name, folder, parents=[file_digest(made / "lineage.json")])
    if not recipe.train.recognises:
        register(recipe, "listening_test", f"listening {name}", folder, parents=[name])


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
