"""SpeechT5 on a device, with numpy and onnxruntime alone: `python run.py "text" speech.wav`.

The text is in the letters of settings.json. A decoder draws frames one step after another, with a cache of keys and
values; the vocoder makes a wave of them. The voice is in the network.
"""

import json
import struct
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Array = np.ndarray[Any, Any]


class Model:
    """A folder with encoder.onnx, decoder.onnx, vocoder.onnx, dropout.npy and settings.json. One core unless told."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        self.settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        self.rate_hz: int = self.settings["rate_hz"]
        # The decoder drops numbers at random, in use as well: which ones is written down, for each step.
        bits = np.unpackbits(np.load(folder / "dropout.npy"), axis=-1, count=self.settings["units"])
        self.kept = bits.astype(np.float32)  # (steps, layers, units)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self.encoder, self.decoder, self.vocoder = (
            onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
            for name in ("encoder", "decoder", "vocoder")
        )

    def speak(self, text: str) -> Array:
        """A text as float32 (n,); one that is longer than the encoder holds in pieces, cut between words."""
        pieces = textwrap.wrap(text, self.settings["most_letters"] - 2) or [""]
        return np.concatenate([self.piece(piece) for piece in pieces])

    def piece(self, text: str) -> Array:
        """One piece, up to where the model stops."""
        known, space = self.settings["letters"], self.settings["space"]
        ids = [known.get(letter, self.settings["unknown"]) for letter in space + text.replace(" ", space)]
        ids.append(self.settings["end"])
        crossed = self.encoder.run(None, {"ids": np.array([ids], np.int64)})
        cross = dict(zip([one.name for one in self.encoder.get_outputs()], crossed, strict=True))
        held = [one.name for one in self.decoder.get_inputs() if one.name.startswith("held_")]
        shape = (1, self.settings["heads"], 0, self.settings["head_size"])
        past = {name: np.zeros(shape, np.float32) for name in held}
        least, most = self.bounds(len(ids))
        frame, drawn = np.zeros((1, 1, self.settings["mels"]), np.float32), list[Array]()
        while True:
            given = {"frame": frame, "kept": self.kept[len(drawn)], **past, **cross}
            frames, stop, *kept = self.decoder.run(None, given)
            past = dict(zip(held, kept, strict=True))
            drawn.append(frames)  # (1, frames of a step, mels)
            frame = frames[:, -1:]
            if len(drawn) >= least and (len(drawn) >= most or float(stop) >= 0.5):
                break
        wave: Array = self.vocoder.run(None, {"frames": np.concatenate(drawn, axis=1)})[0]
        return wave

    def bounds(self, letters: int) -> tuple[int, int]:
        """Fewest and most steps: 1 to 20 frames a letter, and no more than the decoder holds."""
        together = self.settings["frames_a_step"]
        ratio = min(20.0, (self.settings["most_steps"] - 1) * together / letters)
        return int(letters / together), int(letters * ratio / together)


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
