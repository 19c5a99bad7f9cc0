"""AudioSeal's watermark (San Roman et al., ICML 2024, arXiv 2401.17264), with weights that the user brings.

The package's networks are built, and its loader is not used: it asks a hub, and unpickles. Weights are read as
safetensors, or as a checkpoint of tensors alone. Its watermark is made at 16 kHz and added at the speech's own rate.
"""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recipes.schema import UserError
from train.adapter import resampled

Samples = NDArray[np.float32]
_RATE_HZ = 16_000
_MESSAGE = torch.tensor([0, 1] * 8)  # sixteen bits, the same in every file: they identify nobody


def embed(samples: Samples, rate_hz: int, weights: Path | None) -> Samples:
    """The same speech, (n,) samples, with the watermark. Raises UserError for weights that cannot be used."""
    wave = torch.from_numpy(resampled(samples, rate_hz, _RATE_HZ))[None, None]
    with torch.inference_mode():
        added = generator(weights).get_watermark(wave, message=_MESSAGE)[0, 0].numpy()
    back = resampled(added, _RATE_HZ, rate_hz)[: len(samples)]
    return np.asarray(samples + np.pad(back, (0, len(samples) - len(back))), np.float32)


def detect(samples: Samples, rate_hz: int, weights: Path | None) -> float:
    """The share of the speech, (n,) samples, that bears the watermark. Raises UserError as `embed`."""
    wave = torch.from_numpy(resampled(samples, rate_hz, _RATE_HZ))[None, None]
    with torch.inference_mode():
        found, _ = _network("detector", weights).detect_watermark(wave)
    return float(found.reshape(-1)[0])


def generator(weights: Path | None) -> Any:
    """The network that makes the watermark. Raises UserError for a package or weights that are missing."""
    return _network("generator", weights)


@cache
def _network(which: str, weights: Path | None) -> Any:
    if find_spec("audioseal") is None or weights is None:
        raise UserError(
            "evaluate.marking.watermark: no AudioSeal here; pip install audioseal==0.2.0, give its weights"
        )
    os.environ.setdefault("NO_TORCH_COMPILE", "1")  # read when it is imported; compiling takes a minute
    from audioseal import AudioSeal, builder
    from audioseal.loader import convert_state_dict_for_scriptable_model, load_local_model_config, load_state_dict

    card = "audioseal_wm_16bits" if which == "generator" else "audioseal_detector_16bits"
    shape = builder.AudioSealWMConfig if which == "generator" else builder.AudioSealDetectorConfig
    settings = load_local_model_config(card)
    made = getattr(builder, f"create_{which}")(AudioSeal.parse_config(settings, config_type=shape))
    path, tensors = _tensors(weights, which)
    try:
        load_state_dict(made, convert_state_dict_for_scriptable_model(tensors))
    except (RuntimeError, AttributeError, KeyError, AssertionError):
        raise UserError(f"{path}: not the weights of AudioSeal's {which} of 16 bits") from None
    return made.eval().requires_grad_(False)


def _tensors(folder: Path, which: str) -> tuple[Path, dict[str, torch.Tensor]]:
    """The weights in a folder, and the file they are from. Raises UserError for none, or for what is not tensors."""
    path = folder / f"{which}_base.safetensors"
    if path.is_file():
        from safetensors.torch import load_file

        return path, load_file(path)
    path = folder / f"{which}_base.pth"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{folder}: no {which}_base.safetensors and no {which}_base.pth in it") from None
    except (UnpicklingError, RuntimeError, EOFError):
        raise UserError(
            f"{path}: holds more than tensors, and is not read; give its tensors as safetensors"
        ) from None
    return path, found.get("model", found)
