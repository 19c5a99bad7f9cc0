"""A table in the files that `datasets.load_from_disk` opens, written row by row: what is written leaves memory."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import datasets
    from datasets.arrow_writer import ArrowWriter

_BATCH = 64  # rows held in memory
_SHARD_BYTES = 500_000_000


class Table:
    """A table that is being written, in shards. It is whole when the `with` block ends without an exception."""

    def __init__(self, folder: Path, features: "datasets.Features", split: str) -> None:
        folder.mkdir(parents=True)
        self._folder, self._features, self._split = folder, features, split
        self._files: list[str] = []
        self._print = hashlib.sha256()
        self._writer = self._new_shard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed:
            self._writer.close()
        else:
            self._end()

    def add(self, row: dict[str, Any], mark: str) -> None:
        """Write a row. `mark`: its hash; the table's fingerprint is of all marks in their order."""
        if self._bytes > _SHARD_BYTES:
            self._writer.finalize()
            self._writer = self._new_shard()
        self._writer.write(row)
        self._bytes += len(row["audio"])
        self._print.update(mark.encode())

    def _new_shard(self) -> "ArrowWriter":
        """A table without rows has a shard too: the library cannot open one without."""
        from datasets.arrow_writer import ArrowWriter

        self._files.append(f"data-{len(self._files):05}.arrow")
        self._bytes = 0
        path = str(self._folder / self._files[-1])
        return ArrowWriter(features=self._features, path=path, writer_batch_size=_BATCH)

    def _end(self) -> None:
        import datasets

        self._writer.finalize()
        self._writer.close()
        datasets.DatasetInfo(features=self._features).write_to_directory(str(self._folder))
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in self._files],
            "_fingerprint": self._print.hexdigest()[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": self._split,
        }
        (self._folder / "state.json").write_text(json.dumps(state, indent=2), encoding="utf-8")
