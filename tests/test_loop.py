"""The training loop and its batches: what a run writes, how it stops, and how it goes on after a kill."""

import itertools
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from prepare import dataset
from recipes.schema import UserError
from tests import tiny
from tests.conftest import needs
from train.__main__ import open_trainable
from train.average import Average
from train.batching import batches
from train.checkpoints import load_trained, save_checkpoint, save_trained, trained
from train.families import Family
from train.features import Features, encode_split, speaker_voices
from train.loop import OnProbe, fit
from train.step import Progressed

ROOT = Path(__file__).parents[1]
Rows = list[dict[str, Any]]


# ---------------------------------------------------------------- batches


@given(
    durations_s=st.lists(st.floats(0.1, 30.0), max_size=60),
    budget_s=st.floats(1.0, 100.0),
    seed=st.integers(0, 100),
    epoch=st.integers(0, 100),
)
def test_each_utterance_is_in_one_batch_and_each_batch_within_its_budget(
    durations_s: list[float], budget_s: float, seed: int, epoch: int
) -> None:
    groups = batches(durations_s, budget_s, seed, epoch)
    assert sorted(index for group in groups for index in group) == list(range(len(durations_s)))
    for group in groups:
        padded_s = max(durations_s[index] for index in group) * len(group)
        assert padded_s <= budget_s or len(group) == 1
    assert batches(durations_s, budget_s, seed, epoch) == groups


def test_utterances_of_a_batch_are_of_like_length() -> None:
    durations_s = [1.0, 9.0, 1.1, 9.5, 0.9, 10.0]
    assert {frozenset(group) for group in batches(durations_s, 30.0, seed=1, epoch=0)} == {
        frozenset({0, 2, 4}),
        frozenset({1, 3, 5}),
    }


def test_epochs_differ() -> None:
    durations_s = [1 + n / 100 for n in range(100)]
    assert batches(durations_s, 10.0, seed=1, epoch=0) != batches(durations_s, 10.0, seed=1, epoch=1)


def test_little_of_a_batch_is_padding() -> None:
    draw = np.random.default_rng(1)
    durations_s = [float(length) for length in draw.lognormal(0.8, 0.4, 2000)]
    padded_s = sum(len(group) * max(durations_s[i] for i in group) for group in batches(durations_s, 60, 1, 0))
    assert sum(durations_s) > 0.95 * padded_s


# ---------------------------------------------------------------- what is read for a batch


class Numbered:
    """Stands for a family: an utterance is its number, in several kinds of arrays."""

    rate_hz = 16_000

    def encode(self, text: str, samples: Any, voice: Any) -> dict[str, np.ndarray[Any, Any]]:
        number = int(text)
        half = np.full((2, number % 5), number / 8, np.float16)
        return {"half": half, "whole": np.array([number]), "none": voice, "row": np.arange(number, dtype=np.float32)}


@pytest.fixture
def numbered(tmp_path: Path) -> Features:
    """Three hundred utterances: more than one file of arrays."""
    audio = dataset.encode(np.zeros(160, np.float32), 16_000)
    texts = [{"id": f"u{n}", "text_normalized": str(n), "speaker": "a", "audio": audio} for n in range(300)]
    table = Dataset.from_list([row | {"rate_hz": 16_000, "duration_s": 1.0} for row in texts])
    return encode_split(cast(Family, Numbered()), table, {}, tmp_path, "")


def right(examples: list[dict[str, Any]], numbers: list[int]) -> bool:
    wanted = [Numbered().encode(str(number), None, np.zeros(0, np.float32)) for number in numbers]
    pairs = [(a[k], b[k]) for a, b in zip(examples, wanted, strict=True) for k in b]
    return all(a.dtype == b.dtype and a.shape == b.shape and (a == b).all() for a, b in pairs)


def test_arrays_come_back_as_they_were_encoded(numbered: Features) -> None:
    numbers = [299, 0, 255, 256, 7]
    assert right(numbered.examples(numbers), numbers)


def test_threads_and_forked_processes_read_at_the_same_time(numbered: Features) -> None:
    lots = [[(37 * n + k) % 300 for n in range(40)] for k in range(8)]
    with ThreadPoolExecutor(4) as threads:
        assert all(map(right, threads.map(numbered.examples, lots), lots))
    with multiprocessing.get_context("fork").Pool(2) as forks:
        assert all(map(right, forks.map(numbered.examples, lots), lots))


def test_what_was_read_is_not_kept(numbered: Features) -> None:
    example = numbered.examples([100])[0]
    example["row"][:] = -1  # ours to change
    assert right(numbered.examples([100]), [100])


