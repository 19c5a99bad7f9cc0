"""What preparation kept and left out, of whom, and why: `python -m prepare.report RECIPE`.

Writes `prepare/dataset/report.html`: every reason by speaker group, with a mark where a group loses surely more than
the others; the spread of each figure before and after; players for the worst and the borderline. It holds voices, so
only its owner can read it, and it goes with its version of the dataset.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from collect.ledger import Artefact, ledger_exists, open_ledger
from prepare import dataset, export, parts
from prepare.report import losses, page, players, words
from prepare.report.losses import ANY, Group
from prepare.report.outcomes import gather
from recipes.command import run
from recipes.schema import Recipe, UserError


def main(recipe: Recipe) -> None:
    if not ledger_exists(recipe):
        raise UserError(f"{recipe.folder('collect')}: no ledger here, and without it nobody's consent is known")
    with parts.locked(recipe.folder("prepare")), open_ledger(recipe) as ledger:
        came = gather(ledger, recipe)
        tables = losses.tables(came, recipe.collect.coverage.min_speakers, recipe.seed)
        alone = losses.speakers(came)
        shelves = players.shelves(came, page.known_measures(recipe, came))
        shelves, silent = players.filled(ledger, recipe, shelves)
        text = page.html(recipe, came, tables, alone, shelves, silent)
        path = write(recipe, text)
        made = Artefact(
            id=hashlib.sha256(text.encode()).hexdigest(),
            kind="prepare_report",
            place=str(path),
            purpose=recipe.prepare.purpose,
        )
        left_out = {one.clip.id for one in came.left_out}  # the others are those of the dataset
        ledger.register(made, clips=left_out, parents=[dataset.dataset_hash(recipe)])
    print("\n".join([*words.headline(came, tables, alone, recipe.prepare.purpose), *named(recipe, alone)]))
    print(f"report, with voices in it, for you alone: {path}")


def named(recipe: Recipe, alone: Sequence[Group]) -> list[str]:
    """Whose the codes on the page are, of those who lose surely more."""
    salt = export.read_salt(recipe)
    marked = [group.name for group in alone if group.losses[ANY].verdict == "more"]
    return [f"  {export.pseudonym(speaker, salt)} is {speaker}" for speaker in marked]


def place(recipe: Recipe) -> Path:
    """Where the report is, or will be: it goes when another version of the dataset takes this one's place."""
    return dataset.dataset_folder(recipe) / "report.html"


def write(recipe: Recipe, text: str) -> Path:
    """Write the page so that its owner alone can read it, whole or not at all; one that is there already stays."""
    path = place(recipe)
    if path.is_file() and path.read_bytes() == text.encode():
        return path
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    run(main, __doc__ or "")
