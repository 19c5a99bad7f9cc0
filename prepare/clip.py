"""What the audio steps hand to one another, and how a step says no."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recipes.records import Quality

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A stretch of sound. Steps take one and give a new one; none is changed."""

    samples: Samples  # float32 (n,); float32 (n, channels) until `mono`
    rate_hz: int
    speech: tuple[tuple[float, float], ...] | None = None  # (start_s, end_s); None: not looked for
    clicks: tuple[float, ...] = ()  # when, in seconds

    @property
    def duration_s(self) -> float:
        """Length of the samples."""
        return len(self.samples) / self.rate_hz


class Reject(Exception):
    """This clip cannot become an utterance. Its text is the reason, as `kind: particulars`."""

    def __init__(self, reason: str, quality: Quality | None = None) -> None:
        """`quality`: what was measured on the clip, where it had come so far."""
        super().__init__(reason)
        self.quality = quality


class Unread(Reject):
    """This clip could not be read this time. Nothing is kept of it, so that the next run tries again."""
