"""What is evaluated, one by one: a sentence or a recording, and what a system made of it."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.records import Language
from train.adapter import decode


@dataclass(frozen=True)
class Item:
    """One sentence that all systems say, or one recording that all hear."""

    text: str  # normalised
    language: Language
    speaker: str  # whose voice says it
    row: Any = None  # the dataset's row, where there is a recording
    heard: bool = False  # by recognisers: then the recording counts, not the sentence alone

    @property
    def id(self) -> str:
        content = [self.speaker, self.text, *([self.row["id"]] if self.heard else [])]
        return hashlib.sha256(" ".join(content).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Rendered:
    """One item as one system gave it: speech, or for recognisers the text it wrote."""

    system: str
    item: Item
    samples: NDArray[np.float32] | None = None
    rate_hz: int = 0
    text: str = ""
    took_s: float | None = None  # to generate it; of a service, with the way there and back
    memory_mib: float | None = None  # most that the process (or the GPU) held meanwhile
    cost: float | None = None  # in the recipe's currency


def may_be_heard(item: Item) -> bool:
    """Whether there is a recording, of a speaker who agreed that listeners hear it."""
    return item.row is not None and "listen_test" in item.row["purposes"]


def may_leave(item: Item) -> bool:
    """Whether a sentence may go to a server beyond this machine.

    Those of the dataset are their speakers' own words, and handing them over is what `transfer_abroad` asks about:
    no other purpose covers a third party, and where its servers stand nobody here can check. The sentences of
    `evaluate.sentences` are the user's own.
    """
    return item.row is None or "transfer_abroad" in item.row["purposes"]


def recorded(item: Item) -> NDArray[np.float32]:
    """The recording of an item, at the dataset's rate."""
    return decode(item.row["audio"])
