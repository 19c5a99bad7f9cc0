"""How recordings were made: rates and lengths of all of them; level, noise and clipping measured on a few."""

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress

from collect.booth.hearing import Heard, listen
from collect.keys import Gone
from collect.ledger import Ledger, Refused
from recipes.records import Clip
from recipes.schema import UserError

_REASONS: dict[type, str] = {Refused: "consent ended meanwhile", Gone: "the speaker's key is destroyed"}
_Z = 1.96  # of a 95 % interval


@dataclass
class Conditions:
    """What is known of the recordings without opening them, and of those that were opened."""

    wanted: int  # how many to open
    seed: int
    rates: Counter[int] = field(default_factory=Counter)  # clips by sampling rate, Hz
    lengths: Counter[int] = field(default_factory=Counter)  # clips by duration in whole seconds
    heard: list[Heard] = field(default_factory=list)
    unheard: Counter[str] = field(default_factory=Counter)  # of those drawn: not opened, and why
    _drawn: list[tuple[int, str, Clip]] = field(default_factory=list)

    def add(self, clip: Clip) -> None:
        """Count a clip in; the lot decides whether it will be opened.

        The lot is a hash of seed and clip: more clips later change the draw by a few, not as a whole.
        """
        self.rates[clip.rate_hz] += 1
        self.lengths[int(clip.duration_s)] += 1
        lot = int.from_bytes(hashlib.sha256(f"{self.seed} {clip.id}".encode()).digest()[:8])
        if len(self._drawn) < self.wanted:
            heapq.heappush(self._drawn, (-lot, clip.id, clip))
        elif self.wanted and -lot > self._drawn[0][0]:
            heapq.heapreplace(self._drawn, (-lot, clip.id, clip))

    def measure(self, ledger: Ledger) -> None:
        """Open the clips that were drawn. One that cannot be opened is counted with its reason."""
        with Progress(console=Console(stderr=True)) as progress:
            for _, _, clip in progress.track(sorted(self._drawn, reverse=True), description="measuring"):
                try:
                    samples, rate_hz = ledger.audio(clip, "store_prepare")
                except UserError as error:
                    self.unheard[_REASONS.get(type(error), "lost or damaged")] += 1
                else:
                    self.heard.append(listen(samples, rate_hz))

    def share(self, doubt: str) -> tuple[int, float, float]:
        """How many of the measured have a doubt (`clipped`, `too_quiet`, `too_noisy`), and its 95 % interval.

        The interval is of the share among all recordings, 0 to 1: Wilson's score interval (1927).
        """
        count, n = sum(doubt in one.doubts for one in self.heard), len(self.heard)
        return count, *wilson(count, n)


def wilson(count: int, n: int) -> tuple[float, float]:
    """Bounds of the 95 % score interval of a share, 0 to 1; (0, 1) of nothing."""
    if not n:
        return 0.0, 1.0
    share, weight = count / n, _Z * _Z / n
    middle = share + weight / 2
    half = math.sqrt(weight * share * (1 - share) + weight * weight / 4)
    return max(0.0, (middle - half) / (1 + weight)), min(1.0, (middle + half) / (1 + weight))


def quantile(values: Iterable[float], share: float) -> float:
    """The value that a share of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
