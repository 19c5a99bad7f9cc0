"""Which listener hears what, in which order, and on which side."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from evaluate.stimuli import Stimulus


@dataclass(frozen=True)
class Trial:
    """One page: a sentence, and one or two clips of it in the order of their labels A and B."""

    item: str
    text: str
    language: str
    clips: tuple[Stimulus, ...]


def trials(stimuli: Sequence[Stimulus], seed: str) -> list[Trial]:
    """A listener's trials, decided by their seed alone: each sentence by base and adapter, recordings by themselves.

    The adapter is A in half of the pairs (in one more than half, or less, when their number is odd).
    """
    draw = random.Random(seed)
    by_item: dict[str, dict[str, Stimulus]] = {}
    for stimulus in sorted(stimuli, key=lambda s: s.name):
        by_item.setdefault(stimulus.item, {})[stimulus.system] = stimulus
    pairs, singles = [], []
    for systems in by_item.values():
        if "base" in systems and "adapter" in systems:
            pairs.append((systems["adapter"], systems["base"]))
        else:
            singles += [(one,) for name, one in systems.items() if name != "recordings"]
        singles += [(one,) for name, one in systems.items() if name == "recordings"]
    draw.shuffle(pairs)
    sided = [pair if place % 2 else pair[::-1] for place, pair in enumerate(pairs, start=draw.randint(0, 1))]
    order: list[tuple[Stimulus, ...]] = [*sided, *singles]
    draw.shuffle(order)
    return [Trial(clips[0].item, clips[0].text, clips[0].language, clips) for clips in order]
