"""Where finished work lies: a folder, or any place that fsspec reaches by a URL (s3://bucket/parts, gs://…, sftp://…)."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from recipes.schema import UserError


@dataclass(frozen=True)
class Folder:
    """Files of this machine, or of a disk that it shares. Those of a name's first two letters lie together."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files, each whole or not at all."""
        for name, data in files.items():
            place = self._place(name)
            beside = place.with_name(f".{name}.{os.getpid()}")
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                beside.write_bytes(data)
                os.replace(beside, place)
            except OSError as error:  # a full disk: the system does not say which file
                raise OSError(error.errno, error.strerror, str(place.parent)) from None
            finally:
                beside.unlink(missing_ok=True)

    def heads(self, names: Iterable[str]) -> dict[str, bytes]:
        """The first lines of those that there are."""
        found = {}
        for name in names:
            try:
                with open(self._place(name), "rb") as file:
                    found[name] = file.readline()
            except FileNotFoundError:
                continue
        return found

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Those that there are, whole."""
        return {name: place.read_bytes() for name in names if (place := self._place(name)).is_file()}

    def names(self) -> Iterator[str]:
        """All there are, and what killed runs left half-written."""
        for folder in self.path.glob("*"):
            if folder.is_file():  # of an earlier layout, where nobody would find it
                folder.unlink()
                continue
            with os.scandir(folder) as entries:
                yield from (entry.name for entry in entries)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, where they are."""
        for name in names:
            self._place(name).unlink(missing_ok=True)

    def _place(self, name: str) -> Path:
        return self.path / name.lstrip(".")[:2] / name


@dataclass(frozen=True)
class Remote:
    """Objects under a URL. Where a service answers many requests at once, they are made at once."""

    url: str

    def __str__(self) -> str:
        return self.url

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write objects. Of one that a connection lost half-way, `heads` gives all there is."""
        system, root = self._system()
        system.makedirs(root, exist_ok=True)
        system.pipe({f"{root}/{name}": data for name, data in files.items()})

    def heads(self, names: Iterable[str]) -> dict[str, bytes]:
        """Those that there are, whole: a request costs more than what it brings."""
        return self.read(names)

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Those that there are."""
        system, root = self._system()
        paths = {f"{root}/{name}": name for name in names}
        found = system.cat(list(paths), on_error="omit") if paths else {}
        return {paths[path]: data for path, data in found.items()}

    def names(self) -> Iterator[str]:
        """All there are."""
        system, root = self._system()
        for path in system.find(root):
            yield PurePosixPath(path).name

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, where they are."""
        system, root = self._system()
        for name in names:
            with suppress(FileNotFoundError):
                system.rm_file(f"{root}/{name}")

    def _system(self) -> tuple[Any, str]:
        import fsspec

        try:
            system, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:  # no package for it, or no such protocol
            raise UserError(f"prepare.parts: {self.url}: {' '.join(str(error).split())}") from None
        return system, root.rstrip("/")


Store = Folder | Remote


def open_store(place: str) -> Store:
    """The store at a path or a URL."""
    return Remote(place) if "://" in place else Folder(Path(place))
