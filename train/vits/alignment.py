"""Monotonic alignment search: which token of a text each frame of its speech belongs to.

Source: Kim et al., "Glow-TTS", NeurIPS 2020, section 3.1 and algorithm 1: the likeliest path on which no
token is left out and none comes back, found by dynamic programming.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray


def likelihoods(latents: torch.Tensor, means: torch.Tensor, log_stds: torch.Tensor) -> torch.Tensor:
    """Log density of each frame's latents under each token's normal distribution: float32 (batch, frames, tokens).

    `latents`: (batch, size, frames). `means`, `log_stds`: (batch, tokens, size), of the tokens.
    """
    z, mean, log_std = latents.float().transpose(1, 2), means.float(), log_stds.float()
    precision = torch.exp(-2 * log_std)
    constant = (-0.5 * math.log(2 * math.pi) - log_std - 0.5 * mean**2 * precision).sum(-1)
    cross = z @ (mean * precision).transpose(1, 2) - 0.5 * z**2 @ precision.transpose(1, 2)
    return cross + constant[:, None]


def durations(scores: torch.Tensor, frames: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Frames of each token on the best path: int64 (batch, tokens), at least one each, zero for padding.

    `scores`: (batch, frames, tokens). `frames`, `tokens`: how many of them are no padding; never more tokens
    than frames.
    """
    sizes = np.stack([frames.cpu().numpy(), tokens.cpu().numpy()], axis=1).astype(np.int64)
    values = np.ascontiguousarray(scores.detach().float().cpu().numpy())
    found = np.zeros((len(values), values.shape[2]), np.int64)
    for value, (length, count), row in zip(values, sizes, found, strict=True):
        _search(value, length, count, row)
    return torch.from_numpy(found).to(scores.device)


def path(counts: torch.Tensor, frames: int) -> torch.Tensor:
    """Durations (batch, tokens) as ones in a float32 (batch, frames, tokens), zeros elsewhere."""
    ends = counts.cumsum(1)[:, None]
    at = torch.arange(frames, device=counts.device)[None, :, None]
    return ((at < ends) & (at >= ends - counts[:, None])).float()


@numba.njit(cache=True, nogil=True)
def _search(scores: NDArray[Any], frames: int, tokens: int, counts: NDArray[Any]) -> None:
    """Fill `counts` with the frames of each token. `scores`: float32 (frames, tokens), padding ignored."""
    best = np.full(tokens, -np.inf)
    entered = np.zeros((frames, tokens), np.bool_)  # from the token before, rather than stayed
    best[0] = scores[0, 0]
    for t in range(1, frames):
        # The last token still has to be reached, and no token is reached before its turn.
        first, last = max(0, tokens - frames + t), min(t, tokens - 1)
        for k in range(last, first - 1, -1):
            before = best[k - 1] if k else -np.inf
            entered[t, k] = k == t or before > best[k]
            best[k] = scores[t, k] + (before if entered[t, k] else best[k])
    token = tokens - 1
    for t in range(frames - 1, -1, -1):
        counts[token] += 1
        if token and (entered[t, token] or token == t):
            token -= 1
