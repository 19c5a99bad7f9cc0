"""Uploads on their way in: they wait on the disk, not in memory, and nobody else can read them there."""

import secrets
import tempfile
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class Spool:
    """A nameless file under a key that only this object has (AES-256-CTR): when it is gone, so are the bytes."""

    def __init__(self) -> None:
        self._cipher = Cipher(algorithms.AES(secrets.token_bytes(32)), modes.CTR(secrets.token_bytes(16)))
        self._file = tempfile.TemporaryFile()  # noqa: SIM115

    async def fill(self, stream: AsyncIterator[bytes]) -> None:
        """Take a body in, part by part."""
        encryptor = self._cipher.encryptor()
        async for part in stream:
            self._file.write(encryptor.update(part))

    def read(self) -> bytes:
        """The whole of it."""
        self._file.seek(0)
        return self._cipher.decryptor().update(self._file.read())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()
