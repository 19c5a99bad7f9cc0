"""Perth's watermark (Resemble AI, MIT): a residual on the magnitudes below 2 kHz, hidden by what is loud there.

Of the package resemble-perth the weights alone are read, by their digest and without running anything of it. The
watermark says one thing, that it is there.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from recipes.provenance import file_digest
from recipes.schema import UserError
from train.adapter import resampled

Samples = NDArray[np.float32]
_RATE_HZ, _WINDOW, _HOP = 32_000, 2048, 320
_BANDS, _HIDDEN = 128, 256  # of 1025 bands those up to 2 kHz
_FLOOR, _HEADROOM_DB = 1e-9, 15.0
_WEIGHTS = "a15bce457ebc53ce5e6c9c3f11df78cf7ee2bf9cdab0a798902135b4c4027670"


def embed(samples: Samples, rate_hz: int) -> Samples:
    """The same speech, (n,) samples, with the watermark; above 2 kHz it stays as it is. Raises as `file`."""
    wave = _at_32_khz(samples, rate_hz)
    with torch.inference_mode():
        spectrum = _spectrum(wave)
        level = _level(spectrum)
        low = level[:, :_BANDS]
        marked = low + _network()["encoder"](low) * _loud(level)[:, None]
        added = torch.zeros_like(spectrum)
        added[:, :_BANDS] = torch.polar(_magnitude(marked) - _magnitude(low), spectrum[:, :_BANDS].angle())
        residual = torch.istft(added, _WINDOW, _HOP, window=_hann(), length=len(wave))[0].numpy()
    back = resampled(residual, _RATE_HZ, rate_hz)[: len(samples)]
    return np.asarray(samples + np.pad(back, (0, len(samples) - len(back))), np.float32)


def detect(samples: Samples, rate_hz: int) -> float:
    """How surely the speech, (n,) samples, bears the watermark: from 0 to 1. Raises UserError as `file`."""
    wave = _at_32_khz(samples, rate_hz)
    with torch.inference_mode():
        level = _level(_spectrum(wave))
        return float(_answer(level, _loud(level)[:, None]).clip(0, 1))


def _answer(level: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What three detectors say, at three speeds, each as far as it trusts itself. level: (1, 1025, frames)."""
    low, frames, said = level[:, :_BANDS], level.shape[2], []
    for name, speed in (("slow", 1.25), ("normal", 1.0), ("fast", 0.75)):
        seen, heard = low, mask
        if speed != 1:
            seen = F.interpolate(low, size=int(frames * speed), mode="linear", align_corners=True)
            heard = F.interpolate(mask, size=seen.shape[2], mode="nearest")
        out = _network()[name](seen)  # (1, 2, frames): trust, answer
        said.append((out * heard).sum(2) / heard.sum(2))
    trust, answers = torch.stack(said, dim=2)[0]
    answer: torch.Tensor = (trust.softmax(0) * answers).sum()
    return answer


def _at_32_khz(samples: Samples, rate_hz: int) -> Samples:
    wave = resampled(np.asarray(samples, np.float32), rate_hz, _RATE_HZ)
    return np.pad(wave, (0, max(0, _WINDOW - len(wave))))


def _spectrum(wave: Samples) -> torch.Tensor:
    """(1, 1025, frames), complex."""
    found: torch.Tensor = torch.stft(
        torch.from_numpy(wave)[None], _WINDOW, _HOP, window=_hann(), return_complex=True, pad_mode="reflect"
    )
    return found


def _hann() -> torch.Tensor:
    return torch.hann_window(_WINDOW)


def _level(spectrum: torch.Tensor) -> torch.Tensor:
    """Magnitudes as the network has them: decibels, from the floor up to the headroom, as 0 to 1."""
    least_db = 20 * np.log10(_FLOOR)
    level_db = 20 * torch.log10(spectrum.abs().clip(_FLOOR))
    level: torch.Tensor = (level_db - least_db) / (_HEADROOM_DB - least_db)
    return level


def _magnitude(level: torch.Tensor) -> torch.Tensor:
    least_db = 20 * np.log10(_FLOOR)
    magnitude: torch.Tensor = 10 ** ((level * (_HEADROOM_DB - least_db) + least_db) / 20).clip(max=10)
    return magnitude


def _loud(level: torch.Tensor) -> torch.Tensor:
    """Where there is sound to hide in: (1, frames) of 0 and 1."""
    whole = level.sum(dim=1)
    return (whole > 0.05 * whole.max()).float()


# ---------------------------------------------------------------- the network


@cache
def _network() -> dict[str, nn.Module]:
    weights = torch.load(file(), map_location="cpu", weights_only=True)["model"]
    found: dict[str, nn.Module] = {"encoder": _layers(_BANDS)}
    found |= {name: _layers(2) for name in ("slow", "normal", "fast")}
    for name, layers in found.items():
        start = "encoder.layers." if name == "encoder" else f"decoder.{name}_layers."
        own = {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}
        layers.load_state_dict({key.replace(".conv.", ".0."): value for key, value in own.items()})
        layers.eval().requires_grad_(False)
    return found


def _layers(out: int) -> nn.Module:
    """Seven convolutions over time: (1, 128, frames) → (1, out, frames)."""
    sizes = [(_BANDS, _HIDDEN, 1), *[(_HIDDEN, _HIDDEN, 7)] * 5]
    inner = [nn.Sequential(nn.Conv1d(i, o, k, padding=k // 2), nn.LeakyReLU()) for i, o, k in sizes]
    return nn.Sequential(*inner, nn.Sequential(nn.Conv1d(_HIDDEN, out, 1)))


@cache
def file() -> Path:
    """Where the weights are. Raises UserError where they are not, or are others."""
    package = find_spec("perth")
    places = package.submodule_search_locations if package else None
    if not places:
        raise UserError("evaluate.marking.watermark: no Perth here; pip install resemble-perth==1.0.1")
    path = Path(places[0]) / "perth_net" / "pretrained" / "implicit" / "perth_net_250000.pth.tar"
    if not path.is_file() or file_digest(path) != _WEIGHTS:
        raise UserError(f"{path}: not the weights of resemble-perth 1.0.1; they are not read")
    return path
