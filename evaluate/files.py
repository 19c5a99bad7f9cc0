"""A folder of audio files as a system: somebody else's speech, matched to the sentences."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluate import table
from evaluate.items import Item, Rendered
from recipes.schema import Files, UserError
from train.adapter import foreign_audio, normalise

_ENDINGS = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm"}
_MOST_MINUTES = 10
_MOST_BYTES = 64 * 2**20


def read(system: Files, wanted: Sequence[Item]) -> tuple[list[Rendered], dict[str, int]]:
    """The sentences that the folder has, and what is missing: reason → how many.

    A file belongs to the sentence that the table gives it, or whose id is its name (`evaluate/sentences.csv` lists
    them), or which is that recording's. Raises UserError when no sentence has one, or one cannot be read.
    """
    if not system.folder.is_dir():
        raise UserError(f"{system.folder}: no such folder (evaluate.systems, {system.name})")
    files = by_table(system, wanted) if system.table else by_name(system, wanted)
    found = [Rendered(system.name, item, *_open(files[item.id])) for item in wanted if item.id in files]
    if not found:
        where = f"{system.table} names none of them" if system.table else "their names are the ids in sentences.csv"
        raise UserError(f"{system.folder}: no file for any of {len(wanted)} sentences ({system.name}); {where}")
    sounds = {path for path in system.folder.rglob("*") if path.suffix.lower() in _ENDINGS}
    left_out = {
        f"{system.name}: no file for the sentence": len(wanted) - len(found),
        f"{system.name}: file of no sentence here": len(sounds - set(files.values())),
    }
    return found, {reason: count for reason, count in left_out.items() if count}


def by_name(system: Files, wanted: Sequence[Item]) -> dict[str, Path]:
    """Item → file, where the file is called as the item's id or its recording's."""
    names: dict[str, str] = {item.id: item.id for item in wanted}
    names |= {str(item.row["id"]): item.id for item in wanted if item.row is not None}
    found: dict[str, Path] = {}
    for path in sorted(system.folder.rglob("*")):
        if path.suffix.lower() in _ENDINGS and path.stem in names:
            item = names[path.stem]
            if item in found:
                raise UserError(f"{path}: the sentence has a file already: {found[item].name} ({system.name})")
            found[item] = path
    return found


def by_table(system: Files, wanted: Sequence[Item]) -> dict[str, Path]:
    """Item → file, where the CSV gives the file the item's text, whatever its marks and case.

    Raises UserError for a table that cannot be read, a file that is not there, and a sentence with two files.
    """
    path = system.folder / str(system.table)
    of_text: dict[str, list[Item]] = {}
    for item in wanted:
        of_text.setdefault(item.text, []).append(item)
    languages = sorted({item.language for item in wanted})
    found: dict[str, Path] = {}
    for line, row in _rows(path):
        file = system.folder / row["file"]
        if not file.resolve().is_relative_to(system.folder.resolve()) or not file.is_file():
            raise UserError(f"{path}, line {line}: {row['file']}: no such file in the folder")
        texts = {row["text"].strip()} | {normalise(row["text"], language) for language in languages}
        for item in [item for text in texts for item in of_text.get(text, [])]:
            if found.setdefault(item.id, file) != file:
                raise UserError(f"{path}, line {line}: the sentence has a file already: {found[item.id].name}")
    return found


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of the table, with their lines."""
    rows = table.rows(path, ("file", "text"), "file and text")
    if half := next((line for line, row in rows if not row["file"] or not row["text"]), None):
        raise UserError(f"{path}, line {half}: file or text is empty")
    if twice := [name for name, count in Counter(row["file"] for _, row in rows).items() if count > 1]:
        raise UserError(f"{path}: {twice[0]} is given twice")
    return rows


def _open(path: Path) -> tuple[NDArray[np.float32], int]:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise UserError(f"{path}: {size / 2**20:.0f} MiB; at most 64")
    try:
        return foreign_audio(path.read_bytes(), _MOST_MINUTES)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
