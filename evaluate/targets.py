"""Where a package goes: a folder, the Hugging Face hub, or any URL that fsspec knows; and how it comes back.

Whatever the target, a reader sees the package that was there, or the new one, and never a part of one.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from recipes.provenance import file_digest, write_text
from recipes.schema import UserError
from train.adapter import signature

WAITS_S = (2.0, 8.0, 30.0)  # between tries, where the hub is busy or away
_POINTER = "latest.json"
_CARD = "README.md"
_AGAIN = (408, 429, 500, 502, 503, 504)
Gated = Literal["manual", "auto", "off"]
Answer = TypeVar("Answer")


def upload(folder: Path, place: str, version: str, still: Callable[[], None], gated: Gated, public: bool) -> str:
    """Bring a signed package to a place. Returns what was done. `still`: raises UserError when it may no longer be.

    `still` is asked before anything leaves, and again just before others can see it. Run again after a failure, it
    goes on with what is missing. Raises UserError when the place does not take it.
    """
    still()
    if place.startswith("hub:"):
        return _to_hub(folder, place.removeprefix("hub:"), version, still, gated, public)
    if "://" in place:
        return _to_url(folder, place, version, still)
    return _to_folder(folder, Path(place), still)


def take_back(place: str, card: str, listed: Path, delete: bool) -> str:
    """Remove what was published, and leave a card that says so beside the list of revocations. Returns what was done.

    With `delete`, nothing is left: no card either. Raises UserError when the place does not answer.
    """
    if place.startswith("hub:"):
        return _from_hub(place.removeprefix("hub:"), card, listed, delete)
    if "://" in place:
        return _from_url(place, card, listed, delete)
    return _from_folder(Path(place), card, listed, delete)


# ---------------------------------------------------------------- a folder


def _to_folder(folder: Path, target: Path, still: Callable[[], None]) -> str:
    _refuse_others(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part, old = (target.with_name(f".{target.name}.{word}.{os.getpid()}") for word in ("new", "old"))
    try:
        shutil.copytree(folder, part, copy_function=shutil.copyfile)  # not the modes: others are to read it
        still()
        if target.exists():
            os.replace(target, old)
        os.replace(part, target)
    finally:
        if old.exists() and not target.exists():
            os.replace(old, target)
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return f"{target}: published"


def _from_folder(target: Path, card: str, listed: Path, delete: bool) -> str:
    if not target.is_dir():
        return f"{target}: nothing was there any more"
    _refuse_others(target)
    shutil.rmtree(target)
    if delete:
        return f"{target}: deleted"
    write_text(target / _CARD, card)
    shutil.copyfile(listed, target / listed.name)
    return f"{target}: deleted, and a card says so"


def _refuse_others(target: Path) -> None:
    """Raises UserError for a folder that holds something else than what was published, or its tombstone."""
    if not target.exists():
        return
    ours = any((target / name).is_file() for name in (signature.SIGNATURE, "revocations.json"))
    if not target.is_dir() or (any(target.iterdir()) and not ours):
        raise UserError(f"{target}: not empty and nothing that was published from here; name another folder")


# ---------------------------------------------------------------- a URL


def _to_url(folder: Path, place: str, version: str, still: Callable[[], None]) -> str:
    """Files into a folder of their version's name; then the pointer to it, one small file, which readers follow."""
    files, root = _open(place)
    here, sent = f"{root}/{version}", 0
    try:
        files.makedirs(here, exist_ok=True)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            there = f"{here}/{path.relative_to(folder).as_posix()}"
            if not _is_there(files, there, path):
                files.makedirs(there.rpartition("/")[0], exist_ok=True)
                files.put_file(str(path), there)
                sent += 1
        still()
        before = _pointed(files, root)
        files.pipe_file(f"{root}/{_POINTER}", json.dumps({"version": version}).encode())
        if before and before != version:
            files.rm(f"{root}/{before}", recursive=True)
    except OSError as error:
        raise UserError(f"{place}: {' '.join(str(error).split())[:160]}; run the same command again") from None
    return f"{place}/{version}: published, {sent} files sent; {_POINTER} names it"


def _from_url(place: str, card: str, listed: Path, delete: bool) -> str:
    files, root = _open(place)
    try:
        if files.exists(f"{root}/{_POINTER}"):
            files.rm_file(f"{root}/{_POINTER}")  # first: nobody is led to what is being removed
        for row in files.ls(root, detail=True) if files.exists(root) else []:
            name = row["name"].rstrip("/").rpartition("/")[2]
            if row["type"] == "directory" and len(name) == 64:
                files.rm(row["name"], recursive=True)
        if not delete:
            files.pipe_file(f"{root}/{_CARD}", card.encode())
            files.pipe_file(f"{root}/{listed.name}", listed.read_bytes())
    except OSError as error:
        raise UserError(f"{place}: {' '.join(str(error).split())[:160]}; run the same command again") from None
    return f"{place}: deleted" + ("" if delete else ", and a card says so")


