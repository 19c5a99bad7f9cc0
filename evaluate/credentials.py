"""Signed provenance (C2PA 2.x, "Content Credentials") in files of synthetic speech: made, read and checked.

A manifest in the file says that a machine made the sound, with which adapter, base and recipe, and is bound to every
byte of it. WAV, MP3 and FLAC have a place for it; Ogg Opus has none, and no detached form of it can be read.
Sources: C2PA Technical Specification 2.4, sections 14.5 (certificates) and 18.15 (actions); IPTC, Digital Source
Types.
"""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from recipes.schema import Recipe, UserError
from train.adapter import signature

MEDIA = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac"}  # that have a place for a manifest
SYNTHESIS = "org.twiza.synthesis"  # the assertion with what is ours
TWIZA = {"name": "Twiza", "version": "0.1.0"}
_SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_C2PA_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
_DAYS = 3650
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
# No file of others makes this machine call anywhere.
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


@dataclass(frozen=True)
class Signer:
    """A certificate chain in PEM, its key in PEM, and the C2PA name of the key's algorithm."""

    chain: bytes
    key: bytes
    algorithm: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the signer's certificate."""
        return x509.load_pem_x509_certificate(self.chain).fingerprint(hashes.SHA256()).hex()


@dataclass(frozen=True)
class Manifest:
    """What a file's manifest says, and whether it is to be believed."""

    state: str  # Trusted, Valid (whole, by an unknown signer) or Invalid
    faults: tuple[str, ...]  # C2PA's codes, that of an unknown signer left out
    signer: str
    actions: tuple[Mapping[str, Any], ...]
    synthesis: Mapping[str, Any]  # ours: recipe, adapter, base, watermark

    @property
    def whole(self) -> bool:
        """Whether neither the sound nor the manifest was altered."""
        return self.state in ("Valid", "Trusted")


def installed() -> bool:
    """Whether manifests can be made and read on this machine."""
    return find_spec("c2pa") is not None


# ---------------------------------------------------------------- who signs


def open_signer(recipe: Recipe) -> Signer | None:
    """Who signs for a recipe; None where nobody does. A trial signature is made, so that faults show at the start.

    Raises UserError where signing is required and cannot be, and for a certificate or key that is not fit for it.
    """
    asked = recipe.evaluate.marking
    if asked.provenance == "off":
        return None
    if not installed():
        if asked.provenance == "required":
            raise UserError("evaluate.marking.provenance: no c2pa-python here; pip install c2pa-python==0.38.1")
        return None
    if asked.certificate and asked.key:
        signer = _given(asked.certificate, asked.key)
    else:
        signer = own(signature.key_path(recipe).parent)
    sign(_silence(), "wav", {}, signer)
    return signer


def own(folder: Path) -> Signer:
    """The self-made signer in a folder of keys, made on first use: `c2pa.key`, `c2pa.pem`; `c2pa-ca.pem` to give out.

    An own authority signs this one certificate, and its key is kept nowhere: nobody can sign another in its name.
    """
    key_path, chain_path, root_path = folder / "c2pa.key", folder / "c2pa.pem", folder / "c2pa-ca.pem"
    if not (key_path.exists() and chain_path.exists()):
        authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = _certificate("authority of one machine", authority.public_key(), authority, is_authority=True)
        leaf = _certificate("synthetic speech", key.public_key(), authority, is_authority=False)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        pem = [one.public_bytes(serialization.Encoding.PEM) for one in (leaf, root)]
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        _write(root_path, pem[1], 0o644)
        _write(chain_path, b"".join(pem), 0o644)
        _write(key_path, key.private_bytes(serialization.Encoding.PEM, *form), 0o600)
    return _given(chain_path, key_path)


def _given(certificate: Path, key: Path) -> Signer:
    """A signer from files. Raises UserError for what cannot be read, is open to others, or is not one pair."""
    try:
        if key.stat().st_mode & 0o077:
            raise UserError(f"{key}: others can read this key; run: chmod 600 {key}")
        chain, secret = certificate.read_bytes(), key.read_bytes()
        leaf = x509.load_pem_x509_certificate(chain)
        private = serialization.load_pem_private_key(secret, None)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; evaluate.marking names certificate and key") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UserError(f"{certificate}, {key}: not a certificate chain and a private key in PEM") from None
    if private.public_key() != leaf.public_key():
        raise UserError(f"{key}: not the key of the certificate {certificate}")
    if leaf.not_valid_after_utc < datetime.now(UTC):
        raise UserError(f"{certificate}: ended on {leaf.not_valid_after_utc:%Y-%m-%d}; get another")
    return Signer(chain, secret, _algorithm(private, key))


