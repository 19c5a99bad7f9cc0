"""Where a result came from: commit, package versions, hashes. Written beside everything a stage makes."""

import base64
import hashlib
import os
import secrets
import subprocess
from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from recipes.records import Lineage, Purpose
from recipes.schema import Recipe, UserError

_PACKAGES: tuple[str, ...] = ("accelerate", "datasets", "librosa", "numpy", "onnxruntime", "peft", "pyloudnorm")
_PACKAGES += ("soundfile", "soxr", "torch", "transformers")
_WITHDRAWN = "WITHDRAWN.txt"


@cache
def code_version() -> str:
    """The commit the code is at, with `+` when files differ from it; `unknown` outside a clone."""
    here = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != here:  # a copy inside some other repository
            return "unknown"
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a result."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def digest(ids: Iterable[str]) -> str:
    """SHA-256 over ids, whatever their order."""
    return digest_in_order(sorted(ids))


def digest_in_order(ids: Iterable[str]) -> str:
    """The same of ids that come sorted; they need not be in memory."""
    found, between = hashlib.sha256(), b""
    for name in ids:
        found.update(between + name.encode())
        between = b"\n"
    return found.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lineage(
    recipe: Recipe,
    kind: str,
    *,
    purpose: Purpose | None = None,
    clips: str | None = None,
    parents: Iterable[str] = (),
    base: str | None = None,
    base_revision: str | None = None,
    base_hash: str | None = None,
) -> Lineage:
    """The lineage of something made now, by this code, from this recipe."""
    return Lineage.model_validate(
        {
            "kind": kind,
            "purpose": purpose,
            "clips": clips,
            "parents": list(parents),
            "base": base,
            "base_revision": base_revision,
            "base_hash": base_hash,
            "recipe": recipe.digest(),
            "code": code_version(),
            "versions": package_versions(),
            "seed": recipe.seed,
            "created": datetime.now(UTC).replace(microsecond=0),
        }
    )


def sign_folder(recipe: Recipe, folder: Path, line: Lineage) -> None:
    """Lay `recipe.yaml` and `lineage.json` beside a result."""
    write_text(folder / "recipe.yaml", recipe.text())
    write_text(folder / "lineage.json", line.model_dump_json(indent=2))


def read_lineage(folder: Path) -> Lineage:
    """The lineage that lies in a folder. Raises OSError, or pydantic's ValidationError when damaged."""
    return Lineage.model_validate_json((folder / "lineage.json").read_text(encoding="utf-8"))


def mark_withdrawn(folder: Path, day: date, clips: int) -> bool:
    """Mark a result as holding recordings that were withdrawn. False when the folder is not there."""
    if not folder.is_dir():
        return False
    write_text(folder / _WITHDRAWN, f"{day:%Y-%m-%d}: {clips} of the recordings it was made from were withdrawn\n")
    return True


def unmark(folder: Path) -> None:
    """Take the mark off a folder whose contents were made anew."""
    (folder / _WITHDRAWN).unlink(missing_ok=True)


def is_withdrawn(folder: Path) -> bool:
    """Whether a result was marked."""
    return (folder / _WITHDRAWN).exists()


def refuse_withdrawn(folder: Path, remedy: str) -> None:
    """Raise UserError for a result that was marked. `remedy`: what to do instead."""
    if is_withdrawn(folder):
        raise UserError(f"{folder}: made from recordings that were withdrawn since; {remedy}")


def make_secret(path: Path, size: int = 32) -> None:
    """Random bytes in base64, in a file for its owner alone, on the disk for good; none where the file is there."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(base64.b64encode(secrets.token_bytes(size)).decode() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        pass


def onto_the_disk(path: Path) -> None:
    """A file, or a folder's names, as they are now: a power cut leaves no half of them."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
