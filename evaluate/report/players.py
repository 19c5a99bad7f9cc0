"""Sentence by sentence: what each system said, to be heard, or wrote."""

import base64
import io
from functools import cache
from typing import Any

import soundfile

from evaluate import stimuli
from evaluate.results import Results
from recipes.schema import Recipe

_PLAYERS_MIB = 13.0  # of sound in the page, as it is written there; what does not fit is counted


def players(recipe: Recipe, found: Results) -> tuple[list[dict[str, Any]], int]:
    """One row a sentence: its text, and what each system said, heard or wrote. And how many had no room for sound."""
    clips = {} if recipe.train.recognises else {(s.item, s.system): s for s in stimuli.read(recipe)}
    rows: dict[str, dict[str, Any]] = {}
    left = _PLAYERS_MIB * 2**20
    silent = 0
    for one in found.measured:
        row = rows.setdefault(one.item, {"text": one.text, "direction": direction(one.text), "systems": []})
        sound = None
        if clip := clips.get((one.item, one.system)):
            if left > 0:
                sound = base64.b64encode(_compressed(stimuli.sound(recipe, clip))).decode()
                left -= len(sound)
            else:
                silent += 1
        rate = one.char_edits / one.chars if one.heard is not None and one.chars else None
        row["systems"].append({"name": one.system, "heard": one.heard, "cer": rate, "sound": sound})
    return list(rows.values()), silent


@cache
def _compressed(wav: bytes) -> bytes:
    """A WAV as MP3, which every browser plays."""
    samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format="MP3")
    return out.getvalue()


def direction(text: str) -> str:
    return "rtl" if any("\u0590" <= letter <= "\u08ff" for letter in text) else "ltr"
