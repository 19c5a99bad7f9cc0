"""A CTC recogniser on a device, with numpy and onnxruntime alone: `python run.py recording.wav`.

The recording is WAV, 16 bits, mono, at the rate in settings.json. The likeliest letter of each moment; repeats and
blanks are left out.
"""

import json
import sys
import wave
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Array = np.ndarray[Any, Any]


class Model:
    """A folder with model.onnx and settings.json, for some with filters.npz. Works on one core unless told."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self.rate_hz: int = self.settings["rate_hz"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        where = str(folder / "model.onnx")
        self.network = onnxruntime.InferenceSession(where, options, providers=["CPUExecutionProvider"])
        self.bank = dict(np.load(folder / "filters.npz")) if self.settings["bank"] else {}

    def transcribe(self, samples: Array) -> str:
        """What was said in float32 (n,), mono, full scale ±1; less than 0.05 s is filled up with silence."""
        samples = np.pad(samples, (0, max(0, self.rate_hz // 20 - len(samples))))
        scores = self.network.run(None, self.bands(samples) if self.bank else self.levelled(samples))[0][0]
        tokens = [self.settings["tokens"][number] for number, _ in groupby(scores.argmax(-1).tolist())]
        return " ".join("".join(tokens).split())

    def levelled(self, samples: Array) -> dict[str, Array]:
        """The samples with a mean of 0 and a variance of 1, where the model was trained so."""
        if self.settings["levelled"]:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        return {"sound": samples.astype(np.float32)[None]}

    def bands(self, samples: Array) -> dict[str, Array]:
        """Log mel bands as Kaldi computes them, each with mean 0 and variance 1, two frames in a row."""
        filters, window = self.bank["filters"], self.bank["window"]  # (bins, mels), (samples of a frame,)
        hop, n_fft = self.settings["hop"], 2 * (len(filters) - 1)
        whole = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64) * 2**15, len(window))[::hop]
        frames = whole - whole.mean(1, keepdims=True)
        frames = np.concatenate([0.03 * frames[:, :1], frames[:, 1:] - 0.97 * frames[:, :-1]], axis=1)
        power = np.abs(np.fft.rfft(frames * window, n_fft)) ** 2
        logs = np.log(np.maximum(power @ filters, 1.192092955078125e-07))
        logs = (logs - logs.mean(0)) / np.sqrt(logs.var(0, ddof=1) + 1e-7)
        odd = len(logs) % 2
        return {"bands": np.pad(logs, ((0, odd), (0, 0))).astype(np.float32).reshape(1, len(logs) // 2 + odd, -1)}


def read(path: Path, rate_hz: int) -> Array:
    """A WAV file as float32 (n,)."""
    with wave.open(str(path)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, rate_hz):
            raise SystemExit(f"{path}: the model hears WAV of 16 bits, mono, at {rate_hz} Hz")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


if __name__ == "__main__":
    model = Model(Path(__file__).parent)
    for name in sys.argv[1:]:
        print(model.transcribe(read(Path(name), model.rate_hz)))
