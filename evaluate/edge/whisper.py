"""Whisper as two networks: the encoder, with the keys and values that cross over; one step of the decoder."""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import gelu

from evaluate.edge import graphs

# Matrices hold nearly all weights. The two convolutions stay float: they are small, and take in what the microphone
# gives. Rows of the embedding come from the output layer's eight bits.
QUANTISED = {"encoder.onnx": ("MatMul",), "decoder.onnx": ("MatMul",)}

Tensors = list[torch.Tensor]


class Encoder(torch.nn.Module):
    """Mel frames, (1, mels, 2 n), as each decoder layer's keys, (1, heads, size, n), and values, (1, heads, n, size).

    Of any number of frames up to the window: `train.families.whisper.AnyLength` is in it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.model.encoder
        self.crossing: Any = torch.nn.ModuleList(layer.encoder_attn for layer in model.model.decoder.layers)

    def forward(self, mels: torch.Tensor) -> Tensors:
        hidden = self.encoder(mels).last_hidden_state
        keys = [heads_of(one.k_proj(hidden), one).transpose(2, 3) for one in self.crossing]
        return keys + [heads_of(one.v_proj(hidden), one) for one in self.crossing]


class Decoder(torch.nn.Module):
    """Tokens, (1, new), after those whose keys and values are held: scores of the next, and what to hold."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder = model.model.decoder
        # Written across, one table serves as embedding and as output layer.
        self.table = torch.nn.Parameter(self.decoder.embed_tokens.weight.T.contiguous(), requires_grad=False)
        self.decoder.embed_tokens = None

    def forward(
        self, ids: torch.Tensor, keys: Tensors, values: Tensors, cross_keys: Tensors, cross_values: Tensors
    ) -> Tensors:
        core, past, new = self.decoder, keys[0].shape[2], ids.shape[1]
        at = past + torch.arange(new)
        hidden = self.table.index_select(1, ids[0]).T[None] * core.embed_scale + core.embed_positions.weight[at]
        ahead = torch.arange(past + new)[None] > at[:, None]
        mask = torch.zeros(new, past + new).masked_fill(ahead, -torch.inf)
        held: tuple[Tensors, Tensors] = [], []
        for number, layer in enumerate(core.layers):
            states = layer.self_attn_layer_norm(hidden)
            for kept, old, project in zip(held, (keys, values), ("k_proj", "v_proj"), strict=True):
                made = heads_of(getattr(layer.self_attn, project)(states), layer.self_attn)
                kept.append(torch.cat([old[number], made], dim=2))
            keys_now = held[0][-1].transpose(2, 3)
            hidden = hidden + attend(layer.self_attn, states, keys_now, held[1][-1], mask)
            states = layer.encoder_attn_layer_norm(hidden)
            hidden = hidden + attend(layer.encoder_attn, states, cross_keys[number], cross_values[number])
            hidden = hidden + layer.fc2(gelu(layer.fc1(layer.final_layer_norm(hidden))))
        scores = core.layer_norm(hidden[:, -1]) @ self.table
        return [scores, *held[0], *held[1]]


def heads_of(states: torch.Tensor, attention: Any) -> torch.Tensor:
    """(1, n, width) as (1, heads, n, size)."""
    return states.reshape(1, -1, attention.num_heads, attention.head_dim).transpose(1, 2)


def attend(
    attention: Any, states: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention of states, (1, n, width), to `keys`, (1, heads, size, m), and `values`, (1, heads, m, size)."""
    scores = heads_of(attention.q_proj(states) * attention.scaling, attention) @ keys
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    found: torch.Tensor = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
    return found


def export(family: Any, folder: Path, voice: Any = None) -> dict[str, Any]:
    """Write the networks of a recogniser of ours and the filters of its mels. Returns what run.py has to know."""
    model = copy.deepcopy(family.model).cpu().float()
    config, layers = model.config, range(model.config.decoder_layers)
    size = config.d_model // config.decoder_attention_heads
    names = [[f"{name}_{n}" for n in layers] for name in ("held_keys", "held_values", "cross_keys", "cross_values")]
    held = [name for part in names[:2] for name in part]
    cross = [name for part in names[2:] for name in part]
    mels = torch.zeros(1, config.num_mel_bins, min(200, 2 * config.max_source_positions))
    graphs.write(folder / "encoder.onnx", Encoder(model), [mels], ["mels"], cross, {"mels": {2: "frames"}})

    def some(*shape: int) -> Tensors:
        return [torch.zeros(1, config.decoder_attention_heads, *shape) for _ in layers]

    example: graphs.Example = [
        torch.zeros(1, 3, dtype=torch.long),
        some(5, size),
        some(5, size),
        some(size, 50),
        some(50, size),
    ]
    axes = {"ids": {1: "new"}} | {name: {2: "past"} for name in held}
    axes |= {name: {3 if "keys" in name else 2: "positions"} for name in cross}
    outputs = ["scores", *(name.replace("held", "kept") for name in held)]
    graphs.write(folder / "decoder.onnx", Decoder(model), example, ["ids", *held, *cross], outputs, axes)
    np.save(folder / "filters.npy", np.ascontiguousarray(family.features.mel_filters.T, dtype=np.float32))
    generation, prompt = family.model.generation_config, family.prompt_tokens()
    return {
        "rate_hz": family.rate_hz,
        "hop": family.features.hop_length,
        "most_samples": family.most_samples,
        "frames": 2 * config.max_source_positions if family.window_s else None,  # None: as many as there are
        "heads": config.decoder_attention_heads,
        "head_size": size,
        "prompt": prompt,
        "end": generation.eos_token_id if isinstance(generation.eos_token_id, int) else family.tokenizer.eos_token_id,
        "most_tokens": config.max_target_positions - len(prompt) - 1,
        "suppressed": list(generation.suppress_tokens or []),
        "suppressed_first": list(generation.begin_suppress_tokens or []),
        "tokens": tokens_of(family.tokenizer, config.vocab_size),
    }


def tokens_of(tokenizer: Any, count: int) -> list[str | None]:
    """The bytes of each token, as hexadecimal; None for what is no text."""
    letters = _bytes_of_letters()
    special = set(tokenizer.all_special_ids)
    found: list[str | None] = []
    for number, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(count)))):
        if token is None or number in special or re.fullmatch(r"<\|.*\|>", token):
            found.append(None)
        elif all(letter in letters for letter in token):
            found.append(bytes(letters[letter] for letter in token).hex())
        else:  # a letter that training added is written as it is
            found.append(token.encode().hex())
    return found


def _bytes_of_letters() -> dict[str, int]:
    """The letter that stands for each byte in a vocabulary of byte pairs. Source: Radford et al., GPT-2, 2019."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + n): byte for n, byte in enumerate(hidden)}
