"""What texts and recordings say about themselves, and to a recogniser, before anything is learnt from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import jiwer
import numpy as np
from rapidfuzz import process
from rapidfuzz.fuzz import ratio
from scipy.stats import spearmanr

from prepare.dataset import decode
from train.families import Family, Skip, letters_of
from train.features import resampled

_LEAST = 20  # utterances, for a correlation to mean something
_SPREAD = 1.25  # of lengths, ninth against first tenth: sentences of one length say nothing about the order

_NEARER = 20.0  # percent: a transcript that is so much nearer is no accident
_SPEEDS = (1 / 3, 1 / 2, 2 / 3, 3 / 4, 4 / 3, 3 / 2, 2.0, 3.0)  # what the rates in use make of one another
_HEARD_WELL = 0.5  # share of errors up to which no other speed is tried
_TRIED = 3  # clips at each other speed: some recognisers take seconds for one
_SAME = 60.0  # percent, from which a transcript is heard


def corpus_figures(family: Family, rows: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    """Figures of a split's columns; those that its size does not bear are not there.

    `letters_per_s`: the median utterance's, its silence included. `length_correlation`: Spearman's, between
    letters and seconds. `unknown_letters`: share of the letters that the tokenizer has no token for.
    """
    texts = rows["text_normalized"]
    letters = np.array([len(text.replace(" ", "")) for text in texts], dtype=np.float64)
    seconds = np.array(rows["duration_s"], dtype=np.float64)
    found = {
        "unknown_letters": unknown_share(family, texts),
        "letters_per_s": float(np.median(letters / seconds)),
    }
    short, long = np.percentile(letters, [10, 90])
    if len(letters) >= _LEAST and long >= _SPREAD * max(short, 1) and np.ptp(seconds) > 0:
        found["length_correlation"] = float(spearmanr(letters, seconds).statistic)
    return found


def unknown_share(family: Family, texts: Sequence[str]) -> float:
    """Share of the letters, as often as they occur."""
    missing = set(family.unknown(letters_of(texts)))
    letters = [letter for text in texts for letter in text if letter != " "]
    return sum(letter in missing for letter in letters) / max(len(letters), 1)


def recordings_heard(
    listener: Family, rows: Sequence[Mapping[str, Any]], texts: Sequence[str] = ()
) -> dict[str, float]:
    """What a recogniser makes of the recordings themselves. `texts`: all transcripts of the corpus.

    `cer`: share of errors, each clip's 1 at most. Where that is high, `best_speed` is the factor of the sampling
    rate at which it is lowest, `best_cer` (data of 24 kHz that say 16 kHz are best heard at 1.5); and `elsewhere`
    the share of clips in which the transcript of another one is heard.
    """
    heard = _hearings(listener, rows, 1.0)
    errors = {1.0: _errors(rows, heard)}
    if errors[1.0] <= _HEARD_WELL:
        return {"cer": errors[1.0]}
    few = rows[:_TRIED]
    errors |= {speed: _errors(few, _hearings(listener, few, speed)) for speed in _SPEEDS}
    best = min(errors, key=lambda speed: (errors[speed], speed != 1.0))
    others = [_elsewhere(row["text_normalized"], said, texts) for row, said in zip(rows, heard, strict=True)]
    return {
        "cer": errors[1.0],
        "best_speed": best,
        "best_cer": errors[best],
        "elsewhere": sum(others) / max(len(others), 1),
    }


def _elsewhere(text: str, heard: str, texts: Sequence[str]) -> bool:
    """Whether what was heard is far more like another transcript than like its own."""
    best = process.extractOne(heard, texts, scorer=ratio)
    return best is not None and best[1] >= _SAME and best[1] - ratio(heard, text) >= _NEARER


def _hearings(listener: Family, rows: Sequence[Mapping[str, Any]], speed: float) -> list[str]:
    found = []
    for row in rows:
        samples = resampled(decode(row["audio"]), round(row["rate_hz"] * speed), listener.rate_hz)
        try:
            heard = listener.transcribe(samples, row["language"])
        except Skip:  # too long or too short for it at this speed
            heard = ""
        found.append(heard)
    return found


def _errors(rows: Sequence[Mapping[str, Any]], heard: Sequence[str]) -> float:
    pairs = zip(rows, heard, strict=True)
    return float(np.mean([min(1.0, float(jiwer.cer(row["text_normalized"], said))) for row, said in pairs]))
