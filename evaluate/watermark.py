"""An inaudible watermark in synthetic speech. It is transparency, and no protection: who wants to can remove it, and
some honest uses lose it (docs/benchmarks.md has the rates).
"""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Kind = Literal["perth", "audioseal"]
THRESHOLD = 0.5  # of a detector's answer, from 0 to 1; docs/benchmarks.md says how often either side of it is wrong


def ready(kind: Kind, weights: Path | None = None) -> None:
    """Raises UserError where a watermark cannot be made on this machine."""
    from evaluate import audioseal, perth

    if kind == "perth":
        perth.file()
    else:
        audioseal.generator(weights)


def embed(samples: Samples, rate_hz: int, kind: Kind, weights: Path | None = None) -> Samples:
    """The same speech, (n,) samples, with the watermark. Raises UserError as `ready`."""
    from evaluate import audioseal, perth

    if not len(samples):
        return samples
    if kind == "perth":
        return perth.embed(samples, rate_hz)
    return audioseal.embed(samples, rate_hz, weights)


def detect(samples: Samples, rate_hz: int, kind: Kind, weights: Path | None = None) -> float:
    """How surely the speech, (n,) samples, bears the watermark: 0 to 1, and 0 for silence. Raises as `ready`."""
    from evaluate import audioseal, perth

    if not np.abs(samples).max(initial=0.0):
        return 0.0
    return perth.detect(samples, rate_hz) if kind == "perth" else audioseal.detect(samples, rate_hz, weights)
