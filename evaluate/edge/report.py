"""What is said of an export: a table for the terminal, `report.json` and `README.md` beside the files."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluate import licence, marked
from evaluate.edge import bundle
from evaluate.edge.check import Row
from evaluate.items import Item
from recipes.provenance import digest, file_digest, lineage, package_versions, read_lineage, sign_folder
from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder, revocation

_COLUMNS = {
    "size_mib": ("MiB", ".1f"),
    "real_time_factor": ("real-time factor", ".3f"),
    "cer": ("CER", ".4f"),
    "differs": ("differs", ".4f"),
    "mel_db": ("mel dB", ".2f"),
    "duration_change": ("duration ±", ".2%"),
}


def folder_of(recipe: Recipe) -> Path:
    """Where the export lies."""
    return recipe.folder("evaluate") / "edge"


def identity(recipe: Recipe) -> str:
    """A name for all that decides an export: the adapter, the recipe, this code, and the packages that write it."""
    code = [file_digest(path) for path in sorted(Path(__file__).parent.rglob("*.py"))]
    made = adapter_folder(recipe)
    parts = [file_digest(made / "lineage.json"), revocation.weights_digest(made), recipe.digest(), *code]
    return digest([*parts, *(f"{name} {number}" for name, number in package_versions().items())])


def write(recipe: Recipe, folder: Path, rows: Sequence[Row], items: Sequence[Item], voice: str | None) -> None:
    """Say in a folder what it is, how near the original, and what it was made from."""
    found = about(recipe, rows, items, voice)
    (folder / "report.json").write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")
    (folder / "README.md").write_text(readme(recipe, found, rows), encoding="utf-8")
    made = adapter_folder(recipe)
    line = read_lineage(made)
    base = {"base": line.base, "base_revision": line.base_revision, "base_hash": line.base_hash}
    parents = [file_digest(made / "lineage.json")]
    made_from = lineage(recipe, "report", purpose=line.purpose, clips=line.clips, parents=parents, **base)
    sign_folder(recipe, folder, made_from)


def about(recipe: Recipe, rows: Sequence[Row], items: Sequence[Item], voice: str | None) -> dict[str, Any]:
    """The report: what it was made from, under which terms, and how near it is."""
    line, limits = read_lineage(adapter_folder(recipe)), recipe.evaluate.edge
    weights, networks = marked.adapter_hash(recipe), bundle.networks_of(recipe)
    tolerated = ("max_cer_change",) if recipe.train.recognises else ("max_mel_db", "max_duration_change")
    return {
        "name": recipe.name,
        "family": recipe.train.family,
        "made_from": identity(recipe),
        "adapter": weights,
        "base": line.base and Path(line.base).name if line.base_hash else line.base,
        "base_revision": line.base_revision,
        "base_hash": line.base_hash,
        "base_licence": base_licence(recipe),
        "purpose": line.purpose,
        "clips": line.clips,
        "dataset": line.parents[0] if line.parents else None,
        "consent": "it holds for as long as the consents behind these clips: when a speaker withdraws, take it back",
        "voice": voice,
        "marked": None if recipe.train.recognises else marked.statement(recipe, weights),
        "tolerances": {key: getattr(limits, key) for key in tolerated},
        "quantised": {name: list(kinds) for name, kinds in networks.QUANTISED.items()},
        "compared": {"clips": len(items), "processor": platform.processor() or platform.machine(), "cores": 1},
        "versions": [asdict(row) for row in rows],
    }


def base_licence(recipe: Recipe) -> str:
    """The licence of the base's weights, or that it is not known."""
    try:
        found = licence.of_base(recipe.train.base, recipe.train.family, recipe.publish.base_licence)
    except UserError:
        return "not known here; read the base's own page before you hand this on"
    return found.spdx if found else "no base: trained from random weights"


def read(folder: Path) -> tuple[Mapping[str, Any], list[Row]] | None:
    """The report of an export that is there, and its rows; None where there is none, or a damaged one."""
    try:
        found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return found, [Row(**row) for row in found["versions"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def table(rows: Sequence[Row]) -> str:
    """The rows with the columns that they have, as Markdown."""
    columns = [key for key in _COLUMNS if any(getattr(row, key) is not None for row in rows)]
    lines = [["version", *(_COLUMNS[key][0] for key in columns)], ["---"] * (len(columns) + 1)]
    lines += [[row.version, *(format(getattr(row, key), _COLUMNS[key][1]) for key in columns)] for row in rows]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns) + 1)]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def readme(recipe: Recipe, found: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """What a developer has to know before the first line of theirs."""
    speaks = not recipe.train.recognises
    example = 'python run.py "text" speech.wav' if speaks else "python run.py recording.wav"
    limits = ", ".join(f"{key} {value:g}" for key, value in found["tolerances"].items())
    lines = [
        f"# {recipe.name} for small devices",
        "",
        "`float/` and `int8/` each stand alone: ONNX files, settings, and `run.py`, which needs no more than",
        f"`pip install numpy onnxruntime`: `{example}`. `merged/` is the same model for `transformers`.",
        "",
        table(rows),
        "",
        f"On {found['compared']['clips']} unseen sentences, on one core. Tolerated: {limits}.",
        "",
        f"- Licence of the base: {found['base_licence']}. Made for the purpose `{found['purpose']}`; the consents",
        "  are those of the recordings that `report.json` names by their hash.",
        "- When a speaker withdraws, this copy is to be deleted: be able to reach the devices that it is on.",
    ]
    if speaks:
        lines += [
            "- **Synthetic speech must be marked as such.** `run.py` writes into every file: "
            f"“{found['marked']}”. Tell those who listen, too; what is played and not stored carries no such mark.",
            "- The voice is a real person's: what it says is not what they said, and must not be passed off as that.",
        ]
    return "\n".join(lines) + "\n"
