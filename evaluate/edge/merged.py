"""The adapter and its base as one model, which `transformers` loads by itself."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate.edge import speecht5


def write(family: Any, folder: Path, voice: Any) -> None:
    """Lay weights in safetensors, settings and processor into a folder; of generators one voice.

    SpeechT5 has its vocoder in `vocoder/` and its voice in `voice.npy`; VITS of several voices has this one as
    `speaker_id` 0.
    """
    folder.mkdir(parents=True)
    if hasattr(family, "core"):
        plain_vits(family.core, voice).save_pretrained(folder)
    else:
        family.model.save_pretrained(folder)
    family.save_processor(folder)
    if hasattr(family, "open_vocoder"):
        speecht5.vocoder_of(family).save_pretrained(folder / "vocoder")
        np.save(folder / "voice.npy", voice)


def plain_vits(core: Any, voice: Any) -> Any:
    """VITS as `transformers` has it, with some weights split in direction and length (Salimans and Kingma 2016)."""
    from transformers import VitsConfig, VitsModel

    settings = core.config.to_dict()
    condition = core.condition(torch.from_numpy(voice)[None])
    if condition is not None:
        settings["num_speakers"] = 2  # of fewer it takes no number; both rows are this voice
    plain: Any = VitsModel(VitsConfig(**settings))
    held = core.state_dict()
    if condition is not None:
        held["embed_speaker.weight"] = condition[:, :, 0].detach().expand(2, -1)
    taken = {}
    for name in plain.state_dict():
        whole = name.split(".parametrizations.")[0]
        if name in held:
            taken[name] = held[name]
        elif name.endswith("original1"):
            taken[name] = held[f"{whole}.weight"]
        else:
            taken[name] = torch.linalg.vector_norm(held[f"{whole}.weight"], dim=(1, 2), keepdim=True)
    plain.load_state_dict(taken)
    return plain.eval()
