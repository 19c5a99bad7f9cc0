"""The figures of an utterance in words, and the limits that the recipe sets them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recipes.schema import Prepare

Side = Literal["low", "high"]

# What is looked at for speech of doubtful quality, and which end of it is worse. Others go by their own names.
_KNOWN: dict[str, tuple[str, Side | None]] = {
    "duration_s": ("Duration", None),
    "loudness_lufs": ("Loudness", "low"),
    "active_level_dbov": ("Level of speech", "low"),
    "peak": ("Peak", None),
    "snr_db": ("Speech over noise", "low"),
    "clipped_share": ("Clipped samples", "high"),
    "clicks": ("Clicks", "high"),
    "bandwidth_hz": ("Bandwidth", "low"),
    "t60_s": ("Reverberation (T60)", "high"),
    "speech_share": ("Speech in the utterance", "low"),
    "letters_per_s": ("Speaking rate", None),
}
_TARGETS = {
    "loudness_lufs": "loudness_lufs",
    "active_level_dbov": "active_level_dbov",
}  # of a figure: a key of prepare
# How a figure is shown, by how its name ends: what it is multiplied with, and its unit.
_UNITS: dict[str, tuple[float, str]] = {
    "_share": (100, "%"),
    "letters_per_s": (1, "letters a second"),
    "_per_s": (1, "a second"),
    "_hz": (0.001, "kHz"),
    "_db": (1, "dB"),
    "_dbfs": (1, "dBFS"),
    "_dbov": (1, "dBov"),
    "_lufs": (1, "LUFS"),
    "_ms": (1, "ms"),
    "_s": (1, "s"),
}
_ELSEWHERE = {"align", "split", "text", "vad"}  # sections whose limits are of other things


@dataclass(frozen=True)
class Limit:
    """A key of the recipe that leaves out what lies beyond it."""

    key: str  # prepare.min_snr_db
    value: float
    side: Side  # on which side of it recordings are left out


@dataclass(frozen=True)
class Measure:
    """A figure of `Quality`, or the duration."""

    name: str
    label: str
    unit: str
    scale: float  # from the figure to what is shown
    worse: Side | None  # which end is worth hearing, whether or not there is a limit
    limits: tuple[Limit, ...] = ()
    target: float | None = None  # what preparation brings it to

    def said(self, value: float) -> str:
        """The figure with its unit."""
        return f"{value * self.scale:.3g}\N{NO-BREAK SPACE}{self.unit}".rstrip()


def measures(names: Iterable[str], settings: Prepare) -> list[Measure]:
    """What is known of these figures, in their order."""
    return [measure(name, settings) for name in names]


def measure(name: str, settings: Prepare) -> Measure:
    """What is known of a figure; of one that nobody described, what its name says."""
    ending = max((end for end in _UNITS if name.endswith(end)), key=len, default="")
    scale, unit = _UNITS.get(ending, (1.0, ""))
    label, worse = _KNOWN.get(name, (name.removesuffix(ending).replace("_", " ").capitalize(), None))
    limits = tuple(_limits(name, settings.model_dump(), "prepare"))
    if worse is None and len(limits) == 1:
        worse = limits[0].side
    target = getattr(settings, _TARGETS[name]) if name in _TARGETS else None
    return Measure(name, label, unit, scale, worse, limits, target)


def _limits(name: str, section: Mapping[str, Any], at: str) -> Iterable[Limit]:
    """Every key `min_NAME` and `max_NAME` that is set."""
    for key, value in section.items():
        if isinstance(value, Mapping) and key not in _ELSEWHERE:
            yield from _limits(name, value, f"{at}.{key}")
        elif key in (f"min_{name}", f"max_{name}") and isinstance(value, int | float):
            yield Limit(f"{at}.{key}", float(value), "low" if key.startswith("min_") else "high")
