"""The keys of the vault, in a store of their own: apart from the ledger, from the audio, and from their backups.

Each speaker has a data key, wrapped under the master key (AES-256-GCM, NIST SP 800-38D). Without it every
copy of their audio is noise, wherever it lies. What speakers give for being reached again is kept here too,
under the same key.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from collect.tables import durable
from recipes.provenance import make_secret
from recipes.schema import Recipe, UserError

ENVIRONMENT = "TWIZA_MASTER_KEY"
_BYTES = 32
_NONCE = 12

_meta = sa.MetaData()
_keys = sa.Table(
    "keys",
    _meta,
    sa.Column("speaker", sa.String, primary_key=True),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)
_contacts = sa.Table(
    "contacts",
    _meta,
    sa.Column("speaker", sa.String, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)
_destroyed = sa.Table("destroyed", _meta, sa.Column("speaker", sa.String, primary_key=True))


class Gone(UserError):
    """A speaker's key was destroyed, or is not here: their audio cannot be read."""


class KeyStore:
    """The open store. Files are made on first use, readable by their owner alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._master = _master(folder)
        self._open: dict[str, AESGCM] = {}
        path = folder / "keys.sqlite"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 60})
        durable(self._engine, journal="DELETE")
        _meta.create_all(self._engine)

    def seal(self, speaker: str, data: bytes, name: str) -> bytes:
        """Encrypt under the speaker's key, made when there is none. `name` must be given again to open it.

        Raises Gone when the key was destroyed.
        """
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher(speaker, make=True).encrypt(nonce, data, _bound(speaker, name))

    def open(self, speaker: str, sealed: bytes, name: str) -> bytes:
        """Decrypt. Raises Gone without the key, UserError when the bytes are not what was sealed under that name."""
        try:
            return self._cipher(speaker).decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(speaker, name))
        except (InvalidTag, ValueError):
            raise UserError(f"{name}: damaged, or not of speaker {speaker}") from None

    def destroy(self, speakers: Iterable[str]) -> int:
        """Destroy the keys of speakers, for good: no new one is ever made. How many there were."""
        gone = sorted(set(speakers))
        with self._engine.begin() as connection:
            known = set(connection.scalars(sa.select(_destroyed.c.speaker)))
            for speaker in gone:
                self._open.pop(speaker, None)
                if speaker not in known:
                    connection.execute(_destroyed.insert().values(speaker=speaker))
            count = connection.execute(_keys.delete().where(_keys.c.speaker.in_(gone))).rowcount
            connection.execute(_contacts.delete().where(_contacts.c.speaker.in_(gone)))
        return int(count)

    def destroyed(self) -> set[str]:
        """The speakers whose keys were destroyed."""
        with self._engine.connect() as connection:
            return set(connection.scalars(sa.select(_destroyed.c.speaker)))

    def holds(self, speakers: Iterable[str]) -> set[str]:
        """Those of the speakers that have a key."""
        with self._engine.connect() as connection:
            return set(connection.scalars(sa.select(_keys.c.speaker))) & set(speakers)

    def keep_contact(self, speaker: str, contact: str) -> None:
        """Keep how a speaker can be reached, encrypted; it replaces what was there."""
        sealed = self.seal(speaker, contact.encode(), "contact")
        with self._engine.begin() as connection:
            connection.execute(_contacts.delete().where(_contacts.c.speaker == speaker))
            connection.execute(_contacts.insert().values(speaker=speaker, sealed=sealed))

    def contact(self, speaker: str) -> str | None:
        """How a speaker can be reached. Whoever asks has asked the ledger first."""
        with self._engine.connect() as connection:
            sealed = connection.scalar(sa.select(_contacts.c.sealed).where(_contacts.c.speaker == speaker))
        return self.open(speaker, sealed, "contact").decode() if sealed else None

    def fingerprint(self, secret: str) -> str:
        """A secret (a withdrawal code) as it is stored: nothing without the master key."""
        return hmac.new(self._master, b"code " + secret.encode(), hashlib.sha256).hexdigest()

    def derived(self, name: str) -> bytes:
        """A key for one other use, 32 bytes (HMAC-SHA-256 of its name under the master key)."""
        return hmac.new(self._master, b"use " + name.encode(), hashlib.sha256).digest()

    def close(self) -> None:
        self._open.clear()
        self._engine.dispose()

    def _cipher(self, speaker: str, make: bool = False) -> AESGCM:
        if speaker not in self._open:
            self._open[speaker] = AESGCM(self._unwrap(speaker, make))
        return self._open[speaker]

    def _unwrap(self, speaker: str, make: bool) -> bytes:
        with self._engine.connect() as connection:
            wrapped = connection.scalar(sa.select(_keys.c.wrapped).where(_keys.c.speaker == speaker))
            gone = connection.scalar(sa.select(_destroyed.c.speaker).where(_destroyed.c.speaker == speaker))
        if gone or (wrapped is None and not make):
            raise Gone(
                f"the key of speaker {speaker} {'was destroyed' if gone else 'is not in ' + str(self._folder)}"
            )
        if wrapped is None:
            key = secrets.token_bytes(_BYTES)
            nonce = secrets.token_bytes(_NONCE)
            wrapped = nonce + AESGCM(self._master).encrypt(nonce, key, _bound(speaker, "key"))
            try:
                with self._engine.begin() as connection:
                    connection.execute(_keys.insert().values(speaker=speaker, wrapped=wrapped))
            except sa.exc.IntegrityError:  # another writer made it meanwhile
                return self._unwrap(speaker, make=False)
            return key
        try:
            return AESGCM(self._master).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _bound(speaker, "key"))
        except InvalidTag:
            raise UserError(f"{self._folder}: the keys were made under another master key than this one") from None


def key_folder(recipe: Recipe) -> Path:
    """Where the keys of a recipe are: `collect.keys`, or beside the work folder, never in it."""
    return recipe.collect.keys or recipe.work_dir.with_name(recipe.work_dir.name + ".keys")


def _master(folder: Path) -> bytes:
    """The master key: from the environment, or from a file that is made on first use."""
    if given := os.environ.get(ENVIRONMENT):
        return _read(given, f"the environment's {ENVIRONMENT}")
    path = folder / "master.key"
    make_secret(path, _BYTES)
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path}: others can read the master key; run: chmod 600 {path}")
    return _read(path.read_text(encoding="ascii", errors="replace"), str(path))


def _read(text: str, place: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _BYTES:
        raise UserError(f"{place}: not a master key (32 bytes in base64, as `openssl rand -base64 32` makes)")
    return key


def _bound(speaker: str, name: str) -> bytes:
    """What a sealed thing is bound to: it opens for the same speaker and name only."""
    return f"twiza 1\n{speaker}\n{name}".encode()
