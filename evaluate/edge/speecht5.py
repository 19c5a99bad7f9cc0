"""SpeechT5 with its vocoder as three networks: the encoder, one step of the decoder, post-net and vocoder."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluate.edge import graphs
from evaluate.edge.whisper import Tensors, attend, heads_of
from recipes.schema import UserError

# The matrices of encoder and decoder hold most weights. What draws a frame and says where to stop stays float, for
# each frame follows from the one before; so do post-net and vocoder, whose errors are heard as noise.
QUANTISED: dict[str, tuple[str, ...]] = {"encoder.onnx": ("MatMul",), "decoder.onnx": ("MatMul",), "vocoder.onnx": ()}
APART = ("postnet.feat_out", "postnet.prob_out")


class Encoder(torch.nn.Module):
    """Letters, (1, n), as each decoder layer's keys, (1, heads, size, n), and values, (1, heads, n, size)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.speecht5.encoder
        layers = model.speecht5.decoder.wrapped_decoder.layers
        self.crossing: Any = torch.nn.ModuleList(layer.encoder_attn for layer in layers)

    def forward(self, ids: torch.Tensor) -> Tensors:
        hidden = self.encoder(ids, attention_mask=None, return_dict=True).last_hidden_state
        keys = [heads_of(one.k_proj(hidden), one).transpose(2, 3) for one in self.crossing]
        return keys + [heads_of(one.v_proj(hidden), one) for one in self.crossing]


class Decoder(torch.nn.Module):
    """The frame before, (1, 1, mels): the next ones, (1, frames, mels), the sum of their stops, and what to hold.

    `kept`: which numbers of the pre-net are kept, (layers, units); see `dropout`.
    """

    def __init__(self, model: Any, voice: torch.Tensor) -> None:
        super().__init__()
        self.prenet, self.layers = model.speecht5.decoder.prenet, model.speecht5.decoder.wrapped_decoder.layers
        self.postnet, self.config = model.speech_decoder_postnet, model.config
        self.voice = torch.nn.Parameter(torch.nn.functional.normalize(voice[None]), requires_grad=False)

    def forward(
        self,
        frame: torch.Tensor,
        kept: torch.Tensor,
        keys: Tensors,
        values: Tensors,
        cross_keys: Tensors,
        cross_values: Tensors,
    ) -> Tensors:
        hidden = self._begin(frame, kept, keys[0].shape[2])
        held: tuple[Tensors, Tensors] = [], []
        for number, layer in enumerate(self.layers):
            for made, old, project in zip(held, (keys, values), ("k_proj", "v_proj"), strict=True):
                new = heads_of(getattr(layer.self_attn, project)(hidden), layer.self_attn)
                made.append(torch.cat([old[number], new], dim=2))
            seen = attend(layer.self_attn, hidden, held[0][-1].transpose(2, 3), held[1][-1])
            hidden = layer.self_attn_layer_norm(hidden + seen)
            seen = attend(layer.encoder_attn, hidden, cross_keys[number], cross_values[number])
            hidden = layer.encoder_attn_layer_norm(hidden + seen)
            hidden = layer.final_layer_norm(hidden + layer.feed_forward(hidden))
        frames = self.postnet.feat_out(hidden).reshape(1, self.config.reduction_factor, self.config.num_mel_bins)
        return [frames, torch.sigmoid(self.postnet.prob_out(hidden)).sum(), *held[0], *held[1]]

    def _begin(self, frame: torch.Tensor, kept: torch.Tensor, step: int) -> torch.Tensor:
        """The pre-net of one frame: (1, 1, width)."""
        prenet, hidden = self.prenet, frame
        for number, layer in enumerate(prenet.layers):
            kept_of = kept[number] / (1 - self.config.speech_decoder_prenet_dropout)
            hidden = torch.relu(layer(hidden)) * kept_of
        place = prenet.encode_positions
        hidden = prenet.final_layer(hidden) + place.alpha * place.pe[:, torch.arange(1) + step]
        both = torch.cat([hidden, self.voice[:, None]], dim=-1)
        return torch.relu(prenet.speaker_embeds_layer(both))


