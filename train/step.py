"""One optimiser step: gradients of its batches within the memory there is, and only from losses that are numbers."""

import copy
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from torch.nn.modules.batchnorm import _BatchNorm

from recipes.schema import Train, UserError
from train import sharding
from train.average import Average
from train.families import Family, Windowed
from train.features import Features

Found = TypeVar("Found")
_AT_ONCE_S = 60.0  # of sound and silence, on a CPU


@dataclass
class Progressed:
    """Where a run stands; saved in every checkpoint."""

    step: int = 0  # optimiser steps done
    batch: int = 0  # batches consumed since the start, by each process
    best: float = math.inf  # lowest validation loss, or cost of the probes' figure that decides
    best_step: int = 0
    worse: int = 0  # validations, or probes, since the best
    losses: list[float] = field(default_factory=list)  # since the last row of metrics
    parts: int = 1  # in which each batch is taken, since memory ran out
    skipped: int = 0  # steps without a number for a gradient
    suspects: list[str] = field(default_factory=list)  # ids of utterances in them


@dataclass
class Run:
    """A training under way: what it holds between two steps."""

    family: Family
    train: Features
    valid: Features
    settings: Train
    folder: Path
    seed: int
    accelerator: Accelerator
    wrapped: Any  # the model as Accelerate trains it; `family.model` is the one inside
    unshared: Any  # the model in one piece, where `wrapped` lies in shares
    optimizer: Any
    scheduler: Any
    average: Average | None
    on_row: Callable[[dict[str, Any]], None]
    watch: Callable[[dict[str, Any]], dict[str, str]]
    state: Progressed = field(default_factory=Progressed)

    def __post_init__(self) -> None:
        # The same family around the wrapped model: a batch may be read in a thread while the other one trains.
        self.learner = copy.copy(self.family)
        self.learner.model = self.wrapped


@dataclass(frozen=True)
class Portion:
    """What this process takes of a step."""

    groups: list[list[int]]  # utterances, a batch each
    pieces: list[list[int]]  # the same, a forward pass each
    batches: list[dict[str, Any]]  # of each piece
    parts: int  # that each group was to be cut in


def read(run: Run, groups: list[list[int]]) -> Portion:
    """This process's share of a step. `groups`: the batches of all processes, by turns."""
    return _portion(run, groups[run.accelerator.process_index :: run.accelerator.num_processes])


def _portion(run: Run, groups: list[list[int]]) -> Portion:
    parts = run.state.parts
    pieces = [piece for group in groups for piece in _cut(group, parts * _parts_on_cpu(run, group))]
    return Portion(groups, pieces, [run.family.collate(run.train.examples(piece)) for piece in pieces], parts)


def _parts_on_cpu(run: Run, group: list[int]) -> int:
    """How many parts of a batch a CPU takes one after another: as fast, with less memory than all at once.

    Only where each clip is filled up to a window; else a batch is as long as `train.batch_s` says.
    """
    if run.accelerator.device.type != "cpu" or not isinstance(run.family, Windowed) or not run.family.window_s:
        return 1
    return math.ceil(len(group) * run.family.window_s / _AT_ONCE_S)


def take(run: Run, portion: Portion) -> float:
    """One optimiser step; its mean loss, over all batches and processes, by their numbers of frames or labels.

    Batches that do not fit into memory are taken in parts from then on. A step without a number for a gradient
    is left out. Raises UserError when one utterance alone does not fit, and after `max_bad_steps` of the others.
    """
    _train_mode(run.family.model, run.settings)
    # Asked once: where memory runs out in one process, the others are already at the end of the step.
    whole = _over_all(run, sum(map(run.family.weight, portion.batches)))
    while True:
        try:
            total, suspects = _gradients(run, portion, whole)
            break
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if not sharding.cuts_batches(run.accelerator):
                raise UserError("out of memory; under FSDP and DeepSpeed, lower train.batch_s yourself") from None
        portion = _in_smaller_parts(run, portion)
    _add_up_gradients(run)
    norm = sharding.norm(run.accelerator, run.wrapped, run.settings.clip_norm)
    scaled = run.accelerator.scaler is not None  # which leaves out steps by itself, to find its scale
    usable = scaled or math.isfinite(norm)
    if not usable:
        run.optimizer.zero_grad()  # a step without gradients changes nothing
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.scheduler.step()
    run.state.step += 1
    run.state.batch += len(portion.groups)
    if run.average:
        run.average.update(run.state.step)
    total = _over_all(run, total)
    if usable and math.isfinite(total):
        run.state.losses.append(total)
    else:
        _count_out(run, of_all_processes(run, suspects) or of_all_processes(run, portion.pieces))
    return total


