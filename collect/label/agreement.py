"""How far annotators agree (error rate between transcripts, Krippendorff's alpha), and on what."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np

from recipes.records import Clip, Transcript

Verdict = Literal["agreed", "waiting", "conflict", "unusable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_RESAMPLES = 1000


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval (bootstrap over clips) and the number of clips it rests on."""

    value: float
    low: float
    high: float
    clips: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def newest(transcripts: Sequence[Transcript]) -> list[Transcript]:
    """Of each annotator what they wrote last, by annotator."""
    last: dict[str, Transcript] = {}
    for transcript in sorted(transcripts, key=lambda row: (row.at, row.id)):
        last[transcript.annotator] = transcript
    return [last[name] for name in sorted(last)]


def verdict(transcripts: Sequence[Transcript], annotators: int, agree_cer: float) -> tuple[Verdict, str]:
    """Whether those who transcribed a clip agree, and where they do not, about what.

    `transcripts`: of one clip, one an annotator. Agreed: all say that it can be used, wrote something, mean the
    same language, and no two texts differ by more than `agree_cer`.
    """
    if len(transcripts) < annotators:
        return "waiting", ""
    valid = {row.valid for row in transcripts}
    if len(valid) == 2:
        return "conflict", "whether it can be used"
    if valid == {False}:
        return "unusable", ""
    if not all(row.text for row in transcripts):
        return "conflict", "a transcript is empty"
    if len({row.language for row in transcripts if row.language}) > 1:
        return "conflict", "the language"
    worst = max((cer(a.text, b.text) for a, b in combinations(transcripts, 2)), default=0.0)
    return ("conflict", f"the text (CER {worst:.2f})") if worst > agree_cer else ("agreed", "")


def settled(clip: Clip, transcripts: Sequence[Transcript]) -> Clip:
    """The clip as annotators who agree have it: the text nearest to all others; the dialect most of them name."""
    ranked = sorted(transcripts, key=lambda row: (sum(cer(row.text, other.text) for other in transcripts), row.at))
    dialects = Counter(row.dialect for row in transcripts if row.dialect)
    most, count = dialects.most_common(1)[0] if dialects else (None, 0)
    language = next((row.language for row in transcripts if row.language), None)
    return clip.model_copy(
        update={
            "transcript": ranked[0].text,
            "origin": "validated",
            "valid": True,
            "language": language or clip.language,
            "dialect": most if 2 * count > len(transcripts) else clip.dialect,
        }
    )


# ---------------------------------------------------------------- figures


def cer(one: str, other: str) -> float:
    """Character edits between two texts over their mean length: the same both ways. 0 for two empty texts."""
    length = (len(one) + len(other)) / 2
    return _edits(one, other) / length if length else 0.0


def between(transcripts: Mapping[str, Sequence[Transcript]], seed: int) -> tuple[Figure, int] | None:
    """Error rate between the transcripts of usable clips, over all pairs of annotators; and the number of pairs.

    Pooled: all edits over all characters. None where no clip has two.
    """
    rows, pairs = [], 0
    for found in transcripts.values():
        texts = [row.text for row in found if row.valid]
        couples = list(combinations(texts, 2))
        if couples:
            pairs += len(couples)
            edits = sum(_edits(a, b) for a, b in couples)
            rows.append((edits, sum(len(a) + len(b) for a, b in couples) / 2))
    if not rows:
        return None
    return _figure(rows, _pooled, seed), pairs


def alpha(units: Sequence[Sequence[Hashable]]) -> float:
    """Krippendorff's alpha for nominal data, any number of observers, missing values left out.

    `units`: the values that each unit was given. After K. Krippendorff, Computing Krippendorff's
    Alpha-Reliability (2011), section C. NaN where no unit has two values; 1 where all values are one.
    """
    paired = [Counter(values) for values in units if len(values) > 1]
    if not paired:
        return float("nan")
    marginal: Counter[Hashable] = Counter()
    observed = 0.0
    for counts in paired:
        marginal.update(counts)
        size = counts.total()
        observed += (size * size - sum(count * count for count in counts.values())) / (size - 1)
    total = marginal.total()
    expected = (total * total - sum(count * count for count in marginal.values())) / (total - 1)
    return 1 - observed / expected if expected else 1.0


def alphas(transcripts: Mapping[str, Sequence[Transcript]], seed: int) -> dict[str, Figure]:
    """Alpha of each question with choices, where at least one clip has two answers."""
    found = {}
    for question in ("valid", "language", "dialect", "quality"):
        answers = [[getattr(row, question) for row in rows] for rows in transcripts.values()]
        given = [[value for value in values if value is not None] for values in answers]
        units = [values for values in given if len(values) > 1]
        if units:
            found[question] = _figure(units, alpha, seed)
    return found


def _pooled(rows: Sequence[tuple[int, float]]) -> float:
    length = sum(length for _, length in rows)
    return sum(edits for edits, _ in rows) / length if length else 0.0


def _figure(units: Sequence[Any], measure: Callable[[Sequence[Any]], float], seed: int) -> Figure:
    """A figure over clips with its percentile bootstrap (Efron 1979), clips drawn with replacement."""
    draw = np.random.default_rng(seed)
    found = [
        measure([units[place] for place in draw.integers(len(units), size=len(units))]) for _ in range(_RESAMPLES)
    ]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Figure(measure(units), float(low), float(high), len(units))


def _edits(one: str, other: str) -> int:
    import jiwer

    if not one or not other:
        return len(one) + len(other)
    as_it_is = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
    found = jiwer.process_characters(one, other, as_it_is, as_it_is)
    return int(found.substitutions + found.deletions + found.insertions)
