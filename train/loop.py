"""The training loop: one for all families, under Accelerate."""

import itertools
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from transformers import get_scheduler

from recipes.provenance import write_text
from recipes.schema import Train, UserError
from train import sharding
from train.average import Average
from train.batching import batches
from train.checkpoints import (
    load_checkpoint,
    load_trained,
    random_state_kept,
    random_states,
    restore_random,
    save_checkpoint,
    save_trained,
    trained,
)
from train.families import Family
from train.features import Features
from train.linear import quicken
from train.probes import COSTS
from train.progress import Bar
from train.step import Portion, Progressed, Run, of_all_processes, on_device, read, take

_LOG_EVERY = 10  # optimiser steps between two rows of the training loss
OnProbe = Callable[[int, bool], dict[str, Any]]
_SCHEDULES = {"constant": "constant_with_warmup"}  # as transformers calls it


def fit(
    family: Family,
    train: Features,
    valid: Features,
    settings: Train,
    folder: Path,
    seed: int,
    on_probe: OnProbe | None = None,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
    check: Callable[[], None] = lambda: None,
    watch: Callable[[dict[str, Any]], dict[str, str]] = lambda row: {},
    checks: Mapping[str, float] | None = None,
) -> Progressed:
    """Train `family.model` in place and leave the best weights in it.

    Goes on from the newest checkpoint in `folder/checkpoints`. `on_probe(step, averaged)` returns figures
    for the metrics; `on_row` sees every row of `folder/metrics.jsonl`, `watch` does before it is written
    and returns warnings to stand in it; `check` is called every few steps and raises UserError when the
    data may no longer be learnt from; `checks` are figures from before training. Raises UserError when
    the loss stops being a number.
    """
    run = _begin(family, train, valid, settings, folder, seed, on_row, watch)
    state = run.state
    on_probe = on_probe if settings.probe and _can_probe(run) else None
    if state.step == 0:
        if checks:
            _note(run, **checks)
        _validate_and_keep_best(run)  # the base's own loss, to compare with
        if on_probe:
            _probe_and_keep_best(run, on_probe)
    bar = Bar(settings.max_steps, state.step, run.accelerator.is_main_process)
    with bar.progress, closing(_portions(run)) as portions:
        while state.step < settings.max_steps and not _patience_spent(state, settings):
            begun = time.perf_counter()
            portion = next(portions)
            loss = take(run, portion)
            bar.show(state.step, loss, time.perf_counter() - begun, *_size(run, portion))
            if _due(run, _LOG_EVERY):
                check()
                _note_loss(run)
            if _due(run, settings.validate_every):
                _validate_and_keep_best(run)
            if on_probe and settings.probe and _due(run, settings.probe.every):
                _probe_and_keep_best(run, on_probe)
            if _due(run, settings.save_every):
                _save(run)
    return _finish(run)


def validate(family: Family, valid: Features, batch_s: float, accelerator: Accelerator) -> float:
    """Mean loss over the utterances of a split, without dropout. Raises UserError when it is not a number."""
    family.model.eval()
    total = 0.0
    with torch.no_grad(), random_state_kept(accelerator.device), accelerator.autocast():
        for group in batches(valid.durations_s, batch_s, seed=0, epoch=0):
            batch = on_device(family.collate(valid.examples(group)), accelerator.device)
            total += _number(family.loss(batch), valid, group) * len(group)
    if accelerator.num_processes == 1:
        return total / len(valid)
    # Processes must agree on when to stop, to the last bit.
    return float(accelerator.reduce(torch.tensor(total / len(valid), device=accelerator.device), "mean"))


