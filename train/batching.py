"""Which utterances go together in a batch."""

import random
from collections.abc import Sequence


def batches(durations_s: Sequence[float], budget_s: float, seed: int, epoch: int) -> list[list[int]]:
    """Indices in groups of similar length, each of at most `budget_s` seconds once padded to its longest.

    An utterance longer than the budget is a batch by itself. The same seed and epoch give the same
    batches; every utterance is in exactly one.
    """
    draw = random.Random(f"{seed} {epoch}")
    # A little noise on the lengths, so that the same utterances do not meet in every epoch. More of it pads more.
    order = sorted(range(len(durations_s)), key=lambda i: durations_s[i] * draw.uniform(0.98, 1.02))
    groups: list[list[int]] = []
    longest = 0.0
    for index in order:
        longest = max(longest, durations_s[index])
        if not groups or longest * (len(groups[-1]) + 1) > budget_s:
            groups.append([])
            longest = durations_s[index]
        groups[-1].append(index)
    draw.shuffle(groups)
    return groups
