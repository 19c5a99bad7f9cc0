"""Where there is speech: Silero's network, its segments, and the voiceless sounds that it leaves out."""

from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from prepare.clip import Clip, Reject, Samples
from prepare.quality import frame_power
from prepare.steps import resample
from recipes.schema import UserError, Vad

if TYPE_CHECKING:
    import onnxruntime

_RATE_HZ, _FRAME, _CONTEXT = 16_000, 512, 64  # what Silero was trained on
_FRAME_S = _FRAME / _RATE_HZ
_BLOCK = 1024  # frames in one call: bounds the memory of a long recording
_EDGE_FRAME_S, _EDGE_FRAMES, _EDGE_GAP = 0.016, 25, 6  # the last two counted in frames


def find_speech(clip: Clip, vad: Vad) -> Clip:
    """Mark where there is speech (Silero VAD). Raises Reject where there is none."""
    speech = segments(speech_probability(clip), vad, clip.duration_s)
    if not speech:
        raise Reject(f"no speech found: prepare.vad.threshold is {vad.threshold:g}")
    return replace(clip, speech=speech)


def speech_probability(clip: Clip) -> Samples:
    """Probability of speech in each 32 ms: float32 (frames,), frames rounded up.

    The network hears the clip at full scale, because it takes quiet speech for noise (below a peak
    of about 0.01). Its state goes from frame to frame and starts empty: the same clip, the same answer.
    """
    samples = resample(clip, _RATE_HZ, "HQ").samples
    count = -(-len(samples) // _FRAME)
    frames = np.zeros((count, _FRAME), np.float32)
    frames.reshape(-1)[: len(samples)] = samples * np.float32(0.9 / max(np.abs(samples).max(), 1e-9))
    context = np.zeros((count, _CONTEXT), np.float32)
    context[1:] = frames[:-1, -_CONTEXT:]
    state = cell = np.zeros((1, 1, 128), np.float32)
    found = [np.zeros(0, np.float32)]
    for at in range(0, count, _BLOCK):
        block = np.concatenate([context[at : at + _BLOCK], frames[at : at + _BLOCK]], axis=1)
        probability, state, cell = _silero().run(
            ["speech_probs", "hn", "cn"], {"input": block, "h": state, "c": cell}
        )
        found.append(probability.reshape(-1))
    return np.concatenate(found)


def segments(probability: Samples, vad: Vad, duration_s: float) -> tuple[tuple[float, float], ...]:
    """Stretches of speech as (start_s, end_s), in order and apart. `probability`: float32 (frames,).

    Speech begins at `threshold` and goes on until 0.15 below it, as Silero's own segmentation does.
    Shorter silences than `min_silence_s` are bridged; then shorter stretches than `min_speech_s` dropped.
    """
    runs: list[list[float]] = []
    speaking = False
    for number, p in enumerate(probability):
        start_s = number * _FRAME_S
        starts = p >= vad.threshold and not speaking
        speaking = p >= vad.threshold or (speaking and p >= vad.threshold - 0.15)
        if starts and not (runs and start_s - runs[-1][1] < vad.min_silence_s):
            runs.append([start_s, start_s])
        if speaking:
            runs[-1][1] = min(start_s + _FRAME_S, duration_s)
    least_s = min(vad.min_speech_s, duration_s)
    return tuple((start_s, end_s) for start_s, end_s in runs if end_s - start_s >= least_s)


def reach_edges(clip: Clip) -> Clip:
    """Move the first start and the last end of speech outwards over voiceless sounds next to them.

    Silero hears voicing, and starts late on a fricative or a plosive; Tamazight begins and ends words with
    whole clusters of them (ⵜⵙⵙⵏⵜ). A 16 ms frame belongs to speech when it is 15 dB above the noise, less
    than 25 dB below the speech, and at most 0.1 s from what belongs already; in all 0.4 s on each side.
    """
    if not clip.speech:
        return clip
    frame = round(_EDGE_FRAME_S * clip.rate_hz)
    frame_s, power = frame / clip.rate_hz, frame_power(clip.samples, frame)
    first, last = (round(at_s / frame_s) for at_s in (clip.speech[0][0], clip.speech[-1][1]))
    outside = np.concatenate([power[:first], power[last:]])
    noise = float(np.median(outside)) if len(outside) else 0.0
    speech = float(power[first:last].sum()) / max(1, last - first)
    loud = power > max(noise * 10**1.5, speech * 10**-2.5)
    first, last = first - _reach(loud[:first][::-1]), last + _reach(loud[last:])
    start_s, end_s = max(0.0, first * frame_s), min(clip.duration_s, last * frame_s)
    (a, b), *rest = clip.speech
    moved = [(min(a, start_s), b), *rest]
    moved[-1] = moved[-1][0], max(moved[-1][1], end_s)
    return replace(clip, speech=tuple(moved))


def _reach(loud: NDArray[np.bool_]) -> int:
    """How many frames, from the first on, belong to what lies before them."""
    reached = 0
    for place in np.flatnonzero(loud[:_EDGE_FRAMES]):
        if place - reached > _EDGE_GAP:
            break
        reached = int(place) + 1
    return reached


@cache
def _silero() -> "onnxruntime.InferenceSession":
    """Silero's network over a sequence of frames, in one thread. The package around it would import torch."""
    import onnxruntime

    package = find_spec("silero_vad")
    places = package.submodule_search_locations if package else None
    path = Path(places[0]) / "data" / "silero_vad_16k_sequence.onnx" if places else None
    if path is None or not path.is_file():
        raise UserError("no silero-vad 6.2.3 or newer: pip install silero-vad, or set prepare.vad to null")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