class Vocoder(torch.nn.Module):
    """Frames, (1, n, mels), through the post-net, as a wave, (samples,)."""

    def __init__(self, model: Any, vocoder: Any) -> None:
        super().__init__()
        self.postnet, self.vocoder = model.speech_decoder_postnet, vocoder

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        wave: torch.Tensor = self.vocoder(self.postnet.postnet(frames))[0]
        return wave


def export(family: Any, folder: Path, voice: Any) -> dict[str, Any]:
    """Write the networks of a generator of ours with one voice in them. Returns what run.py has to know.

    Raises UserError where the recipe names no vocoder.
    """
    model, vocoder = copy.deepcopy(family.model).cpu().float(), copy.deepcopy(vocoder_of(family)).cpu().float()
    config, layers = model.config, range(model.config.decoder_layers)
    heads, size = config.decoder_attention_heads, config.hidden_size // config.decoder_attention_heads
    names = [[f"{name}_{n}" for n in layers] for name in ("held_keys", "held_values", "cross_keys", "cross_values")]
    held = [name for part in names[:2] for name in part]
    cross = [name for part in names[2:] for name in part]
    ids = torch.full((1, 20), family.tokenizer.eos_token_id)
    graphs.write(folder / "encoder.onnx", Encoder(model), [ids], ["ids"], cross, {"ids": {1: "letters"}})

    def some(*shape: int) -> Tensors:
        return [torch.zeros(1, heads, *shape) for _ in layers]

    kept = torch.ones(config.speech_decoder_prenet_layers, config.speech_decoder_prenet_units)
    frame = torch.zeros(1, 1, config.num_mel_bins)
    example: graphs.Example = [
        frame,
        kept,
        some(5, size),
        some(5, size),
        some(size, 20),
        some(20, size),
    ]
    axes = {name: {2: "past"} for name in held} | {name: {3 if "keys" in name else 2: "letters"} for name in cross}
    outputs = ["frames", "stop", *(name.replace("held", "kept") for name in held)]
    decoder = Decoder(model, torch.from_numpy(voice))
    graphs.write(folder / "decoder.onnx", decoder, example, ["frame", "kept", *held, *cross], outputs, axes)
    frames = torch.zeros(1, 40, config.num_mel_bins)
    graphs.write(
        folder / "vocoder.onnx", Vocoder(model, vocoder), [frames], ["frames"], ["wave"], {"frames": {1: "frames"}}
    )
    np.save(folder / "dropout.npy", dropout(family))
    known = family.tokenizer.get_vocab()
    return {
        "rate_hz": family.rate_hz,
        "letters": {token: number for token, number in known.items() if len(token) == 1},
        "space": "▁",
        "unknown": family.tokenizer.unk_token_id,
        "end": family.tokenizer.eos_token_id,
        "most_letters": config.max_text_positions,
        "most_steps": config.max_speech_positions,
        "frames_a_step": config.reduction_factor,
        "mels": config.num_mel_bins,
        "units": config.speech_decoder_prenet_units,
        "heads": heads,
        "head_size": size,
    }


def vocoder_of(family: Any) -> Any:
    """The HiFi-GAN of a generator. Raises UserError where the recipe names none."""
    if (vocoder := family.open_vocoder()) is None:
        raise UserError(
            "train.vocoder: SpeechT5 is exported with its vocoder; name one, such as microsoft/speecht5_hifigan"
        )
    return vocoder


def dropout(family: Any) -> Any:
    """Which numbers of the pre-net are kept in each step, as packed bits: uint8 (steps, layers, units / 8).

    `transformers` draws them anew for all frames so far, from a seed of ours: the last row counts.
    """
    config = family.config
    share, units = config.speech_decoder_prenet_dropout, config.speech_decoder_prenet_units
    layers = config.speech_decoder_prenet_layers
    kept = np.empty((config.max_speech_positions, layers, units), np.uint8)
    with family.same_dropout():
        for step in range(config.max_speech_positions):
            for layer in range(layers):
                kept[step, layer] = torch.bernoulli(torch.zeros(step + 1, units), p=share)[-1].numpy()
    return np.packbits(kept, axis=-1)
