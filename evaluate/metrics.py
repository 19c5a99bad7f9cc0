"""What is measured: the name of each figure, which way is better, in what unit, and what it means."""

from dataclasses import dataclass
from typing import Literal

# near: to `target`, or to what the recordings have where that is None; unstated: whoever defined it knows
Better = Literal["lower", "higher", "near", "unstated"]


@dataclass(frozen=True)
class Metric:
    """A figure that every system has."""

    name: str
    better: Better
    unit: str
    meaning: str
    target: float | None = None

    @property
    def heading(self) -> str:
        """Name, unit and which way is better, on a line."""
        ways = {
            "lower": "less is better",
            "higher": "more is better",
            "unstated": "as VERSA defines it",
        }
        way = ways.get(self.better)
        near = "as in the recordings" if self.target is None else f"{self.target:g} is best"
        return f"{self.name}{f', {self.unit}' if self.unit else ''} ({way or near})"


_ALL = (
    Metric("validation loss", "lower", "", "of the model itself on the validation split"),
    Metric("CER", "lower", "share", "character edits over characters, by the recogniser"),
    Metric("WER", "lower", "share", "word edits over words, by the recogniser"),
    Metric("WER, any accepted spelling", "lower", "share", "the same, where accepted spellings of a word are one"),
    Metric("duration ratio", "near", "ratio", "seconds a character over those of the speaker's recordings", 1.0),
    Metric("DNSMOS, overall", "higher", "1 to 5", "what listeners would say of the sound, predicted: P.835"),
    Metric("DNSMOS, P.808", "higher", "1 to 5", "the same by the smaller network"),
    Metric("speaker similarity", "higher", "cosine", "of d-vectors, to the speaker's training recordings"),
    Metric("mel-cepstral distortion", "lower", "dB", "to the recording of the sentence, frames aligned by DTW"),
    Metric("F0 distance", "lower", "cents", "to the recording, root mean square where both have a voice"),
    Metric("energy distance", "lower", "dB", "to the recording, root mean square, level apart"),
    Metric("pause share", "near", "share", "of the time from first to last sound, in pauses of 0.2 s and more"),
    Metric("letters a second", "near", "letters/s", "of speech, pauses left out"),
    Metric("real-time factor", "lower", "s/s", "time to generate over duration; of a service, with the way there"),
    Metric("time to generate", "lower", "s", "of one sentence; of a service, its latency to the last byte"),
    Metric("memory to generate", "lower", "MiB", "most that the process held, or the GPU where there is one"),
    Metric("cost", "lower", "a thousand sentences", "in the recipe's currency, by characters"),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def metric_of(name: str) -> Metric:
    """What is known of a figure; of those from elsewhere, the name alone."""
    return METRICS.get(name) or Metric(name, "unstated", "", "")
