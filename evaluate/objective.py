"""Measurements on what systems said or wrote, each with n and an interval; their names are in `evaluate.metrics`."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from evaluate import acoustic, models, stimuli
from evaluate.items import Item, Rendered, recorded
from evaluate.kept import Kept
from evaluate.metrics import METRICS, metric_of
from evaluate.models import Model
from evaluate.recognition import Judge, comparable, errors, tolerant_errors
from evaluate.statistics import Figure, mean, ratio, ratio_difference
from evaluate.systems import compared
from recipes.provenance import file_digest
from recipes.schema import Recipe, Trained, UserError
from train.adapter import decode, dnsmos, losses, open_dataset, resampled, voice_of, voice_of_clip

_LOSS_ROWS = 100  # utterances of the validation split whose loss is measured one by one
_BY_SPEAKER = 5  # speakers from which on they are the clusters, not sentences
_VOICE_ROWS = 20  # recordings that a speaker's voice is known by
_RATE_HZ = 16_000  # what clips are measured at

Figures = dict[str, dict[str, Figure | None]]  # metric → system, or `adapter - base` → figure
Observed = tuple[float, float]  # what is summed, over what
Seen = dict[str, dict[str, tuple["Measured | Item", Observed]]]  # by system and item


@dataclass(frozen=True)
class Measured:
    """One item of one system in figures; None where there is nothing to measure, or nobody measured."""

    system: str
    item: str
    speaker: str
    text: str
    heard: str | None  # None where no recogniser listened
    char_edits: int
    chars: int
    word_edits: int
    words: int
    duration_s: float
    tolerant_edits: int  # of words, where accepted spellings of a word are one
    tolerant_words: int
    mos_ovrl: float | None = None
    mos_p808: float | None = None
    mcd_db: float | None = None
    f0_cents: float | None = None
    energy_db: float | None = None
    pause_share: float | None = None
    letters_per_s: float | None = None
    took_s: float | None = None
    memory_mib: float | None = None
    cost: float | None = None


def measure(recipe: Recipe, rendered: Sequence[Rendered]) -> tuple[list[Measured], dict[str, int]]:
    """Listen to generated speech with the recipe's recogniser, or read what a recogniser wrote; measure the sound.

    The recordings of the sentences are measured too where they are no system of the recipe, or may not be played:
    without the recogniser's own error its figures say little. Returns also what could not be measured.
    """
    speaks = not recipe.train.recognises
    name = recipe.evaluate.recogniser
    judge = Judge(recipe, name) if name and speaks else None
    ear = Kept(recipe.folder("evaluate") / "measured")
    found = []
    everything = [*rendered, *(unplayed(recipe, rendered) if speaks else [])]
    for one in track(everything, "measuring", console=Console(stderr=True), disable=not speaks):
        heard = judge.hear(one) if judge else None if speaks else one.text
        if heard is not None:
            heard = comparable(heard, one.item.language)
        duration_s = len(one.samples) / one.rate_hz if one.samples is not None else 0.0
        item, counts = one.item, errors(one.item.text, heard or "")
        tolerated = tolerant_errors(item.text, heard or "", item.language)
        row = Measured(one.system, item.id, item.speaker, item.text, heard, *counts, duration_s, *tolerated)
        sound = listen(recipe, one, ear) if speaks else {}
        found.append(replace(row, **sound, took_s=one.took_s, memory_mib=one.memory_mib, cost=one.cost))
    for kept in (judge.kept, ear) if judge else (ear,):
        kept.forget()
    silent = sum(m.pause_share is None for m in found) if speaks and "prosody" in recipe.evaluate.measures else 0
    return found, {"clip without speech in it, by voice activity": silent} if silent else {}


def unplayed(recipe: Recipe, rendered: Sequence[Rendered]) -> list[Rendered]:
    """The recordings of the sentences that are not among what was rendered."""
    there = {one.item.id for one in rendered if one.system == "recordings"}
    items = {one.item.id: one.item for one in rendered if one.item.row is not None and one.item.id not in there}
    return [Rendered("recordings", item, recorded(item), recipe.prepare.rate_hz) for item in items.values()]


def listen(recipe: Recipe, one: Rendered, ear: Kept) -> dict[str, Any]:
    """The figures of a clip's sound, as listeners hear it: without silence at its ends, at one level."""
    if one.samples is None or not np.any(one.samples):
        return {}
    measures, how = recipe.evaluate.measures, file_digest(Path(acoustic.__file__)).encode()
    clip = _as_heard(recipe, one)
    reference = None
    if one.system != "recordings" and one.item.row is not None:
        reference = _as_heard(recipe, replace(one, samples=recorded(one.item), rate_hz=recipe.prepare.rate_hz))
    found: dict[str, Any] = {}
    if "mos" in measures:
        ratings = ear.get(b"ratings" + how + clip.tobytes(), lambda: dnsmos(clip, _RATE_HZ))
        found |= dict(zip(("mos_ovrl", "mos_p808"), ratings, strict=True))
    if "prosody" in measures:
        content = b"pace" + how + one.item.text.encode() + clip.tobytes()
        found |= ear.get(content, lambda: _plain(acoustic.pace(clip, _RATE_HZ, one.item.text)))
        if reference is not None:
            content = b"distance" + how + clip.tobytes() + reference.tobytes()
            found |= ear.get(content, lambda: _plain(acoustic.distance(clip, reference, _RATE_HZ)))
    return found


