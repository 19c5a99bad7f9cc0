"""Check the dataset: `python -m prepare.verify RECIPE`, or `python -m prepare verify RECIPE`.

Every row, its audio, the columns and the hashes; whether each clip may still serve the dataset's purpose and
what its rows say it may; and the files of an export. One finding a line; nothing but a summary is good.
"""

import json
from collections.abc import Iterator

from collect.ledger import Ledger, ledger_exists, open_ledger
from prepare import croissant, dataset, export, terms
from recipes import provenance
from recipes.command import run
from recipes.records import PURPOSES, Purpose
from recipes.schema import Recipe

_SHOWN = 50


def main(recipe: Recipe) -> int:
    findings = [*dataset.verify(recipe), *exported(recipe)]
    if ledger_exists(recipe):
        with open_ledger(recipe) as ledger:
            findings += consents(ledger, recipe)
    else:
        print("consents are not checked: there is no ledger here")
    for line in findings[:_SHOWN]:
        print(line)
    if len(findings) > _SHOWN:
        print(f"... and {len(findings) - _SHOWN} more")
    count = sum(len(rows) for rows in dataset.as_made(recipe).values())
    print(f"{count} utterances, {len(findings)} findings: {dataset.dataset_folder(recipe)}")
    return int(bool(findings))


def consents(ledger: Ledger, recipe: Recipe) -> Iterator[str]:
    """What the ledger, at this moment, does not allow of what the dataset is for or says."""
    purpose, said = recipe.prepare.purpose, dict[str, set[Purpose]]()
    for rows in dataset.as_made(recipe).values():
        for row in rows.select_columns(["clip", "purposes"]):
            said.setdefault(row["clip"], set()).update(row["purposes"])
    for name, source, lacking in terms.refused(ledger, said.keys(), PURPOSES):
        if purpose in lacking:
            yield f"clip {name[:12]} ({source}): no consent for {purpose}; run: python -m prepare RECIPE"
        elif gone := sorted(said[name] & set(lacking)):
            yield f"clip {name[:12]} ({source}): no longer allows {', '.join(gone)}; run: python -m prepare RECIPE"


def exported(recipe: Recipe) -> Iterator[str]:
    """What is wrong with the export; nothing where there is none."""
    folder = export.folder_of(recipe)
    if not folder.is_dir():
        return
    if provenance.is_withdrawn(folder):
        yield f"{folder}: made from recordings that were withdrawn since; run: python -m prepare RECIPE"
    try:
        described = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
        changed = croissant.changed_files(folder, described)
    except (OSError, ValueError, KeyError) as error:
        yield f"{folder}: croissant.json cannot be read ({type(error).__name__}): remove the folder and export again"
        return
    for name in changed:
        yield f"{folder / name}: not the file that was exported: remove the folder and run: python -m prepare.export"


if __name__ == "__main__":
    run(main, __doc__ or "")
