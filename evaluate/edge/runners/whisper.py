"""Whisper on a device, with numpy and onnxruntime alone: `python run.py recording.wav`.

The recording is WAV, 16 bits, mono, at the rate in settings.json. Greedy decoding with a cache of keys and values.
"""

import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Array = np.ndarray[Any, Any]


class Model:
    """A folder with encoder.onnx, decoder.onnx, filters.npy and settings.json. Works on one core unless told."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self.rate_hz: int = self.settings["rate_hz"]
        self.filters = np.load(folder / "filters.npy")  # (mels, n_fft / 2 + 1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in ("encoder.onnx", "decoder.onnx")
        )
        self.banned = [np.array(self.settings[key], np.int64) for key in ("suppressed", "suppressed_first")]

    def transcribe(self, samples: Array) -> str:
        """What was said in float32 (n,), mono, full scale ±1; beyond the window in pieces, cut where it is quiet."""
        heard = map(self.transcribe_piece, pieces(samples, self.settings["most_samples"], self.rate_hz))
        return " ".join(text for text in heard if text)

    def transcribe_piece(self, samples: Array) -> str:
        """What was said in at most as much as the encoder hears at once."""
        crossed = self.encoder.run(None, {"mels": self.mels(samples)[None]})
        names = [one.name for one in self.encoder.get_outputs()]
        cross = dict(zip(names, crossed, strict=True))
        shape = (1, self.settings["heads"], 0, self.settings["head_size"])
        held = [one.name for one in self.decoder.get_inputs() if one.name.startswith("held_")]
        past = {name: np.zeros(shape, np.float32) for name in held}
        given, said = list(self.settings["prompt"]), list[int]()
        while len(said) < self.settings["most_tokens"]:
            logits, *kept = self.decoder.run(None, {"ids": np.array([given], np.int64), **past, **cross})
            past = dict(zip(held, kept, strict=True))
            scores = logits[0]
            scores[self.banned[0]] = -np.inf
            if not said:
                scores[self.banned[1]] = -np.inf
            given = [int(scores.argmax())]
            if given[0] == self.settings["end"]:
                break
            said += given
        return self.text(said)

    def text(self, ids: list[int]) -> str:
        """Tokens as text: the bytes that each stands for; nothing for those that are no text."""
        written = b"".join(bytes.fromhex(self.settings["tokens"][number] or "") for number in ids)
        return " ".join(written.decode("utf-8", errors="replace").split())

    def mels(self, samples: Array) -> Array:
        """Log mel frames, float32 (mels, frames), with silence after them; as the model was trained on them."""
        hop, most = self.settings["hop"], self.settings["most_samples"]
        silent = min((-(-len(samples) // hop) + 3) * hop, most) - len(samples)
        samples = np.pad(samples.astype(np.float64), (0, max(0, silent)))
        n_fft = 2 * (self.filters.shape[1] - 1)
        around = np.pad(samples, n_fft // 2, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(around, n_fft)[: len(samples) // hop * hop : hop]
        spectrum = np.fft.rfft(windows * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)))
        logs = np.log10(np.maximum(self.filters @ (np.abs(spectrum) ** 2).T, 1e-10))
        logs = (np.maximum(logs, logs.max() - 8) + 4) / 4
        logs = logs.astype(np.float16).astype(np.float32)  # in training they were kept in half precision
        frames = self.settings["frames"] or logs.shape[1] + logs.shape[1] % 2
        return np.concatenate([logs, np.repeat(logs[:, -1:], frames - logs.shape[1], axis=1)], axis=1)


def pieces(samples: Array, most: int, rate_hz: int) -> list[Array]:
    """A recording in pieces of at most `most` samples, cut in the middle of the quietest 0.2 s there is near that."""
    found, size = [], rate_hz // 50
    while len(samples) > most:
        first, last = most // 2, min(most, len(samples) - most // 4)
        frames = samples[first : first + (last - first) // size * size].reshape(-1, size).astype(np.float64)
        around = np.ones(min(10, len(frames)))
        loudness = np.convolve((frames**2).sum(1), around, "valid")
        cut = first + size * (int(loudness.argmin()) + len(around) // 2)
        found.append(samples[:cut])
        samples = samples[cut:]
    return [*found, samples]


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