def _algorithm(key: object, path: Path) -> str:
    """C2PA 2.4, section 13.2.1."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise UserError(f"{path}: a kind of key that C2PA does not know; EC P-256, P-384 or P-521, RSA or Ed25519")


def _certificate(
    name: str, public: ec.EllipticCurvePublicKey, by: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> x509.Certificate:
    """A certificate as C2PA's profile has it. It names no person: who made it is known by its fingerprint."""

    def named(what: str) -> x509.Name:
        organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Twiza, a self-made certificate")
        return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, what)])

    now = datetime.now(UTC).replace(microsecond=0)
    uses = dict.fromkeys(_USES, False) | (
        {"key_cert_sign": True, "crl_sign": True} if is_authority else {"digital_signature": True}
    )
    made = (
        x509.CertificateBuilder(named("authority of one machine"), named(name), public, x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), True)
        .add_extension(x509.KeyUsage(**uses), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    )
    if not is_authority:
        use = x509.ExtendedKeyUsage([_C2PA_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION])
        made = made.add_extension(use, False)
    return made.sign(by, hashes.SHA256())


_USES: tuple[str, ...] = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
)
_USES += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")


def _write(path: Path, data: bytes, mode: int) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
    os.replace(part, path)


# ---------------------------------------------------------------- signing and reading


def sign(data: bytes, kind: str, synthesis: Mapping[str, str], signer: Signer) -> bytes:
    """A file with a manifest in it. `kind`: one of MEDIA; `synthesis`: what made the speech.

    Raises UserError for a certificate that C2PA refuses.
    """
    import c2pa

    action = {"action": "c2pa.created", "digitalSourceType": _SOURCE, "softwareAgent": TWIZA}
    said = [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}]
    said += [{"label": SYNTHESIS, "data": dict(synthesis)}] if synthesis else []
    manifest = {"claim_generator_info": [TWIZA], "title": "Synthetic speech", "assertions": said}
    out = io.BytesIO()
    try:
        by = c2pa.Signer.from_info(c2pa.C2paSignerInfo(signer.algorithm, signer.chain, signer.key, None))
        with by, _context() as context, c2pa.Builder.from_json(json.dumps(manifest), context=context) as builder:
            builder.sign(by, MEDIA[kind], io.BytesIO(data), out)
    except c2pa.C2paError as error:
        why = " ".join(str(error).split()).partition(" (self#")[0]
        raise UserError(f"C2PA refuses the certificate {signer.fingerprint[:12]}: {why}") from None
    return out.getvalue()


def read(data: bytes, trusted: bytes = b"") -> Manifest | None:
    """The manifest of a file, checked; None where it has none. `trusted`: authorities that are believed, in PEM.

    Raises UserError for a manifest that cannot be read at all.
    """
    import c2pa

    try:
        with _context(trusted) as context, c2pa.Reader(io.BytesIO(data), context=context) as reader:
            found, state = json.loads(reader.json()), str(reader.get_validation_state())
    except (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported):
        return None
    except c2pa.C2paError as error:
        raise UserError(f"cannot be read: {' '.join(str(error).split())}") from None
    active = found["manifests"][found["active_manifest"]]
    said = {one["label"]: one["data"] for one in active.get("assertions", [])}
    actions: list[Any] = next(
        (data["actions"] for label, data in said.items() if label.startswith("c2pa.actions")), []
    )
    by = active.get("signature_info", {})
    signer = ", ".join(by[key] for key in ("issuer", "common_name") if by.get(key))
    codes = (one["code"] for one in found.get("validation_status", []))
    faults = tuple(dict.fromkeys(code for code in codes if code != "signingCredential.untrusted"))
    return Manifest(state, faults, signer, tuple(actions), said.get(SYNTHESIS, {}))


def _context(trusted: bytes = b"") -> Any:
    import c2pa

    settings: dict[str, Any] = dict(_OFFLINE)
    if trusted:
        settings["trust"] = {"trust_anchors": trusted.decode()}
    return c2pa.Context.from_dict(settings)


def _silence() -> bytes:
    """The shortest WAV, for a trial."""
    out = io.BytesIO()
    soundfile.write(out, np.zeros(16), 16_000, format="WAV", subtype="PCM_16")
    return out.getvalue()
