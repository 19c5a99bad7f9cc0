"""The training loop: one for all families, under Accelerate."""

import json
import math
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import get_scheduler

from recipes.schema import Train, UserError
from train.batching import batches
from train.families import Family
from train.features import Features

_LOG_EVERY = 10  # optimiser steps between two rows of the training loss


@dataclass
class Progressed:
    """Where a run stands; saved in every checkpoint."""

    step: int = 0  # optimiser steps done
    batch: int = 0  # batches consumed since the start
    best: float = math.inf  # lowest validation loss
    best_step: int = 0
    worse: int = 0  # validations since the best
    losses: list[float] = field(default_factory=list)  # since the last row of metrics


def fit(
    family: Family,
    train: Features,
    valid: Features,
    settings: Train,
    folder: Path,
    seed: int,
    on_probe: Callable[[int], dict[str, Any]] | None = None,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> Progressed:
    """Train `family.model` in place and leave the best weights in it.

    Goes on from the newest checkpoint in `folder/checkpoints`. `on_probe(step)` returns figures for
    the metrics; `on_row` sees every row of `folder/metrics.jsonl`. Raises UserError when the loss
    stops being a number.
    """
    set_seed(seed)
    accelerator = Accelerator(mixed_precision=settings.precision)
    weights = [p for p in family.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, settings.learning_rate, weight_decay=settings.weight_decay)
    scheduler = get_scheduler(settings.schedule, optimizer, settings.warmup_steps, settings.max_steps)
    family.model, optimizer = accelerator.prepare(family.model, optimizer)
    core = accelerator.unwrap_model(family.model)
    state = _resume(core, optimizer, scheduler, folder)
    _forget_rows_after(folder / "metrics.jsonl", state.step)

    def note(**row: Any) -> None:
        if accelerator.is_main_process:
            with open(folder / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            on_row(row)

    def check() -> None:
        """Validate, probe, and keep the weights when they are the best so far."""
        loss = validate(family, valid, settings.batch_s, accelerator.device)
        note(step=state.step, valid_loss=loss)
        state.worse += 1
        if loss < state.best:
            state.best, state.best_step, state.worse = loss, state.step, 0
            if accelerator.is_main_process:
                _save_tensors(_kept(core), folder / "best.safetensors")

    if state.step == 0 and not (folder / "best.safetensors").exists():
        check()  # the base's own loss, to compare with
    _train_mode(family.model, settings)
    with _bar(accelerator.is_main_process) as bar:
        task = bar.add_task("training", total=settings.max_steps, completed=state.step, loss=math.nan)
        while state.step < settings.max_steps and not _patience_spent(state, settings):
            loss = _step(family, train, settings, state, optimizer, weights, accelerator, seed)
            scheduler.step()
            state.step += 1
            state.losses.append(loss)
            bar.update(task, completed=state.step, loss=loss)
            if state.step % _LOG_EVERY == 0:
                note(step=state.step, loss=sum(state.losses) / len(state.losses), lr=scheduler.get_last_lr()[0])
                state.losses.clear()
            last = state.step == settings.max_steps
            if last or state.step % settings.validate_every == 0:
                check()
                _train_mode(family.model, settings)
            if on_probe and settings.probe and (last or state.step % settings.probe.every == 0):
                family.model.eval()
                with _random_state_kept():
                    note(step=state.step, **on_probe(state.step))
                _train_mode(family.model, settings)
            if (last or state.step % settings.save_every == 0) and accelerator.is_main_process:
                _checkpoint(core, optimizer, scheduler, state, folder, settings.keep_checkpoints)
    accelerator.wait_for_everyone()
    family.model = core
    _load_kept(core, load_file(folder / "best.safetensors"))
    core.eval()
    return state


def validate(family: Family, valid: Features, batch_s: float, device: Any) -> float:
    """Mean loss over the utterances of a split, without dropout."""
    family.model.eval()
    total = 0.0
    with torch.no_grad(), _random_state_kept():
        for group in batches(valid.durations_s, batch_s, seed=0, epoch=0):
            batch = _to(family.collate(valid.examples(group)), device)
            total += float(family.loss(batch)) * len(group)
    return total / len(valid)


def _step(
    family: Family,
    train: Features,
    settings: Train,
    state: Progressed,
    optimizer: Any,
    weights: list[Any],
    accelerator: Accelerator,
    seed: int,
) -> float:
    """One optimiser step over `accumulate` batches; the mean loss."""
    total = 0.0
    for _ in range(settings.accumulate):
        group = _group(train, settings, state.batch, accelerator, seed)
        state.batch += 1
        batch = _to(family.collate(train.examples(group)), accelerator.device)
        with accelerator.autocast():
            loss = family.loss(batch) / settings.accumulate
        if not math.isfinite(float(loss)):
            names = ", ".join(train.ids[i][:12] for i in group)
            raise UserError(
                f"step {state.step}: the loss is not a number on {names}; "
                "lower train.learning_rate, or look at these utterances"
            )
        accelerator.backward(loss)
        total += float(loss)
    accelerator.clip_grad_norm_(weights, settings.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    return total


def _group(train: Features, settings: Train, batch: int, accelerator: Accelerator, seed: int) -> list[int]:
    """The utterances of batch number `batch` of this process, by seed alone."""
    position = batch * accelerator.num_processes + accelerator.process_index
    epoch = 0
    while position >= len(groups := _epoch(tuple(train.durations_s), settings.batch_s, seed, epoch)):
        position -= len(groups)
        epoch += 1
    return groups[position]


_epochs: dict[tuple[int, float, int, int], list[list[int]]] = {}


def _epoch(durations_s: tuple[float, ...], batch_s: float, seed: int, epoch: int) -> list[list[int]]:
    key = (hash(durations_s), batch_s, seed, epoch)
    if key not in _epochs:
        _epochs[key] = batches(durations_s, batch_s, seed, epoch)
    return _epochs[key]


def _train_mode(model: Any, settings: Train) -> None:
    """Dropout on. With LoRA the base's batch statistics stay: they are not saved with an adapter."""
    model.train()
    if settings.method == "lora":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def _patience_spent(state: Progressed, settings: Train) -> bool:
    return settings.patience is not None and state.worse >= settings.patience


def _to(batch: dict[str, Any], device: Any) -> dict[str, Any]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


# ---------------------------------------------------------------- checkpoints


def _kept(model: Any) -> dict[str, torch.Tensor]:
    """What training changes: trained weights, and batch statistics when all weights train."""
    names = {name for name, weight in model.named_parameters() if weight.requires_grad}
    if len(names) == sum(1 for _ in model.parameters()):
        names |= {name for name, _ in model.named_buffers()}
    state = model.state_dict()
    return {name: state[name].detach().cpu().clone().contiguous() for name in sorted(names & set(state))}


def _load_kept(model: Any, tensors: dict[str, torch.Tensor]) -> None:
    unknown = model.load_state_dict(tensors, strict=False).unexpected_keys
    if unknown:
        raise UserError(f"the checkpoint holds {unknown[0]}, which the model has not: remove the folder of the run")


def _save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    part = path.with_suffix(".part")
    try:
        save_file(tensors, part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _checkpoint(model: Any, optimizer: Any, scheduler: Any, state: Progressed, folder: Path, keep: int) -> None:
    """All that going on needs, in a folder that appears whole."""
    root = folder / "checkpoints"
    part, whole = root / ".part", root / f"{state.step:08d}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(_kept(model), part / "weights.safetensors")
    rest = {
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "progress": vars(state),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [int(x) for x in np.random.get_state()[1]] + [int(np.random.get_state()[2])],  # type: ignore[index]
        "python": list(random.getstate()[1]),
    }
    torch.save(rest, part / "rest.pt")
    shutil.rmtree(whole, ignore_errors=True)
    os.replace(part, whole)
    for old in sorted(root.glob("[0-9]*"))[:-keep]:
        shutil.rmtree(old)


def _resume(model: Any, optimizer: Any, scheduler: Any, folder: Path) -> Progressed:
    """Load the newest checkpoint, if there is one."""
    found = sorted((folder / "checkpoints").glob("[0-9]*"))
    if not found:
        (folder / "best.safetensors").unlink(missing_ok=True)
        return Progressed()
    _load_kept(model, load_file(found[-1] / "weights.safetensors"))
    rest = torch.load(found[-1] / "rest.pt", weights_only=True)
    optimizer.load_state_dict(rest["optimizer"])
    scheduler.load_state_dict(rest["scheduler"])
    _restore_random(rest)
    return Progressed(**rest["progress"])


def _restore_random(rest: dict[str, Any]) -> None:
    torch.set_rng_state(rest["torch"])
    if rest["cuda"]:
        torch.cuda.set_rng_state_all(rest["cuda"])
    *keys, position = rest["numpy"]
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), position, 0, 0.0))
    random.setstate((3, tuple(rest["python"]), None))


class _random_state_kept:
    """What runs inside draws no random numbers from training: a run with probes equals one without."""

    def __enter__(self) -> None:
        self.states = torch.get_rng_state(), np.random.get_state(), random.getstate()

    def __exit__(self, *error: object) -> None:
        torch.set_rng_state(self.states[0])
        np.random.set_state(self.states[1])
        random.setstate(self.states[2])


def _forget_rows_after(path: Path, step: int) -> None:
    """Rows that a killed run wrote after its last checkpoint will be written again."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step and not (step == 0)]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # half a line, from a kill


def _bar(visible: bool) -> Progress:
    columns = TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    from rich.console import Console

    return Progress(*columns, TextColumn("loss {task.fields[loss]:.3f}"), disable=not visible, console=Console(stderr=True))