# ---------------------------------------------------------------- a run


def train(
    folder: Path,
    on_probe: OnProbe | None = None,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
    spoil: Callable[[Any], None] = lambda family: None,
    watch: Callable[[dict[str, Any]], dict[str, str]] = lambda row: {},
    **settings: Any,
) -> tuple[Progressed, Any]:
    """Train a tiny recogniser in `folder`, 30 steps of one or two utterances unless told otherwise."""
    torch.set_flush_denormal(True)  # as `python -m train` does; bits depend on it
    given = {"max_steps": 30, "batch_s": 1.5, "validate_every": 10, "save_every": 8} | settings
    recipe = tiny.recipe(folder, given.pop("family", "ctc"), **given)
    if not dataset.dataset_folder(recipe).exists():
        dataset.write(recipe, tiny.utterances())
    data, work = dataset.open_dataset(recipe), recipe.folder("train")
    family = open_trainable(recipe, data["train"]["text_normalized"])
    voices = speaker_voices(family, data["train"])
    features = [encode_split(family, data[split], voices, work / "features", "") for split in ("train", "valid")]
    spoil(family)
    return fit(
        family, features[0], features[1], recipe.train, work, recipe.seed, on_probe, on_row, watch=watch
    ), family


def still() -> dict[str, Any]:
    """The configuration of a tiny recogniser that draws no random numbers."""
    quiet = {f"{part}_dropout": 0.0 for part in ("hidden", "final", "feat_proj", "attention", "activation")}
    return tiny.CONFIGS["ctc"] | quiet | {"conformer_conv_dropout": 0.0, "mask_time_prob": 0.0}


def rows(folder: Path) -> Rows:
    lines = (folder / "work/train/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Those of the last checkpoint."""
    return load_file(sorted((folder / "work/train/checkpoints").iterdir())[-1] / "weights.safetensors")


def same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[key], others[key]) for key in some)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


def test_metrics_begin_with_the_loss_of_the_base_and_go_on_every_so_many_steps(whole: Path) -> None:
    assert [(row["step"], key) for row in rows(whole) for key in row if key in ("loss", "valid_loss")] == [
        (0, "valid_loss"),
        *[(step, key) for step in (10, 20, 30) for key in ("loss", "valid_loss")],
    ]


def test_the_best_weights_are_left_in_the_model(tmp_path: Path) -> None:
    state, family = train(tmp_path, learning_rate=0.03, validate_every=3)
    losses = {row["step"]: row["valid_loss"] for row in rows(tmp_path) if "valid_loss" in row}
    assert losses[state.best_step] == state.best == min(losses.values()) < losses[0]
    best = load_file(tmp_path / "work/train/best.safetensors")
    assert all(torch.equal(family.model.state_dict()[name], tensor) for name, tensor in best.items())
    assert not family.model.training


def test_only_the_newest_checkpoints_stay(whole: Path) -> None:
    found = sorted(path.name for path in (whole / "work/train/checkpoints").iterdir())
    assert found == ["00000024", "00000030"]


def test_the_same_seed_gives_the_same_run(whole: Path, tmp_path: Path) -> None:
    train(tmp_path)
    assert rows(tmp_path) == rows(whole)
    assert same(weights(tmp_path), weights(whole))


def test_a_linear_schedule_falls_to_nothing(tmp_path: Path) -> None:
    train(tmp_path, schedule="linear", warmup_steps=10)
    rates = [row["lr"] for row in rows(tmp_path) if "lr" in row]
    assert rates == pytest.approx([3e-3, 1.5e-3, 0.0])


def test_batches_add_up_to_one_step(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"config": still(), "max_steps": 1, "learning_rate": 1e-3}
    together, _ = train(tmp_path / "together", batch_s=60, **settings)
    apart, _ = train(tmp_path / "apart", batch_s=0.1, accumulate=4, **settings)
    assert (together.batch, apart.batch) == (1, 4)
    ours, theirs = weights(tmp_path / "together"), weights(tmp_path / "apart")
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-5) for name in ours)


def test_training_stops_after_so_many_validations_without_a_better_one(tmp_path: Path) -> None:
    state, _ = train(tmp_path, learning_rate=1e-12, validate_every=2, patience=3)
    assert (state.step, state.best_step) == (6, 0)


def probed(errors: dict[int, float]) -> OnProbe:
    """Probes whose error rate is given, for each step at which there is one."""
    return lambda step, averaged: {"probe_cer": errors[step] + averaged * 0.05} if step in errors else {}


BY_PROBE: dict[str, Any] = {"probe": {"every": 5}, "early_stop": "probe.cer"}


