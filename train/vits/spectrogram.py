"""Spectrograms of VITS, in torch so that a loss can be learnt from: linear for its input, mel for its loss."""

from functools import cache

import librosa
import torch
from torch import nn

_MELS = 80
_FLOOR = 1e-5  # of mel magnitudes, before the logarithm


def linear(waves: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """Magnitudes: float32 (batch, 1 + n_fft / 2, samples // hop), of waves (batch, samples)."""
    window = torch.hann_window(n_fft, device=waves.device)
    edge = (n_fft - hop) // 2
    padded = nn.functional.pad(waves.float()[:, None], (edge, edge), "reflect")[:, 0]
    bins = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)
    return torch.view_as_real(bins).pow(2).sum(-1).add(1e-6).sqrt()


def log_mel(magnitudes: torch.Tensor, rate_hz: int) -> torch.Tensor:
    """Natural logarithms of 80 mel bands: float32 (batch, 80, frames), of magnitudes (batch, bins, frames)."""
    basis = _basis(rate_hz, 2 * (magnitudes.shape[1] - 1)).to(magnitudes.device)
    return torch.log(torch.clamp(basis @ magnitudes, min=_FLOOR))


@cache
def _basis(rate_hz: int, n_fft: int) -> torch.Tensor:
    """Mel filters up to half the sampling rate: float32 (80, 1 + n_fft / 2)."""
    return torch.from_numpy(librosa.filters.mel(sr=rate_hz, n_fft=n_fft, n_mels=_MELS))
