"""Voice notes of an exported WhatsApp chat.

The chat is read for one thing: who sent which voice note. The name a sender displays becomes a code and
is kept nowhere, nor is the chat's file name, which holds a name too; what was written is not kept either.
"""

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from collect.sources.metadata import Entry, numbered, read_text, renamed
from recipes.schema import Collect, Columns, UserError

_TABLES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")  # of transcripts, by file
_SOUND = (".opus", ".m4a", ".mp3", ".aac", ".ogg", ".amr", ".wav")
# What phones call a voice note. AUD-… files and other endings are audio that was passed on: a song, an advert.
_NOTE = r"PTT-\d{8}-WA\d+\.opus|\d+-AUDIO-[\d-]+\.opus"
# The words around a file's name are in the phone's language: `(file attached)`, `< pièce jointe : …>`. The
# message must hold nothing else, so that a name typed by someone else attributes nothing.
_ANDROID = re.compile(rf"\d[^\[\]]{{5,30}}? - (?P<sender>[^:]+?) ?: (?P<file>{_NOTE}) \([^()]+\)")
_IPHONE = re.compile(rf"\[[^\]]{{6,40}}\] (?P<sender>[^:]+?) ?: <[^<>:]+: ?(?P<file>{_NOTE}) ?>")
_UNSEEN = dict.fromkeys(map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"))


def voice_notes(settings: Collect, salt: Path) -> Iterator[Entry]:
    """The voice notes of a chat's folder. `salt`: the file that makes senders' codes, made when it is not there.

    Without a chat, all notes are of `collect.speaker`. Raises UserError for a folder without notes or with
    more than one chat.
    """
    folder = settings.source
    names = [path.name for path in sorted(folder.iterdir()) if path.suffix.lower() in _SOUND]
    notes = [name for name in names if re.fullmatch(_NOTE, name)]
    if not notes:
        raise UserError(f"{folder}: no voice note (PTT-….opus, …-AUDIO-….opus) in it; export the chat with its media")
    chat = _chat(settings)
    sent = _senders(chat, folder, _salt(salt)) if chat else {}
    texts = _transcripts(settings)
    for name in dict.fromkeys([*notes, *sent]):
        place, speaker, fault = sent.get(name, ("", "", "" if chat is None else "no message of the chat sends it"))
        row = texts.pop(name, None)
        values = row.values if row else dict.fromkeys(Columns.model_fields, "")
        where = place or (row.place if row else "voice note")
        yield Entry(where, {**values, "file": name, "speaker": speaker}, left_out=fault)
    for name in names:
        if name not in notes:
            yield Entry("folder", {"file": name}, left_out="audio that was passed on, not a voice note")
    for name, row in texts.items():
        yield Entry(row.place, {"file": name}, left_out="a transcript of no voice note in the folder")


def _chat(settings: Collect) -> Path | None:
    """The text of the chat; None where there is none and the recipe says who spoke."""
    folder = settings.source
    if (folder / "_chat.txt").is_file():
        return folder / "_chat.txt"
    texts = sorted(folder.glob("*.txt"))
    if len(texts) > 1:
        raise UserError(f"{folder}: {len(texts)} texts (.txt) in it; keep one chat in a folder, and no other text")
    if not texts and not settings.speaker:
        raise UserError(
            f"{folder}: no chat (_chat.txt) that says who sent what; if it was one person, give collect.speaker"
        )
    return texts[0] if texts else None


def _senders(chat: Path, folder: Path, salt: bytes) -> dict[str, tuple[str, str, str]]:
    """Place, speaker and fault of each voice note that a message sends."""
    found: dict[str, tuple[str, str, str]] = {}
    for number, line in enumerate(read_text(chat, f"{folder}: its chat").split("\n"), start=1):
        line = line.translate(_UNSEEN).replace("\u202f", " ").replace("\u00a0", " ").strip()
        message = _ANDROID.fullmatch(line) or _IPHONE.fullmatch(line)
        if message:
            place, speaker = f"chat:{number}", _code(message["sender"], salt)
            first = found.get(message["file"], (place, speaker, ""))
            same = first[1] == speaker
            found[message["file"]] = first if same else (place, "", "two messages send it, under different names")
    return found


def _code(name: str, salt: bytes) -> str:
    """A sender's code: the same for the same name under the same salt, and no way back without it."""
    plain = " ".join(unicodedata.normalize("NFC", name).casefold().replace("~", " ").split())
    return f"wa-{hmac.new(salt, plain.encode(), hashlib.sha256).hexdigest()[:16]}"


def _salt(path: Path) -> bytes:
    """The salt of this work folder, 32 bytes that only their owner can read."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as part:  # made with the mode 600
            part.write(secrets.token_bytes(32))
            part.flush()
            os.fsync(part.fileno())
            with suppress(FileExistsError):  # another run was first
                os.link(part.name, path)
    salt = path.read_bytes()
    if len(salt) != 32:
        raise UserError(f"{path}: damaged; bring it back from a copy: with another, every sender has another code")
    return salt


def _transcripts(settings: Collect) -> dict[str, Entry]:
    """Rows of the table of transcripts, by file; none where there is no such table."""
    names = [settings.metadata] if settings.metadata else _TABLES
    table = next((path for name in names if (path := settings.source / name).is_file()), None)
    if table is None and settings.metadata:
        raise UserError(f"{settings.source / settings.metadata}: no such file (collect.metadata)")
    rows = numbered(table) if table else []
    return {entry.values["file"]: entry for entry in renamed(table or "", rows, settings.columns, {"file", "text"})}
