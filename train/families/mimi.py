"""The sound of a codec of Mimi's kind, piece by piece, while its frames are still being drawn.

Source: Défossez et al., "Moshi", Kyutai, 2024 (arXiv 2410.00037), section 3.3: all of the decoder looks back only.
The library's decoder remembers its attention and nothing of its convolutions, which reach back less than half a
second: as much is given to them again with each piece.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from train.families import Samples

FRAMES = 4  # a piece: 0.32 s, at 12.5 frames a second


def causal(codec: Any) -> bool:
    """Whether a sample of sound hangs on no frame after its own."""
    return bool(codec.config.use_causal_conv and codec.config.trim_right_ratio == 1.0)


def decoded(codec: Any, latents: Callable[[Any], Any], frames: Iterable[Any]) -> Iterator[Samples]:
    """What the codec makes of all frames, to the last digits of a float32, with each few of them.

    `frames`: of shape (1, d, 1) each; `latents` makes (1, hidden, n) of (1, d, n). Frames are decoded once; but for
    the last convolutions, which do 1.1 times the work in Pocket TTS, and twice as much in CSM.
    """
    decoder, some = codec.decoder, iter(frames)
    attended, kept, shown = DynamicCache(config=decoder.config), _reach([decoder.upsample]), None
    reach, heard = _reach(decoder.decoder_seanet.layers), None
    while drawn := list(islice(some, FRAMES)):
        with torch.inference_mode():
            new = latents(torch.cat(drawn, dim=-1).to(next(codec.parameters()).device))
            shown = new if shown is None else torch.cat([shown[..., -kept:], new], dim=-1)
            risen = decoder.upsample(shown)
            risen = risen[..., -(risen.shape[-1] // shown.shape[-1] * new.shape[-1]) :]
            states = decoder.decoder_transformer(risen.mT, past_key_values=attended).last_hidden_state.mT
            heard = states if heard is None else torch.cat([heard[..., -reach:], states], dim=-1)
            wave = decoder.decoder_seanet(heard)[0, 0]
            wave = wave[-(len(wave) // heard.shape[-1] * states.shape[-1]) :]
        yield np.asarray(wave.float().cpu())


def _reach(layers: Iterable[Any]) -> int:
    """How many steps before its own step the first sample of the last layer hangs on, counted at the first layer."""
    back = 0
    for part in reversed([part for layer in layers for part in layer.modules()]):
        if isinstance(part, torch.nn.ConvTranspose1d):
            back = (back + part.kernel_size[0] - 1) // part.stride[0]
        elif isinstance(part, torch.nn.Conv1d):
            back += (part.kernel_size[0] - 1) * part.dilation[0]
    return back
