"""What the watchdog's rules look at. A rule is a function of it that says in a sentence what is wrong, or None.

Each names the usual cause and what to do, and is silent about what was not measured. `docs/watchdog.md` says how
often each is right.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recipes.schema import Train

Row = Mapping[str, Any]

# How late a run is judged by what it makes. Models that start from nothing say nothing for long: a CTC model writes
# blanks, a generator hums.
_MATURE = 1 / 3  # of the steps


@dataclass(frozen=True)
class Seen:
    """What has been measured so far, oldest first."""

    rows: Sequence[Row]
    settings: Train

    def all(self, key: str) -> list[float]:
        """Every value of a figure."""
        return [float(row[key]) for row in self.rows if isinstance(row.get(key), int | float)]

    def last(self, key: str) -> float | None:
        """The newest value of a figure."""
        return next(iter(self.all(key)[::-1]), None)

    def base(self, key: str) -> float | None:
        """A figure before the first step."""
        return next((float(row[key]) for row in self.rows if row.get("step") == 0 and key in row), None)

    def learnt(self, key: str) -> list[float]:
        """The values of a figure since the first step."""
        return [float(row[key]) for row in self.rows if row.get("step") and isinstance(row.get(key), int | float)]

    def twice(self, key: str) -> tuple[float, float] | None:
        """The last two values of a figure, the smaller one first: one probe alone may be chance."""
        values = self.learnt(key)[-2:]
        return (min(values), max(values)) if len(values) == 2 else None

    @property
    def mature(self) -> bool:
        """Whether the newest row is late enough to judge what the model makes."""
        return bool(self.rows) and self.rows[-1].get("step", 0) >= _MATURE * self.settings.max_steps


Rule = Callable[[Seen], str | None]