def _open(place: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. Raises UserError where there is none for it."""
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError, OSError) as error:
        raise UserError(f"{place}: {' '.join(str(error).split())[:160]} (publish.to)") from None
    return files, root.rstrip("/")


def _is_there(files: Any, there: str, path: Path) -> bool:
    """Whether a file was sent before, and whole: the same bytes, not the same length alone."""
    if not files.exists(there) or files.info(there)["size"] != path.stat().st_size:
        return False
    with files.open(there, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == file_digest(path)


def _pointed(files: Any, root: str) -> str | None:
    """The version that readers are led to."""
    if not files.exists(f"{root}/{_POINTER}"):
        return None
    try:
        version = str(json.loads(files.cat_file(f"{root}/{_POINTER}"))["version"])
    except (ValueError, KeyError, TypeError):
        return None
    return version if len(version) == 64 and version.isalnum() else None


# ---------------------------------------------------------------- the hub


def _to_hub(folder: Path, name: str, version: str, still: Callable[[], None], gated: Gated, public: bool) -> str:
    """A private repository first, its gate closed; then all files in one commit; then it is shown.

    Large files that a failed run sent are on the hub already, which says so, and are not sent again.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api = _api()
    _asked(name, lambda: api.create_repo(name, private=True, exist_ok=True))
    hide = None if public else True  # also one that was public before
    _asked(name, lambda: api.update_repo_settings(name, gated=False if gated == "off" else gated, private=hide))
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    there = _asked(name, lambda: api.list_repo_files(name))
    added = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=path) for file, path in sorted(paths.items())]
    gone = [CommitOperationDelete(path_in_repo=file) for file in there if file not in {*paths, ".gitattributes"}]
    _asked(name, lambda: api.preupload_lfs_files(name, added, free_memory=False))
    still()
    message = f"Adapter {version[:12]}"
    done = _asked(name, lambda: api.create_commit(name, operations=[*added, *gone], commit_message=message))
    if gone:  # an earlier version may hold voices that left
        _forget_history(api, name, {file_digest(path) for path in paths.values()})
    if public:
        still()
        _asked(name, lambda: api.update_repo_settings(name, private=False))
    reach = f"{'gated' if gated != 'off' else 'open'}, {'public' if public else 'private'}"
    return f"{done.commit_url}: published, {reach}"


def _from_hub(name: str, card: str, listed: Path, delete: bool) -> str:
    """Every file goes, with history and stored bytes; the card and the list take their place."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api = _api()
    if not _asked(name, lambda: api.repo_exists(name)):
        return f"hub:{name}: nothing was there any more"
    if delete:
        _asked(name, lambda: api.delete_repo(name, missing_ok=True))
        return f"hub:{name}: deleted"
    _asked(name, lambda: api.update_repo_settings(name, gated="manual"))  # at once, before the files go
    there = _asked(name, lambda: api.list_repo_files(name))
    left = {_CARD: card.encode(), listed.name: listed.read_bytes()}
    gone = [CommitOperationDelete(path_in_repo=file) for file in there if file not in {*left, ".gitattributes"}]
    added = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=content) for file, content in left.items()]
    _asked(name, lambda: api.create_commit(name, operations=[*added, *gone], commit_message="Revoked"))
    _forget_history(api, name, set())
    return f"hub:{name}: deleted and gated, and a card says so"


def _forget_history(api: Any, name: str, kept: set[str]) -> None:
    """One commit is left, and of large files only those of these digests."""
    _asked(name, lambda: api.super_squash_history(name))
    stale = [file for file in _asked(name, lambda: list(api.list_lfs_files(name))) if file.file_oid not in kept]
    if stale:
        _asked(name, lambda: api.permanently_delete_lfs_files(name, stale))


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def _asked(name: str, ask: Callable[[], Answer]) -> Answer:
    """Ask the hub, again where it is busy. Raises UserError in one line for everything else."""
    from huggingface_hub import errors

    for wait_s in (*WAITS_S, None):
        try:
            return ask()
        # Refused, no network, no login, no such name; the library does not list the first where mypy looks, and
        # wraps what goes wrong in an upload.
        except (errors.HTTPError, OSError, ValueError, RuntimeError) as error:  # type: ignore[attr-defined]
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
            response = getattr(cause, "response", None)
            status = 0 if response is None else int(response.status_code)
            if status not in _AGAIN or wait_s is None:
                raise UserError(_told(name, status, cause)) from None
            time.sleep(wait_s)
    raise AssertionError


def _told(name: str, status: int, error: BaseException) -> str:
    remedy = {
        0: f"{' '.join(str(error).split())[:160]}; run the same command again",
        401: "not logged in, or the token is no longer good; run: hf auth login",
        403: "this token may not write there; take one with write access to it, or another name",
        404: "no such repository or owner for this token; look at publish.to",
        429: "too many requests; run the same command later: what was sent is not sent again",
    }
    said = remedy.get(status) or ("the hub is out of order; run the same command later" if status >= 500 else None)
    return f"hub:{name}: {said or ' '.join(str(error).split())[:160]}" + (f" (HTTP {status})" if status else "")