def _begin(
    family: Family,
    train: Features,
    valid: Features,
    settings: Train,
    folder: Path,
    seed: int,
    on_row: Callable[[dict[str, Any]], None],
    watch: Callable[[dict[str, Any]], dict[str, str]],
) -> Run:
    """A new run, or the one that the newest checkpoint holds."""
    set_seed(seed)
    accelerator = _accelerator(settings)
    if settings.checkpointing:
        _recompute_activations(family)
    quicken(family.model)
    weights = [weight for weight in family.model.parameters() if weight.requires_grad]
    fused = accelerator.device.type == "cpu"  # a weight at a time takes longer there
    optimizer = torch.optim.AdamW(weights, settings.learning_rate, weight_decay=settings.weight_decay, fused=fused)
    scheduler = get_scheduler(
        _SCHEDULES.get(settings.schedule, settings.schedule), optimizer, settings.warmup_steps, settings.max_steps
    )
    saved = load_checkpoint(folder / "checkpoints", family.model)
    sharding.get_ready(accelerator, settings)
    unshared = sharding.copy_to_keep(accelerator, family.model)
    with sharding.embeddings_with_the_rest(family.model):
        wrapped, optimizer = accelerator.prepare(family.model, optimizer)
    average = Average(weights, settings.ema) if settings.ema else None
    state = Progressed()
    if saved:
        state = Progressed(**saved["progress"])
        sharding.load_optimizer_state(accelerator, wrapped, optimizer, saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        for kept, was in zip(average.kept if average else [], saved["average"], strict=True):
            kept.copy_(was)
        drawn = saved["random"]  # of each process; there may have been fewer
        restore_random(drawn[accelerator.process_index % len(drawn)])
    if accelerator.is_main_process:
        _forget_rows_after(folder / "metrics.jsonl", state.step)
    data = family, train, valid, settings, folder, seed
    return Run(*data, accelerator, wrapped, unshared, optimizer, scheduler, average, on_row, watch, state)


def _recompute_activations(family: Family) -> None:
    """Less memory for more time: what the layers gave is computed again for the gradients, not kept."""
    try:
        family.model.gradient_checkpointing_enable({"use_reentrant": False})
        family.model.disable_input_require_grads()  # needed by the re-entrant kind alone; CSM cannot bear it
    except (AttributeError, ValueError):
        name = type(family).__name__
        raise UserError(f"train.checkpointing: {name} cannot do it; lower train.batch_s instead") from None


def _portions(run: Run) -> Generator[Portion]:
    """This process's share of every step that is still to come, without end, by seed alone. One is read ahead."""
    every = run.accelerator.num_processes
    epochs = (batches(run.train.durations_s, run.settings.batch_s, run.seed, n) for n in itertools.count())
    groups = itertools.islice(itertools.chain.from_iterable(epochs), run.state.batch * every, None)
    steps = iter(lambda: list(itertools.islice(groups, run.settings.accumulate * every)), [])
    with ThreadPoolExecutor(1, "reader") as reader:
        coming = reader.submit(read, run, next(steps))
        for groups_of_next in steps:
            portion, coming = coming.result(), reader.submit(read, run, groups_of_next)
            yield portion


def _validate_and_keep_best(run: Run) -> None:
    """Measure the weights, and their average where there is one; keep whichever is better than all before."""
    decides = run.settings.early_stop == "valid_loss"
    figures = {"valid_loss": _validate(run)}
    run.state.worse += decides
    if decides:
        _keep_if_best(run, figures["valid_loss"])
    if run.average and run.state.step:
        with run.average.in_place():
            figures["valid_loss_ema"] = _validate(run)
            if decides:
                _keep_if_best(run, figures["valid_loss_ema"])
    _note(run, **figures)


def _validate(run: Run) -> float:
    return validate(run.family, run.valid, run.settings.batch_s, run.accelerator)


def _keep_if_best(run: Run, cost: float) -> None:
    state = run.state
    if cost < state.best:
        state.best, state.best_step, state.worse = cost, state.step, 0
        weights = trained(run.family.model)
        if run.accelerator.is_main_process:
            save_trained(weights, run.folder / "best.safetensors")


def _can_probe(run: Run) -> bool:
    """Raises UserError where a figure of the probes is to decide and there can be none."""
    if not sharding.weights_are_shared_out(run.accelerator):
        return True
    if run.settings.early_stop != "valid_loss":
        raise UserError(f"train.early_stop: {run.settings.early_stop} is not measured under FSDP; take valid_loss")
    run.accelerator.print("no probes under FSDP: no process holds all the weights", file=sys.stderr)
    return False


def _probe_and_keep_best(run: Run, on_probe: OnProbe) -> None:
    """Probe the weights, and their average where there is one; keep the best where a probe's figure decides."""
    decides = run.settings.early_stop != "valid_loss"
    figures = _probe(run, on_probe, averaged=False)
    if decides:
        run.state.worse += 1
        _keep_if_best(run, _agreed_cost(run, figures))
    if run.average and run.state.step:
        with run.average.in_place():
            averaged = _probe(run, on_probe, averaged=True)
            if decides:
                _keep_if_best(run, _agreed_cost(run, averaged))
        figures |= {f"{name}_ema": value for name, value in averaged.items()}
    if figures:
        _note(run, **figures)


def _probe(run: Run, on_probe: OnProbe, averaged: bool) -> dict[str, Any]:
    """The figures of a probe; none in processes that only wait for them."""
    if not run.accelerator.is_main_process:
        return {}
    run.family.model.eval()
    with random_state_kept(run.accelerator.device):
        return on_probe(run.state.step, averaged)


def _agreed_cost(run: Run, figures: dict[str, Any]) -> float:
    """What the figure that decides costs, infinite where it was not measured; the same in all processes."""
    name = run.settings.early_stop.removeprefix("probe.")
    value = figures.get(f"probe_{name}")
    cost = math.inf if value is None else COSTS[name](value)
    if run.accelerator.num_processes == 1:
        return cost
    mine = cost if run.accelerator.is_main_process else 0.0
    shared = run.accelerator.reduce(torch.tensor(mine, dtype=torch.float64, device=run.accelerator.device), "sum")
    return float(shared)


def _save(run: Run) -> None:
    weights = trained(run.family.model)
    states = {
        "progress": asdict(run.state),
        "optimizer": sharding.optimizer_state(run.accelerator, run.wrapped, run.optimizer),
        "scheduler": run.scheduler.state_dict(),
        "average": run.average.kept if run.average else [],
        "random": of_all_processes(run, [random_states()]),
    }
    if run.accelerator.is_main_process:
        save_checkpoint(run.folder / "checkpoints", weights, states, run.settings.keep_checkpoints)


def _finish(run: Run) -> Progressed:
    """The best weights into the model, and Accelerate's wrapping off it."""
    run.accelerator.wait_for_everyone()
    if sharding.weights_are_shared_out(run.accelerator):
        run.family.model = run.unshared
        if run.unshared is None:
            return run.state
        load_trained(run.unshared, run.folder / "best.safetensors")
    else:
        if run.state.best < math.inf:  # else the figure that decides could never be measured
            load_trained(run.family.model, run.folder / "best.safetensors")
        run.family.model = run.accelerator.unwrap_model(
            run.wrapped, keep_fp32_wrapper=False, keep_torch_compile=False
        )
    run.family.model.eval()
    return run.state


def _note_loss(run: Run) -> None:
    """A row of the mean training loss since the last such row."""
    losses, run.state.losses = run.state.losses, []
    figures: dict[str, Any] = {"loss": sum(losses) / len(losses)} if losses else {}
    if run.state.skipped:
        figures["steps_left_out"] = run.state.skipped
    _note(run, **figures, lr=run.scheduler.get_last_lr()[0])


def _note(run: Run, **figures: Any) -> None:
    """One row of metrics."""
    row = {"step": run.state.step, **figures}
    if run.accelerator.is_main_process:
        if warnings := run.watch(row):
            row["warnings"] = warnings
        with open(run.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        run.on_row(row)


def _number(loss: torch.Tensor, split: Features, group: list[int]) -> float:
    """The loss as a number. Raises UserError naming the utterances when it is none."""
    value = float(loss.detach())
    if math.isfinite(value):
        return value
    names = ", ".join(split.ids[i][:12] for i in group)
    raise UserError(f"the loss is not a number on {names}; lower train.learning_rate, or look at these utterances")


def _accelerator(settings: Train) -> Accelerator:
    # Some models leave out layers at random, whose weights then have no gradient in that step.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
    mixed = "no" if settings.precision == "fp32" else settings.precision
    compilers = (os.environ.get("CXX", "g++"), "g++", "clang++", "cl")
    if settings.compile and not any(map(shutil.which, compilers)):
        raise UserError("train.compile: no C++ compiler here; install one (apt install g++), or train.compile=false")
    try:
        compiler = "inductor" if settings.compile else None
        accelerator = Accelerator(mixed_precision=mixed, kwargs_handlers=[parallel], dynamo_backend=compiler)
    except ValueError as error:
        raise UserError(f"train.precision: {settings.precision} is not possible here: {error}") from error
    if mixed == "fp16" and accelerator.device.type == "cpu":  # which Accelerate would pass over
        raise UserError("train.precision: fp16 needs a GPU; on a CPU use bf16 or fp32")
    return accelerator


def _due(run: Run, every: int) -> bool:
    """Whether something done each `every` steps is to be done now; after the last step everything is."""
    return run.state.step % every == 0 or run.state.step == run.settings.max_steps


def _patience_spent(state: Progressed, settings: Train) -> bool:
    return settings.patience is not None and state.worse >= settings.patience


def _forget_rows_after(path: Path, step: int) -> None:
    """Rows that a killed run wrote after its last checkpoint will be written again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if step and _step_of(line) <= step]
        write_text(path, "".join(line + "\n" for line in kept))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # half a line, from a kill


def _size(run: Run, portion: Portion) -> tuple[int, float]:
    """Utterances and seconds of audio in a step, of all processes if theirs are like this one's."""
    chosen = [index for group in portion.groups for index in group]
    every = run.accelerator.num_processes
    return every * len(chosen), every * sum(run.train.durations_s[index] for index in chosen)