def _as_heard(recipe: Recipe, one: Rendered) -> stimuli.Samples:
    assert one.samples is not None
    samples = resampled(one.samples, one.rate_hz, _RATE_HZ)
    first, last = stimuli.span(samples, _RATE_HZ)
    return stimuli.level(samples[first:last], _RATE_HZ, recipe.evaluate.loudness_lufs)


def _plain(row: Any) -> dict[str, Any]:
    return {} if row is None else asdict(row)


# ---------------------------------------------------------------- figures

Observe = Callable[[Measured], Observed | None]

_RATES = {
    "CER": ("char_edits", "chars"),
    "WER": ("word_edits", "words"),
    "WER, any accepted spelling": ("tolerant_edits", "tolerant_words"),
}
_MEANS = {
    "DNSMOS, overall": "mos_ovrl",
    "DNSMOS, P.808": "mos_p808",
    "mel-cepstral distortion": "mcd_db",
    "F0 distance": "f0_cents",
    "energy distance": "energy_db",
    "pause share": "pause_share",
    "letters a second": "letters_per_s",
    "time to generate": "took_s",
    "memory to generate": "memory_mib",
}


def figures(recipe: Recipe, measured: Sequence[Measured]) -> Figures:
    """Metric → system → figure; and under `adapter - base` (or `adapter - …`) the paired difference.

    A metric that nothing could be measured for is not there; a system that it says nothing of has None.
    """
    observe: dict[str, Observe] = {name: _rate(*fields) for name, fields in _RATES.items()}
    if not recipe.train.recognises:
        pace, usual = paces(recipe)
        observe["duration ratio"] = lambda m: (m.duration_s, m.chars * pace.get(m.speaker, usual))
        observe["real-time factor"] = lambda m: None if m.took_s is None else (m.took_s, m.duration_s)
        observe["cost"] = lambda m: None if m.cost is None else (1000 * m.cost, 1.0)
    observe |= {name: _mean(field) for name, field in _MEANS.items()}
    table: Figures = {}
    for name in METRICS:
        if name in observe and any(observe[name](m) is not None for m in measured):
            seen: Seen = {m.system: {} for m in measured}
            for m in measured:
                if (values := observe[name](m)) is not None:
                    seen[m.system][m.item] = m, values
            table[name] = row_of(recipe, name, seen)
    return table


def _rate(top: str, bottom: str) -> Observe:
    return lambda m: None if m.heard is None else (getattr(m, top), getattr(m, bottom))


def _mean(field: str) -> Observe:
    def observed(m: Measured) -> Observed | None:
        value = getattr(m, field)
        return None if value is None else (value, 1.0)

    return observed


def row_of(recipe: Recipe, metric: str, seen: Seen) -> dict[str, Figure | None]:
    """One metric of every system, and its differences where one way is better."""
    settings, seed = recipe.evaluate, recipe.seed
    row: dict[str, Figure | None] = {}
    for system, rows in seen.items():
        row[system] = ratio(*_columns(rows.values()), settings.resamples, seed) if rows else None
    for first, second in () if metric_of(metric).better == "near" else pairs(list(seen)):
        if common := [item for item in seen[first] if item in seen[second]]:
            top, bottom, where = _columns(seen[first][item] for item in common)
            other = _columns(seen[second][item] for item in common)[:2]
            found = ratio_difference((top, bottom), other, where, settings.resamples, seed)
            row[f"{first} - {second}"] = found
    return row


def _columns(rows: Iterable[tuple[Measured | Item, Observed]]) -> tuple[list[float], list[float], list[str]]:
    """What is summed, over what, and in which clusters."""
    of, values = zip(*rows, strict=True)
    return [top for top, _ in values], [bottom for _, bottom in values], clusters(of)


def pairs(systems: Sequence[str]) -> list[tuple[str, str]]:
    """Which systems are subtracted: every other from the adapter (or the first), recordings and anchors not."""
    speak = [name for name in systems if name != "recordings" and not name.startswith("anchor_")]
    first = "adapter" if "adapter" in speak else next(iter(speak), "")
    return [(first, other) for other in speak if other != first]


