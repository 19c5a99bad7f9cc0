"""Fixed utterances that a model in training reads aloud or writes down, to hear early what the loss hides.

They come from the validation split: nothing is learnt from them. What a generator says is written down by a judge,
a recogniser that the recipe names.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jiwer
import numpy as np
from rapidfuzz.fuzz import ratio

from prepare.dataset import decode, voice_vector
from recipes.schema import Recipe, UserError
from train.adapter import open_recogniser
from train.families import Family, Samples, Stopping
from train.features import resampled, samples_of

_FRAME_S = 0.02
_SILENCE = 10 ** (-50 / 20)  # root mean square; speech is brought to about -23 LUFS, rooms lie near -60 dB
_SAME_WORD = 60.0  # likeness in percent from which two words are one: the judge mishears a letter or two
_MISSED = 0.7  # cost of a word left out or put in; of one in place of another: 0 (the same) to 1

# What `train.early_stop` may name, each with what makes it smaller when the model is better.
COSTS: dict[str, Callable[[float], float]] = {
    "cer": lambda share: share,
    "skipped": lambda share: share,
    "repeated": lambda share: share,
    "silence": lambda share: share,
    "stopped": lambda share: -share,
    "voice": lambda likeness: -likeness,
    "length_ratio": lambda times: abs(math.log(max(times, 1e-3))),
}


# Why one of them may not be there.
MISSING = {
    **dict.fromkeys(("cer", "skipped", "repeated"), "name the recogniser that listens in evaluate.recogniser"),
    "silence": "a recogniser says nothing",
    "stopped": "this family says no more than its length allows",
    "voice": "it needs speakers who allow voice_match, and the network that `make voices` installs",
}


@dataclass(frozen=True)
class Probes:
    """What is said or heard at every probe, and who listens."""

    family: Family
    rows: Sequence[Mapping[str, Any]]
    voices: Mapping[str, Samples]
    judge: Family | None = None  # of generators: without one nobody hears what they say
    targets: Mapping[str, Samples] = field(default_factory=dict)  # speaker → what makes the voice theirs
    texts: Sequence[str] = ()  # all transcripts of the corpus


def told(name: str, cost: float) -> str:
    """The figure that decided, in words, by what it cost."""
    if name == "valid_loss":
        return f"validation loss {cost:.3f}"
    if not math.isfinite(cost):
        return f"{name} could not be measured; the last weights are kept, so"
    if name == "probe.length_ratio":
        return f"{name} within {math.expm1(cost):.0%} of 1"
    return f"{name} {abs(cost):.3f}"


@dataclass(frozen=True)
class Heard:
    """One probe: what should be said, what was heard, and the speech, if it was generated."""

    text: str
    heard: str | None  # None: nobody listened
    samples: Samples | None
    length_ratio: float  # seconds against the recording's, or letters against the transcript's
    stopped: bool | None  # by itself; None for a family that cannot run on
    silence: float | None = None  # share of the speech
    voice: float | None = None  # likeness to the speaker's voice, 0 to 1


def open_probes(recipe: Recipe, family: Family, data: Any, voices: Mapping[str, Samples]) -> Probes | None:
    """What is said or heard at every probe: the first utterances of the validation split. None where none is wanted.

    Raises UserError when `train.early_stop` names a figure that they do not give.
    """
    settings = recipe.train.probe
    if settings is None:
        return None
    name = recipe.evaluate.recogniser or recipe.train.aligner
    judge = open_recogniser(name, recipe) if name and not family.recognises else None
    rows = data["valid"]
    fixed = [rows[i] for i in range(min(settings.count, len(rows)))]
    targets = {} if family.recognises else targets_of(fixed)
    texts = [*data["train"]["text_normalized"], *rows["text_normalized"]]
    probes = Probes(family, fixed, voices, judge, targets, texts)
    wanted = recipe.train.early_stop.removeprefix("probe.")
    if wanted != "valid_loss" and wanted not in (known := measured(probes)):
        there = ", ".join(f"probe.{name}" for name in sorted(known))
        raise UserError(
            f"train.early_stop: probe.{wanted} is not measured here: {MISSING[wanted]} (there is {there})"
        )
    return probes


def targets_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Samples]:
    """The voices of speakers who allow `voice_match`, by their first recording here that is long enough.

    They are held in memory for the length of a run, and written nowhere.
    """
    found: dict[str, Samples] = {}
    for row in rows:
        if row["speaker"] not in found and "voice_match" in row["purposes"]:
            vector = voice_vector(decode(row["audio"]), row["rate_hz"])
            if vector is not None:
                found[row["speaker"]] = vector
    return found


def probe(probes: Probes) -> list[Heard]:
    """Transcribe the rows' audio, or synthesise their text and let the judge transcribe it."""
    take = _recognised if probes.family.recognises else _spoken
    return [take(probes, row) for row in probes.rows]


