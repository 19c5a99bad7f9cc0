"""What a CTC recogniser hears: letters over time, from any `transformers` CTC model with a tokenizer of letters."""

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prepare.clip import Samples
from prepare.models import pretrained, pretrained_model

RATE_HZ = 16_000
_WINDOW_S, _OVERLAP_S = 30.0, 2.0  # of long recordings; the overlap lies on both sides and is thrown away
_BATCH_S = 60.0  # of sound in one call, padding included
_LEAST = RATE_HZ // 10  # samples; shorter sounds are padded, because convolutions need some length

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Recogniser:
    """A CTC model with its processor. `step`: samples from one frame to the next."""

    model: Any
    features: Any
    tokenizer: Any
    step: int

    @property
    def blank(self) -> int:
        """The token that stands for no letter."""
        return int(self.tokenizer.pad_token_id)

    @property
    def step_s(self) -> float:
        """Seconds from one frame to the next."""
        return self.step / RATE_HZ


@cache
def open_recogniser(name: str, revision: str | None = None, adapter: str | None = None) -> Recogniser:
    """A recogniser from a folder or the hub, on a GPU where there is one.

    `adapter`: the language whose adapter and letters an MMS model takes on, e.g. `shi`. Raises UserError.
    """
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForCTC, Wav2Vec2CTCTokenizer

    options = {"target_lang": adapter} if adapter else {}
    resized = {"ignore_mismatched_sizes": True} if adapter else {}  # each language has its own output layer
    model = pretrained_model(AutoModelForCTC, name, revision, **options, **resized)
    features = pretrained(AutoFeatureExtractor.from_pretrained, name, revision)
    tokenizer = pretrained(Wav2Vec2CTCTokenizer.from_pretrained, name, revision, **options)
    if multiprocessing.parent_process():  # one of several workers
        torch.set_num_threads(1)
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    opened = Recogniser(model, features, tokenizer, step=0)
    frames = len(_run(opened, [np.zeros(10 * RATE_HZ, np.float32)])[0])
    step = round(10 * RATE_HZ / frames / 80) * 80  # of 10 s, convolutions leave out a frame or two
    return Recogniser(model, features, tokenizer, step)


def emissions(recogniser: Recogniser, sounds: Sequence[Samples]) -> list[Floats]:
    """Log probabilities of tokens over time, for each sound: float32 (frames, tokens). `sounds`: (n,) at 16 kHz.

    Sounds go through the model in batches of like length; a long one in windows that overlap.
    """
    pieces = [piece for number, sound in enumerate(sounds) for piece in _windows(recogniser, number, sound)]
    found: list[list[tuple[int, Floats]]] = [[] for _ in sounds]
    for batch in _batches(recogniser, pieces):
        heard = _run(recogniser, [piece.samples for piece in batch])
        for piece, frames in zip(batch, heard, strict=True):
            found[piece.sound].append((piece.at, frames[piece.skip : piece.skip + piece.keep]))
    return [np.concatenate([frames for _, frames in sorted(parts, key=lambda part: part[0])]) for parts in found]


def transcribe(recogniser: Recogniser, frames: Floats) -> str:
    """Greedy decoding: the likeliest token of each frame, repeats and blanks removed."""
    text: str = recogniser.tokenizer.decode(frames.argmax(-1))
    return " ".join(text.replace(recogniser.tokenizer.unk_token or "<unk>", " ").split())


@dataclass(frozen=True, eq=False)
class _Piece:
    sound: int
    at: int  # order within the sound
    samples: Samples
    skip: int  # frames of overlap before what is kept
    keep: int  # frames; many, for the last piece of a sound


def _windows(recogniser: Recogniser, number: int, sound: Samples) -> Iterator[_Piece]:
    step = recogniser.step
    length, overlap = (round(s * RATE_HZ / step) for s in (_WINDOW_S, _OVERLAP_S))
    total = -(-len(sound) // step)
    starts = list(range(0, max(1, total - overlap), length))
    for start in starts:
        last = start == starts[-1]
        begin = max(0, start - overlap)
        end = len(sound) if last else (start + length + overlap) * step
        yield _Piece(number, start, sound[begin * step : end], start - begin, total if last else length)


def _batches(recogniser: Recogniser, pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces of like length together, on a GPU.

    One by one for a model that would hear the padding; and on a CPU, where it gains little, so that figures do
    not depend, in their last digits, on what else was to be done.
    """
    together = recogniser.model.device.type == "cuda" and recogniser.features.return_attention_mask
    batch: list[_Piece] = []
    for piece in sorted(pieces, key=lambda piece: len(piece.samples)):
        if batch and (not together or (len(batch) + 1) * len(piece.samples) > _BATCH_S * RATE_HZ):
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


def _run(recogniser: Recogniser, sounds: list[Samples]) -> list[Floats]:
    """One call of the model."""
    import torch

    sounds = [np.pad(sound, (0, max(0, _LEAST - len(sound)))) for sound in sounds]
    inputs = recogniser.features(sounds, sampling_rate=RATE_HZ, padding=True, return_tensors="pt")
    inputs = {name: tensor.to(recogniser.model.device) for name, tensor in inputs.items()}
    with torch.inference_mode():
        logits = recogniser.model(**inputs).logits
    found = logits.float().log_softmax(-1).cpu().numpy()
    longest = max(len(sound) for sound in sounds)
    return [frames[: _share(frames, len(sound), longest)] for frames, sound in zip(found, sounds, strict=True)]


def _share(frames: Floats, length: int, longest: int) -> int:
    """How many of a padded sound's frames are its own."""
    return max(1, round(len(frames) * length / longest))
