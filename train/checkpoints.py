"""What a run leaves on disk so that it can go on after a kill as if nothing had happened."""

import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from recipes.provenance import onto_the_disk
from recipes.schema import UserError
from train.sharding import in_one_piece


def save_checkpoint(folder: Path, weights: dict[str, torch.Tensor], states: dict[str, Any], keep: int) -> None:
    """All that going on needs, in `folder/00000STEP`, which appears whole; the newest `keep` stay.

    `weights`: what `trained` gave. `states`: the `progress`, whose step names the folder, and the states of the
    `optimizer`, the `scheduler`, the `average` and the `random` numbers of each process.
    """
    whole = folder / f"{states['progress']['step']:08d}"
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with full_disk_named(part):
        save_file(weights, part / "weights.safetensors")
        torch.save(states, part / "rest.pt")
        for path in (*part.iterdir(), part):
            onto_the_disk(path)
    shutil.rmtree(whole, ignore_errors=True)
    os.replace(part, whole)
    for old in sorted(folder.glob("[0-9]*"))[:-keep]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, model: Any) -> dict[str, Any] | None:
    """Load the weights of the newest checkpoint that can be read. Returns its other states; None where there is none.

    Raises UserError when there are some and none of them can be read, or when they are of another model.
    """
    found = sorted(folder.glob("[0-9]*"), reverse=True)
    for path in found:
        try:
            weights = load_file(path / "weights.safetensors")
            states: dict[str, Any] = torch.load(path / "rest.pt", weights_only=True)
        except (OSError, EOFError, RuntimeError, SafetensorError, UnpicklingError) as error:
            print(f"{path}: damaged ({type(error).__name__}); going on from the one before", file=sys.stderr)
            continue
        _put_into(model, weights, path)
        return states
    if found:
        raise UserError(f"{folder}: no checkpoint can be read; remove the folder to begin again")
    return None


def trained(model: Any) -> dict[str, torch.Tensor]:
    """What training changes: trained weights, and batch statistics when all weights train.

    Where the processes hold a share of the weights each, all of them must ask.
    """
    names = {name for name, weight in model.named_parameters() if weight.requires_grad}
    if len(names) == sum(1 for _ in model.parameters()):
        names |= {name for name, _ in model.named_buffers()}
    state = model.state_dict()
    whole = {name: in_one_piece(state[name].detach()) for name in sorted(names & set(state))}
    return {name: tensor.cpu().clone().contiguous() for name, tensor in whole.items()}


def save_trained(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Write what `trained` gave, beside and then renamed."""
    part = path.with_suffix(".part")
    try:
        with full_disk_named(part):
            save_file(weights, part)
            onto_the_disk(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_trained(model: Any, path: Path) -> None:
    """Put saved weights into a model. Raises UserError when they are of another one."""
    _put_into(model, load_file(path), path)


def _put_into(model: Any, weights: dict[str, torch.Tensor], path: Path) -> None:
    unknown = model.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise UserError(f"{path}: holds {unknown[0]}, which the model has not; remove the folder of the run")


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """What runs inside draws no random numbers from training: a run with probes equals one without."""
    states = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        np.random.set_state(states[0])
        random.setstate(states[1])


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn what the libraries raise for a failed write into one line. Raises UserError naming the path."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written: {' '.join(str(error).split())}") from error


def random_states() -> dict[str, Any]:
    """Of every generator that training draws from, in this process."""
    _, keys, position, *_ = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [int(key) for key in keys] + [int(position)],
        "python": list(random.getstate()[1]),
    }


def restore_random(states: dict[str, Any]) -> None:
    """Random numbers go on as they would have when `random_states` was asked."""
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    *keys, position = states["numpy"]
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, 0, 0.0))
    random.setstate((3, tuple(states["python"]), None))
