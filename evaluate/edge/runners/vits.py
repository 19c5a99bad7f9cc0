"""VITS on a device, with numpy and onnxruntime alone: `python run.py "text" speech.wav`.

The text is in the letters of settings.json. One pass: letters become means and durations, those become latents with
noise, and these a wave. The voice is in the network.
"""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Array = np.ndarray[Any, Any]


class Model:
    """A folder with text.onnx, sound.onnx and settings.json. Works on one core unless told."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self.rate_hz: int = self.settings["rate_hz"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self.text, self.sound = (
            onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
            for name in ("text", "sound")
        )

    def speak(self, text: str) -> Array:
        """A text as float32 (n,). A letter that the model has not is left out."""
        noise = Noise(0)
        given = {"ids": self.ids(text)}
        if self.settings["random_durations"]:
            given["noise"] = noise.block(2 * given["ids"].shape[1]).reshape(1, 2, -1)
        means, log_stds, counts = self.text.run(None, given)  # (tokens, size) twice, (tokens,)
        counts = counts.astype(np.int64)
        if not counts.any():
            counts[-1] = 1
        drawn = noise.stream(int(counts.sum()) * means.shape[1]).reshape(-1, means.shape[1])
        spread = np.exp(np.repeat(log_stds, counts, axis=0)) * np.float32(self.settings["noise_scale"])
        latents = np.repeat(means, counts, axis=0) + drawn * spread
        wave: Array = self.sound.run(None, {"latents": np.ascontiguousarray(latents.T)[None]})[0]
        return wave

    def ids(self, text: str) -> Array:
        """Letters as numbers, int64 (1, tokens), with a blank around each where the model was trained so."""
        known, unknown = self.settings["letters"], self.settings["unknown"]
        found = [known.get(letter, known.get(letter.lower(), unknown)) for letter in text]
        numbers = [number for number in found if number is not None]
        if self.settings["blanks"]:
            numbers = [0, *(number for letter in numbers for number in (letter, 0))]
        return np.array([numbers or [0]], np.int64)


class Noise:
    """Normal random numbers in the order in which torch draws them on a processor, so that the speech is the same.

    Source: Matsumoto and Nishimura's MT19937, ACM TOMACS 8(1), 1998; Box and Muller, 1958; ATen/native/cpu of torch.
    """

    def __init__(self, seed: int) -> None:
        self.bits = np.random.RandomState(seed)

    def _drawn(self, count: int) -> Array:
        return self.bits.randint(0, 2**32, count, dtype=np.uint32)

    def block(self, count: int) -> Array:
        """Of a tensor that lies in one piece: float32 (count,), sixteen at a time; fewer are a stream."""
        if count < 16:
            return self.stream(count)
        shares = self._shares(count)
        rest = count % 16
        found = self._sixteen(shares[: count - rest])
        if rest:
            found = np.concatenate([found, np.zeros(rest, np.float32)])
            found[-16:] = self._sixteen(self._shares(16))
        return found

    def _shares(self, count: int) -> Array:
        return (self._drawn(count) & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2**-24)

    def _sixteen(self, shares: Array) -> Array:
        first, second = shares.reshape(-1, 2, 8).transpose(1, 0, 2)
        radius, angle = np.sqrt(-2 * np.log(1 - first)), np.float32(2 * np.pi) * second
        found: Array = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
        return found

    def stream(self, count: int) -> Array:
        """Of any other tensor: float32 (count,), two at a time, from shares of 53 bits."""
        high, low = self._drawn(4 * (-(-count // 2))).astype(np.uint64).reshape(-1, 2, 2).transpose(2, 1, 0)
        first, second = ((high << np.uint64(32) | low) & np.uint64(2**53 - 1)).astype(np.float64) * 2.0**-53
        radius, angle = np.sqrt(-2 * np.log1p(-second)), 2 * np.pi * first
        both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
        return both[:count].astype(np.float32)


def write(path: Path, samples: Array, rate_hz: int, comment: str) -> None:
    """WAV of 16 bits, mono, that says of itself that a machine speaks (RIFF's ICMT)."""
    sound = (np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes()
    said = comment.encode() + b"\0" * (2 - len(comment.encode()) % 2)
    note = b"INFOICMT" + struct.pack("<I", len(said)) + said
    form = struct.pack("<HHIIHH", 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    parts = [(b"fmt ", form), (b"data", sound), (b"LIST", note)]
    body = b"WAVE" + b"".join(name + struct.pack("<I", len(content)) + content for name, content in parts)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


if __name__ == "__main__":
    model = Model(Path(__file__).parent)
    write(Path(sys.argv[2]), model.speak(sys.argv[1]), model.rate_hz, model.settings["marked"])
