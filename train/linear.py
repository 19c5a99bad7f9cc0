"""Linear layers on a processor, with and without LoRA: the same numbers as torch's and PEFT's, sooner.

- **oneDNN's product.** Torch gives products of float32 to MKL, which uses half the width of an AMD processor with
  AVX-512; oneDNN, which torch brings too, uses all of it: twice as fast there. In the same precision: only the order
  of the sums differs, as it does between processors.
- **LoRA without passes over memory.** PEFT's layer draws a mask for dropout, multiplies a copy of the input by it,
  scales what comes out and adds it to the base's: in a small model each pass costs as much as a tenth of the
  product. Here the mask is drawn from 16 random bits a number (a share that is a multiple of 2⁻¹⁶), the input
  is masked a block at a time, in the processor's cache, and the last product adds to the base's in place.

Source: Hu et al., "LoRA", ICLR 2022, section 4.1; the gradients are those of W x + s B A m x, m the mask.
"""

from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.lora import Linear as PeftLinear
from peft.tuners.trainable_tokens import TrainableTokensLayer
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from train.rows import NewRows

_ONEDNN = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
_WORTH = 2**22  # multiplications from which oneDNN's product is the faster one
_BLOCK = 256  # rows of input that are masked at once
_BITS = 16


def quicken(model: torch.nn.Module) -> None:
    """Have a model's linear layers, and plain LoRA on them, compute so wherever they can; others stay as they are.

    And its new rows, as `train.rows` says.
    """
    for module in model.modules():
        if type(module) is TrainableTokensLayer:
            module.__class__ = NewRows
        elif type(module) is PeftLinear:
            module.__class__ = LowRank
        elif type(module) is torch.nn.Linear and _ONEDNN:
            module.__class__ = Plain


class Plain(torch.nn.Linear):
    """A linear layer, (…, in) → (…, out)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not _usual(x, self.weight) or x.numel() * self.out_features < _WORTH:
            return super().forward(x)
        made: torch.Tensor = _Affine.apply(_rows(x), self.weight, self.bias)  # type: ignore[no-untyped-call]
        return made.view(*x.shape[:-1], made.shape[-1])


class LowRank(PeftLinear):
    """PEFT's LoRA of a linear layer, and PEFT's own way for whatever else it can be."""

    def forward(self, x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        if args or options or not self._plain(x):
            found: torch.Tensor = super().forward(x, *args, **options)
            return found
        (name,), base = self.active_adapters, self.base_layer
        down, up, dropout = self.lora_A[name].weight, self.lora_B[name].weight, self.lora_dropout[name]
        share = dropout.p if self.training and isinstance(dropout, torch.nn.Dropout) else 0.0
        made: torch.Tensor = _LowRank.apply(  # type: ignore[no-untyped-call]
            _rows(x), base.weight, base.bias, down, up, self.scaling[name], share
        )
        return made.view(*x.shape[:-1], made.shape[-1])

    def _plain(self, x: torch.Tensor) -> bool:
        """Whether the layer is W x + s B A x, and no more, with a W that stays."""
        if self.merged or self.disable_adapters or len(self.active_adapters) != 1:
            return False
        (name,), base = self.active_adapters, self.base_layer
        if name not in self.lora_A or name in self.lora_variant or self.lora_bias[name]:
            return False
        kept = type(base) in (torch.nn.Linear, Plain) and not any(some.requires_grad for some in base.parameters())
        return kept and _usual(x, *base.parameters(), *self.lora_A[name].parameters())


def _usual(*tensors: torch.Tensor) -> bool:
    """Whether all are float32 on a processor, and nothing is to be traced, cast or transformed (`torch.func`)."""
    if torch.compiler.is_compiling() or torch._C._is_tracing():  # first: what is asked after it is compiled in
        return False
    here = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
    return here and not torch._C._are_functorch_transforms_active() and not torch.is_autocast_enabled("cpu")


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x Wᵀ + b: (n, in), (out, in), (out,) → (n, out)."""
    if not _ONEDNN or x.numel() * len(weight) < _WORTH:
        return functional.linear(x, weight, bias)
    made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return made


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(…, n) as (rows, n), of which there may be none. Outside of what follows: its results are no views."""
    return x.reshape(x.shape[:-1].numel(), x.shape[-1])


class _Affine(Function):
    """W x + b of every row."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        of_x, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if of_weight else None, weight if of_x else None)
        return _product(x.contiguous(), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        slope = slope.contiguous()
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(slope, weight.t()) if of_x else None,
            _product(slope.t(), x.contiguous().t()) if of_weight else None,
            slope.sum(0) if of_bias else None,
        )


class _LowRank(Function):
    """W x + b + s B A m x of every row, where W and b stay."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
        share: float,
    ) -> torch.Tensor:
        x, dropped = x.contiguous(), min(round(share * 2**_BITS), 2**_BITS - 1)
        kept = _mask(x, dropped) if dropped else None
        ctx.scale = scaling / (1 - dropped / 2**_BITS)
        inner = torch.empty(len(x), len(down))
        for block, part in _blocks(x, kept):
            inner[block] = _product(part, down)
        ctx.save_for_backward(x, weight, down, up, inner, kept)
        return _product(x, weight, bias).addmm_(inner, up.t(), alpha=ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, down, up, inner, kept = ctx.saved_tensors
        slope = slope.contiguous()
        outer = _product(slope, up.t()).mul_(ctx.scale)
        of_up = _product(slope.t(), inner.t()).mul_(ctx.scale)
        of_down = torch.zeros_like(down)
        for block, part in _blocks(x, kept):
            of_down += _product(outer[block].t(), part.t())
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _product(slope, weight.t())
            if kept is None:
                of_x.addmm_(outer, down)
            else:
                for some, more, part in zip(of_x.split(_BLOCK), outer.split(_BLOCK), kept.split(_BLOCK), strict=True):
                    some.addcmul_(_product(more, down.t()), part)
        return of_x, None, None, of_down, of_up, None, None


def _mask(rows: torch.Tensor, dropped: int) -> torch.Tensor:
    """True where a number is kept: all but `dropped` of 2¹⁶, by torch's generator."""
    kept = torch.empty(rows.shape, dtype=torch.bool)
    drawn = torch.empty(-(-min(_BLOCK, len(rows)) * rows.shape[1] * _BITS // 64), dtype=torch.int64)
    for part in kept.split(_BLOCK):
        numbers = drawn.random_(-(2**63), None).view(torch.int16)[: part.numel()]
        torch.ge(numbers.view(part.shape), dropped - 2 ** (_BITS - 1), out=part)
    return kept


def _blocks(rows: torch.Tensor, kept: torch.Tensor | None) -> Iterator[tuple[slice, torch.Tensor]]:
    """The rows as they are, or masked and some at a time: each part is good until the next."""
    if kept is None:
        yield slice(None), rows
        return
    room = torch.empty(min(_BLOCK, len(rows)), rows.shape[1])
    for at in range(0, len(rows), _BLOCK):
        block = slice(at, at + _BLOCK)
        part = rows[block]
        yield block, torch.mul(part, kept[block], out=room[: len(part)])