def test_the_best_weights_can_be_those_with_the_best_figure_of_a_probe(tmp_path: Path) -> None:
    errors = {0: 0.9, 5: 0.8, 10: 0.3, 15: 0.4, 20: 0.5, 25: 0.6, 30: 0.7}
    state, family = train(tmp_path, probed(errors), **BY_PROBE, keep_checkpoints=9, save_every=5)
    assert (state.best, state.best_step, state.step) == (0.3, 10, 30)
    then = load_file(tmp_path / "work/train/checkpoints/00000010/weights.safetensors")
    assert all(torch.equal(family.model.state_dict()[name], tensor) for name, tensor in then.items())


def test_training_then_stops_after_so_many_probes_without_a_better_one(tmp_path: Path) -> None:
    errors = {0: 0.9, 5: 0.3, 10: 0.4, 15: 0.3, 20: 0.2, 25: 0.1, 30: 0.0}
    state, _ = train(tmp_path, probed(errors), **BY_PROBE, patience=2)
    assert (state.step, state.best_step) == (15, 5)


def test_such_a_run_goes_on_after_it_was_stopped(tmp_path: Path) -> None:
    errors = {step: abs(step - 15) / 20 for step in range(0, 31, 5)}
    whole, _ = train(tmp_path / "whole", probed(errors), **BY_PROBE)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "again", probed(errors), stop_at(20), **BY_PROBE)
    again, _ = train(tmp_path / "again", probed(errors), **BY_PROBE)
    assert again == whole and whole.best_step == 15
    assert rows(tmp_path / "again") == rows(tmp_path / "whole")


def test_a_figure_that_could_never_be_measured_leaves_the_last_weights(tmp_path: Path) -> None:
    state, family = train(tmp_path, probed({}), **BY_PROBE)
    assert (state.best, state.best_step) == (float("inf"), 0)
    assert not (tmp_path / "work/train/best.safetensors").exists()
    last = weights(tmp_path)
    assert all(torch.equal(family.model.state_dict()[name], tensor) for name, tensor in last.items())


def test_the_average_of_the_weights_is_probed_as_well(tmp_path: Path) -> None:
    train(tmp_path, probed({0: 0.9, 30: 0.3}), **BY_PROBE, ema=0.9)
    assert [row for row in rows(tmp_path) if "probe_cer_ema" in row] == [
        {"step": 30, "probe_cer": 0.3, "probe_cer_ema": 0.35}
    ]


def test_warnings_stand_in_the_row_that_gave_them(tmp_path: Path) -> None:
    def watch(row: dict[str, Any]) -> dict[str, str]:
        return {"late": "it is late"} if row["step"] == 20 and "loss" in row else {}

    train(tmp_path, watch=watch)
    assert [row["step"] for row in rows(tmp_path) if row.get("warnings") == {"late": "it is late"}] == [20]


def test_probes_do_not_change_training(whole: Path, tmp_path: Path) -> None:
    def on_probe(step: int, averaged: bool) -> dict[str, Any]:
        torch.rand(5), np.random.rand(3), random.random()
        return {"probe_cer": 0.5}

    train(tmp_path, on_probe, probe={"every": 4})
    assert [row["step"] for row in rows(tmp_path) if "probe_cer" in row] == [0, 4, 8, 12, 16, 20, 24, 28, 30]
    assert [row for row in rows(tmp_path) if "probe_cer" not in row] == rows(whole)
    assert same(weights(tmp_path), weights(whole))


def test_lora_leaves_the_statistics_of_batches_as_they_are(tmp_path: Path) -> None:
    aligner = tiny.base("ctc", tmp_path / "aligner")
    base = tiny.base("fastspeech2", tmp_path / "base")
    before = load_file(Path(base, "model.safetensors"))
    _, family = train(tmp_path, family="fastspeech2", base=base, aligner=aligner, max_steps=3)
    after = family.model.unload().state_dict()
    statistics = [name for name in before if "running" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)


# ---------------------------------------------------------------- interruptions


def stop_at(step: int) -> Callable[[dict[str, Any]], None]:
    def on_row(row: dict[str, Any]) -> None:
        if row["step"] == step:
            raise KeyboardInterrupt

    return on_row


