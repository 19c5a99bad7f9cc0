"""A moving average of the weights in training: often better than the weights of any one step."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


class Average:
    """Exponential moving average of some weights, which it holds beside them.

    The first steps count more than `decay` would let them: min(decay, (1 + step) / (10 + step)), or the random
    beginning would stay in it for long. Source: Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992.
    """

    def __init__(self, weights: Iterable[torch.Tensor], decay: float) -> None:
        self.weights = list(weights)
        self.kept = [weight.detach().clone() for weight in self.weights]
        self.decay = decay

    def update(self, step: int) -> None:
        """Take in the weights as they are after an optimiser step, counted from 1."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.kept, [weight.detach() for weight in self.weights], share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average where the weights are, for as long as this lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, kept in zip(self.weights, self.kept, strict=True):
            now = weight.detach().clone()
            weight.copy_(kept)
            kept.copy_(now)
