"""Which code stands for which system: encrypted from before the first listener until the test is unsealed.

Answers are kept under codes alone. The key that tells what codes mean lies encrypted (AES-256-GCM, bound to the plan)
in `evaluate/listening/TEST/`; what opens it lies apart, beside the work folder. The SHA-256 of the key is published
before anyone listens: it commits to the key without telling it, because the key holds 32 random bytes.
"""

import base64
import hashlib
import json
import os
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from evaluate.stimuli import Stimulus
from recipes.provenance import make_secret, write_text
from recipes.schema import Recipe, UserError
from train.adapter import sources

_BYTES = 32
_NONCE = 12


class Sealed(UserError):
    """Which system got which rating is not known yet."""


@dataclass(frozen=True)
class Key:
    """What codes mean. `clips`: sentence → code of the system → name of the stimulus."""

    systems: Mapping[str, str]
    clips: Mapping[str, Mapping[str, str]]
    salt: str

    def text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @property
    def commitment(self) -> str:
        """What is published of the key before the test."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def code(self, system: str) -> str:
        return next(code for code, meant in self.systems.items() if meant == system)


@dataclass(frozen=True)
class Unsealing:
    """That and when the key was opened."""

    at: str  # ISO 8601, UTC
    listeners: int
    answers: int
    plan: str | None  # SHA-256 of the frozen plan; null: a pilot
    commitment: str


def new_key(stimuli: Sequence[Stimulus]) -> Key:
    """A key with codes dealt out at random; nobody can deal them out the same way again."""
    systems = sorted({stimulus.system for stimulus in stimuli})
    random.SystemRandom().shuffle(systems)
    codes = {system: f"k{number}" for number, system in enumerate(systems, 1)}
    clips: dict[str, dict[str, str]] = {}
    for stimulus in stimuli:
        clips.setdefault(stimulus.item, {})[codes[stimulus.system]] = stimulus.name
    return Key({code: system for system, code in codes.items()}, clips, secrets.token_hex(32))


def seal(recipe: Recipe, test: str, key: Key, plan: str | None) -> None:
    """Lay the key, encrypted, and its hash into the test's folder. A key that is there already stays."""
    nonce = secrets.token_bytes(_NONCE)
    hidden = nonce + AESGCM(_secret(recipe)).encrypt(nonce, key.text().encode(), _bound(test, plan))
    public = {"sha256": key.commitment, "plan": plan, "sealed": now(), "key": base64.b64encode(hidden).decode()}
    path = _sealed(recipe, test)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    write_text(part, json.dumps(public, indent=1))
    try:
        os.link(part, path)  # unlike a rename, this never takes the place of a key under which somebody answered
    except FileExistsError:
        pass
    finally:
        part.unlink()


def open_key(recipe: Recipe, test: str) -> Key:
    """The key of a test, for what plays its clips and for what reads it once it is unsealed.

    Raises UserError when it is not what was committed to, or belongs to another plan.
    """
    path = _sealed(recipe, test)
    public = commitment(recipe, test)
    if public is None:
        raise UserError(f"{path}: the key of this test is not there; restore it from a backup")
    hidden = base64.b64decode(public["key"])
    try:
        text = AESGCM(_secret(recipe)).decrypt(hidden[:_NONCE], hidden[_NONCE:], _bound(test, public["plan"]))
    except InvalidTag:
        raise UserError(
            f"{path}: the key does not open with {_secret_file(recipe)}, or the plan it was sealed under was changed"
        ) from None
    key = Key(**json.loads(text))
    if key.commitment != public["sha256"]:
        raise UserError(f"{path}: the key is not the one whose hash was published")
    return key


def commitment(recipe: Recipe, test: str) -> dict[str, Any] | None:
    """The hash of a test's key, the plan's, when it was sealed, and the encrypted key. None before that."""
    path = _sealed(recipe, test)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def folder(recipe: Recipe, test: str) -> Path:
    """Where what belongs to one test lies."""
    return recipe.folder("evaluate") / "listening" / test


# ---------------------------------------------------------------- unsealing


def unsealings(recipe: Recipe, test: str) -> list[Unsealing]:
    """Every time that a test was unsealed, first to last."""
    path = _log(recipe, test)
    if not path.is_file():
        return []
    return [Unsealing(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def unseal(recipe: Recipe, test: str, listeners: int, answers: int) -> Unsealing:
    """Note that the test is unsealed, with what had been answered by then. Nothing is written over."""
    public = commitment(recipe, test)
    open_key(recipe, test)  # refuse now rather than later what does not open
    assert public is not None
    done = Unsealing(now(), listeners, answers, public["plan"], public["sha256"])
    with open(_log(recipe, test), "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(done)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return done


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sealed(recipe: Recipe, test: str) -> Path:
    return folder(recipe, test) / "key.sealed"


def _log(recipe: Recipe, test: str) -> Path:
    return folder(recipe, test) / "unsealed.jsonl"


# ---------------------------------------------------------------- the secret


def _secret_file(recipe: Recipe) -> Path:
    return sources.key_folder(recipe) / "listening.key"


def _secret(recipe: Recipe) -> bytes:
    """What opens keys: 32 bytes in a file for its owner alone, beside the work folder, made on first use."""
    path = _secret_file(recipe)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    make_secret(path, _BYTES)
    try:
        found = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
    except ValueError:
        found = b""
    if len(found) != _BYTES:
        raise UserError(f"{path}: not a key (32 bytes in base64); restore it from a backup")
    return found


def derived(recipe: Recipe, use: str) -> bytes:
    """A key for one other use: names of clips, codes of listeners."""
    return hashlib.sha256(_secret(recipe) + use.encode()).digest()


def _bound(test: str, plan: str | None) -> bytes:
    return f"twiza listening 1\n{test}\n{plan or 'pilot'}".encode()
