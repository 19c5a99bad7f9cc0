"""How a model lays text and sound side by side, as pictures: a clean diagonal is a model that reads."""

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.families import Attentive, Skip
from train.features import samples_of
from train.probes import Probes

_MOST = 2  # pictures of a probe
_MOST_LABELS = 60  # letters that can be told apart


@dataclass(frozen=True)
class Picture:
    """Pixels (height, width, 3), 0 to 255, and what they show."""

    pixels: NDArray[np.uint8]
    caption: str


def attention_pictures(probes: Probes) -> list[Picture]:
    """Of the first probes, for families that have an attention or durations to show; else none."""
    if not isinstance(probes.family, Attentive):
        return []
    found = []
    for row in probes.rows[:_MOST]:
        text, voice = row["text_normalized"], probes.voices.get(row["speaker"], np.zeros(0, np.float32))
        with contextlib.suppress(Skip):  # an utterance that it cannot learn from has no picture
            tokens, weights = probes.family.attention(text, samples_of(probes.family, row), voice)
            found.append(Picture(drawn(tokens, weights), text))
    return found


def drawn(tokens: list[str], weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Attention as a picture: time to the right, text upwards. `weights`: (tokens, times), larger is darker."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    axes.imshow(weights, aspect="auto", origin="lower", cmap="magma_r", interpolation="nearest")
    axes.set_xlabel("time, in frames of the model")
    axes.set_ylabel("text")
    if len(tokens) <= _MOST_LABELS:
        axes.set_yticks(range(len(tokens)), tokens, fontsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
