"""What an evaluation found, on disk: `results.json`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from evaluate.objective import Measured
from evaluate.statistics import Figure
from recipes.provenance import file_digest, lineage, read_lineage, sign_folder, write_text
from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder


@dataclass(frozen=True)
class Results:
    """Figures by metric and system, and the items behind them."""

    items: int
    left_out: int  # sentences that training had too
    figures: dict[str, dict[str, Figure | None]]
    measured: Sequence[Measured]


def write(recipe: Recipe, results: Results) -> None:
    """Lay the results, their recipe and lineage into the evaluation's folder."""
    folder = recipe.folder("evaluate")
    write_text(folder / "results.json", json.dumps(asdict(results), ensure_ascii=False, indent=1))
    made = adapter_folder(recipe)
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


def read(recipe: Recipe) -> Results:
    """The results of a recipe. Raises UserError when it was not evaluated yet."""
    path = recipe.folder("evaluate") / "results.json"
    if not path.is_file():
        raise UserError(f"{path}: no results yet; run python -m evaluate on this recipe first")
    data = json.loads(path.read_text(encoding="utf-8"))
    figures = {
        metric: {system: Figure(**figure) if figure else None for system, figure in row.items()}
        for metric, row in data["figures"].items()
    }
    return Results(data["items"], data["left_out"], figures, [Measured(**row) for row in data["measured"]])
