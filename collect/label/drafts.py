"""Draft transcripts that annotators start from: the prompt, what a recogniser hears, or a table."""

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collect.ledger import Ledger
from recipes.provenance import file_digest
from recipes.records import Clip
from recipes.schema import Label, UserError

_LONG_S = 30.0  # Whisper hears so much at once; longer clips are heard in pieces
# Whisper's name of what Darija is nearest to; it knows no Tamazight.
_WHISPER = {"ary": "arabic"}


@dataclass(frozen=True)
class Drafts:
    """Where drafts come from. `version` changes with it. `write`: clips → text by clip, none for some."""

    version: str
    write: Callable[[Iterable[Clip]], dict[str, str]]


def source(settings: Label, ledger: Ledger) -> Drafts:
    """The drafts that the recipe asks for. Raises UserError for a table that cannot be read."""
    if settings.drafts == "none":
        return Drafts("none", lambda clips: {})
    if settings.drafts == "table":
        rows = read_table(Path(settings.table or ""))
        version = f"table {_brief(Path(settings.table or ''))}"
        return Drafts(version, lambda clips: {clip.id: rows[clip.id] for clip in clips if rows.get(clip.id)})
    if settings.drafts == "recogniser":
        name = settings.recogniser or ""
        weights = next(iter(sorted(Path(name).glob("*.safetensors"))), None) if Path(name).is_dir() else None
        version = f"recogniser {Path(name).name}" + (f" {file_digest(weights)[:8]}" if weights else "")
        return Drafts(version, lambda clips: hear(name, ledger, clips))
    return Drafts("prompt", lambda clips: {clip.id: clip.transcript for clip in clips if clip.transcript.strip()})


def read_table(path: Path) -> dict[str, str]:
    """Text by clip from a table with the columns `clip` and `text`, comma- or tab-separated. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    rows = csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ",")
    if not {"clip", "text"} <= set(rows.fieldnames or ()):
        raise UserError(f"{path}: has no columns clip and text; it has {', '.join(rows.fieldnames or ()) or 'none'}")
    return {row["clip"].strip(): " ".join((row["text"] or "").split()) for row in rows}


def hear(model: str, ledger: Ledger, clips: Iterable[Clip]) -> dict[str, str]:
    """What a Whisper or CTC model hears in clips. Raises UserError when the model cannot be had."""
    recognise, rate_hz = _recogniser(model)
    heard = {}
    for clip in clips:
        samples, own_hz = ledger.audio(clip, "store_prepare")
        heard[clip.id] = recognise(_at(samples, own_hz, rate_hz), clip)
    return {name: text for name, text in heard.items() if text}


@cache
def _recogniser(model: str) -> tuple[Callable[[NDArray[np.float32], Clip], str], int]:
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        heard: Any = pipeline("automatic-speech-recognition", model=model)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"collect.label.recogniser {model}: {' '.join(str(error).split())[:200]}") from None
    rate_hz = int(heard.feature_extractor.sampling_rate)
    whisper = heard.type == "seq2seq_whisper"
    speaks = whisper and bool(getattr(heard.model.generation_config, "is_multilingual", False))

    def recognise(samples: NDArray[np.float32], clip: Clip) -> str:
        long = len(samples) > _LONG_S * rate_hz
        options: dict[str, Any] = {}
        if whisper:
            language = _WHISPER.get(clip.language.split("-")[0]) if speaks else None
            options |= {"generate_kwargs": {"language": language}} if language else {}
            options |= {"return_timestamps": True} if long else {}
        elif long:
            options |= {"chunk_length_s": _LONG_S}
        text = heard({"raw": samples, "sampling_rate": rate_hz}, **options)["text"]
        return " ".join(re.sub(r"<\|\w*\|>", "", text).split())  # Whisper says so where it hears no speech

    return recognise, rate_hz


def _at(samples: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Samples, float32 (n, channels), as mono (m,) at another rate."""
    import soxr

    mono = samples.mean(axis=1)
    return np.asarray(mono if from_hz == to_hz else soxr.resample(mono, from_hz, to_hz), dtype=np.float32)


def _brief(path: Path) -> str:
    """A table's name and the beginning of its digest."""
    try:
        return f"{path.name} {file_digest(path)[:8]}"
    except OSError:
        return path.name