@pytest.mark.parametrize("step", [0, 10, 20, 30])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(whole: Path, tmp_path: Path, step: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, on_row=stop_at(step))
    train(tmp_path)
    assert rows(tmp_path) == rows(whole)
    assert same(weights(tmp_path), weights(whole))
    assert same(load_file(tmp_path / "work/train/best.safetensors"), load_file(whole / "work/train/best.safetensors"))


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_loop import train
train(Path(sys.argv[1]), on_row=lambda row: row["step"] == 20 and os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.mark.parametrize("name", ["weights.safetensors", "rest.pt"])
@pytest.mark.parametrize("left", [0.0, 0.5])
def test_a_checkpoint_that_was_cut_off_is_passed_over(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, left: float
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, on_row=stop_at(20))
    _, newest = sorted((tmp_path / "work" / "train" / "checkpoints").iterdir())
    data = (newest / name).read_bytes()
    (newest / name).write_bytes(data[: int(left * len(data))])
    train(tmp_path)
    assert f"{newest}: damaged" in capfd.readouterr().err
    assert rows(tmp_path) == rows(whole)
    assert same(weights(tmp_path), weights(whole))


def test_when_none_can_be_read_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, on_row=stop_at(20))
    for path in (tmp_path / "work" / "train" / "checkpoints").glob("*/rest.pt"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no checkpoint can be read; remove the folder"):
        train(tmp_path)


def test_so_does_one_that_was_killed(whole: Path, tmp_path: Path) -> None:
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed = subprocess.run(command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with open(tmp_path / "work/train/metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 21, "lo')  # a kill can come in the middle of a line
    state, _ = train(tmp_path)
    assert state.step == 30
    assert rows(tmp_path) == rows(whole)
    assert same(weights(tmp_path), weights(whole))


def test_a_finished_run_has_nothing_left_to_do(whole: Path) -> None:
    before = rows(whole)
    seen: Rows = []
    train(whole, on_row=seen.append)
    assert seen == []
    assert rows(whole) == before


# ---------------------------------------------------------------- what goes wrong


def spoilt(steps: Container[int]) -> Callable[[Any], None]:
    """Make the loss of some training steps no number."""

    def spoil(family: Any) -> None:
        loss, count = family.loss, itertools.count(1)

        def broken(batch: dict[str, Any]) -> torch.Tensor:
            wrong = family.model.training and next(count) in steps
            value: torch.Tensor = loss(batch) * (torch.nan if wrong else 1)
            return value

        family.loss = broken

    return spoil


def test_a_step_whose_loss_is_no_number_is_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, family = train(tmp_path, spoil=spoilt({3, 12}))
    assert (state.step, state.skipped) == (30, 2)
    assert [row.get("steps_left_out") for row in rows(tmp_path) if "lr" in row] == [1, 2, 2]
    assert re.search(r"step 3 left out: the loss is not a number on train-\d", capsys.readouterr().err)
    assert all(torch.isfinite(weight).all() for weight in family.model.parameters())
    assert all(name.startswith("train-") for name in state.suspects)


def test_too_many_of_them_end_the_run_and_name_the_utterances(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a number on train-\d.*; in 3 steps up to step 3: lower train.learning"):
        train(tmp_path, spoil=spoilt(range(99)), max_bad_steps=2)


def out_of_memory_beyond(count: int) -> Callable[[Any], None]:
    """A machine on which a forward pass of more utterances than `count` does not fit."""

    def spoil(family: Any) -> None:
        loss = family.loss

        def tight(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            if family.model.training and len(next(iter(batch.values()))) > count:
                raise torch.OutOfMemoryError("out of memory")
            value: torch.Tensor = loss(batch)
            return value

        family.loss = tight

    return spoil


def test_a_batch_that_does_not_fit_is_taken_in_parts_with_the_same_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"config": still(), "batch_s": 60, "max_steps": 4}
    whole, _ = train(tmp_path / "whole", **settings)
    tight, _ = train(tmp_path / "tight", spoil=out_of_memory_beyond(1), **settings)
    assert "out of memory at step 1: each batch of 60 s is now taken in 4 parts" in capsys.readouterr().err
    assert (whole.parts, tight.parts) == (1, 4)
    ours, theirs = weights(tmp_path / "tight"), weights(tmp_path / "whole")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


def test_clips_that_are_filled_up_to_a_window_are_taken_two_at_a_time_on_a_cpu(tmp_path: Path) -> None:
    sizes: list[int] = []

    def listen(family: Any) -> None:
        loss = family.loss

        def heard(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            if family.model.training:
                sizes.append(len(batch["labels"]))
            value: torch.Tensor = loss(batch)
            return value

        family.loss = heard

    base = tiny.base("whisper", tmp_path / "base")
    settings: dict[str, Any] = {"family": "whisper", "base": base, "batch_s": 60, "max_steps": 1}
    settings |= {"lora": {"dropout": 0.0}, "learning_rate": 1e-3}
    train(tmp_path / "window", spoil=listen, audio_context=30, **settings)
    assert sizes == [2, 2]
    train(tmp_path / "fit", spoil=listen, audio_context="fit", **settings)
    assert sizes == [2, 2, 4]


def test_one_utterance_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"out of memory on a single utterance, train-\d of \d.\d s; lower prepare.max"
    ):
        train(tmp_path, spoil=out_of_memory_beyond(0))


def test_activations_can_be_computed_twice_to_save_memory(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"config": still(), "max_steps": 4}
    plain, _ = train(tmp_path / "plain", **settings)
    lean, _ = train(tmp_path / "lean", checkpointing=True, **settings)
    assert lean.best == pytest.approx(plain.best, rel=1e-5)


# ---------------------------------------------------------------- the average of the weights


def test_the_average_of_the_weights_is_tried_at_every_validation(tmp_path: Path) -> None:
    state, _ = train(tmp_path, ema=0.8)
    tried = [row for row in rows(tmp_path) if "valid_loss_ema" in row]
    assert [row["step"] for row in tried] == [10, 20, 30]
    assert state.best == min(row[figure] for row in tried for figure in ("valid_loss", "valid_loss_ema"))


def test_a_stopped_run_goes_on_with_its_average(tmp_path: Path) -> None:
    train(tmp_path / "whole", ema=0.8)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", on_row=stop_at(20), ema=0.8)
    train(tmp_path / "stopped", ema=0.8)
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")


def test_an_average_of_constant_weights_is_that_constant_and_swaps_back() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    average = Average([weight], 0.9)
    for step in range(1, 200):
        weight.data[:] = 2.0
        average.update(step)
    weight.data[:] = 5.0
    with average.in_place():
        assert torch.allclose(weight, torch.full((3,), 2.0), atol=1e-3)
    assert torch.equal(weight, torch.full((3,), 5.0))


def test_so_does_the_validation_of_a_broken_base(tmp_path: Path) -> None:
    def spoil(family: Any) -> None:
        family.model.lm_head.weight.data[:] = torch.nan

    with pytest.raises(UserError, match=r"the loss is not a number on valid-\d"):
        train(tmp_path, spoil=spoil)


def anew() -> None:
    """Accelerate keeps the precision and the compiler of its first use in a process."""
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def precision_free() -> Iterator[None]:
    anew()
    yield
    anew()


@pytest.mark.skipif(torch.cuda.is_available(), reason="half precision is possible here")
def test_half_precision_needs_an_accelerator(precision_free: None, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.precision: fp16 needs a GPU"):
        train(tmp_path, precision="fp16")


def test_bf16_runs_anywhere(precision_free: None, tmp_path: Path) -> None:
    state, family = train(tmp_path, precision="bf16", max_steps=10)
    assert state.best < rows(tmp_path)[0]["valid_loss"]
    assert {weight.dtype for weight in family.model.parameters()} == {torch.float32}


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_trained(trained(torch.nn.Conv1d(2, 2, 1)), tmp_path / "best.safetensors")
    save_trained(trained(torch.nn.Linear(2, 2)), tmp_path / "best.safetensors")
    with pytest.raises(UserError, match=r"best.safetensors: holds bias, which the model has not"):
        load_trained(torch.nn.Identity(), tmp_path / "best.safetensors")


def small_weights_large_rest(weights: dict[str, torch.Tensor], folder: Path) -> None:
    save_checkpoint(folder, trained(torch.nn.Linear(1, 1)), {"progress": {"step": 1}, "optimizer": weights}, 1)


@pytest.mark.parametrize("write", [save_trained, small_weights_large_rest])
def test_a_full_disk_is_one_line(tmp_path: Path, write: Callable[[dict[str, torch.Tensor], Path], None]) -> None:
    path, limits = tmp_path / "best.safetensors", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot be written: "):
            write(trained(torch.nn.Linear(200, 200)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not path.is_file()


@pytest.mark.slow
@needs("g++")
def test_a_compiled_model_learns_the_same(precision_free: None, tmp_path: Path) -> None:
    settings = {"config": still(), "max_steps": 4, "validate_every": 4}
    plain, _ = train(tmp_path / "plain", **settings)
    anew()
    counters.clear()
    compiled, family = train(tmp_path / "compiled", compile=True, **settings)
    assert counters["stats"]["unique_graphs"] > 0
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-3)
    assert [name for name in family.model.state_dict() if "_orig_mod" in name] == []  # saved as it was named


def test_without_a_compiler_nothing_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"train.compile: no C\+\+ compiler here"):
        train(tmp_path, compile=True)
