"""Adapters that were taken back: a signed list, which is asked before any adapter is loaded.

The list is a DSSE envelope around JSON. Entries are only ever added, and each names the hash of the one before.
An adapter is known by its weights, wherever it lies and whatever it is called.
"""

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from recipes.provenance import file_digest, write_text
from recipes.records import Row
from recipes.schema import Recipe, UserError
from train import signature

_KIND = "application/vnd.twiza.revocations+json"
_START = "0" * 64


class Revoked(Row):
    """One adapter that must not be used any more."""

    number: int
    weights: str  # as `weights_digest` gives it
    place: str  # where it was published
    reason: str
    at: AwareDatetime
    before: str  # hash of the entry before


def weights_digest(folder: Path) -> str:
    """The weights of an adapter, or of a whole model: SHA-256 over the digests of its safetensors files."""
    found = sorted(file_digest(path) for path in folder.glob("*.safetensors"))
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def refuse_revoked(recipe: Recipe, folder: Path) -> None:
    """Raises UserError when the weights in a folder are on a list, one's own or one of `publish.revocations`."""
    lists = [read(recipe, path) for path in (list_path(recipe), *recipe.publish.revocations)]
    here = weights_digest(folder) if any(lists) else ""
    for entries in lists:
        for entry in entries:
            if entry.weights == here:
                raise UserError(
                    f"{folder}: revoked on {entry.at:%Y-%m-%d}: {entry.reason}; it must not be used, train another"
                )


def refuse_revoked_base(recipe: Recipe, base: str | None) -> None:
    """The same for a model to start from, or to hear with, where it is a folder."""
    if base is not None and Path(base).is_dir():
        refuse_revoked(recipe, Path(base))


def list_path(recipe: Recipe) -> Path:
    """One's own list: beside the signing key, so that it outlives the work folder."""
    return signature.key_path(recipe).with_name("revocations.json")


def read(recipe: Recipe, path: Path) -> list[Revoked]:
    """The entries of a list; none where one's own was not begun.

    Raises UserError when it is not signed by a key that is trusted, or entries were removed or changed.
    """
    if not path.exists():
        if path != list_path(recipe):
            raise UserError(f"{path}: no such revocation list (publish.revocations)")
        return []
    envelope = signature.read_json(path)
    payloads = (signature.opened(envelope, _KIND, key) for key in signature.trusted_keys(recipe).values())
    payload = next((found for found in payloads if found is not None), None)
    if payload is None:
        raise UserError(f"{path}: no revocation list, or not signed by a trusted key (publish.trusted); get it anew")
    try:
        entries = [Revoked.model_validate(row) for row in json.loads(payload)["entries"]]
    except (ValueError, KeyError, TypeError, ValidationError):
        raise UserError(f"{path}: not a revocation list of this version; get it anew") from None
    before = _START
    for number, entry in enumerate(entries, start=1):
        if (entry.number, entry.before) != (number, before):
            raise UserError(f"{path}: entry {number} does not follow the one before; get it anew")
        before = _hash(entry)
    return entries


def revoke(recipe: Recipe, weights: str, place: str, reason: str, at: datetime) -> Path:
    """Add an entry to one's own list and sign it, unless these weights are on it. Returns the list."""
    path = list_path(recipe)
    key = signature.private_key(signature.key_path(recipe))
    entries = read(recipe, path)
    if any(entry.weights == weights for entry in entries):
        return path
    before = _hash(entries[-1]) if entries else _START
    values = {"number": len(entries) + 1, "weights": weights, "place": place, "reason": reason, "at": at}
    entries.append(Revoked.model_validate(values | {"before": before}))
    payload = json.dumps({"entries": [entry.model_dump(mode="json") for entry in entries]}, ensure_ascii=False)
    write_text(path, json.dumps(signature.seal(payload.encode(), _KIND, key)))
    os.chmod(path, 0o644)
    return path


def _hash(entry: Revoked) -> str:
    return hashlib.sha256(entry.model_dump_json().encode()).hexdigest()