def _recognised(probes: Probes, row: Mapping[str, Any]) -> Heard:
    family, text = probes.family, row["text_normalized"]
    heard = family.transcribe(samples_of(family, row), row["language"])
    return Heard(text, heard, None, len(heard) / max(len(text), 1), _stopped(family))


def _spoken(probes: Probes, row: Mapping[str, Any]) -> Heard:
    family, judge, text = probes.family, probes.judge, row["text_normalized"]
    samples = family.synthesise(text, probes.voices[row["speaker"]])
    return Heard(
        text,
        judge.transcribe(resampled(samples, family.rate_hz, judge.rate_hz), row["language"]) if judge else None,
        samples,
        len(samples) / family.rate_hz / row["duration_s"],
        _stopped(family),
        silence_share(samples, family.rate_hz),
        _likeness(samples, family.rate_hz, probes.targets.get(row["speaker"])),
    )


def _stopped(family: Family) -> bool | None:
    return family.stopped if isinstance(family, Stopping) else None


def _likeness(samples: Samples, rate_hz: int, target: Samples | None) -> float | None:
    vector = voice_vector(np.nan_to_num(samples), rate_hz) if target is not None else None
    return float(vector @ target) if vector is not None and target is not None else None


# ---------------------------------------------------------------- figures


def measured(probes: Probes) -> set[str]:
    """Names of the figures that these probes give."""
    names = {"length_ratio"}
    if probes.family.recognises or probes.judge:
        names |= {"cer", "skipped", "repeated"}
    if isinstance(probes.family, Stopping):
        names.add("stopped")
    if not probes.family.recognises:
        names.add("silence")
    if probes.targets:
        names.add("voice")
    return names


def figures(results: Sequence[Heard]) -> dict[str, float]:
    """What was heard, in numbers, over all probes; a figure that nobody measured is not there."""
    found = {"length_ratio": float(np.median([result.length_ratio for result in results]))}
    pairs = [(result.text, result.heard) for result in results if result.heard is not None]
    if pairs:
        found["cer"] = float(jiwer.cer([text for text, _ in pairs], [heard for _, heard in pairs]))
        counts = [skipped_and_repeated(text.split(), heard.split()) for text, heard in pairs]
        words = max(1, sum(len(text.split()) for text, _ in pairs))
        found["skipped"] = sum(skipped for skipped, _ in counts) / words
        found["repeated"] = sum(repeated for _, repeated in counts) / words
    for name in ("stopped", "silence", "voice"):
        values = [value for result in results if (value := getattr(result, name)) is not None]
        if values:
            found[name] = float(np.mean(values))
    return found


def silence_share(samples: Samples, rate_hz: int) -> float:
    """Share of 20 ms frames below -50 dB of full scale; what is no number is silence, and so is nothing at all."""
    size = round(_FRAME_S * rate_hz)
    frames = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    if not len(frames):
        return 1.0
    level = np.sqrt(np.mean(np.square(np.nan_to_num(frames)), axis=1))
    return float(np.mean(level < _SILENCE))


def skipped_and_repeated(wanted: Sequence[str], heard: Sequence[str]) -> tuple[int, int]:
    """Words of the text that were not said, and words that were said again: beside one like them."""
    pairs = aligned(wanted, heard)
    skipped = sum(said is None for _, said in pairs)
    words = [said for _, said in pairs if said is not None]
    own = [word is not None for word, said in pairs if said is not None]
    repeated = 0
    for at, said in enumerate(words):
        near = [*words[max(0, at - 2) : at], *words[at + 1 : at + 3]]
        repeated += not own[at] and any(ratio(said, other) >= _SAME_WORD for other in near)
    return skipped, repeated


def aligned(wanted: Sequence[str], heard: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Words of a text and of what was heard, side by side, like beside like; None where one has no partner.

    Source: Wagner and Fischer, J. ACM 21(1), 1974, with the unlikeness of two words as the cost of the exchange.
    """
    rows, columns = len(wanted) + 1, len(heard) + 1
    cost = np.add.outer(np.arange(rows), np.arange(columns)) * _MISSED
    for i in range(1, rows):
        for j in range(1, columns):
            exchanged = cost[i - 1, j - 1] + 1 - ratio(wanted[i - 1], heard[j - 1]) / 100
            cost[i, j] = min(exchanged, cost[i - 1, j] + _MISSED, cost[i, j - 1] + _MISSED)
    pairs: list[tuple[str | None, str | None]] = []
    i, j = rows - 1, columns - 1
    while i or j:
        if i and (not j or np.isclose(cost[i, j], cost[i - 1, j] + _MISSED)):
            i -= 1
            pairs.append((wanted[i], None))
        elif j and (not i or np.isclose(cost[i, j], cost[i, j - 1] + _MISSED)):
            j -= 1
            pairs.append((None, heard[j]))
        else:
            i, j = i - 1, j - 1
            pairs.append((wanted[i], heard[j]))
    return pairs[::-1]
