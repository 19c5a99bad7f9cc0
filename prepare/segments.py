"""A long recording as utterances: cut at its pauses between words, and short stretches joined again."""

import math
from collections.abc import Sequence
from itertools import pairwise

from prepare.align import Stretch
from recipes.records import Word

Span = tuple[int, int]  # words, the last not included


def stretches(
    words: Sequence[Word], least_pause_s: float, most_s: float, pad_s: float, join_below_s: float | None = None
) -> list[Stretch]:
    """Stretches of whole words, cut at the longest pauses until each is short enough.

    Each keeps at most `pad_s` of the silence around it, and never more than half of a pause. One that has no
    pause to be cut at stays too long. One shorter than `join_below_s` joins the neighbour across the shorter
    pause, unless both together would be too long.
    """
    silence_s = [math.inf, *(after.start_s - before.end_s for before, after in pairwise(words)), math.inf]
    spans = _cut(words, silence_s, least_pause_s, most_s - 2 * pad_s)
    if join_below_s is not None:
        spans = _joined(words, silence_s, spans, join_below_s - 2 * pad_s, most_s - 2 * pad_s)
    found = []
    for first, last in spans:
        begin_s = words[first].start_s - min(pad_s, silence_s[first] / 2)
        end_s = words[last - 1].end_s + min(pad_s, silence_s[last] / 2)
        found.append(Stretch(first, last, max(0.0, begin_s), end_s))
    return found


def _cut(words: Sequence[Word], silence_s: list[float], least_pause_s: float, most_s: float) -> list[Span]:
    done, todo = list[Span](), [(0, len(words))]
    while todo:
        first, last = todo.pop()
        longest = max(range(first + 1, last), key=silence_s.__getitem__, default=0)
        fits = _length_s(words, (first, last)) <= most_s
        if fits or not longest or silence_s[longest] < least_pause_s:
            done.append((first, last))
        else:
            todo += [(longest, last), (first, longest)]
    return done


def _joined(
    words: Sequence[Word], silence_s: list[float], spans: list[Span], least_s: float, most_s: float
) -> list[Span]:
    """Where several join, the shortest goes first, and of equals the earlier."""
    spans, alone = list(spans), set[Span]()
    while short := [span for span in spans if _length_s(words, span) < least_s and span not in alone]:
        span = min(short, key=lambda span: _length_s(words, span))
        at = spans.index(span)
        pairs = [(one, other) for one, other in pairwise(spans[max(0, at - 1) : at + 2])]
        pairs = [pair for pair in pairs if _length_s(words, (pair[0][0], pair[1][1])) <= most_s]
        if not pairs:
            alone.add(span)
            continue
        one, other = min(pairs, key=lambda pair: silence_s[pair[1][0]])
        spans[spans.index(one) : spans.index(one) + 2] = [(one[0], other[1])]
    return spans


def _length_s(words: Sequence[Word], span: Span) -> float:
    return words[span[1] - 1].end_s - words[span[0]].start_s
