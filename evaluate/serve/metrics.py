"""Counts and times, in the text format that Prometheus reads.

Source: Prometheus, "Exposition formats", text format 0.0.4. Labels come from fixed sets: what users send never
becomes a label.
"""

import bisect
import threading
from collections import defaultdict

KIND = "text/plain; version=0.0.4; charset=utf-8"
_HELP = {
    "twiza_requests_total": "Requests answered, by route, model and status.",
    "twiza_refusals_total": "Requests refused, by reason.",
    "twiza_misuse_total": "Signs of misuse: voices outside the allow-list, wrong keys.",
    "twiza_feedback_total": "What users said of answers.",
    "twiza_speech_seconds_total": "Seconds of speech made or heard.",
    "twiza_waiting": "Requests that wait or are worked on.",
    "twiza_request_seconds": "From the request to its answer, waiting included.",
    "twiza_first_sound_seconds": "From the request for a stream to its first piece, waiting included.",
    "twiza_real_time_factor": "Seconds of work for a second of speech.",
}
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BUCKETS = {
    "twiza_request_seconds": _SECONDS,
    "twiza_first_sound_seconds": _SECONDS,
    "twiza_real_time_factor": (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
}
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What was counted since the start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[tuple[str, Labels], float] = defaultdict(float)
        self._seen: dict[tuple[str, Labels], list[float]] = {}  # counts by bucket, then the sum

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter, or with a negative `by` take from a gauge."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] += by

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Note one value of a histogram."""
        buckets = _BUCKETS[name]
        with self._lock:
            row = self._seen.setdefault((name, tuple(sorted(labels.items()))), [0.0] * (len(buckets) + 2))
            row[bisect.bisect_left(buckets, value)] += 1
            row[-1] += value

    def text(self) -> str:
        """All of it, as Prometheus reads it."""
        with self._lock:
            counts, seen = dict(self._counts), {key: list(row) for key, row in self._seen.items()}
        lines: list[str] = []
        for name, about in _HELP.items():
            kind = "histogram" if name in _BUCKETS else "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
            lines += [
                f"{name}{_labels(labels)} {value:g}" for (of, labels), value in sorted(counts.items()) if of == name
            ]
            for (of, labels), row in sorted(seen.items()):
                if of == name:
                    lines += _histogram(name, labels, row)
        return "\n".join(lines) + "\n"


def _histogram(name: str, labels: Labels, row: list[float]) -> list[str]:
    lines, total = [], 0.0
    for edge, count in zip([*map(str, _BUCKETS[name]), "+Inf"], row, strict=False):
        total += count
        lines.append(f"{name}_bucket{_labels((*labels, ('le', edge)))} {total:g}")
    return [*lines, f"{name}_sum{_labels(labels)} {row[-1]:.6f}", f"{name}_count{_labels(labels)} {total:g}"]


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    escaped = ((key, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for key, value in labels)
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"