def paces(recipe: Recipe) -> tuple[dict[str, float], float]:
    """Seconds a character in each speaker's training recordings, and in all of them: a duration ratio's 1."""
    train = open_dataset(recipe)["train"]
    spoken, chars = Counter[str](), Counter[str]()
    for speaker, text, duration_s in zip(
        train["speaker"], train["text_normalized"], train["duration_s"], strict=True
    ):
        spoken[speaker] += duration_s
        chars[speaker] += len(text)
    return {speaker: spoken[speaker] / chars[speaker] for speaker in spoken}, spoken.total() / chars.total()


# ---------------------------------------------------------------- voices and losses


def similarities(recipe: Recipe, rendered: Sequence[Rendered]) -> tuple[Figures, dict[str, int]]:
    """How like the speaker's own voice each system sounds, and why some clips were not compared.

    Only of speakers who allow `voice_match`; single likenesses are not kept, and no vector is written.
    """
    if "voice" not in recipe.evaluate.measures or recipe.train.recognises:
        return {}, {}
    try:
        voices = known_voices(recipe)
    except UserError:
        return {}, {"speaker similarity, for want of the voice network (make voices)": len(rendered)}
    left_out = {"speaker similarity, which its speaker did not allow (voice_match)": 0}
    left_out["speaker similarity, of less than a second of speech"] = 0
    seen: Seen = {one.system: {} for one in rendered}
    for one in rendered:
        if one.item.speaker not in voices or one.samples is None:
            left_out["speaker similarity, which its speaker did not allow (voice_match)"] += 1
        elif (vector := voice_of_clip(one.samples, one.rate_hz)) is None:
            left_out["speaker similarity, of less than a second of speech"] += 1
        else:
            seen[one.system][one.item.id] = one.item, (float(vector @ voices[one.item.speaker]), 1.0)
    row = row_of(recipe, "speaker similarity", seen) if any(seen.values()) else {}
    return {"speaker similarity": row} if row else {}, {why: count for why, count in left_out.items() if count}


def known_voices(recipe: Recipe) -> dict[str, stimuli.Samples]:
    """The voice of each speaker who allows it, by up to 20 training recordings. Raises UserError without network."""
    train = open_dataset(recipe)["train"]
    rows: dict[str, list[int]] = {}
    for number, (speaker, purposes) in enumerate(zip(train["speaker"], train["purposes"], strict=True)):
        if "voice_match" in purposes and len(rows.setdefault(speaker, [])) < _VOICE_ROWS:
            rows[speaker].append(number)
    found = {}
    for speaker, numbers in rows.items():
        vectors = [voice_of_clip(decode(train[n]["audio"]), recipe.prepare.rate_hz) for n in numbers]
        if heard := [vector for vector in vectors if vector is not None]:
            middle = np.mean(heard, axis=0)
            found[speaker] = middle / np.linalg.norm(middle)
    return found


def validation_losses(recipe: Recipe) -> tuple[dict[str, Figure | None], dict[str, int]]:
    """The loss of the recipe's models on the validation split, utterance by utterance, and paired differences.

    With it, why some utterances were left out: reason → how many.
    """
    data = open_dataset(recipe)["valid"]
    rows = [data[i] for i in range(min(len(data), _LOSS_ROWS))]
    values: dict[str, Any] = {}
    for system in compared(recipe):
        if system in ("base", "adapter") or isinstance(system, Trained):
            asked = Model.of(system)
            model = models.open_one(recipe, asked)
            voices = {} if model.recognises else voice_of(model, recipe)
            values[asked.name] = np.array(losses(model, rows, voices))
    if not values:
        return {}, {}
    kept = ~np.any([np.isnan(v) for v in values.values()], axis=0)
    left_out = {
        f"validation utterances beyond the first {_LOSS_ROWS}": len(data) - len(rows),
        "validation utterances that the model cannot encode": int((~kept).sum()),
    }
    counted = [row for row, keep in zip(rows, kept, strict=True) if keep]
    where = repeats([row["speaker"] for row in counted], [row["text_normalized"] for row in counted])
    settings, seed = recipe.evaluate, recipe.seed
    found = {system: mean(v[kept], where, settings.resamples, seed) for system, v in values.items()}
    for first, second in pairs(list(values)):
        difference = values[first][kept] - values[second][kept]
        found[f"{first} - {second}"] = mean(difference, where, settings.resamples, seed)
    return found, {reason: count for reason, count in left_out.items() if count}


def repeats(speakers: list[str], texts: list[str]) -> list[str]:
    """The clusters of observations: their speakers where there are enough of them, else their sentences."""
    return speakers if len(set(speakers)) >= _BY_SPEAKER else texts


def clusters(rows: Sequence[Measured | Item]) -> list[str]:
    """The same of what was measured."""
    return repeats([m.speaker for m in rows], [m.text for m in rows])
