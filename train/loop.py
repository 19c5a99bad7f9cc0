"""The training loop: one for all families, under Accelerate."""

import itertools
import json
import math
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
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
    restore_random,
    save_checkpoint,
    save_trained,
    trained,
)
from train.families import Family
from train.features import Features
from train.step import Portion, Progressed, Run, on_device, read, take

_LOG_EVERY = 10  # optimiser steps between two rows of the training loss
_SCHEDULES = {"constant": "constant_with_warmup"}  # as transformers calls it


def fit(
    family: Family,
    train: Features,
    valid: Features,
    settings: Train,
    folder: Path,
    seed: int,
    on_probe: Callable[[int], dict[str, Any]] | None = None,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
    check: Callable[[], None] = lambda: None,
) -> Progressed:
    """Train `family.model` in place and leave the best weights in it.

    Goes on from the newest checkpoint in `folder/checkpoints`. `on_probe(step)` returns figures for
    the metrics; `on_row` sees every row of `folder/metrics.jsonl`; `check` is called every few steps
    and raises UserError when the data may no longer be learnt from. Raises UserError when the loss
    stops being a number.
    """
    run = _begin(family, train, valid, settings, folder, seed, on_row)
    state = run.state
    shared_out = sharding.weights_are_shared_out(run.accelerator)
    if shared_out and on_probe:
        run.accelerator.print("no probes under FSDP: no process holds all the weights", file=sys.stderr)
    if state.step == 0:
        _validate_and_keep_best(run)  # the base's own loss, to compare with
    with _bar(run.accelerator.is_main_process) as bar, closing(_portions(run)) as portions:
        task = bar.add_task("training", total=settings.max_steps, completed=state.step, loss=math.nan)
        while state.step < settings.max_steps and not _patience_spent(state, settings):
            loss = take(run, next(portions))
            bar.update(task, completed=state.step, loss=loss)
            if _due(run, _LOG_EVERY):
                check()
                _note_loss(run)
            if _due(run, settings.validate_every):
                _validate_and_keep_best(run)
            if on_probe and settings.probe and not shared_out and _due(run, settings.probe.every):
                _probe(run, on_probe)
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
) -> Run:
    """A new run, or the one that the newest checkpoint holds."""
    set_seed(seed)
    accelerator = _accelerator(settings)
    if settings.checkpointing:
        _recompute_activations(family)
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
        restore_random(saved)
    if accelerator.is_main_process:
        _forget_rows_after(folder / "metrics.jsonl", state.step)
    data = family, train, valid, settings, folder, seed
    return Run(*data, accelerator, wrapped, unshared, optimizer, scheduler, average, on_row, state)


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
    figures = {"valid_loss": _validate(run)}
    run.state.worse += 1
    _keep_if_best(run, figures["valid_loss"])
    if run.average and run.state.step:
        with run.average.in_place():
            figures["valid_loss_ema"] = _validate(run)
            _keep_if_best(run, figures["valid_loss_ema"])
    _note(run, **figures)


def _validate(run: Run) -> float:
    return validate(run.family, run.valid, run.settings.batch_s, run.accelerator)


def _keep_if_best(run: Run, loss: float) -> None:
    state = run.state
    if loss < state.best:
        state.best, state.best_step, state.worse = loss, state.step, 0
        weights = trained(run.family.model)
        if run.accelerator.is_main_process:
            save_trained(weights, run.folder / "best.safetensors")


def _probe(run: Run, on_probe: Callable[[int], dict[str, Any]]) -> None:
    if run.accelerator.is_main_process:
        run.family.model.eval()
        with random_state_kept(run.accelerator.device):
            _note(run, **on_probe(run.state.step))


def _save(run: Run) -> None:
    weights = trained(run.family.model)
    states = {
        "progress": asdict(run.state),
        "optimizer": sharding.optimizer_state(run.accelerator, run.wrapped, run.optimizer),
        "scheduler": run.scheduler.state_dict(),
        "average": run.average.kept if run.average else [],
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
        load_trained(run.family.model, run.folder / "best.safetensors")
        run.family.model = run.accelerator.unwrap_model(run.wrapped, keep_fp32_wrapper=False)
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


def _bar(visible: bool) -> Progress:
    columns = TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    loss = TextColumn("loss {task.fields[loss]:.3f}")
    return Progress(*columns, loss, disable=not visible, console=Console(stderr=True))
