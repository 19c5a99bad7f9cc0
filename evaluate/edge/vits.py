"""VITS as two networks: from letters to means and durations, from latents to a wave. Between them run.py repeats."""

import math
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad, softmax, softplus
from torch.nn.utils import parametrize
from transformers.models.vits.modeling_vits import VitsAttention, VitsConvFlow

from evaluate.edge import graphs

# The text encoder and the flow, half of the weights. The duration predictor stays float, for a rounded duration moves
# all that follows; so does the decoder, where eight bits are slower (11 taps on 128 channels: 74 ms for 62) and their
# errors are heard as noise.
QUANTISED = {"text.onnx": ("MatMul", "Conv"), "sound.onnx": ("Conv",)}
APART = ("predictor", "encoder.project", "decoder")
_LEAST = 1e-3  # of a bin's width, height and slope, in `transformers`


class Attention(VitsAttention):
    """Attention with relative positions for texts of any length, in operations that ONNX has."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        key_value_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, None]:
        """(1, n, width) as (1, n, width)."""
        count, window = hidden_states.shape[1], self.window_size
        query, key, value = (
            layer(hidden_states)[0].unflatten(1, (self.num_heads, self.head_dim)).transpose(0, 1)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        query = query * self.scaling
        scores = query @ key.transpose(1, 2)
        at = torch.arange(count)
        apart = at[None] - at[:, None] + window  # (n, n): which embedding, where it is one
        near = (apart >= 0) & (apart <= 2 * window)
        relative = query @ self.emb_rel_k[0].T  # (heads, n, 2 window + 1)
        which = apart.clamp(0, 2 * window)[None].expand(self.num_heads, -1, -1)
        weights = softmax(scores + relative.gather(2, which) * near, dim=-1)
        around = at[:, None] + torch.arange(2 * window + 1)[None]  # of each place its neighbours, after padding
        shares = pad(weights, [window, window]).gather(2, around[None].expand(self.num_heads, -1, -1))
        found = weights @ value + shares @ self.emb_rel_v[0]
        return self.out_proj(found.transpose(0, 1).flatten(1)[None]), None


class Flow(VitsConvFlow):
    """A flow of the duration predictor backwards, its spline worked out everywhere and taken where it holds."""

    def forward(self, inputs: Any, padding_mask: Any, global_conditioning: Any = None, reverse: bool = True) -> Any:
        """(1, 2, n) as (1, 2, n)."""
        first, second = inputs[:, : self.half_channels], inputs[:, self.half_channels :]
        hidden = self.conv_proj(self.conv_dds(self.conv_pre(first), padding_mask, global_conditioning))
        bins = hidden.reshape(1, self.half_channels, -1, inputs.shape[2]).transpose(2, 3)
        sizes = bins[..., : 2 * self.num_bins] / math.sqrt(self.filter_channels)
        widths, heights = sizes[..., : self.num_bins], sizes[..., self.num_bins :]
        bent = spline(second, widths, heights, bins[..., 2 * self.num_bins :], self.tail_bound)
        return torch.cat([first, bent], dim=1), None


def spline(
    values: torch.Tensor, widths: torch.Tensor, heights: torch.Tensor, slopes: torch.Tensor, bound: float
) -> torch.Tensor:
    """The inverse of a rising spline of rational quadratics between ±`bound`; beyond it, the values themselves.

    `values`: (…,); `widths`, `heights`: (…, bins), `slopes`: (…, bins - 1), as the network gives them.
    Source: Durkan et al., "Neural spline flows", NeurIPS 2019, equations 4 and 6 to 8.
    """
    left, low = _edges(widths, bound), _edges(heights, bound)
    steep = pad(_LEAST + softplus(slopes), [1, 1], value=1.0)
    inside = values.clamp(-bound, bound)
    which = ((inside[..., None] >= low[..., :-1]).sum(-1) - 1).clamp(min=0)[..., None]

    def of(edges: torch.Tensor) -> torch.Tensor:
        return edges.gather(-1, which)[..., 0]

    x, y = of(left[..., :-1]), of(low[..., :-1])
    width, height = of(left[..., 1:]) - x, of(low[..., 1:]) - y
    begins, ends, mean = of(steep[..., :-1]), of(steep[..., 1:]), height / width
    above, curve = inside - y, begins + ends - 2 * mean
    a = height * (mean - begins) + above * curve
    b = height * begins - above * curve
    c = -mean * above
    root = 2 * c / (-b - torch.sqrt((b * b - 4 * a * c).clamp(min=0)))
    return torch.where((values >= -bound) & (values <= bound), root * width + x, values)


def _edges(sizes: torch.Tensor, bound: float) -> torch.Tensor:
    """Where bins begin and end: (…, bins + 1) from -bound to bound."""
    shares = _LEAST + (1 - _LEAST * sizes.shape[-1]) * softmax(sizes, dim=-1)
    inner = 2 * bound * shares.cumsum(-1)[..., :-1] - bound
    return torch.cat([torch.full_like(inner[..., :1], -bound), inner, torch.full_like(inner[..., :1], bound)], dim=-1)


class Text(torch.nn.Module):
    """Letters, (1, n), and noise, (1, 2, n): means and logarithms of spreads, (n, size), and frames, (n,)."""

    def __init__(self, model: Any, condition: torch.Tensor | None) -> None:
        super().__init__()
        self.encoder, self.predictor = model.text_encoder, model.duration_predictor
        self.scale, self.rate = model.noise_scale_duration, model.speaking_rate
        self.most = model.longest_token
        self.condition = condition

    def forward(self, ids: torch.Tensor, noise: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        mask = torch.ones_like(ids)[:, None].float()
        text = self.encoder(ids, mask.transpose(1, 2), None, return_dict=True)
        hidden = text.last_hidden_state.transpose(1, 2)
        if noise is None:
            logs = self.predictor(hidden, mask, self.condition)
        else:
            logs = self._drawn(hidden, mask, noise * self.scale)
        counts = torch.ceil(torch.exp(logs[0, 0]) / self.rate).clamp(max=self.most)
        return text.prior_means[0], text.prior_log_variances[0], counts

    def _drawn(self, hidden: torch.Tensor, mask: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Logarithms of durations from noise, (1, 1, n), as `VitsStochasticDurationPredictor` in reverse."""
        core = self.predictor
        hidden = core.conv_pre(hidden)
        if self.condition is not None:
            hidden = hidden + core.cond(self.condition)
        hidden = core.conv_proj(core.conv_dds(hidden, mask))
        for flow in [*reversed(core.flows[2:]), core.flows[0]]:
            latents, _ = flow(latents.flip(1), mask, global_conditioning=hidden, reverse=True)
        return latents[:, :1]


