"""Fixed utterances that a model in training reads aloud or writes down, to hear early what the loss hides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jiwer

from train.families import Family, Samples
from train.features import resampled, samples_of


@dataclass(frozen=True)
class Heard:
    """One probe: what should be said, what was heard, and the speech, if it was generated."""

    text: str
    heard: str
    samples: Samples | None


def probe(
    family: Family, rows: Sequence[Mapping[str, Any]], voices: Mapping[str, Samples], judge: Family | None
) -> list[Heard]:
    """Transcribe the rows' audio, or synthesise their text and let `judge` transcribe it ("" without one)."""
    results = []
    for row in rows:
        text = row["text_normalized"]
        if family.recognises:
            results.append(Heard(text, family.transcribe(samples_of(family, row), row["language"]), None))
            continue
        samples = family.synthesise(text, voices[row["speaker"]])
        heard = judge.transcribe(resampled(samples, family.rate_hz, judge.rate_hz), row["language"]) if judge else ""
        results.append(Heard(text, heard, samples))
    return results


def error_rate(results: Sequence[Heard]) -> float:
    """Character error rate over all probes: edits per character."""
    return float(jiwer.cer([r.text for r in results], [r.heard for r in results]))
