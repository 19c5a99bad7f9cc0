"""Signatures with a plain key: ECDSA on P-256, in the formats that other tools verify.

A folder is signed as the OpenSSF Model Signing specification v1.0 says: an in-toto statement of every file's
SHA-256, in a DSSE envelope, in a Sigstore bundle (`model.sig`). `model_signing verify key` checks it.
Sources: github.com/sigstore/model-transparency; github.com/secure-systems-lab/dsse, protocol.md v1.0.2.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from prepare.dataset import sources
from recipes.provenance import file_digest, write_text
from recipes.schema import Recipe, UserError
from train import inspect

SIGNATURE = "model.sig"
_STATEMENT = "application/vnd.in-toto+json"
_PREDICATE = "https://model_signing/signature/v1.0"
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_MOST_BYTES = 16 * 2**20  # of a signature or a list


def key_path(recipe: Recipe) -> Path:
    """Where the private key of a recipe is, or will be. Its public half lies beside it, as `.pub`."""
    return recipe.publish.key or sources.key_folder(recipe) / "signing.pem"


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in a PEM file, made when there is none, readable by its owner alone. Raises UserError for another."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(made.private_bytes(serialization.Encoding.PEM, *form))
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path}: others can read the signing key; run: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise UserError(f"{path}: not a private key as `openssl ecparam -name prime256v1 -genkey -noout` makes it")
    public = path.with_suffix(".pub")
    if not public.exists():
        write_text(public, pem(key.public_key()).decode())
    return key


def trusted_keys(recipe: Recipe) -> dict[str, ec.EllipticCurvePublicKey]:
    """The public keys that are believed, by their fingerprints: one's own, and those of `publish.trusted`.

    Raises UserError for a file that is no such key.
    """
    own = key_path(recipe).with_suffix(".pub")
    paths = [*([own] if own.is_file() else []), *recipe.publish.trusted]
    keys = [public_key(path) for path in paths]
    return {fingerprint(key): key for key in keys}


def public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """The public key in a PEM file. Raises UserError for anything else."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise UserError(f"{path}: not a public key (PEM, EC P-256)")
    return key


def pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as a PEM file holds it."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key in PEM: the hint by which Model Signing names a key."""
    return hashlib.sha256(pem(key)).hexdigest()


# ---------------------------------------------------------------- envelopes


def seal(payload: bytes, kind: str, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    """A DSSE envelope around some bytes of a kind (a media type)."""
    signed = key.sign(_bound(payload, kind), ec.ECDSA(hashes.SHA256()))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(signed).decode(), "keyid": ""}],
    }


def opened(envelope: Mapping[str, Any], kind: str, key: ec.EllipticCurvePublicKey) -> bytes | None:
    """The bytes in an envelope; None when the key did not sign them, or it holds another kind."""
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        signed = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        if envelope["payloadType"] != kind:
            return None
        key.verify(signed, _bound(payload, kind), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, KeyError, IndexError, TypeError, ValueError):
        return None
    return payload


def _bound(payload: bytes, kind: str) -> bytes:
    """DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


# ---------------------------------------------------------------- folders


def sign_folder(folder: Path, name: str, key: ec.EllipticCurvePrivateKey) -> None:
    """Write `model.sig` over every other file of a folder. `name`: of the model."""
    found = [
        {"name": file, "algorithm": "sha256", "digest": digest} for file, digest in sorted(digests(folder).items())
    ]
    whole = hashlib.sha256(b"".join(bytes.fromhex(row["digest"]) for row in found)).hexdigest()
    settings = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [SIGNATURE]}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": whole}}],
        "predicateType": _PREDICATE,
        "predicate": {"serialization": settings, "resources": found},
    }
    bundle = {
        "mediaType": _BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": fingerprint(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": seal(json.dumps(statement).encode(), _STATEMENT, key),
    }
    write_text(folder / SIGNATURE, json.dumps(bundle))


def verify_folder(folder: Path, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> str:
    """Whether a signed folder is as it was signed, by one of the keys. Returns the key's fingerprint.

    Raises UserError when it is not, naming the first file that differs, is missing or is new.
    """
    path = folder / SIGNATURE
    bundle = read_json(path)
    try:
        hint = str(bundle["verificationMaterial"]["publicKey"]["hint"])
        envelope = bundle["dsseEnvelope"]
    except (KeyError, TypeError):
        raise UserError(f"{path}: not a signature with a key; download it again") from None
    if hint not in keys:
        raise UserError(f"{path}: signed by a key that is not trusted ({hint[:12]}); add it to publish.trusted")
    payload = opened(envelope, _STATEMENT, keys[hint])
    if payload is None:
        raise UserError(f"{path}: the signature is not that of the key it names; download it again")
    try:
        rows = json.loads(payload)["predicate"]["resources"]
        signed = {str(row["name"]): str(row["digest"]) for row in rows if row["algorithm"] == "sha256"}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not a statement of files; download it again") from None
    for file in first_differences(signed, digests(folder)):
        raise UserError(f"{folder / file}: altered, added or removed after it was signed; download it again")
    return hint


def first_differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The names whose values differ, sorted."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but its signature and what the hub's client lays there, by its path in it."""
    files: Iterable[Path] = (path for path in folder.rglob("*") if path.is_file())
    paths = {path.relative_to(folder): path for path in files if path != folder / SIGNATURE}
    ours = (name for name in paths if name.parts[0] not in inspect.OF_THE_HUB)
    return {name.as_posix(): file_digest(paths[name]) for name in ours}


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises UserError when it is none, or too large to be meant."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path}: {path.stat().st_size / 2**20:.0f} MiB, which no such file needs")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path}: cannot be read as JSON; download it again") from None
