"""Rows of an embedding that train, on any device: the same numbers as PEFT's, without a copy of all other rows.

PEFT's layer writes the new rows into a copy of the whole embedding, for every batch (while speech is drawn or heard,
for every token), and makes a gradient as large: of Whisper large 265 MB each. Here they are looked up apart.
"""

from typing import Any

import torch
from peft.tuners.trainable_tokens import TrainableTokensLayer
from torch.nn import functional


class NewRows(TrainableTokensLayer):
    """PEFT's layer around an embedding, (…) → (…, width), or around a head tied to one, (…, width) → (…, rows)."""

    def forward(self, x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        base: Any = self.base_layer
        head = isinstance(base, torch.nn.Linear)
        if args or options or not self._apart() or not (head or isinstance(base, torch.nn.Embedding)):
            found: torch.Tensor = super().forward(x, *args, **options)
            return found
        (name,) = self.active_adapters
        index = torch.tensor(self.token_indices[name], device=x.device)
        rows = self.trainable_tokens_delta[name].to(base.weight)
        known: torch.Tensor = base(x)
        if head:
            return known.index_copy_(-1, index, functional.linear(x, rows).to(known))
        is_new = x[..., None] == index
        new = functional.embedding(is_new.int().argmax(-1), rows)
        scale = self._get_embed_scale()  # type: ignore[no-untyped-call]
        new = new if scale is None else new * scale.to(new)
        return torch.where(is_new.any(-1, keepdim=True), new, known)

    def _apart(self) -> bool:
        """Whether one adapter's new rows are beside the base's. A head that adds something is left to PEFT."""
        one = len(self.active_adapters) == 1 and self.active_adapters[0] in self.token_indices
        adds = getattr(self.base_layer, "bias", None) is not None
        return one and not adds and not self.merged and not self.disable_adapters
