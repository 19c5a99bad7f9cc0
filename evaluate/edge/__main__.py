"""A model for phones and small computers: `python -m evaluate.edge RECIPE`.

Writes merged weights (safetensors), ONNX, and ONNX of eight bits with a run.py that needs numpy and onnxruntime
alone, for Whisper, CTC, SpeechT5 and VITS. They are compared with the original on unseen sentences, and an export
that is further from it than `evaluate.edge` tolerates is refused. What is there already is not made again.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evaluate import marked, systems
from evaluate.edge import bundle, check, report
from evaluate.edge.check import Row
from evaluate.items import Item
from recipes.command import run
from recipes.provenance import file_digest, is_withdrawn, read_lineage
from recipes.records import Purpose
from recipes.schema import Recipe, UserError
from train.adapter import adapter_folder, dataset_hash, open_dataset, open_model, register, voice_of


def main(recipe: Recipe) -> None:
    bundle.networks_of(recipe)
    refuse_what_must_not_go_out(recipe)
    rows = kept(recipe)
    if rows is None:
        wanted = sentences(recipe)
        with unfinished(recipe) as part:
            rows = export(recipe, part, wanted)
    print(report.table(rows))
    print(f"merged/, float/ and int8/ in {report.folder_of(recipe)}; report.json says what they are made from")


def refuse_what_must_not_go_out(recipe: Recipe) -> None:
    """Raises UserError for an adapter or a dataset that may not be used, or that do not belong together."""
    marked.adapter_hash(recipe)
    open_dataset(recipe)
    folder = adapter_folder(recipe)
    if dataset_hash(recipe) not in read_lineage(folder).parents:  # then nobody knows which sentences are unseen
        raise UserError(f"{folder}: not trained on the dataset as it is now; run: python -m train RECIPE")


def kept(recipe: Recipe) -> list[Row] | None:
    """The figures of an export that is there and still holds."""
    folder = report.folder_of(recipe)
    found = report.read(folder)
    if found is None or is_withdrawn(folder) or found[0].get("made_from") != report.identity(recipe):
        return None
    note(recipe, folder)
    return found[1]


def sentences(recipe: Recipe) -> list[Item]:
    """What the export is compared on."""
    items, most = systems.items(recipe)[0], recipe.evaluate.edge.max_clips
    if len(items) > most:
        print(f"compared on the first {most} of {len(items)} unseen sentences (evaluate.edge.max_clips)")
    return items[:most]


def export(recipe: Recipe, part: Path, wanted: Sequence[Item]) -> list[Row]:
    """Make, compare and keep an export. Raises UserError, with the figures printed, for one that is too far off."""
    family = open_model(recipe, "adapter")
    speaker, voice = voice_for(recipe, family)
    bundle.build(recipe, family, voice, part)
    rows = check.measure(recipe, family, voice, part, wanted)
    if found := check.faults(recipe, rows):
        print(report.table(rows))
        raise UserError(f"{'; '.join(found)}: nothing was kept")
    report.write(recipe, part, rows, wanted, speaker)
    refuse_what_must_not_go_out(recipe)  # it may have been revoked or withdrawn meanwhile
    whole, old = report.folder_of(recipe), part.with_name(".edge.old")
    shutil.rmtree(old, ignore_errors=True)
    if whole.exists():
        os.replace(whole, old)
    os.replace(part, whole)
    shutil.rmtree(old, ignore_errors=True)
    note(recipe, whole)
    return rows


def voice_for(recipe: Recipe, family: Any) -> tuple[str | None, Any]:
    """Whose voice speaks, and its numbers; None of a recogniser. Raises UserError for one that is not allowed."""
    if recipe.train.recognises:
        return None, None
    speaker = marked.voice(recipe, recipe.evaluate.edge.voice, "evaluate.edge.voice")
    return speaker, voice_of(family, recipe)[speaker]


def note(recipe: Recipe, folder: Path) -> None:
    """Tell the ledger, so that a withdrawal finds the export."""
    name, parent = file_digest(folder / "lineage.json"), file_digest(adapter_folder(recipe) / "lineage.json")
    uses: dict[Purpose, set[str]] = {}
    if not recipe.train.recognises:
        speaker = marked.voice(recipe, recipe.evaluate.edge.voice, "evaluate.edge.voice")
        uses["tts_clone"] = marked.clips_of(recipe, speaker)
    register(recipe, "edge_export", name, folder, [parent], uses)


@contextmanager
def unfinished(recipe: Recipe) -> Iterator[Path]:
    """A folder beside that of the export; what is left in it at the end goes."""
    whole = report.folder_of(recipe)
    part = whole.with_name(f".edge.{os.getpid()}")
    whole.parent.mkdir(parents=True, exist_ok=True)
    for left in whole.parent.glob(".edge.[0-9]*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    run(main, __doc__ or "")
