"""The findings of a listening test, as values."""

from dataclasses import dataclass

import numpy as np

from evaluate.ratings import Method
from evaluate.statistics import moments, ranks, sequential
from evaluate.statistics.bootstrap import Figure
from evaluate.statistics.equivalence import Equivalence


@dataclass(frozen=True)
class Difference:
    """`first` against `second`: above 0, the first is better. Without an interval, `why` says why there is none."""

    first: str
    second: str
    n: int
    value: float
    low: float | None
    high: float | None
    p: float | None = None
    df: float | None = None
    se: float | None = None
    p_holm: float | None = None
    method: str = "mixed"
    why: str | None = None
    alone: bool = True  # tested by itself: its interval decides; one of several: its p after Holm does
    alpha: float = 0.05

    @property
    def winner(self) -> str | None:
        """Which of the two is better, where that is sure."""
        if not self.alone:
            sure = self.p_holm is not None and self.p_holm < self.alpha
            return (self.first if self.value > 0 else self.second) if sure else None
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return None
        return self.first if self.low > 0 else self.second


@dataclass(frozen=True)
class Heard:
    """One system as it was rated: its mean with its interval, and how its ratings are spread."""

    system: str
    mean: Figure
    spread: moments.Spread


@dataclass(frozen=True)
class Confirmation:
    """The plan's comparison by another method, in that method's unit."""

    method: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None = None
    why: str | None = None
    alpha: float = 0.05

    @property
    def sign(self) -> int | None:
        """1 or -1 where it tells who is better, 0 where it does not; None where it could not say anything."""
        if self.low is not None and self.high is not None:
            return int(self.low > 0) - int(self.high < 0)
        if self.p is not None and self.value is not None:
            return 0 if self.p > self.alpha else int(np.sign(self.value))
        return None


@dataclass(frozen=True)
class Effect:
    """Something beside the systems that moved the ratings: the place in the order, or the side."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Findings:
    """All that one test found."""

    method: Method
    n: int
    items: int
    listeners: int  # who count
    excluded: dict[str, int]  # reason → how many people
    primary: Difference | None
    everybody: Difference | None  # the same with nobody excluded; None where nobody was
    strangers: Difference | None  # the same without `known`; None where there are none, or nothing is left
    known: int  # ratings that count, by a listener who knew a voice of the trial
    others: list[Difference]
    heard: list[Heard]
    matrix: dict[str, dict[str, tuple[int, int, int]]]  # row → column → row won, tie, column won
    confirmations: list[Confirmation]
    strengths: dict[str, tuple[float, float | None, float | None]]  # log strength with its 95 % interval
    no_strengths: str | None  # why there are no finite ones
    equivalence: Equivalence | None
    detectable: float | None  # smallest difference that this test finds in 80 of 100 repetitions
    variances: dict[str, float]
    effect: Effect | None  # of the order, a ten trials (scores); of being heard second (comparisons)
    any_time: sequential.Look | None
    agreement: dict[str, float | str]
    friedman: ranks.Test | None
    checks: dict[str, dict[str, int]]  # check → outcome → how many listeners
    facts: dict[str, dict[str, int]]  # of the listeners who count
    blinding: tuple[float, float, float] | None
    plan_hash: str | None
    alpha: float = 0.05  # false alarms allowed: intervals of differences are at 1 - alpha

    @property
    def robust(self) -> bool | None:
        """Whether every method that can say something says the same of the plan's comparison.

        Without the permutation test: it is of these listeners and sentences alone, and may tell a difference of which
        nothing may be claimed for others.
        """
        if self.primary is None or self.primary.low is None or self.primary.high is None:
            return None
        mine = int(self.primary.low > 0) - int(self.primary.high < 0)
        asked = [one for one in self.confirmations if one.method != "permutation"]
        signs = [one.sign for one in asked if one.sign is not None]
        return all(sign == mine for sign in signs) if signs else None