class Sound(torch.nn.Module):
    """Latents, (1, size, frames), as a wave, (samples,)."""

    def __init__(self, model: Any, condition: torch.Tensor | None) -> None:
        super().__init__()
        self.flow, self.decoder, self.condition = model.flow, model.decoder, condition

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        there = torch.ones_like(latents[:, :1])
        wave: torch.Tensor = self.decoder(self.flow(latents, there, self.condition, reverse=True), self.condition)
        return wave[0, 0]


def export(family: Any, folder: Path, voice: Any) -> dict[str, Any]:
    """Write the networks of a generator of ours with one voice in them. Returns what run.py has to know."""
    model = folded(family.core)
    for module in model.modules():
        if isinstance(module, VitsAttention):
            module.__class__ = Attention
        elif isinstance(module, VitsConvFlow):
            module.__class__ = Flow
    condition = model.condition(torch.from_numpy(voice)[None])
    condition = None if condition is None else condition.detach()
    random = bool(model.config.use_stochastic_duration_prediction)
    example = [torch.ones(1, 20, dtype=torch.long), *([torch.randn(1, 2, 20)] if random else [])]
    names = ["ids", "noise"] if random else ["ids"]
    axes = {"ids": {1: "letters"}, "noise": {2: "letters"}}
    outputs = ["means", "log_stds", "counts"]
    graphs.write(folder / "text.onnx", Text(model, condition), example, names, outputs, axes)
    latents = torch.randn(1, model.config.flow_size, 30)
    graphs.write(
        folder / "sound.onnx", Sound(model, condition), [latents], ["latents"], ["wave"], {"latents": {2: "frames"}}
    )
    known = family.tokenizer.encoder
    return {
        "rate_hz": family.rate_hz,
        "letters": known,
        "unknown": known.get(str(family.tokenizer.unk_token)),
        "blanks": bool(family.tokenizer.add_blank),
        "random_durations": random,
        "noise_scale": model.noise_scale,
    }


def folded(core: Any) -> Any:
    """A copy on the processor with plain weights, where the model has them split in direction and length."""
    made = type(core)(core.config)
    for module in list(made.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    held = core.state_dict()
    for name in made.state_dict():
        if name not in held:
            held[name] = core.get_submodule(name.removesuffix(".weight")).weight.detach()
    made.load_state_dict({name: held[name].cpu().float() for name in made.state_dict()})
    return made.eval()
