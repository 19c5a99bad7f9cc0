"""Models over one base in the memory of little more than one: weights that are equal are held once."""

from collections.abc import Iterator

import torch

from train.families import Family


def share(family: Family, other: Family) -> int:
    """Let weights that equal those of the same name in another model be the other's. Returns the bytes set free.

    For models that are in use and no longer trained: a change to such a weight would change both.
    """
    theirs, freed = dict(_weights(other)), 0
    for name, weight in _weights(family):
        found = theirs.get(name)
        if found is None or found.data_ptr() == weight.data_ptr() or not _equal(weight, found):
            continue
        weight.data = found.data
        freed += found.numel() * found.element_size()
    return freed


def held_bytes(*families: Family) -> int:
    """What the weights of models take in memory, those that they share counted once."""
    storages = (weight.untyped_storage() for family in families for _, weight in _weights(family))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _weights(family: Family) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers of all that the family holds, a codec beside the model too; tied ones once."""
    for place, part in vars(family).items():
        if isinstance(part, torch.nn.Module):
            for name, weight in [*part.named_parameters(), *part.named_buffers()]:
                yield f"{place}.{name}", weight


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    same = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
    return same and torch.equal(one, other)
