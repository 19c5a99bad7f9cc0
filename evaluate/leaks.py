"""Search what is about to be published for what must not be in it: secrets, names, raw audio, places on a disk."""

import base64
import re
from collections.abc import Collection, Iterator
from pathlib import Path

# By the shapes that the services give their tokens; each also says what it is.
SECRETS = {
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30,}",
    "a GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    "an OpenAI or Anthropic key": rb"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}",
    "an AWS key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a Google key": rb"\bAIza[0-9A-Za-z_-]{35}",
    "a Slack token": rb"\bxox[abprs]-[0-9A-Za-z-]{10,}",
    "a signed web token": rb"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{15,}",
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "an age key": rb"\bAGE-SECRET-KEY-1[0-9A-Z]{50,}",
    "a password in an address": rb"[a-z][a-z0-9+]*://[^/\s:@\"]+:[^/\s:@\"]+@",
    "a password": rb"(?i)\b(?:password|secret|api[_-]?key|access[_-]?token)[\"']?\s*[=:]\s*[\"'][^\"'\s]{8,}[\"']",
}
_SOUND = {
    "a WAV file": rb"RIFF[\s\S]{4}WAVEfmt ",
    "a FLAC file": rb"fLaC[\x00\x80]\x00\x00\x22",
    "an Ogg file": rb"OggS\x00\x02",
    "an MP3 file": rb"ID3[\x02-\x04]\x00",
    "an MP4 file": rb"[\s\S]{4}ftyp(?:M4A|isom|mp42|iso2)",
}
_WRITTEN = {name: base64.b64encode(start)[:6] for name, start in (("WAV", b"RIFF\0\0"), ("FLAC", b"fLaC\0\0"))}
_TEXT = (".json", ".jsonl", ".txt", ".md", ".yaml", ".jinja", ".sig", ".pub")
# Vocabularies hold common words and names of the base's own; nothing of ours is in them but letters.
_VOCABULARY = ("vocab.json", "tokenizer.json", "merges.txt", "tekken.json", "added_tokens.json")
_LEAST_LETTERS = 3  # of a name that is looked for


def search(folder: Path, names: Collection[str], places: Collection[str] = ()) -> Iterator[str]:
    """What was found, one line each, never saying the secret itself. `names`: of people; `places`: paths here."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        where = path.relative_to(folder).as_posix()
        yield from (f"{where}: {what}" for what in _in_bytes(content, path))
        if path.suffix in _TEXT and path.name not in _VOCABULARY:
            yield from (f"{where}: {what}" for what in _in_text(content, names, places))


def _in_bytes(content: bytes, path: Path) -> Iterator[str]:
    for what, pattern in SECRETS.items():
        if re.search(pattern, content):
            yield what
    for what, pattern in _SOUND.items():
        if re.search(pattern, content):
            yield what
    if path.suffix in _TEXT:
        for kind, start in _WRITTEN.items():
            if re.search(rb"\b%s[A-Za-z0-9+/]{60,}" % re.escape(start[:5]), content):
                yield f"a {kind} file, written in letters"


def _in_text(content: bytes, names: Collection[str], places: Collection[str]) -> Iterator[str]:
    text = content.decode("utf-8", "replace").casefold()
    for name in sorted(names):
        if len(name) >= _LEAST_LETTERS and re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", text):
            yield "the code, the name or the contact of a speaker"
            break
    if any(place.casefold() in text for place in places) or re.search(r"(?<![\w.:/])/(?:home|users)/\w+", text):
        yield "a place on the disk of this machine"
