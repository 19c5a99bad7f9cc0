"""The codec's decoder: codes of 12.5 frames a second become a wave of 24 kHz.

Source: Liu et al., "Voxtral TTS", 2026, section 2.1 and table 1; Press et al., "Train short, test long" (ALiBi), ICLR
2022. It looks back only. Its convolutions are stored as direction and length and are made whole when they are read.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from train.voxtral_tts.acoustic import Attention, FeedForward, Tensor
from train.voxtral_tts.config import CodecSizes


class Convolution(nn.Module):
    """Of the past: as many positions come out as go in."""

    def __init__(self, into: int, out: int, kernel: int, ends: str) -> None:
        super().__init__()
        self.conv = nn.Conv1d(into, out, kernel, bias=False)
        self.past, self.ends = kernel - 1, ends

    def forward(self, x: Tensor) -> Tensor:
        lacking = max(0, self.past + 1 - x.shape[2]) if self.ends == "reflect" else 0  # to be mirrored
        x = functional.pad(functional.pad(x, (0, lacking)), (self.past, 0), mode=self.ends)
        found: Tensor = self.conv(x[..., : x.shape[2] - lacking])
        return found


class Upsampling(nn.Module):
    """`stride` positions for each; what would reach into the future of the last one is cut off."""

    def __init__(self, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(dim, dim, kernel, stride, bias=False)
        self.tail = kernel - stride

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return found[..., : found.shape[2] - self.tail]


class NormedAttention(Attention):
    def __init__(self, sizes: CodecSizes) -> None:
        super().__init__(sizes)
        self.q_norm = nn.RMSNorm(self.heads * self.size, eps=sizes.qk_norm_eps)
        self.k_norm = nn.RMSNorm(self.kv_heads * self.size, eps=sizes.qk_norm_eps)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k = self.q_norm(self.wq(x)), self.k_norm(self.wk(x))
        found: Tensor = self.wo(self._attended(q, k, self.wv(x), bias))
        return found


class Layer(nn.Module):
    def __init__(self, sizes: CodecSizes) -> None:
        super().__init__()
        self.attention = NormedAttention(sizes)
        self.feed_forward = FeedForward(sizes.dim, sizes.hidden_dim)
        self.attention_norm = nn.RMSNorm(sizes.dim, eps=sizes.norm_eps)
        self.ffn_norm = nn.RMSNorm(sizes.dim, eps=sizes.norm_eps)
        self.attention_scale = nn.Parameter(torch.full((sizes.dim,), 0.01))
        self.ffn_scale = nn.Parameter(torch.full((sizes.dim,), 0.01))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = x + self.attention_scale * self.attention(self.attention_norm(x), bias)
        found: Tensor = x + self.ffn_scale * self.feed_forward(self.ffn_norm(x))
        return found


class Transformer(nn.Module):
    """Looks back `window` positions, the nearer ones more."""

    def __init__(self, sizes: CodecSizes, layers: int, window: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(layers))
        self.window, self.heads = window, sizes.n_heads

    def forward(self, x: Tensor) -> Tensor:
        """`x`: (batch, dim, length)."""
        x = x.transpose(1, 2)
        at = torch.arange(x.shape[1], device=x.device)
        ahead = at - at[:, None]
        slopes = torch.tensor(_slopes(self.heads), device=x.device)
        bias = slopes[:, None, None] * ahead
        bias = bias.masked_fill((ahead > 0) | (ahead < -self.window), -math.inf)
        for layer in self.layers:
            x = layer(x, bias)
        return x.transpose(1, 2)


class Decoder(nn.Module):
    def __init__(self, sizes: CodecSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.semantic_codebook = nn.Embedding(sizes.semantic_codebook_size, sizes.semantic_dim)
        (_, kernel, _), *_ = stages = sizes.stages
        window = (
            sizes.attn_sliding_window_size * sizes.pretransform_patch_size // sizes.hop
        )  # at 12.5 frames a second
        blocks: list[Any] = [Convolution(sizes.semantic_dim + sizes.acoustic_dim, sizes.dim, kernel, "replicate")]
        for number, (layers, kernel, stride) in enumerate(stages):
            if number and (kernel, stride) != (1, 1):
                blocks.append(Upsampling(sizes.dim, kernel, stride))
                window *= stride
            blocks.append(Transformer(sizes, layers, window))
        self.decoder_blocks = nn.ModuleList(blocks)
        patch, kernel = sizes.pretransform_patch_size, sizes.patch_proj_kernel_size
        self.output_proj = Convolution(sizes.dim, patch, kernel, "reflect")

    def forward(self, codes: Tensor) -> Tensor:
        """Frames as a wave: (samples,). `codes`: int64 (frames, codes), as the encoder gives them."""
        levels = self.sizes.acoustic_codebook_size
        meant = self.semantic_codebook(codes[:, 0])
        x = torch.cat([meant, (codes[:, 1:] * (2.0 / (levels - 1)) - 1.0).to(meant)], 1).T[None]
        for block in self.decoder_blocks:
            x = block(x)
        wave: Tensor = self.output_proj(x)[0].T.reshape(-1)
        return wave


def _slopes(heads: int) -> list[float]:
    """How fast each head forgets: the first one by 1 a position, the others ever slower."""
    whole = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8.0 * n / whole) for n in range(whole)]
    between = [2.0 ** (-8.0 * n / (2 * whole)) for n in range(0, 2 * whole, 2)]
    return slopes + between[: heads - whole]
