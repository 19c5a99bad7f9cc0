"""How good a clip sounds, as listeners would rate it: DNSMOS, without speechmos's costs.

DNSMOS P.835 (Reddy et al., ICASSP 2022, doi 10.1109/ICASSP43922.2022.9746108) rates signal, background and the
whole from 1 to 5; its P.808 network (Reddy et al., ICASSP 2021) gives one rating more. Both hear windows of
9.01 s, one a second, and a shorter clip repeated until it fills one. Windows overlap by eight seconds, so what
the large network's first layers make of a frame is made once for all windows that hold it. The scores are
those of `speechmos.dnsmos.run`, whose ONNX files these are.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prepare.clip import Samples
from recipes import provenance
from recipes.schema import UserError

if TYPE_CHECKING:
    import onnxruntime

RATE_HZ = 16_000
_WINDOW_S = 9.01
_HOP = 160  # samples from frame to frame, for both networks
_FRAMES = 900  # in a window
_PER_S = RATE_HZ // _HOP
_POOL = 4  # frames in one row of what the shared layers give
_ROWS, _CHUNK_ROWS = _FRAMES // _POOL, 60  # of a window; of one call
_EDGE_ROWS, _EDGE_FRAMES = 2, 16  # rows that a window's edge reaches, and the frames they are made of
_MARGIN = 8  # frames beside a chunk that its rows are also made of, rounded up to whole rows
_MEL_FFT, _MELS = 321, 120
# The large network's outputs to ratings, highest power first (speechmos, get_polyfit_val).
_SIG, _BAK = (-0.08397278, 1.22083953, 0.0052439), (-0.13166888, 1.60915514, -0.39604546)
_OVRL = (-0.06766283, 1.11546468, 0.04602535)
_SHARED_IN, _SHARED_OUT = "mos_estimator_logpow/concat:0", "mos_estimator_logpow/max_pooling2d/MaxPool_1_conv0"


@dataclass(frozen=True)
class P835:
    """Mean opinion scores, 1 (bad) to 5 (excellent), of the whole, of the voice itself and of what is behind it."""

    ovrl: float
    sig: float
    bak: float


def p808(samples: Samples) -> float:
    """Mean opinion score, 1 to 5, by the small network: a tenth of the work. Arguments and faults as for `p835`."""
    sound, windows = _heard(samples)
    return float(np.mean([_run("p808", mel[None])[0, 0] for mel in _mels(sound, windows)]))


def p835(samples: Samples) -> P835:
    """The ratings of a clip by the large network. `samples`: float32 (n,) at 16 kHz, within ±1.

    Raises ValueError for anything else, as speechmos does; NaN is not within ±1.
    """
    sig, bak, ovrl = _raw(*_heard(samples)).T.astype(np.float64)
    means = (float(np.polyval(curve, raw).mean()) for curve, raw in ((_OVRL, ovrl), (_SIG, sig), (_BAK, bak)))
    return P835(*means)


@cache
def made_by() -> str:
    """Digest of the networks and of the code around them: a rating by another one is made anew."""
    here = Path(__file__)
    files = (here, here.with_name("rating.py"), _file("sig_bak_ovr.onnx"), _file("model_v8.onnx"))
    return provenance.digest(map(provenance.file_digest, files))


def _heard(samples: Samples) -> tuple[Samples, list[int]]:
    """The clip, doubled until it fills a window and up to where its last one ends; and where windows begin."""
    if samples.ndim != 1 or not len(samples) or not (np.abs(samples) <= 1).all():
        raise ValueError("samples must be one channel, at least one sample, each within ±1")
    sound = np.asarray(samples, np.float32)
    while len(sound) < int(_WINDOW_S * RATE_HZ):
        sound = np.append(sound, sound)
    windows = _windows(len(sound))
    return np.ascontiguousarray(sound[: windows[-1] * RATE_HZ + int(_WINDOW_S * RATE_HZ)]), windows


def _windows(count: int) -> list[int]:
    """The second at which each window begins. `count`: of samples.

    speechmos leaves out a window whose end, computed in floating point, falls a sample short.
    """
    size = int(_WINDOW_S * RATE_HZ)
    begins = range(int(np.floor(count / RATE_HZ) - _WINDOW_S) + 1)
    return [at for at in begins if int((at + _WINDOW_S) * RATE_HZ) - at * RATE_HZ >= size]


def _raw(sound: Samples, windows: list[int]) -> Samples:
    """Raw signal, background and overall of each window: float32 (windows, 3)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 2 * _HOP)[::_HOP]
    rows = np.concatenate([_shared_rows(frames, at) for at in range(0, len(frames) // _POOL, _CHUNK_ROWS)], axis=2)
    starts = [at * _PER_S for at in windows]
    if len(windows) > 1:
        # Each window has silence of its own making around it, where the whole has other frames.
        ends = [frames[at : at + _EDGE_FRAMES] for at in starts]
        ends += [frames[at + _FRAMES - _EDGE_FRAMES : at + _FRAMES] for at in starts]
        edges = _run("shared", np.stack(ends))
    found = []
    for number, at in enumerate(starts):
        window = rows[:, :, at // _POOL : at // _POOL + _ROWS]
        if len(windows) > 1:
            left, right = edges[[number]], edges[[len(starts) + number]]
            inner = window[:, :, _EDGE_ROWS:-_EDGE_ROWS]
            window = np.concatenate([left[:, :, :_EDGE_ROWS], inner, right[:, :, -_EDGE_ROWS:]], axis=2)
        found.append(_run("rest", window)[0])
    return np.stack(found)


def _shared_rows(frames: Samples, first: int) -> Samples:
    """Some rows of the shared layers, from row `first` on: float32 (1, 32, rows, 40). `frames`: of all the sound."""
    last = min(first + _CHUNK_ROWS, len(frames) // _POOL)
    before = min(_MARGIN, first * _POOL)
    made = _run("shared", frames[None, first * _POOL - before : last * _POOL + _MARGIN])
    return made[:, :, before // _POOL :][:, :, : last - first]


def _mels(sound: Samples, windows: list[int]) -> list[Samples]:
    """What the P.808 network hears of each window: float32 (900, 120), in dB below its loudest, from -80 up.

    Its frames are centred, so the first and the last of a window reach over its edges, into silence.
    """
    half = _MEL_FFT // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, half), _MEL_FFT)[::_HOP]
    power = _mel_power(frames)
    found = []
    for at in windows:
        inside = sound[at * RATE_HZ : at * RATE_HZ + _FRAMES * _HOP]
        ends = np.zeros((2, _MEL_FFT), np.float32)
        ends[0, half:] = inside[: half + 1]
        ends[1, : 2 * half] = inside[-2 * half :]
        first, last = _mel_power(ends)
        mel = np.concatenate([first[None], power[at * _PER_S :][1 : _FRAMES - 1], last[None]])
        level = 10 * np.log10(np.maximum(mel, 1e-10))
        below = np.maximum(level - level.max(), -80)
        found.append(((below + 40) / 40).astype(np.float32))
    return found


def _mel_power(frames: Samples) -> Samples:
    """Frames of sound, float32 (n, 321), to mel power, float32 (n, 120)."""
    real, imaginary, mel = _mel_bases()
    power: Samples = ((frames @ real) ** 2 + (frames @ imaginary) ** 2) @ mel
    return power


@cache
def _mel_bases() -> tuple[Samples, Samples, Samples]:
    """Windowed cosines and sines, float32 (321, 161); mel filters as librosa has them, float32 (161, 120).

    321 is three times a prime: as a product of matrices the transform is faster than as a fast one.
    """
    from librosa.filters import mel

    time = np.arange(_MEL_FFT)
    turn = 2 * np.pi * np.outer(time, np.arange(_MEL_FFT // 2 + 1)) / _MEL_FFT
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * time / _MEL_FFT))[:, None]
    filters: NDArray[np.float32] = mel(sr=RATE_HZ, n_fft=_MEL_FFT, n_mels=_MELS)
    return (hann * np.cos(turn)).astype(np.float32), (hann * np.sin(turn)).astype(np.float32), filters.T


def _run(name: str, value: Samples) -> Samples:
    session = _session(name)
    found: Samples = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(value)})[0]
    return found


@cache
def _session(name: str) -> "onnxruntime.InferenceSession":
    """A network in one thread: `p808`; of the other its `shared` layers, and the `rest` of them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if name == "p808":
        network: Any = str(_file("model_v8.onnx"))
    elif name == "shared":
        network = _piece(_SHARED_IN, _SHARED_OUT, (None, None, 2 * _HOP))
    else:
        network = _piece(_SHARED_OUT, "Identity:0", (None, 32, _ROWS, 40))
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def _piece(first: str, last: str, shape: tuple[int | None, ...]) -> bytes:
    """The layers of the large network between two of its values, as a network. `shape`: of what goes in."""
    import onnx
    from onnx.utils import Extractor

    whole = onnx.shape_inference.infer_shapes(onnx.load(str(_file("sig_bak_ovr.onnx"))))
    piece = Extractor(whole).extract_model([first], [last])
    del piece.graph.value_info[:]  # they hold the length of one window
    kind = onnx.TensorProto.FLOAT
    piece.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info(first, kind, shape))
    piece.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(last, kind, None))
    made: bytes = piece.SerializeToString()
    return made


def _file(name: str) -> Path:
    """A file of the installed speechmos, found without running its code."""
    package = find_spec("speechmos")
    places = package.submodule_search_locations if package else None
    path = Path(places[0]) / "dnsmos_models" / name if places else None
    if path is None or not path.is_file():
        raise UserError("no speechmos with DNSMOS's networks: pip install speechmos, or set prepare.mos to null")
    return path
