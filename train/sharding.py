"""Training whose weights or optimiser lie in shares, one a process: FSDP and DeepSpeed.

Accelerate's configuration decides on both (`accelerate launch --config_file`). What they cannot do, and the loop
else does, is refused or left out aloud.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from recipes.schema import Train, UserError


def weights_are_shared_out(accelerator: Accelerator) -> bool:
    """Whether no process holds all weights, so that nothing but training steps and validation can be done."""
    return bool(accelerator.distributed_type == DistributedType.FSDP)


def by_deepspeed(accelerator: Accelerator) -> bool:
    """Whether DeepSpeed does the optimiser's steps by itself, at the end of the last backward pass."""
    return bool(accelerator.distributed_type == DistributedType.DEEPSPEED)


def cuts_batches(accelerator: Accelerator) -> bool:
    """Whether one process may take its batches in more parts than the others."""
    return not (weights_are_shared_out(accelerator) or by_deepspeed(accelerator))


def get_ready(accelerator: Accelerator, settings: Train) -> None:
    """Fit Accelerate's configuration to the recipe. Raises UserError where the two do not go together."""
    if weights_are_shared_out(accelerator):
        if accelerator.state.fsdp_plugin.fsdp_version != 2:
            raise UserError("FSDP of the first kind cannot hold frozen and trained weights together: fsdp_version: 2")
        if settings.ema:
            raise UserError("train.ema: not under FSDP, where no process holds all weights; leave it out")
    if by_deepspeed(accelerator):
        if accelerator.state.deepspeed_plugin.zero_stage == 3:
            raise UserError("DeepSpeed: zero_stage 1 or 2; to share out the weights too, take FSDP (fsdp.yaml)")
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        # Batches are counted in seconds, and the loop itself says where a step ends.
        config |= {"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}
        config["train_batch_size"] = accelerator.num_processes
        config["gradient_clipping"] = settings.clip_norm
        config["zero_allow_untested_optimizer"] = True


@contextmanager
def embeddings_with_the_rest(model: Any) -> Iterator[None]:
    """Accelerate shares embeddings out by themselves, and does not see that PEFT ties the new rows of two of them."""
    hidden = ("get_input_embeddings", "get_output_embeddings")
    for name in hidden:
        setattr(model, name, lambda: None)
    try:
        yield
    finally:
        for name in hidden:
            delattr(model, name)


def copy_to_keep(accelerator: Accelerator, model: Any) -> Any:
    """The model in one piece, in the first process's main memory, for the weights that training ends with."""
    return copy.deepcopy(model) if weights_are_shared_out(accelerator) and accelerator.is_main_process else None


def in_one_piece(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of which this process may hold a share. All processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def norm(accelerator: Accelerator, model: Any, most: float) -> float:
    """Clip the gradients; their norm before that."""
    found = accelerator.clip_grad_norm_(model.parameters(), most)
    return 0.0 if found is None else float(in_one_piece(found) if isinstance(found, torch.Tensor) else found)


def optimizer_state(accelerator: Accelerator, model: Any, optimizer: Any) -> Any:
    """What the optimiser remembers, of all processes. All must ask."""
    if weights_are_shared_out(accelerator):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_optimizer_state_dict(model, optimizer.optimizer, options=options)
    if by_deepspeed(accelerator):
        own = ("loss_scaler", "param_slice_mappings")  # objects, which a checkpoint of ours does not hold
        mine = {name: part for name, part in optimizer.optimizer.state_dict().items() if name not in own}
        shares: list[Any] = [None] * accelerator.num_processes
        torch.distributed.all_gather_object(shares, _on_cpu(mine))
        return shares
    return optimizer.state_dict()


def load_optimizer_state(accelerator: Accelerator, model: Any, optimizer: Any, state: Any) -> None:
    """Give the optimiser back what `optimizer_state` read. Raises UserError when that was of other processes."""
    if weights_are_shared_out(accelerator):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        set_optimizer_state_dict(model, optimizer.optimizer, state, options=StateDictOptions(full_state_dict=True))
    elif by_deepspeed(accelerator):
        if not isinstance(state, list) or len(state) != accelerator.num_processes:
            raise UserError("the run began on another number of processes, or without DeepSpeed: go on as it began")
        optimizer.optimizer.load_state_dict(state, load_from_fp32_weights=True)
    else:
        optimizer.load_state_dict(state)


def _on_cpu(value: Any) -> Any:
    """The same in main memory, and without classes of DeepSpeed's own, which a checkpoint would not give back."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {name: _on_cpu(part) for name, part in value.items()}
    return [_on_cpu(part) for part in value] if isinstance(value, list | tuple) else value
