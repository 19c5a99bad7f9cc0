"""Speech over HTTP: OpenAI's `/v1/audio/speech` as vLLM and others speak it too, Mistral's, ElevenLabs'.

A sentence goes out once: what came back is kept under the digest of the request, and asked for again never.
Whether it may go out is decided before, in `evaluate.systems`. Sources: the services' API references, 2026-11.
"""

import base64
import binascii
import email.utils
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from recipes.provenance import write_text
from recipes.schema import Speech, UserError
from train.adapter import foreign_audio

_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
_REFUSED = {400, 413, 415, 422}  # this sentence, where others may do
_MOST_BYTES = 64 * 2**20
_MOST_MINUTES = 10
_LONGEST_WAIT_S = 120
_LEAST_S_PER_LETTER = 0.025  # nobody says 40 letters a second: such speech is half of it

Samples = NDArray[np.float32]


class NotSpoken(Exception):
    """A sentence that a server will not say. Its text is the reason."""


class Again(Exception):
    """A request that may go well another time."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        """`wait_s`: as long as the server asked to be left alone."""
        super().__init__(reason)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Prompt:
    """A recording that shows the voice to speak in, with its words. It leaves with the sentence."""

    id: str  # of the dataset's row
    wav: bytes
    text: str


@dataclass(frozen=True)
class Note:
    """What is kept beside a rendered file."""

    rate_hz: int
    took_s: float  # from the request to the last byte, of the attempt that succeeded
    characters: int
    cost: float | None  # None: the recipe gives no price
    short: bool  # shorter than speech of so many letters can be, twice
    needs: dict[str, list[str]]  # of the dataset's rows whose words or voice went out: the purposes it takes


def request(system: Speech, text: str, prompt: Prompt | None = None) -> tuple[str, dict[str, Any]]:
    """Address and body of the request for a sentence. No key is in either."""
    if system.protocol == "elevenlabs":
        sound = {"wav": f"wav_{system.rate_hz}", "pcm": f"pcm_{system.rate_hz}"}
        sound |= {"mp3": "mp3_44100_128", "opus": "opus_48000_128"}
        voice_id = quote(str(system.voice), safe="")
        address = f"{system.url.rstrip('/')}/text-to-speech/{voice_id}?output_format={sound[system.format]}"
        return address, _without_none({**system.options, "text": text, "model_id": system.model})
    voice = {"voice_id" if system.protocol == "mistral" else "voice": system.voice}
    body = {**system.options, "model": system.model, "input": text, **voice, "response_format": system.format}
    if prompt:
        sound_of = base64.b64encode(prompt.wav).decode()
        if system.protocol == "mistral":
            body |= {"ref_audio": sound_of}
        else:  # as vLLM has it
            body |= {"ref_audio": f"data:audio/wav;base64,{sound_of}", "ref_text": prompt.text}
    return f"{system.url.rstrip('/')}/audio/speech", _without_none(body)


def _without_none(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}


def place(folder: Path, system: Speech, text: str, prompt: Prompt | None = None) -> Path:
    """Where the answer to a request is kept: named by all that decides it, and by nothing else."""
    address, body = request(system, text, prompt)
    content = json.dumps([system.protocol, address, body, system.rate_hz], sort_keys=True, ensure_ascii=False)
    return folder / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.flac"


def key_of(system: Speech) -> str | None:
    """The key, from the environment. Raises UserError when the variable is not set."""
    if system.key_env is None:
        return None
    key = os.environ.get(system.key_env, "").strip()
    if not key:
        raise UserError(f"{system.name}: the environment variable {system.key_env} is not set; put the key there")
    return key


def open_client(system: Speech) -> httpx.Client:
    """A client for a server. It follows nobody elsewhere; to this machine it goes without any proxy."""
    key = key_of(system)
    headers = {}
    if key:
        headers = {"xi-api-key": key} if system.protocol == "elevenlabs" else {"Authorization": f"Bearer {key}"}
    return httpx.Client(headers=headers, timeout=system.timeout_s, trust_env=not system.local)


def speak(
    client: httpx.Client,
    system: Speech,
    text: str,
    prompt: Prompt | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Samples, Note]:
    """A sentence as the server says it: float32 (n,), and how that went.

    What may go well another time is tried again, after 1, 2, 4 … seconds or as long as `Retry-After` says.
    Raises NotSpoken for a sentence that the server will not say, and UserError where nothing can be asked of it.
    """
    short = False
    for attempt in range(system.attempts):
        last = attempt + 1 == system.attempts
        try:
            started = time.perf_counter()
            data = fetch(client, system, text, prompt)
            took_s = time.perf_counter() - started
            samples, rate_hz = sound(system, data)
            least_s = _LEAST_S_PER_LETTER * sum(letter.isalpha() for letter in text)
            if len(samples) / rate_hz < least_s and not (short or last):
                short = True
                raise Again(f"{len(samples) / rate_hz:.2f} s for {len(text)} characters")
        except Again as error:
            wait_s = 2.0**attempt if error.wait_s is None else error.wait_s
            if last or wait_s > _LONGEST_WAIT_S:
                rest = f"; it wants {wait_s:.0f} s of rest" if wait_s > _LONGEST_WAIT_S else ""
                raise UserError(
                    f"{system.name}: {_scrubbed(error, system)} (attempt {attempt + 1} of {system.attempts}{rest}); "
                    "what came is kept: run the same command again later"
                ) from None
            sleep(min(wait_s, _LONGEST_WAIT_S))
            continue
        cost = None if system.price_per_million is None else len(text) * system.price_per_million / 1e6
        short = len(samples) / rate_hz < least_s
        return samples, Note(rate_hz, took_s, len(text), cost, short, {})
    raise AssertionError("unreachable")


def fetch(client: httpx.Client, system: Speech, text: str, prompt: Prompt | None = None) -> bytes:
    """The sound in the answer to one request. Raises Again, NotSpoken or UserError."""
    address, body = request(system, text, prompt)
    try:
        with client.stream("POST", address, json=body) as answer:
            data = _bounded(answer, system)
    except httpx.TimeoutException:
        raise Again(f"no answer within {system.timeout_s:g} s") from None
    except (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise Again(f"{system.url} cannot be reached ({error})") from None
    except httpx.HTTPError as error:  # the connection broke: half a file
        raise Again(f"the answer broke off ({' '.join(str(error).split())[:120]})") from None
    if answer.status_code != 200:
        raise _fault(system, answer.status_code, answer.headers.get("retry-after"), data)
    kind = answer.headers.get("content-type", "").split(";")[0].strip().lower()
    if system.protocol == "mistral" and kind == "application/json":
        return _unpacked(data)
    if kind in ("text/html", "application/json", "text/plain"):
        raise UserError(
            f"{system.name}: {address.split('?')[0]} answered with {kind}, not with sound: {_said(data, system)!r}; "
            "is `url` right, up to /v1, and `protocol`?"
        )
    return data


def sound(system: Speech, data: bytes) -> tuple[Samples, int]:
    """The samples of an answer: float32 (n,), and their rate. Raises Again for half a file, NotSpoken for silence."""
    if system.format == "pcm":
        if len(data) % 2 or not data:
            raise Again(f"half a file: {len(data)} bytes of 16-bit pcm")
        samples = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
        if not samples.any():
            raise NotSpoken("silence from beginning to end")
        return samples, system.rate_hz
    try:
        return foreign_audio(data, _MOST_MINUTES)
    except ValueError as error:
        reason = str(error)
        if reason.startswith(("silence", "longer")):
            raise NotSpoken(reason) from None
        raise Again(f"half a file, or none: {reason}") from None


def _bounded(answer: httpx.Response, system: Speech) -> bytes:
    """The body of an answer, up to a limit of size and of time. Raises Again beyond them."""
    until = time.monotonic() + 5 * system.timeout_s
    data = bytearray()
    for piece in answer.iter_bytes():
        data += piece
        if len(data) > _MOST_BYTES or time.monotonic() > until:
            raise Again(f"the answer does not end: {len(data)} bytes so far")
    return bytes(data)


def _fault(system: Speech, status: int, retry_after: str | None, data: bytes) -> Exception:
    """What an answer other than 200 means."""
    reason = f"the server says {status}: {_said(data, system)}"
    if status in _AGAIN:
        return Again(reason, _seconds(retry_after))
    if status in _REFUSED:
        return NotSpoken(reason)
    if status in (401, 403):
        where = f"the key in {system.key_env}" if system.key_env else "`key_env`, which names none"
        return UserError(f"{system.name}: {reason}; look at {where}")
    return UserError(f"{system.name}: {reason}; look at `url`, `model` and `voice`")


def _seconds(retry_after: str | None) -> float | None:
    """How long to wait, of a header in seconds or with a date (RFC 9110, 10.2.3)."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def _unpacked(data: bytes) -> bytes:
    """The sound within Mistral's JSON."""
    try:
        return base64.b64decode(json.loads(data)["audio_data"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise Again("half a file: the JSON holds no whole `audio_data`") from None


def _said(data: bytes, system: Speech) -> str:
    """What a server wrote, on one short line."""
    text = data[:4096].decode(errors="replace")
    try:
        found = json.loads(data)
        for key in ("error", "detail", "message"):
            found = found.get(key, found) if isinstance(found, dict) else found
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    except ValueError:
        pass
    return _scrubbed(text, system)[:200]


def _scrubbed(text: object, system: Speech) -> str:
    """Text on one line, without the key: some servers repeat what they were sent."""
    line = " ".join(str(text).split())
    key = os.environ.get(system.key_env, "").strip() if system.key_env else ""
    return line.replace(key, "…") if key else line


def keep(path: Path, note: Note, needs: dict[str, list[str]]) -> None:
    """Write the note of a file, which lies there already: a file without one counts as never come."""
    write_text(path.with_suffix(".json"), json.dumps(asdict(replace(note, needs=needs)), indent=1))


def note_of(path: Path) -> Note | None:
    """The note of a file; None where there is none, and so no whole file."""
    try:
        return Note(**json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
