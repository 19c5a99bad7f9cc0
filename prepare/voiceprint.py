"""What makes a voice this person's: Resemblyzer's network. Its vectors are biometric data.

A d-vector network (Wan et al., Generalized end-to-end loss for speaker verification, ICASSP 2018,
arXiv 1710.10467): three layers of LSTM over 1.6 s of mel frames, trained on English speech (LibriSpeech,
VoxCeleb). Of the package Resemblyzer (Apache-2.0) the weights alone are read, by their digest and without
running what a pickle may hold. Whoever calls this has asked the ledger for `voice_match` first, and writes no
vector to disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prepare import voice
from prepare.clip import Clip, Reject, Samples
from prepare.steps import resample
from recipes.provenance import file_digest
from recipes.schema import UserError, Vad

if TYPE_CHECKING:
    import torch

RATE_HZ = 16_000
_LEAST_S, _WINDOW_S, _STEP_S = 1.0, 1.6, 0.4
_LEVEL = 10 ** (-30 / 20)  # root mean square: the network hears mel power, not its logarithm
_FFT, _HOP, _MELS = 400, 160, 40
_WINDOW, _STEP = round(_WINDOW_S * RATE_HZ) // _HOP, round(_STEP_S * RATE_HZ) // _HOP  # frames
_UNITS, _LAYERS = 256, 3
_WEIGHTS = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"  # SHA-256 of pretrained.pt, 0.1.4


def vectors(clip: Clip) -> Samples:
    """One vector of length 1 for every 0.4 s of speech: float32 (windows, 256); none for less than 1 s of it.

    A window has 1.6 s; speech that is shorter is repeated until it fills one. Pauses are left out, and the level
    does not matter. The product of two vectors is how alike the voices are, from 0 to 1.
    """
    import torch

    sound = _speech(resample(clip, RATE_HZ))
    if len(sound) < _LEAST_S * RATE_HZ:
        return np.zeros((0, _UNITS), np.float32)
    if len(sound) < _WINDOW * _HOP:
        sound = np.resize(sound, _WINDOW * _HOP)
    mel = _mel(sound)
    starts = range(0, len(mel) - _WINDOW + 1, _STEP)
    lstm, linear = _network()
    with torch.inference_mode(), _one_thread():
        _, (hidden, _) = lstm(torch.from_numpy(np.stack([mel[at : at + _WINDOW] for at in starts])))
        found: Samples = torch.relu(linear(hidden[-1])).numpy()
    return unit(found)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A window is too little work to divide: on a busy machine threads would wait for each other, busily."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def unit(found: Samples) -> Samples:
    """Vectors (..., n) at length 1."""
    made: Samples = found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-9)
    return made


def _speech(clip: Clip) -> Samples:
    """The speech of a clip without its pauses, at the level that the network knows."""
    try:
        stretches = voice.find_speech(clip, Vad()).speech or ()
    except Reject:
        return np.zeros(0, np.float32)
    pieces = [clip.samples[round(a * RATE_HZ) : round(b * RATE_HZ)] for a, b in stretches]
    sound = np.concatenate(pieces)
    level = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    leveled: Samples = (sound * (_LEVEL / max(level, 1e-9))).astype(np.float32)
    return leveled


def _mel(sound: Samples) -> Samples:
    """Mel power, as librosa's `melspectrogram` has it: float32 (frames, 40), frames centred every 10 ms."""
    window, filters = _window_and_filters()
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, _FFT // 2), _FFT)[::_HOP]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    made: Samples = (power @ filters).astype(np.float32)
    return made


@cache
def _window_and_filters() -> tuple[Samples, Samples]:
    from librosa.filters import mel

    turn = 2 * np.pi * np.arange(_FFT) / _FFT
    filters: Samples = mel(sr=RATE_HZ, n_fft=_FFT, n_mels=_MELS)
    return (0.5 - 0.5 * np.cos(turn)).astype(np.float32), filters.T


@cache
def _network() -> "tuple[torch.nn.LSTM, torch.nn.Linear]":
    import torch

    weights = torch.load(_file(), map_location="cpu", weights_only=True)["model_state"]
    lstm = torch.nn.LSTM(_MELS, _UNITS, _LAYERS, batch_first=True)
    linear = torch.nn.Linear(_UNITS, _UNITS)
    for part, name in ((lstm, "lstm."), (linear, "linear.")):
        part.load_state_dict({k.removeprefix(name): v for k, v in weights.items() if k.startswith(name)})
    return lstm.eval(), linear.eval()


@cache
def _file() -> Path:
    package = find_spec("resemblyzer")
    places = package.submodule_search_locations if package else None
    path = Path(places[0]) / "pretrained.pt" if places else None
    if path is None or not path.is_file():
        raise UserError(
            "no voice network: run: make voices (or pip install --no-deps resemblyzer==0.1.4); "
            "or set prepare.voices to null"
        )
    if file_digest(path) != _WEIGHTS:
        raise UserError(f"{path}: not the weights of resemblyzer 0.1.4; they are not read")
    return path
