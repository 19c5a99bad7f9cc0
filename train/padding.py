"""Waves of several rows at once from convolutions that know no padding: a vocoder, VITS's decoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def together(module: Any, device: torch.device) -> bool:
    """Whether rows go through the module at once: on a GPU, where every layer lengthens by a whole factor.

    A core computes the convolutions of one row as fast, and its caches hold them.
    """
    return device.type != "cpu" and whole(module)


def whole(module: Any) -> bool:
    """Whether every layer lengthens its input by a whole factor, so that a row's length is known at each of them."""
    return all(
        (layer.kernel_size[0] - layer.stride[0]) == 2 * layer.padding[0]
        for layer in module.modules()
        if isinstance(layer, torch.nn.ConvTranspose1d)
    )


@contextmanager
def silent_beyond(module: Any, lengths: list[int]) -> Iterator[None]:
    """Every convolution in the module finds zeros behind the end of each row, as it does where a row is alone.

    `lengths`: of the rows that the module is given, whose longest one has no padding.
    """
    longest = max(lengths)
    ends: dict[int, torch.Tensor] = {}

    def cut(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden, size = given[0], given[0].shape[-1]
        if size < longest:  # not in time: a voice
            return given
        if size not in ends:
            last = torch.tensor(lengths, device=hidden.device) * (size // longest)
            ends[size] = (torch.arange(size, device=hidden.device) < last[:, None])[:, None]
        return (hidden * ends[size], *given[1:])

    kinds = (torch.nn.Conv1d, torch.nn.ConvTranspose1d)
    hooks = [layer.register_forward_pre_hook(cut) for layer in module.modules() if isinstance(layer, kinds)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
