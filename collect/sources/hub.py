"""Datasets in Hugging Face's formats: saved to disk, parquet files, or a repository on the hub."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collect.sources.metadata import Entry, cell, check_columns, values
from recipes.schema import Collect, Columns, UserError

_BATCH = 16  # rows of a parquet file that are in memory at a time


@dataclass(frozen=True)
class _Table:
    """A split or a file: its columns with their types, and its rows."""

    name: str
    types: Mapping[str, Any]
    rows: Iterable[Mapping[str, Any]]


def dataset(settings: Collect, wanted: Collection[str]) -> Iterator[Entry]:
    """The rows of every split, read one after another; the audio as the bytes that were put in, not decoded.

    Nothing is copied to a cache: a saved dataset is mapped into memory, parquet files and the hub are streamed.
    Raises UserError for a dataset without an audio column or without one that is `wanted`.
    """
    opened = []
    for table in _tables(settings):
        columns = _columns(table, settings.columns)
        check_columns(table.name, table.types, columns, wanted)
        opened.append((table, columns))
    return (entry for table, columns in opened for entry in _entries(table, columns))


def _tables(settings: Collect) -> Iterator[_Table]:
    """The splits of a dataset on the hub or on disk, or the parquet files of a folder."""
    import datasets

    folder = settings.source
    if settings.hub:
        name, revision = settings.hub
        with _told(str(folder)):
            yield from _splits(datasets.load_dataset(name, settings.subset, revision=revision, streaming=True))
    elif (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        with _told(str(folder)):
            saved = datasets.load_from_disk(str(folder))
            yield from _splits(saved if isinstance(saved, dict) else {"rows": saved})
    else:
        files = sorted(folder.rglob("*.parquet"))
        if not files:
            raise UserError(f"{folder}: no dataset in it: neither saved to disk nor parquet files")
        for path in files:
            yield _parquet(path, path.relative_to(folder).as_posix())


def _splits(loaded: Mapping[str, Any]) -> Iterator[_Table]:
    """Each split, its audio undecoded; one that does not say its types has those of its first row."""
    import datasets

    for name, rows in loaded.items():
        types = dict(rows.features or dict.fromkeys(next(iter(rows), {})))
        for column, kind in types.items():
            if isinstance(kind, datasets.Audio):
                rows = rows.cast_column(column, datasets.Audio(decode=False))
        yield _Table(name, types, rows)


def _parquet(path: Path, name: str) -> _Table:
    """A parquet file, sixteen rows at a time: what reads ahead would come to hold the whole file in memory."""
    import datasets
    import pyarrow.parquet

    def rows() -> Iterator[Mapping[str, Any]]:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                yield from batch.to_pylist()

    with _told(str(path)):
        types = datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(path))
    return _Table(name, types, rows())


def _columns(table: _Table, given: Columns) -> Columns:
    """The recipe's columns; where it does not name the one that holds the audio, it is found by its type."""
    import datasets

    if "file" in given.model_fields_set:
        return given
    audio = [
        column
        for column, kind in table.types.items()
        if isinstance(kind, datasets.Audio) or (isinstance(kind, dict) and "bytes" in kind)
    ]
    if len(audio) != 1:
        what = f"{len(audio)} audio columns" if audio else "no audio column"
        raise UserError(f"{table.name}: {what}; name one in collect.columns.file; it has: {', '.join(table.types)}")
    return given.model_copy(update={"file": audio[0]})


def _entries(table: _Table, columns: Columns) -> Iterator[Entry]:
    """The rows of a table as entries; a class is read by its name."""
    names = {column: kind.names for column, kind in table.types.items() if hasattr(kind, "int2str")}
    with _told(table.name):
        for number, row in enumerate(table.rows, start=1):
            place = f"{table.name}:{number}"
            cells = {column: cell(value) for column, value in row.items() if column != columns.file}
            cells |= {c: known[row[c]] for c, known in names.items() if row[c] is not None and row[c] >= 0}
            data, path = _sound(row[columns.file])
            file = (Path(path).name if data is not None else path) or place
            yield Entry(place, {**values(cells, columns), "file": file}, audio=data)


def _sound(audio: object) -> tuple[bytes | None, str]:
    """The bytes of an audio cell, and the path it gives: `{bytes, path}`, bytes alone, or a path alone."""
    if isinstance(audio, dict):
        return audio.get("bytes"), audio.get("path") or ""
    return (audio, "") if isinstance(audio, bytes) else (None, cell(audio))


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What the libraries raise, as one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: not a dataset that can be read: {why}") from None
