"""What listeners said, once it may be read: the rows between the listening test and its statistics."""

from dataclasses import dataclass, field
from typing import Literal

Method = Literal["acr", "preference", "cmos", "abx", "mushra", "mushra_nr"]


@dataclass(frozen=True)
class Score:
    """One clip rated by itself (ACR: 1 to 5) or beside others (MUSHRA: 0 to 100)."""

    listener: str  # pseudonym
    item: str  # sentence
    system: str
    score: float
    position: int  # of the trial in the listener's order, from 1
    slot: int = 0  # place on the page, from 0
    known: bool = False  # the listener said to know a voice of the trial


@dataclass(frozen=True)
class Comparison:
    """Two clips of one sentence against each other."""

    listener: str
    item: str
    first: str  # the system behind A
    second: str  # the system behind B
    score: float  # above 0: B is better; CMOS -3 to 3, preference -1, 0, 1; ABX: 1 right, 0 wrong
    position: int
    known: bool = False  # the listener said to know a voice of the two


@dataclass(frozen=True)
class Person:
    """A listener as far as they said: what was skipped is absent."""

    listener: str
    facts: dict[str, str] = field(default_factory=dict)  # varieties, region, age_band, gender, device …
    checks: dict[str, str] = field(default_factory=dict)  # each "pass", "fail", "not_run" or "error"
    excluded: str | None = None  # the rule of the plan that this listener fails; null: counts


@dataclass(frozen=True)
class Ratings:
    """A whole test. Training trials are not in it; traps, gold and repeats only as checks of their listener."""

    method: Method
    scores: list[Score]
    comparisons: list[Comparison]
    people: list[Person]
    primary: tuple[str, str]  # the one comparison that the plan froze: first against second
    plan_hash: str | None = None  # null: no plan was frozen before the test
    reference: str = "recordings"  # of MUSHRA: the system that is hidden among the others
    margin: float | None = None  # of equivalence, as the plan froze it; null: the usual one of the method
    alpha: float = 0.05  # false alarms allowed, two-sided, as the plan froze it
