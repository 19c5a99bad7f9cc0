"""What speakers are told before they consent, by language: text, sentences of the purposes, and their recordings.

`collect/booth/notices/LANGUAGE.yaml` are the drafts that come with the project. A recipe's own folder may hold texts
of the same names and form, and for each language a folder LANGUAGE with the recordings: `notice`, `agree`, and one
named as each purpose, as .ogg, .mp3 or .wav.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from collect.booth.prompts import SOUNDS
from collect.consent import Notice
from recipes.records import Purpose
from recipes.schema import Interface, Record, UserError
from web.page import tag
from web.tifinagh import latin

_DRAFTS = Path(__file__).parent / "notices"


@dataclass(frozen=True)
class Told:
    """All that is told in one language. `sounds`: files by item (`notice`, `agree`, a purpose)."""

    notice: Notice
    paragraphs: tuple[str, ...]
    agree: str  # what somebody says who consents aloud
    purposes: Mapping[Purpose, str]
    sounds: Mapping[str, Path]
    draft: bool

    def audio(self) -> bytes | None:
        """The notice read aloud."""
        return self.sounds["notice"].read_bytes() if "notice" in self.sounds else None


def read(settings: Record) -> dict[Interface, Told]:
    """What the booth tells, in each of its languages. Raises UserError naming the file that cannot be used."""
    return {language: _told(language, settings) for language in settings.languages}


def _told(language: Interface, settings: Record) -> Told:
    path, data = _text(language, settings.notices)
    try:
        version, text = str(data["version"]), str(data["text"])
        agree = str(data["agree"])
        purposes = {purpose: str(data["purposes"][purpose]) for purpose in settings.purposes}
        text = text.format(controller=settings.controller, contact=settings.contact, months=settings.consent_months)
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: {error} is missing, or stands where it does not belong") from None
    except (ValueError, IndexError):
        raise UserError(
            f"{path}: text: only {{controller}}, {{contact}} and {{months}} may stand in braces"
        ) from None
    sounds = _sounds(settings.notices, language, settings.purposes)
    return Told(
        notice=_notice(language, version, text, purposes, agree, sounds),
        paragraphs=tuple(" ".join(part.split()) for part in text.split("\n\n") if part.strip()),
        agree=agree,
        purposes=purposes,
        sounds=sounds,
        draft=version.startswith("draft"),
    )


def _text(language: Interface, folder: Path | None) -> tuple[Path, Mapping[str, Any]]:
    """The file of a language and what it says; Tamazight in Latin letters may come from that in Tifinagh."""
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: no such folder (collect.record.notices)")
    folders = [folder, _DRAFTS] if folder else [_DRAFTS]
    names = [language, "zgh"] if language == "zgh-Latn" else [language]
    for path in (place / f"{name}.yaml" for place in folders for name in names):
        if path.is_file():
            try:
                data = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
            return path, _in_latin(data) if path.stem != language else data
    raise UserError(f"{folder}: {language}.yaml is not there, and there is no draft in {language}")


def _in_latin(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _in_latin(value) for key, value in data.items()}
    return latin(data) if isinstance(data, str) else data


def _sounds(folder: Path | None, language: Interface, purposes: list[Purpose]) -> dict[str, Path]:
    """The recordings of a language that are there."""
    names = [language, "zgh"] if language == "zgh-Latn" else [language]
    found: dict[str, Path] = {}
    for place in (folder / name for name in names) if folder else ():
        for item in ("notice", "agree", *purposes):
            for path in (place / f"{item}{ending}" for ending in SOUNDS):
                if path.is_file():
                    found.setdefault(item, path)
    return found


def _notice(
    language: Interface,
    version: str,
    text: str,
    purposes: Mapping[Purpose, str],
    agree: str,
    sounds: Mapping[str, Path],
) -> Notice:
    """The notice as it is kept: with every sentence, and with the hash of every recording that was heard."""
    hashes = {item: hashlib.sha256(path.read_bytes()).hexdigest() for item, path in sounds.items()}
    lines = [text.strip(), *(f"{purpose}: {said}" for purpose, said in purposes.items()), f"agree: {agree}"]
    lines += [f"{item} read aloud: sha256 {digest}" for item, digest in sorted(hashes.items())]
    return Notice(version=version, language=tag(language), text="\n\n".join(lines), audio_sha256=hashes.get("notice"))
