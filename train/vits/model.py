"""VITS with its training step, which `transformers` leaves out, and with voices.

Source: Kim, Kong and Son, "Conditional variational autoencoder with adversarial learning for end-to-end
text-to-speech" (VITS), ICML 2021: sections 2.1 to 2.4, weights of the losses and the length of a decoded
piece from section 3.2 and the authors' settings for 16 and 22 kHz.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import VitsConfig, VitsModel
from transformers.models.vits.modeling_vits import VitsConvFlow, VitsResidualCouplingLayer

from train.padding import silent_beyond, together
from train.vits.alignment import durations, likelihoods, path
from train.vits.discriminator import Discriminator, opposed_losses
from train.vits.spectrogram import linear, log_mel

_PIECE = 8192  # samples that are decoded of each utterance in a training step
_MEL_WEIGHT = 45.0
_LONGEST_TOKEN_S = 1.0  # of a token when speaking: a model that has learnt nothing yet asks for minutes
_FRAMES_AT_ONCE = 2_000  # that are decoded together, about half a minute

Tensor = torch.Tensor
Noise = Callable[[], AbstractContextManager[None]]


class TrainableVits(VitsModel):
    """`forward` gives the losses of a batch; `speak` what `VitsModel` gives. Weights are named as there."""

    def __init__(self, config: VitsConfig) -> None:
        super().__init__(config)
        self.discriminator: Discriminator | None = None
        self._keys_to_ignore_on_load_unexpected = {r"^discriminator\."}  # taken by whoever asks for an opponent

    @property
    def longest_token(self) -> float:
        """Frames that a token is spoken for at most."""
        return _LONGEST_TOKEN_S * self.config.sampling_rate / self.hop

    @property
    def hop(self) -> int:
        """Samples of a frame."""
        return math.prod(self.config.upsample_rates)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, waves: Tensor, lengths: Tensor, voices: Tensor, **_: Any
    ) -> dict[str, Tensor]:
        """Losses, each a scalar, by name; `loss` is their sum.

        `input_ids`, `attention_mask`: (batch, tokens). `waves`: float32 (batch, samples), `lengths`: samples
        that are no padding, (batch,). `voices`: float32 (batch, 64), or (batch, 0) for a model of one voice.
        Adversarial losses are there in training mode, with a discriminator.
        """
        condition, text_mask = self.condition(voices), attention_mask[:, None].float()
        magnitudes = linear(waves, 2 * (self.config.spectrogram_bins - 1), self.hop)
        frames = lengths // self.hop
        mask = (torch.arange(magnitudes.shape[2], device=frames.device) < frames[:, None])[:, None].float()

        text = self.text_encoder(input_ids, text_mask.transpose(1, 2), attention_mask)
        latents, _, log_stds = self.posterior_encoder(magnitudes, mask, condition)
        flowed = self.flow(latents, mask, condition)
        with _in_full_precision(flowed):
            scores = likelihoods(flowed, text.prior_means, text.prior_log_variances)
            counts = durations(scores, frames, attention_mask.sum(1))
            aligned = path(counts, mask.shape[2])
            found = {
                "kl": _divergence(flowed, log_stds, aligned @ text.prior_means.float(),
                                  aligned @ text.prior_log_variances.float(), mask),
                "duration": self._duration_loss(text.last_hidden_state, text_mask, condition, counts),
            }  # fmt: skip
        piece, starts = self._pieces(frames)
        at = starts[:, None] + torch.arange(piece, device=starts.device)
        made = self.decoder(latents.gather(2, at[:, None].expand(-1, latents.shape[1], -1)), condition)
        samples = starts[:, None] * self.hop + torch.arange(piece * self.hop, device=starts.device)
        real = waves.gather(1, samples)[:, None]
        found["mel"] = _MEL_WEIGHT * self._mel_loss(real[:, 0], made[:, 0].float())
        if self.discriminator is not None and self.training:
            names = ("discriminator", "generator", "features")
            found |= dict(zip(names, opposed_losses(self.discriminator, real, made), strict=True))
        return found | {"loss": torch.stack([value.float() for value in found.values()]).sum()}

    @torch.no_grad()
    def token_frames(
        self, input_ids: Tensor, attention_mask: Tensor, waves: Tensor, lengths: Tensor, voices: Tensor
    ) -> Tensor:
        """How many frames of its recording each token is taken for, as in `forward`: int64 (batch, tokens)."""
        condition, text_mask = self.condition(voices), attention_mask[:, None].float()
        magnitudes = linear(waves, 2 * (self.config.spectrogram_bins - 1), self.hop)
        frames = lengths // self.hop
        mask = (torch.arange(magnitudes.shape[2], device=frames.device) < frames[:, None])[:, None].float()
        text = self.text_encoder(input_ids, text_mask.transpose(1, 2), attention_mask)
        latents, _, _ = self.posterior_encoder(magnitudes, mask, condition)
        scores = likelihoods(self.flow(latents, mask, condition), text.prior_means, text.prior_log_variances)
        return durations(scores, frames, attention_mask.sum(1))

    @torch.no_grad()
    def speak(
        self, texts: list[Tensor], voice: Tensor, noise: Callable[[], AbstractContextManager[None]]
    ) -> list[Tensor]:
        """Texts as waves, float32 (samples,) each. `texts`: ids, (tokens,). `voice`: (1, 64), or (1, 0).

        `noise`: within it random numbers are drawn, anew for each text. Each becomes what `VitsModel` computes of it
        alone from the same numbers, but that no token lasts over a second.
        """
        condition, tokens = self.condition(voice), [len(text) for text in texts]
        mask = (torch.arange(max(tokens))[None] < torch.tensor(tokens)[:, None]).to(voice.device)
        ids = nn.utils.rnn.pad_sequence(texts, batch_first=True)
        text = self.text_encoder(ids, mask[..., None].to(self.dtype), mask.long())
        latents = []
        for row, count in enumerate(tokens):
            with noise():
                hidden, means, log_stds = (x[row : row + 1, :count] for x in text[:3])
                latents.append(self._latents(hidden, means, log_stds, condition))
        return [wave for some in _together(latents) for wave in self._waves(some, condition)]

    def _latents(self, hidden: Tensor, means: Tensor, log_stds: Tensor, condition: Tensor | None) -> Tensor:
        """Of one text of (1, tokens, ...), each token as long as it takes, before the flow: (frames, size)."""
        logs = self._log_durations(hidden, torch.ones_like(hidden[..., 0])[:, None], condition)[0, 0]
        counts = torch.ceil(torch.exp(logs) / self.speaking_rate).clamp(max=self.longest_token).long()
        if not counts.any():
            counts[-1] = 1
        means, log_stds = (x[0].repeat_interleave(counts, 0).T[None] for x in (means, log_stds))
        return (means + torch.randn_like(means) * torch.exp(log_stds) * self.noise_scale)[0].T

    def _waves(self, latents: list[Tensor], condition: Tensor | None) -> list[Tensor]:
        """Latents of several texts as waves."""
        if len(latents) > 1 and not together(self.decoder, latents[0].device):
            return [wave for row in latents for wave in self._waves([row], condition)]
        frames = [len(row) for row in latents]
        padded = nn.utils.rnn.pad_sequence(latents, batch_first=True).transpose(1, 2)
        mask = (torch.arange(max(frames))[None] < torch.tensor(frames)[:, None]).to(padded)[:, None]
        if condition is not None:
            condition = condition.expand(len(latents), -1, -1)
        flowed = self.flow(padded, mask, condition, reverse=True)
        with silent_beyond(self.decoder, frames):
            waves = self.decoder(flowed, condition)[:, 0]
        return [wave[: count * self.hop] for wave, count in zip(waves, frames, strict=True)]

    def condition(self, voices: Tensor) -> Tensor | None:
        """A voice as the rows of the speaker table, weighted by its numbers: (batch, size, 1)."""
        if not voices.shape[1]:
            return None
        weight: Tensor = self.embed_speaker.weight
        return (voices @ weight)[..., None]

    def _log_durations(self, hidden: Tensor, mask: Tensor, condition: Tensor | None) -> Tensor:
        """Predicted logarithms of frames: (batch, 1, tokens)."""
        inputs = hidden.transpose(1, 2)
        if self.config.use_stochastic_duration_prediction:
            scale = self.noise_scale_duration
            found: Tensor = self.duration_predictor(inputs, mask, condition, reverse=True, noise_scale=scale)
        else:
            found = self.duration_predictor(inputs, mask, condition)
        return found

    def _duration_loss(self, hidden: Tensor, mask: Tensor, condition: Tensor | None, counts: Tensor) -> Tensor:
        """Mean over tokens: of the negative log likelihood, or of squared errors of logarithms."""
        inputs, wanted = hidden.float().transpose(1, 2), counts[:, None].float()
        condition = None if condition is None else condition.float()
        if self.config.use_stochastic_duration_prediction:
            total = self.duration_predictor(inputs, mask, condition, durations=wanted).sum()
        else:
            logs = self.duration_predictor(inputs, mask, condition)
            total = ((logs - torch.log(wanted + 1e-6) * mask) ** 2).sum()
        loss: Tensor = total / mask.sum()
        return loss

    def _pieces(self, frames: Tensor) -> tuple[int, Tensor]:
        """How many frames of each utterance are decoded, and from where on: at random; when validating, midway."""
        piece = min(_PIECE // self.hop, int(frames.min()))
        room = frames - piece
        share = torch.rand(len(frames)).to(room.device) if self.training else 0.5
        return piece, (share * (room + 1)).long().clamp(max=room)

    def _mel_loss(self, real: Tensor, made: Tensor) -> Tensor:
        """Mean difference of the mel spectrograms of waves (batch, samples)."""
        n_fft = 2 * (self.config.spectrogram_bins - 1)
        with _in_full_precision(made):
            real, made = (log_mel(linear(x, n_fft, self.hop), self.config.sampling_rate) for x in (real, made))
            return (real - made).abs().mean()


def _together(latents: list[Tensor]) -> Iterator[list[Tensor]]:
    """Rows that are decoded at once, so that memory holds them."""
    first = 0
    for last in range(1, len(latents) + 1):
        longest = max(len(row) for row in latents[first : last + 1])
        if last == len(latents) or longest * (last + 1 - first) > _FRAMES_AT_ONCE:
            yield latents[first:last]
            first = last


def _divergence(flowed: Tensor, log_stds: Tensor, means: Tensor, prior_log_stds: Tensor, mask: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the posterior from the prior by one sample, a frame (equations 3 and 4).

    `flowed`, `log_stds`: (batch, size, frames). `means`, `prior_log_stds`: (batch, frames, size).
    """
    means, priors = means.transpose(1, 2), prior_log_stds.transpose(1, 2)
    each = priors - log_stds.float() - 0.5 + 0.5 * (flowed.float() - means) ** 2 * torch.exp(-2 * priors)
    return (each * mask).sum() / mask.sum()


