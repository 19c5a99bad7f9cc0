"""The opponent in adversarial training: it learns to tell recordings from what the decoder makes.

Source: Kong et al., "HiFi-GAN", NeurIPS 2020, section 2.3 (periods, feature matching); one scale as in Kim et
al., "Conditional variational autoencoder with adversarial learning" (VITS), ICML 2021, section 2.3; squared
losses of Mao et al., "Least squares generative adversarial networks", ICCV 2017. Weight names are those of
published VITS checkpoints that hold a discriminator.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)  # samples
_PUBLISHED = 512  # channels of the decoder beside which the published discriminator stands
_SLOPE = 0.1
Features = list[torch.Tensor]  # what each layer says; the scores last


class Scale(nn.Module):
    """Looks at the wave as it is."""

    def __init__(self, share: float) -> None:
        super().__init__()
        c16, c64, c256, c1024 = (max(1, round(size * share)) for size in (16, 64, 256, 1024))
        layers = [nn.Conv1d(1, c16, 15, padding=7)]
        for inner, outer in ((c16, c64), (c64, c256), (c256, c1024), (c1024, c1024)):
            layers.append(nn.Conv1d(inner, outer, 41, 4, padding=20, groups=_groups(inner, outer)))
        layers.append(nn.Conv1d(c1024, c1024, 5, padding=2))
        self.convs = nn.ModuleList(layers)
        self.final_conv = nn.Conv1d(c1024, 1, 3, padding=1)

    def forward(self, waves: torch.Tensor) -> Features:
        """`waves`: (batch, 1, samples)."""
        return _features(waves, self.convs, self.final_conv)


class Period(nn.Module):
    """Looks at every `period`-th sample, for each of the ways to begin."""

    def __init__(self, period: int, share: float) -> None:
        super().__init__()
        self.period = period
        sizes = [1, *(max(1, round(size * share)) for size in (32, 128, 512, 1024, 1024))]
        self.convs = nn.ModuleList(
            nn.Conv2d(inner, outer, (5, 1), (3 if number < 4 else 1, 1), padding=(2, 0))
            for number, (inner, outer) in enumerate(itertools.pairwise(sizes))
        )
        self.final_conv = nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0))

    def forward(self, waves: torch.Tensor) -> Features:
        """`waves`: (batch, 1, samples)."""
        lacking = -waves.shape[-1] % self.period
        whole = nn.functional.pad(waves, (0, lacking), "reflect")
        return _features(whole.reshape(len(whole), 1, -1, self.period), self.convs, self.final_conv)


class Discriminator(nn.Module):
    """One scale and five periods; as wide as the decoder it judges."""

    def __init__(self, decoder_channels: int) -> None:
        super().__init__()
        share = decoder_channels / _PUBLISHED
        self.discriminators = nn.ModuleList([Scale(share), *(Period(period, share) for period in PERIODS)])

    def normalise_weights(self) -> None:
        """Split each weight into direction and length (Salimans and Kingma, NeurIPS 2016), for steadier training."""
        for module in [m for m in self.modules() if isinstance(m, nn.Conv1d | nn.Conv2d)]:
            weight_norm(module)

    def forward(self, waves: torch.Tensor) -> list[Features]:
        """`waves`: (batch, 1, samples). Features of each discriminator."""
        return [judge(waves) for judge in self.discriminators]


def opposed_losses(
    judge: Discriminator, real: torch.Tensor, made: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the discriminator pays, what the generator pays for being found out, and for unlike features.

    `real`, `made`: (batch, 1, samples). The first is learnt from by the discriminator alone, the other two by
    what made `made` alone, so that their sum trains both in one step.
    """
    on_real, on_made = judge(real), judge(made.detach())
    own = sum(
        ((1 - r[-1].float()) ** 2).mean() + (m[-1].float() ** 2).mean() for r, m in zip(on_real, on_made, strict=True)
    )
    still = {name: weight.detach() for name, weight in judge.named_parameters()}
    seen: list[Features] = functional_call(judge, still, (made,))
    caught = sum(((1 - features[-1].float()) ** 2).mean() for features in seen)
    unlike = sum(
        (r.detach() - m).abs().mean()
        for real_features, features in zip(on_real, seen, strict=True)
        for r, m in zip(real_features, features, strict=True)
    )
    return torch.as_tensor(own), torch.as_tensor(caught), 2 * torch.as_tensor(unlike)


def _features(x: torch.Tensor, convs: Sequence[nn.Module] | nn.ModuleList, last: nn.Module) -> Features:
    found = []
    for conv in convs:
        x = nn.functional.leaky_relu(conv(x), _SLOPE)
        found.append(x)
    found.append(last(x))
    return found


def _groups(inner: int, outer: int) -> int:
    """As many groups of four channels as go into both."""
    return next(number for number in range(max(1, inner // 4), 0, -1) if inner % number == outer % number == 0)
