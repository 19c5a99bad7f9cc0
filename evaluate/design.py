"""Which listener hears what, in which order and on which side.

Everything follows from the listener's number (0, 1, 2 … in the order in which they came) and a seed, so that balance
holds by construction over every full cycle of listeners, and not only on average. Orders are Williams squares: each
symbol stands at each place equally often, and follows each other symbol equally often (Williams, "Experimental
designs balanced for the estimation of residual effects of treatments", Australian Journal of Scientific Research A2,
1949). A symbol is a system (ACR), or a pair of systems (preference, CMOS, ABX); with MUSHRA it is a slot of the page.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Literal

from evaluate.ratings import Method

Kind = Literal["training", "scored", "repeat", "gold", "trap"]

PAIRED: tuple[Method, ...] = ("preference", "cmos", "abx")
SLIDERS: tuple[Method, ...] = ("mushra", "mushra_nr")
MOST_SLIDERS = 12  # BS.1534-3, section 5.3: signals in a trial


@dataclass(frozen=True)
class Trial:
    """One page. `systems`: of the slots in their order; in ABX the third is X."""

    kind: Kind
    item: str
    systems: tuple[str, ...]
    broken: tuple[int, ...] = ()  # slots whose clip is destroyed on purpose (gold)
    trap: int | None = None  # which of the recipe's traps


@dataclass(frozen=True)
class Shape:
    """What the design draws on. Systems may be codes: nothing here knows what they stand for."""

    method: Method
    items: tuple[str, ...]  # sentences that every system said
    systems: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]  # of the paired methods; one that is named twice is asked twice as often
    trials: int  # that count, of each listener: a multiple of the symbols
    seed: str
    training: int = 0
    repeats: int = 0
    gold: int = 0
    traps: int = 0

    @property
    def symbols(self) -> int:
        """How many kinds of trial alternate."""
        if self.method in SLIDERS:
            return 1
        return len(self.pairs) if self.method in PAIRED else len(self.systems)


def cycle(shape: Shape) -> int:
    """After how many listeners everything is balanced."""
    if shape.method in SLIDERS:
        return lcm(len(williams(len(shape.systems))), len(williams(shape.trials)))
    rows = len(williams(shape.symbols))
    return lcm(rows, {"abx": 4, "acr": 1}.get(shape.method, 2) * shape.symbols)


def order(shape: Shape, number: int) -> list[Trial]:
    """All trials of a listener, training first. The same for the same shape and number, always."""
    draw = random.Random(f"{shape.seed} listener {number}")
    items = list(shape.items)
    random.Random(f"{shape.seed} items").shuffle(items)
    start = number // cycle(shape) * shape.trials  # each cycle of listeners hears another stretch of the sentences
    window = [items[(start + place) % len(items)] for place in range(shape.trials)]
    others = [item for item in items if item not in set(window)] or items
    make = _sliders if shape.method in SLIDERS else _turns
    trials = make(shape, number, window, draw)
    training = [_training(shape, others, draw, place) for place in range(shape.training)]
    return training + _mixed(shape, trials, draw)


# ---------------------------------------------------------------- squares


def williams(n: int) -> list[list[int]]:
    """Rows of a Williams square of n symbols: n rows where n is even, 2n where it is odd."""
    first = [(place + 1) // 2 * (1 if place % 2 else -1) % n for place in range(n)]
    rows = [[(symbol + row) % n for symbol in first] for row in range(n)]
    return rows if n % 2 == 0 or n == 1 else rows + [row[::-1] for row in rows]


def sequence(n: int, length: int, number: int, seed: str) -> list[int]:
    """Rows of the square one after another, `length` symbols long; which rows goes by the listener's number.

    Over the listeners of a cycle each place holds each symbol equally often. Where one row meets the next, the
    step from symbol to symbol runs through all values, for all listeners alike.
    """
    rows = williams(n)
    family, row = divmod(number % len(rows), n)
    end = rows[family * n][-1] - rows[family * n][0]
    steps = list(range(n))
    random.Random(f"{seed} steps {number // len(rows)}").shuffle(steps)
    found: list[int] = []
    for turn in range(-(-length // n)):
        found += rows[family * n + row]
        row = (row + end + steps[turn % n]) % n
    return found[:length]


# ---------------------------------------------------------------- trials


def _turns(shape: Shape, number: int, window: Sequence[str], draw: random.Random) -> list[Trial]:
    """One system, or one pair, for each sentence: over the listeners of a cycle each sentence meets every symbol."""
    n = shape.symbols
    waiting: list[list[Trial]] = [[] for _ in range(n)]
    for place, item in enumerate(window):
        symbol = (place + number) % n
        if shape.method == "acr":
            waiting[symbol].append(Trial("scored", item, (shape.systems[symbol],)))
        else:
            turned = (place // n + number // n + symbol) % 2
            pair = shape.pairs[symbol][:: -1 if turned else 1]
            x = (pair[(place // n // 2 + number // n // 2) % 2],) if shape.method == "abx" else ()
            waiting[symbol].append(Trial("scored", item, (*pair, *x)))
    for some in waiting:
        draw.shuffle(some)
    return [waiting[symbol].pop() for symbol in sequence(n, len(window), number, shape.seed)]


def _sliders(shape: Shape, number: int, window: Sequence[str], draw: random.Random) -> list[Trial]:
    """All systems on every page: sentences in the order of one square, slots in that of another."""
    slots, places = williams(len(shape.systems)), williams(len(window))
    return [
        Trial(
            "scored",
            window[place],
            tuple(shape.systems[s] for s in slots[(number + turn * _step(len(slots))) % len(slots)]),
        )
        for turn, place in enumerate(places[number % len(places)])
    ]


def _step(rows: int) -> int:
    """A stride that visits all rows, and not one after the other."""
    return next(step for step in range(max(1, rows // 2), 0, -1) if lcm(step, rows) == step * rows)


def _training(shape: Shape, items: Sequence[str], draw: random.Random, place: int) -> Trial:
    """A trial like the others that does not count; sentences that the listener does not meet again, if there are."""
    item = items[(place + draw.randrange(len(items))) % len(items)]
    if shape.method in SLIDERS:
        return Trial("training", item, tuple(draw.sample(shape.systems, len(shape.systems))))
    if shape.method == "acr":
        return Trial("training", item, (shape.systems[(place + draw.randrange(8)) % len(shape.systems)],))
    pair = tuple(draw.sample(draw.choice(shape.pairs), 2))
    return Trial("training", item, (*pair, draw.choice(pair)) if shape.method == "abx" else pair)


def _mixed(shape: Shape, trials: list[Trial], draw: random.Random) -> list[Trial]:
    """The trials that count, with repeats, gold and traps among them, none at the very beginning."""
    found = list(trials)
    half = max(1, len(trials) // 2)
    for trial in draw.sample(trials[:half], min(shape.repeats, half)):
        found.insert(draw.randint(half + 1, len(found)), replace(trial, kind="repeat"))
    for _ in range(0 if shape.method in SLIDERS else shape.gold):
        found.insert(draw.randint(1, len(found)), _gold(shape, draw))
    for trap in draw.sample(range(shape.traps), shape.traps):
        found.insert(draw.randint(1, len(found)), Trial("trap", "", (), trap=trap))
    return found


def _gold(shape: Shape, draw: random.Random) -> Trial:
    """A clip that was destroyed, alone or beside the same one whole: what to answer is known."""
    item, system = draw.choice(shape.items), draw.choice(shape.systems)
    if shape.method == "acr":
        return Trial("gold", item, (system,), (0,))
    side = draw.randrange(2)
    if shape.method == "abx":
        return Trial("gold", item, (system,) * 3, (side, 2) if draw.randrange(2) else (side,))
    return Trial("gold", item, (system,) * 2, (side,))


# ---------------------------------------------------------------- how long


def trials_within(
    symbols: int, seconds: Sequence[float], ratings: int, each: int, minutes: float, extra: int, training: int
) -> int:
    """How many trials that count fit: at most `ratings` (a trial has `each`), and `minutes` for everything.

    `seconds`: of a trial with each of the sentences; the longest are reckoned with. `extra`: repeats, gold, traps.
    The result is a multiple of `symbols`, 0 when not even one of each fits.
    """
    longest = sorted(seconds, reverse=True)
    spent = (extra + training) * longest[0]
    fit = 0
    while fit < len(longest) and (fit + 1 + extra) * each <= ratings and spent + longest[fit] <= 60 * minutes:
        spent += longest[fit]
        fit += 1
    return fit // symbols * symbols
