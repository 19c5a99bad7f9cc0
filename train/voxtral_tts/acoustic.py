"""From what the language model thinks to the codes of a frame: one by its likelihood, the others by a flow.

Source: Liu et al., "Voxtral TTS", Mistral AI, 2026 (arXiv 2603.25551), sections 2.2, 2.3 and 3.1; Lipman et al.,
"Flow matching for generative modeling", ICLR 2023. A frame's acoustic codes are levels of numbers between -1 and 1.
The flow carries noise (time 0) to these numbers (time 1) along straight lines; for a line from x0 to x1 the velocity
to be learnt is x1 - x0.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from train.voxtral_tts.config import END, SPECIAL, AcousticSizes, Codes, rounded_up

_DROPPED = 0.1  # share of frames that are learnt without the language model (section 2.3)
_GUIDANCE = 1.2  # how far beyond the velocity without it the one with it is followed (section 2.3)

Tensor = torch.Tensor


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.w2(functional.silu(self.w1(x)) * self.w3(x))
        return found


class Attention(nn.Module):
    """Of every position to every other, or as `bias` says; positions themselves are not told apart."""

    def __init__(self, sizes: Any) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = sizes.n_heads, sizes.n_kv_heads, sizes.head_dim
        self.wq = nn.Linear(sizes.dim, self.heads * self.size, bias=False)
        self.wk = nn.Linear(sizes.dim, self.kv_heads * self.size, bias=False)
        self.wv = nn.Linear(sizes.dim, self.kv_heads * self.size, bias=False)
        self.wo = nn.Linear(self.heads * self.size, sizes.dim, bias=False)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """`x`: (batch, length, dim). `bias`: added to the scores, (heads, length, length)."""
        found: Tensor = self.wo(self._attended(self.wq(x), self.wk(x), self.wv(x), bias))
        return found

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        q, k, v = (x.view(*x.shape[:2], -1, self.size).transpose(1, 2) for x in (q, k, v))
        bias = None if bias is None else bias.to(q.dtype)
        grouped = self.heads != self.kv_heads
        heard = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=grouped)
        return heard.transpose(1, 2).flatten(2)


class Layer(nn.Module):
    def __init__(self, sizes: AcousticSizes) -> None:
        super().__init__()
        self.attention = Attention(sizes)
        self.feed_forward = FeedForward(sizes.dim, sizes.hidden_dim)
        self.attention_norm = nn.RMSNorm(sizes.dim, eps=sizes.norm_eps)
        self.ffn_norm = nn.RMSNorm(sizes.dim, eps=sizes.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        found: Tensor = x + self.feed_forward(self.ffn_norm(x))
        return found


class AcousticTransformer(nn.Module):
    """Three positions a frame: the noisy frame, the time, the language model's hidden state."""

    def __init__(self, sizes: AcousticSizes, codes: Codes) -> None:
        super().__init__()
        self.codes, self.steps = codes, sizes.n_decoding_steps
        self.input_projection = nn.Linear(codes.n_acoustic_codebook, sizes.dim, bias=False)
        self.time_projection = nn.Linear(sizes.dim, sizes.dim, bias=False)
        self.llm_projection = nn.Linear(sizes.dim, sizes.dim, bias=False)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.n_layers))
        self.norm = nn.RMSNorm(sizes.dim, eps=sizes.norm_eps)
        semantic = rounded_up(codes.semantic_codebook_size + SPECIAL)
        self.semantic_codebook_output = nn.Linear(sizes.dim, semantic, bias=False)
        self.acoustic_codebook_output = nn.Linear(sizes.dim, codes.n_acoustic_codebook, bias=False)

    def semantic(self, hidden: Tensor) -> Tensor:
        """Scores of the end of audio, then of each semantic code: float32 (frames, 1 + codes)."""
        scores = self.semantic_codebook_output(hidden)[:, END : SPECIAL + self.codes.semantic_codebook_size]
        return scores.float()  # type: ignore[no-any-return]

    def velocity(self, x: Tensor, times: Tensor, hidden: Tensor) -> Tensor:
        """Where noisy frames move: (frames, numbers). `x`: likewise; `times`: (frames,); `hidden`: (frames, dim)."""
        x, times = x.to(hidden.dtype), _waves(times, hidden.shape[1]).to(hidden.dtype)
        parts = self.input_projection(x), self.time_projection(times), self.llm_projection(hidden)
        states = torch.stack(parts, 1)
        for layer in self.layers:
            states = layer(states)
        found: Tensor = self.acoustic_codebook_output(self.norm(states[:, 0]))
        return found

    def losses(self, hidden: Tensor, targets: Tensor, noise: Tensor, times: Tensor) -> dict[str, Tensor]:
        """Cross entropy of the semantic codes and mean squared error of velocities, each a scalar.

        `hidden`: (frames, dim). `targets`: (frames, codes), the semantic code counted from the end of audio,
        acoustic codes -100 where there are none. `noise`: (frames, numbers). `times`: (frames,).
        """
        semantic = functional.cross_entropy(self.semantic(hidden), targets[:, 0])
        spoken = targets[:, 1] != -100
        ends, starts, times = self.numbers(targets[spoken, 1:]), noise[spoken], times[spoken]
        state = hidden[spoken]
        if self.training:
            state = state * (torch.rand_like(state[:, :1]) >= _DROPPED)
        at = starts + times[:, None] * (ends - starts)
        moved = self.velocity(at, times, state).float()
        return {"semantic": semantic, "acoustic": functional.mse_loss(moved, ends - starts)}

    def drawn(self, hidden: Tensor, noise: Tensor) -> Tensor:
        """Acoustic codes of frames by Euler's method, with guidance: int64 (frames, acoustic codes)."""
        both = torch.cat([hidden, torch.zeros_like(hidden)])
        x = noise
        for step in range(self.steps):
            times = torch.full_like(both[:, 0], step / self.steps)
            led, free = self.velocity(torch.cat([x, x]), times, both).float().chunk(2)
            x = x + (_GUIDANCE * led + (1 - _GUIDANCE) * free) / self.steps
        levels = self.codes.acoustic_codebook_size - 1
        return ((x.clamp(-1, 1) + 1) / 2 * levels).round().long()

    def numbers(self, codes: Tensor) -> Tensor:
        """Acoustic codes as numbers between -1 and 1: float32, shaped alike."""
        return codes * (2.0 / (self.codes.acoustic_codebook_size - 1)) - 1.0


def _waves(times: Tensor, size: int) -> Tensor:
    """Times as cosines and sines: float32 (frames, size)."""
    half = size // 2
    slow = torch.exp(torch.arange(half, device=times.device) * (-math.log(10_000.0) / half))
    angles = times.float()[:, None] * slow
    return torch.cat([angles.cos(), angles.sin()], -1)