def _gradients(run: Run, portion: Portion, whole: float) -> tuple[float, list[list[int]]]:
    """Add up the gradients of a portion. Its share of the step's loss; and pieces whose loss was no number.

    `whole`: what the batches of all processes weigh in this step.
    """
    total, bad = 0.0, []
    weights = [run.family.weight(batch) for batch in portion.batches]
    averaged = run.accelerator.distributed_type not in (DistributedType.NO, *_BY_HAND)  # over processes, not added
    for number, (piece, batch) in enumerate(zip(portion.pieces, portion.batches, strict=True)):
        share = weights[number] / whole
        apart = run.accelerator.distributed_type in _BY_HAND or number < len(portion.pieces) - 1
        with run.accelerator.no_sync(run.wrapped) if apart else nullcontext():
            with run.accelerator.autocast():
                loss = run.learner.loss(on_device(batch, run.accelerator.device)) * share
            value = float(loss.detach())
            total += value
            if not math.isfinite(value):
                bad.append(piece)
                loss = loss * math.nan  # no process may take this step
            if sharding.by_deepspeed(run.accelerator):
                run.accelerator.sync_gradients = not apart  # and steps after that backward pass
                if not apart:
                    _refuse_no_number(run, portion, total)
            run.accelerator.backward(loss * run.accelerator.num_processes if averaged else loss)
    return total, bad


def _refuse_no_number(run: Run, portion: Portion, loss: float) -> None:
    """Before DeepSpeed's step, which nothing undoes. Raises UserError in all processes when a loss is no number."""
    if _over_all(run, float(not math.isfinite(loss))):
        names = ", ".join(run.train.ids[i][:12] for piece in portion.pieces for i in piece)
        raise UserError(f"the loss is not a number on one of {names}; lower train.learning_rate, or look at these")


# Gradients are added up once a step, by us: a process that had to take its batches in parts keeps no other waiting
# in the middle, and a batch counts by what is in it.
_BY_HAND = (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def _add_up_gradients(run: Run) -> None:
    if run.accelerator.distributed_type not in _BY_HAND:
        return
    weights = [weight for weight in run.family.model.parameters() if weight.requires_grad]
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    flat = torch.cat([weight.grad.reshape(-1).float() for weight in weights if weight.grad is not None])
    torch.distributed.all_reduce(flat)
    sizes = [weight.numel() for weight in weights]
    for weight, summed in zip(weights, torch.split(flat, sizes), strict=True):
        weight.grad = summed.view_as(weight).to(weight.dtype)


def _in_smaller_parts(run: Run, portion: Portion) -> Portion:
    """The same utterances, half as many at a time. Raises UserError when they are alone already."""
    run.optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    longest = max(portion.pieces, key=lambda piece: _seconds(run, piece))
    if max(map(len, portion.pieces)) == 1:
        name, seconds = run.train.ids[longest[0]], _seconds(run, longest)
        raise UserError(
            f"out of memory on a single utterance, {name[:12]} of {seconds:.1f} s; lower prepare.max_duration_s, "
            "or set train.checkpointing: true"
        )
    if portion.parts == run.state.parts:  # not one that was read ahead, before the last cut
        run.state.parts *= 2
        print(
            f"out of memory at step {run.state.step + 1}: each batch of {run.settings.batch_s:g} s is now taken in "
            f"{run.state.parts} parts; the result stays the same (train.batch_s, train.accumulate)",
            file=sys.stderr,
        )
    return _portion(run, portion.groups)


def _cut(group: list[int], parts: int) -> list[list[int]]:
    """A batch in so many parts, or as many as it has utterances."""
    size = math.ceil(len(group) / parts)
    return [group[at : at + size] for at in range(0, len(group), size)]


def _count_out(run: Run, pieces: list[list[int]]) -> None:
    """Remember a step that was left out. Raises UserError when there have been too many."""
    state = run.state
    state.skipped += 1
    state.suspects += [run.train.ids[i] for piece in pieces for i in piece if run.train.ids[i] not in state.suspects]
    names = ", ".join(name[:12] for name in state.suspects[:8])
    if state.skipped > run.settings.max_bad_steps:
        raise UserError(
            f"the loss is not a number on {names}; in {state.skipped} steps up to step {state.step}: "
            "lower train.learning_rate, or look at these utterances"
        )
    if run.accelerator.is_main_process:
        print(f"step {state.step} left out: the loss is not a number on {names}", file=sys.stderr)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _over_all(run: Run, value: float) -> float:
    """The sum over the processes."""
    if run.accelerator.num_processes == 1:
        return value
    return float(run.accelerator.reduce(torch.tensor(value, device=run.accelerator.device), "sum"))


def _seconds(run: Run, indices: list[int]) -> float:
    return sum(run.train.durations_s[index] for index in indices)


def of_all_processes(run: Run, found: list[Found]) -> list[Found]:
    """What all processes found, in their order; all of them must ask."""
    return list(gather_object(found)) if run.accelerator.num_processes > 1 else found


def on_device(batch: dict[str, Any], device: Any) -> dict[str, Any]:
    """A batch where the model is."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _train_mode(model: Any, settings: Train) -> None:
    """Dropout on. With LoRA the base's batch statistics stay: they are not saved with an adapter."""
    model.train()
    if settings.method == "lora":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
