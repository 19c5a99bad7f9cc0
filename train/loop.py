"""The training loop: one for all families, under Accelerate."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import get_scheduler

from recipes.provenance import write_text
from recipes.schema import Train, UserError
from train.batching import batches
from train.checkpoints import load_checkpoint, load_trained, random_state_kept, save_checkpoint, save_trained
from train.families import Family
from train.features import Features

_LOG_EVERY = 10  # optimiser steps between two rows of the training loss


@dataclass
class Progressed:
    """Where a run stands; saved in every checkpoint."""

    step: int = 0  # optimiser steps done
    batch: int = 0  # batches consumed since the start, by each process
    best: float = math.inf  # lowest validation loss
    best_step: int = 0
    worse: int = 0  # validations since the best
    losses: list[float] = field(default_factory=list)  # since the last row of metrics


@dataclass
class _Run:
    """A training under way: what it holds between two steps."""

    family: Family
    train: Features
    valid: Features
    settings: Train
    folder: Path
    seed: int
    accelerator: Accelerator
    wrapped: Any  # the model as Accelerate trains it; `family.model` is the one inside
    optimizer: Any
    scheduler: Any
    on_row: Callable[[dict[str, Any]], None]
    state: Progressed = field(default_factory=Progressed)


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
    state, groups = run.state, _groups(run)
    if state.step == 0:
        _validate_and_keep_best(run)  # the base's own loss, to compare with
    with _bar(run.accelerator.is_main_process) as bar:
        task = bar.add_task("training", total=settings.max_steps, completed=state.step, loss=math.nan)
        while state.step < settings.max_steps and not _patience_spent(state, settings):
            loss = _step(run, list(itertools.islice(groups, settings.accumulate)))
            bar.update(task, completed=state.step, loss=loss)
            if _due(run, _LOG_EVERY):
                check()
                mean, state.losses = sum(state.losses) / len(state.losses), []
                _note(run, loss=mean, lr=run.scheduler.get_last_lr()[0])
            if _due(run, settings.validate_every):
                _validate_and_keep_best(run)
            if on_probe and settings.probe and _due(run, settings.probe.every):
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
            batch = _to(family.collate(valid.examples(group)), accelerator.device)
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
) -> _Run:
    """A new run, or the one that the newest checkpoint holds."""
    set_seed(seed)
    accelerator = _accelerator(settings)
    weights = [weight for weight in family.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, settings.learning_rate, weight_decay=settings.weight_decay)
    scheduler = get_scheduler(settings.schedule, optimizer, settings.warmup_steps, settings.max_steps)
    wrapped, optimizer = accelerator.prepare(family.model, optimizer)
    progress = load_checkpoint(folder / "checkpoints", family.model, optimizer, scheduler)
    state = Progressed(**progress) if progress else Progressed()
    if accelerator.is_main_process:
        _forget_rows_after(folder / "metrics.jsonl", state.step)
    return _Run(
        family,
        train,
        valid,
        settings,
        folder,
        seed,
        accelerator,
        wrapped,
        optimizer,
        scheduler,
        on_row,
        state,
    )


def _groups(run: _Run) -> Iterator[list[int]]:
    """The batches of this process that are still to come, without end, by seed alone."""
    every = run.accelerator.num_processes
    first = run.state.batch * every + run.accelerator.process_index
    epochs = (batches(run.train.durations_s, run.settings.batch_s, run.seed, n) for n in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(epochs), first, None, every)


def _step(run: _Run, groups: Sequence[list[int]]) -> float:
    """One optimiser step over some batches; their mean loss."""
    family, core, total = run.family, run.family.model, 0.0
    _train_mode(core, run.settings)
    family.model = run.wrapped
    try:
        for group in groups:
            batch = _to(family.collate(run.train.examples(group)), run.accelerator.device)
            with run.accelerator.autocast():
                loss = family.loss(batch) / len(groups)
            total += _number(loss, run.train, group)
            run.accelerator.backward(loss)
    finally:
        family.model = core
    run.accelerator.clip_grad_norm_(run.wrapped.parameters(), run.settings.clip_norm)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.scheduler.step()
    run.state.step += 1
    run.state.batch += len(groups)
    run.state.losses.append(total)
    return total


def _validate_and_keep_best(run: _Run) -> None:
    state = run.state
    loss = validate(run.family, run.valid, run.settings.batch_s, run.accelerator)
    _note(run, valid_loss=loss)
    state.worse += 1
    if loss < state.best:
        state.best, state.best_step, state.worse = loss, state.step, 0
        if run.accelerator.is_main_process:
            save_trained(run.family.model, run.folder / "best.safetensors")


def _probe(run: _Run, on_probe: Callable[[int], dict[str, Any]]) -> None:
    if run.accelerator.is_main_process:
        run.family.model.eval()
        with random_state_kept(run.accelerator.device):
            _note(run, **on_probe(run.state.step))


def _save(run: _Run) -> None:
    if run.accelerator.is_main_process:
        folder, keep = run.folder / "checkpoints", run.settings.keep_checkpoints
        save_checkpoint(folder, run.family.model, run.optimizer, run.scheduler, asdict(run.state), keep)


def _finish(run: _Run) -> Progressed:
    """The best weights into the model, and Accelerate's wrapping off it."""
    run.accelerator.wait_for_everyone()
    load_trained(run.family.model, run.folder / "best.safetensors")
    run.family.model = run.accelerator.unwrap_model(run.wrapped, keep_fp32_wrapper=False)
    run.family.model.eval()
    return run.state


def _note(run: _Run, **figures: Any) -> None:
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
        accelerator = Accelerator(mixed_precision=mixed, kwargs_handlers=[parallel])
    except ValueError as error:
        raise UserError(f"train.precision: {settings.precision} is not possible here: {error}") from error
    if mixed == "fp16" and accelerator.device.type == "cpu":  # which Accelerate would pass over
        raise UserError("train.precision: fp16 needs a GPU; on a CPU use bf16 or fp32")
    return accelerator


def _train_mode(model: Any, settings: Train) -> None:
    """Dropout on. With LoRA the base's batch statistics stay: they are not saved with an adapter."""
    model.train()
    if settings.method == "lora":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def _due(run: _Run, every: int) -> bool:
    """Whether something done each `every` steps is to be done now; after the last step everything is."""
    return run.state.step % every == 0 or run.state.step == run.settings.max_steps


def _patience_spent(state: Progressed, settings: Train) -> bool:
    return settings.patience is not None and state.worse >= settings.patience


def _to(batch: dict[str, Any], device: Any) -> dict[str, Any]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


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