def begin(model: VitsModel) -> None:
    """Random weights as the authors' code begins: torch's own, couplings that change nothing, a quiet decoder.

    Those of `transformers` saturate the decoder: every sample is 1 or -1, and nothing is learnt.
    """
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Linear):
                _reset(module)
        model.text_encoder.embed_tokens.weight.normal_(0.0, model.config.hidden_size**-0.5)
        for module in model.modules():
            if isinstance(module, VitsResidualCouplingLayer | VitsConvFlow):
                last = module.conv_post if isinstance(module, VitsResidualCouplingLayer) else module.conv_proj
                for weight in last.parameters():
                    weight.zero_()


def _reset(layer: Any) -> None:
    """Torch's own random weights, whether or not the layer's are split."""
    bound = (layer.weight[0].numel() if not isinstance(layer, nn.ConvTranspose1d) else layer.in_channels) ** -0.5
    weight = torch.empty_like(layer.weight).uniform_(-bound, bound)
    if parametrize.is_parametrized(layer, "weight"):
        layer.weight = weight
    else:
        layer.weight.copy_(weight)
    if layer.bias is not None:
        layer.bias.uniform_(-bound, bound)


def fold_weight_norm(model: VitsModel) -> None:
    """Make the layers of the WaveNets plain: the same function, without split weights, which LoRA cannot sit on."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")


@contextmanager
def _in_full_precision(like: Tensor) -> Iterator[None]:
    """Likelihoods, splines and logarithms lose too much in half precision."""
    with torch.autocast(like.device.type, enabled=False):
        yield
