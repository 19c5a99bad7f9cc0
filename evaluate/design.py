"""Which listener hears what, in which order, and on which side."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from evaluate.stimuli import Stimulus

# Two systems a sentence. The difference that matters most is asked for twice as often as either other.
_TURNS = (("adapter", "base"), ("adapter", "recordings"), ("adapter", "base"), ("base", "recordings"))


@dataclass(frozen=True)
class Trial:
    """One page: a sentence, and one or two clips of it in the order of their labels A and B."""

    item: str
    text: str
    language: str
    clips: tuple[Stimulus, ...]


def trials(stimuli: Sequence[Stimulus], seed: str) -> list[Trial]:
    """A listener's trials, decided by their seed alone.

    All trials of a test have one shape, for a page that looked different would tell what is on it: a pair of
    clips for each sentence where every sentence has two, else each clip by itself. Of the pairs of two
    systems, each is A in half (in one more than half, or less, when their number is odd).
    """
    draw = random.Random(seed)
    items = list(_by_item(stimuli).values())
    order = _pairs(items, draw) if in_pairs(stimuli) else [(clip,) for clips in items for clip in clips.values()]
    draw.shuffle(order)
    return [Trial(clips[0].item, clips[0].text, clips[0].language, clips) for clips in order]


def in_pairs(stimuli: Sequence[Stimulus]) -> bool:
    """Whether every sentence has two clips to compare."""
    return all(len(clips) > 1 for clips in _by_item(stimuli).values())


def _by_item(stimuli: Sequence[Stimulus]) -> dict[str, dict[str, Stimulus]]:
    found: dict[str, dict[str, Stimulus]] = {}
    for stimulus in sorted(stimuli, key=lambda s: (s.item, s.system)):
        found.setdefault(stimulus.item, {})[stimulus.system] = stimulus
    return found


def _pairs(items: list[dict[str, Stimulus]], draw: random.Random) -> list[tuple[Stimulus, ...]]:
    """One pair of each item; which two of three systems, and on which sides, goes by turns."""
    draw.shuffle(items)
    by_systems: dict[tuple[str, ...], list[tuple[Stimulus, ...]]] = {}
    turn = draw.randrange(len(_TURNS))
    for clips in items:
        systems = tuple(sorted(clips))
        if len(clips) > 2:
            systems, turn = _TURNS[turn % len(_TURNS)], turn + 1
        by_systems.setdefault(systems, []).append(tuple(clips[system] for system in systems))
    sided = []
    for systems in sorted(by_systems):
        first = draw.randint(0, 1)
        sided += [pair[:: 1 if (place + first) % 2 else -1] for place, pair in enumerate(by_systems[systems])]
    return sided
