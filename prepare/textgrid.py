"""Words in time as other tools read them: TextGrid (Praat, ELAN), CTM (sclite, Kaldi)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from recipes.records import Word
from recipes.schema import UserError


def textgrid(tiers: Mapping[str, Sequence[Word]], duration_s: float) -> str:
    """Interval tiers by name, in Praat's long text format; what lies between words is an empty interval.

    Source: Praat manual, "TextGrid file formats".
    """
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {duration_s:g}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, words) in enumerate(tiers.items(), 1):
        intervals = _intervals(words, duration_s)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {duration_s:g}"]
        lines.append(f"        intervals: size = {len(intervals)}")
        for place, (start_s, end_s, text) in enumerate(intervals, 1):
            lines += [f"        intervals [{place}]:", f"            xmin = {start_s:g}"]
            lines += [f"            xmax = {end_s:g}", f"            text = {_quoted(text)}"]
    return "\n".join(lines) + "\n"


def ctm(name: str, words: Sequence[Word]) -> str:
    """A line a word: recording, channel, start, length, word, score (NIST sclite, ctm format)."""
    return "".join(
        f"{name} 1 {word.start_s:.3f} {word.end_s - word.start_s:.3f} {word.text} {word.score:.3f}\n"
        for word in words
    )


def read_mfa(path: Path) -> list[Word]:
    """The words of a JSON file by the Montreal Forced Aligner, which gives no scores: 1 for each."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["tiers"]["words"]["entries"]
        return [Word(text=text, start_s=start, end_s=end, score=1.0) for start, end, text in entries if text]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not what `mfa align --output_format json` writes: {error}") from None


def _intervals(words: Sequence[Word], duration_s: float) -> list[tuple[float, float, str]]:
    """Words and the silences between them, from 0 to the end without a gap."""
    found, at = [], 0.0
    for word in words:
        start_s, end_s = max(at, word.start_s), min(duration_s, word.end_s)
        if end_s <= start_s:  # no time of its own: Praat refuses an empty interval
            continue
        if start_s > at:
            found.append((at, start_s, ""))
        found.append((start_s, end_s, word.text))
        at = end_s
    return [*found, (at, duration_s, "")] if at < duration_s else found


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
