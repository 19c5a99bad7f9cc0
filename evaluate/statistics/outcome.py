"""Answers that are no figures, and what all methods do first: give labels numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NotEnough:
    """There are not enough data for this."""

    why: str

    def __str__(self) -> str:
        return f"not enough data: {self.why}"


@dataclass(frozen=True)
class NoEstimate:
    """The data have no finite estimate: likelihood grows as the estimate does, without end."""

    why: str

    def __str__(self) -> str:
        return f"no finite estimate: {self.why}"


def numbered(labels: Sequence[object]) -> tuple[NDArray[np.int64], int]:
    """A number for each label (n,), by the labels' order, not the rows'; and how many labels there are."""
    names = {label: place for place, label in enumerate(sorted(set(labels), key=repr))}
    return np.fromiter((names[label] for label in labels), np.int64, len(labels)), len(names)
