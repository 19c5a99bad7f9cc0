"""`python -m train` as a user meets it: a run, a second run, an adapter that comes back, and mistakes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from prepare import dataset
from recipes.provenance import read_lineage
from recipes.records import Utterance
from recipes.schema import Family as Name
from recipes.schema import Recipe, UserError
from tests import tiny
from train import __main__ as script
from train import adapter
from train.adapter import adapter_folder, losses, open_model, open_recogniser, voice_of

ROOT = Path(__file__).parents[1]
NAMES: tuple[Name, ...] = (
    *("ctc", "whisper", "qwen3_asr", "voxtral"),
    *("speecht5", "fastspeech2", "csm", "pocket_tts", "voxtral_tts", "vits"),
)


def prepared(recipe: Recipe, rows: list[Utterance] | None = None) -> Recipe:
    """The recipe, with a dataset where it expects one."""
    dataset.write(recipe, tiny.utterances() if rows is None else rows)
    return recipe


def work(recipe: Recipe) -> Path:
    return recipe.folder("train")


def metrics(recipe: Recipe) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (work(recipe) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def with_new_letter() -> list[Utterance]:
    """A dataset with a letter that the tiny bases do not know."""
    return [
        row.model_copy(update={"text": row.text.replace("ⵓ", "ⵣ"), "text_normalized": row.text.replace("ⵓ", "ⵣ")})
        for row in tiny.utterances()
    ]


# ---------------------------------------------------------------- a run


def test_a_run_leaves_an_adapter_and_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = prepared(tiny.recipe(tmp_path, "ctc", base=tiny.base("ctc", tmp_path / "base")))
    script.main(recipe)
    said = capsys.readouterr()
    assert "trained 4 steps on 4 utterances; best validation loss" in said.out
    assert said.out.rstrip().splitlines()[-1].startswith("next: python -m evaluate")
    assert "training" in said.err  # the table of weights, the progress bar
    names = {path.name for path in adapter_folder(recipe).iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "recipe.yaml", "lineage.json"} <= names
    assert {"tokenizer_config.json", "preprocessor_config.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]


def test_the_lineage_leads_back_to_the_dataset_and_the_base(tmp_path: Path) -> None:
    recipe = prepared(tiny.recipe(tmp_path, "ctc", base=tiny.base("ctc", tmp_path / "base")))
    script.main(recipe)
    line = read_lineage(adapter_folder(recipe))
    assert (line.kind, line.purpose, line.seed) == ("adapter", "tts_clone", 17)
    assert line.parents == [dataset.dataset_hash(recipe)]
    assert line.clips == read_lineage(dataset.dataset_folder(recipe)).clips
    assert line.base == str(tmp_path / "base")
    assert line.base_hash is not None
    assert line.recipe == recipe.digest()


def test_a_finished_run_is_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = prepared(tiny.recipe(tmp_path, "ctc"))
    script.main(recipe)
    before = (adapter_folder(recipe) / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    script.main(recipe)
    assert capsys.readouterr().out.startswith("already trained: ")
    assert (adapter_folder(recipe) / "model.safetensors").stat().st_mtime_ns == before


def test_two_runs_of_one_recipe_give_the_same_weights(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        recipe = prepared(tiny.recipe(tmp_path / name, "ctc"))
        script.main(recipe)
        made.append((adapter_folder(recipe) / "model.safetensors").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("change", ["recipe", "dataset", "seed"])
def test_what_an_unlike_run_left_is_moved_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    recipe = prepared(tiny.recipe(tmp_path, "ctc", max_steps=2))
    script.main(recipe)
    if change == "recipe":
        recipe = tiny.recipe(tmp_path, "ctc", max_steps=3)
    if change == "dataset":
        prepared(recipe, with_new_letter())
    if change == "seed":
        recipe = prepared(recipe.model_copy(update={"seed": 18}))
    script.main(recipe)
    assert "changed: the earlier run is now in" in capsys.readouterr().out
    assert (recipe.work_dir / "train.1" / "adapter").is_dir()
    assert metrics(recipe)[0]["step"] == 0


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = prepared(tiny.recipe(tmp_path, "ctc", max_steps=4, save_every=2))
    monkeypatch.setattr(adapter, "save", lambda *_: 1 / 0)  # as late as it can be stopped
    with pytest.raises(ZeroDivisionError):
        script.main(recipe)
    before = metrics(recipe)
    monkeypatch.undo()
    script.main(recipe)
    assert metrics(recipe) == before
    assert adapter_folder(recipe).is_dir()


def test_probes_are_judged_by_the_recogniser_that_the_recipe_names(tmp_path: Path) -> None:
    recogniser = tiny.base("ctc", tmp_path / "ctc")
    base = tiny.base("fastspeech2", tmp_path / "base")
    probe = {"every": 1, "count": 2}
    recipe = prepared(tiny.recipe(tmp_path, "fastspeech2", base=base, aligner=recogniser, max_steps=1, probe=probe))
    script.main(recipe)
    base, row = [row for row in metrics(recipe) if "probe_heard" in row]
    assert (base["step"], row["step"]) == (0, 1)  # the base says them too, to compare with
    assert len(base["probe_texts"]) == len(row["probe_heard"]) == 2
    assert row["probe_cer"] >= 0


def test_wandb_online_without_a_login_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    recipe = prepared(tiny.recipe(tmp_path, "ctc", max_steps=1, wandb={"mode": "online"}))
    with pytest.raises(UserError, match=r"train.wandb: No API key configured.*train.wandb.mode=offline"):
        script.main(recipe)


def test_wandb_keeps_a_run_on_disk_unless_told_otherwise(tmp_path: Path) -> None:
    recipe = prepared(tiny.recipe(tmp_path, "ctc", max_steps=1, wandb={"mode": "offline"}))
    script.main(recipe)
    assert list((work(recipe) / "wandb").glob("offline-run-*/*.wandb"))


# ---------------------------------------------------------------- an adapter comes back

ELSEWHERE = """
import sys
from pathlib import Path
import numpy as np
from recipes.schema import load
from tests.test_train import outcome
for path in map(Path, sys.argv[1:]):
    np.savez(path.with_suffix(".npz"), **outcome(load(path)))
"""


def outcome(recipe: Recipe) -> dict[str, Any]:
    """What a trained model makes of the test split: losses, and speech or text."""
    torch.set_flush_denormal(True)  # as `python -m train` does; bits depend on it
    family, rows = open_model(recipe, "adapter"), dataset.open_dataset(recipe)["test"]
    voices = voice_of(family, recipe)
    found: dict[str, Any] = {"losses": np.array(losses(family, rows, voices))}
    if family.recognises:
        found["text"] = np.array([family.transcribe(tiny.samples(0.6), "zgh-Tfng")])
    else:
        found["speech"] = family.synthesise(rows[0]["text"], voices["amina"])
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recipe]:
    """One adapter of each family, on bases that lack a letter of the dataset; and one trained whole."""
    folder = tmp_path_factory.mktemp("trained")
    aligner = tiny.base("ctc", folder / "aligner", letters="ⴰⵉⵓⵣ")
    recipes: dict[str, Recipe] = {}
    for name in NAMES:
        base = tiny.base(name, folder / name / "base")
        recipes[name] = tiny.recipe(folder / name, name, base=base, aligner=aligner, learning_rate=0.02)
    recipes["whole"] = tiny.recipe(folder / "whole", "speecht5")
    for recipe in recipes.values():
        script.main(prepared(recipe, with_new_letter()))
    return recipes


def test_in_another_process_it_does_the_same(trained: dict[str, Recipe], tmp_path: Path) -> None:
    paths = []
    for name, recipe in trained.items():
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(recipe.text(), encoding="utf-8")
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", ELSEWHERE, *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path, recipe in zip(paths, trained.values(), strict=True):
        here, there = outcome(recipe), np.load(path.with_suffix(".npz"))
        assert here.keys() == set(there.files)
        for key, value in here.items():
            assert np.array_equal(value, there[key]), (path.stem, key)


@pytest.mark.parametrize("name", NAMES)
def test_it_does_otherwise_than_its_base(trained: dict[str, Recipe], name: str) -> None:
    recipe = trained[name]
    rows = dataset.open_dataset(recipe)["test"]
    base, tuned = open_model(recipe, "base"), open_model(recipe, "adapter")
    if name in ("whisper", "qwen3_asr", "voxtral"):  # bytes: it can spell anything
        assert np.mean(losses(tuned, rows, {})) < np.mean(losses(base, rows, {}))
    voices = voice_of(tuned, recipe)
    assert losses(base, rows, voices) != losses(tuned, rows, voices)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "whisper"])
def test_letters_that_the_base_lacked_come_back_with_it(trained: dict[str, Recipe], name: str) -> None:
    tuned: Any = open_model(trained[name], "adapter")
    base: Any = open_model(trained[name], "base")
    voice = np.zeros(0, np.float32)
    key = "labels" if name == "ctc" else "ids"
    ours = tuned.encode("ⴰⵣ", tiny.samples(1.0), voice)[key]
    theirs = base.encode("ⴰⵣ", tiny.samples(1.0), voice)[key]
    assert not np.array_equal(ours, theirs)
    if name != "ctc":
        saved = load_file(adapter_folder(trained[name]) / "adapter_model.safetensors")
        assert any("token" in key for key in saved)  # the new row alone, not the whole embedding


def test_the_loss_of_the_adapter_is_the_one_that_training_reported(trained: dict[str, Recipe]) -> None:
    recipe = trained["ctc"]
    family, rows = open_model(recipe, "adapter"), dataset.open_dataset(recipe)["valid"]
    best = min(row["valid_loss"] for row in metrics(recipe) if "valid_loss" in row)
    assert np.mean(losses(family, rows, {})) == pytest.approx(best, rel=0.05)


def test_an_utterance_that_cannot_be_encoded_has_no_loss(trained: dict[str, Recipe]) -> None:
    row = tiny.utterance("long", "ⴰⵉⵓ" * 30, duration_s=0.3).model_dump()
    assert np.isnan(losses(open_model(trained["ctc"], "adapter"), [row], {})).all()


def test_no_adapter_yet(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, "ctc", base=tiny.base("ctc", tmp_path / "base"))
    with pytest.raises(UserError, match="no adapter there yet; run python -m train"):
        open_model(recipe, "adapter")


def test_a_model_from_scratch_has_no_base(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no base model to compare with"):
        open_model(tiny.recipe(tmp_path, "ctc"), "base")


def test_an_adapter_does_not_go_onto_another_base(trained: dict[str, Recipe], tmp_path: Path) -> None:
    shutil.copytree(trained["ctc"].work_dir.parent, tmp_path / "copy")
    base = tmp_path / "copy" / "base"
    weights = load_file(base / "model.safetensors")
    save_file({key: tensor + 1 for key, tensor in weights.items()}, base / "model.safetensors", {"format": "pt"})
    settings = trained["ctc"].train.model_copy(update={"base": str(base)})
    moved = trained["ctc"].model_copy(update={"train": settings, "work_dir": tmp_path / "copy" / "work"})
    with pytest.raises(UserError, match=r"not the weights that .* was trained on; train again"):
        open_model(moved, "adapter")


@pytest.mark.parametrize(("name", "kind"), [("ctc", "Ctc"), ("whisper", "Whisper")])
def test_a_recogniser_is_known_by_its_configuration(tmp_path: Path, name: Name, kind: str) -> None:
    assert type(open_recogniser(tiny.base(name, tmp_path / "model"))).__name__ == kind


def test_a_recogniser_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        open_recogniser(str(tmp_path / "nowhere"))


# ---------------------------------------------------------------- mistakes


def test_what_cannot_be_learnt_is_listed_and_the_rest_is_learnt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*tiny.utterances(), tiny.utterance("long", "ⴰⵉⵓ" * 30, duration_s=0.3)]
    recipe = prepared(tiny.recipe(tmp_path, "ctc"), rows)
    script.main(recipe)
    assert "1 utterances skipped, listed in" in capsys.readouterr().out
    header, line = (work(recipe) / "skipped.csv").read_text(encoding="utf-8").splitlines()
    assert header == "id,reason"
    assert line.startswith('long,"90 letters do not fit into')


def test_nothing_left_to_learn_from(tmp_path: Path) -> None:
    rows = [row for row in tiny.utterances() if row.split != "valid"]
    rows.append(tiny.utterance("long", "ⴰⵉⵓ" * 30, "valid", duration_s=0.3))
    with pytest.raises(UserError, match=r"no utterance of the valid split can be used: see .*skipped.csv"):
        script.main(prepared(tiny.recipe(tmp_path, "ctc"), rows))


def test_a_mistake_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    recipe = prepared(tiny.recipe(tmp_path, "ctc", base="./nowhere"))
    (tmp_path / "recipe.yaml").write_text(recipe.text(), encoding="utf-8")
    command = [sys.executable, "-m", "train", str(tmp_path / "recipe.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr == f"error: {tmp_path}/nowhere: no such folder; name a model folder or a repository on the hub\n"
    )
    assert not adapter_folder(recipe).exists()


def test_a_base_from_the_hub_is_remembered_by_its_commit(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "home" / "hub" / "models--someone--tiny"  # where the hub's client keeps what it fetched
    tiny.base("ctc", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    recipe = prepared(tiny.recipe(tmp_path, "ctc", base="someone/tiny"))
    (tmp_path / "recipe.yaml").write_text(recipe.text(), encoding="utf-8")
    command = [sys.executable, "-m", "train", str(tmp_path / "recipe.yaml")]
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = read_lineage(adapter_folder(recipe))
    assert (line.base, line.base_revision, line.base_hash) == ("someone/tiny", commit, None)


def two_processes(recipe: Recipe, *script: str) -> subprocess.CompletedProcess[str]:
    path = recipe.folder("train").parent.parent / "two.yaml"
    path.write_text(recipe.text(), encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", *(script or ("-m", "train"))]
    elsewhere = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*launch, str(path)], cwd=ROOT, env=elsewhere, capture_output=True, text=True)


ONE_IS_KILLED = """
import os, signal, sys
from pathlib import Path
import train.loop
from recipes.schema import load
from train.__main__ import main
def take(run, portion, take=train.loop.take):
    if os.environ["RANK"] == "1" and run.state.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return take(run, portion)
train.loop.take = take
main(load(Path(sys.argv[1])))
"""


def test_two_processes_stop_together_by_what_the_first_one_hears(tmp_path: Path) -> None:
    base, probe = tiny.base("ctc", tmp_path / "base"), {"every": 2, "count": 1}
    settings = {"base": base, "batch_s": 0.7, "max_steps": 40, "learning_rate": 1e-12, "patience": 2}
    recipe = prepared(tiny.recipe(tmp_path, "ctc", **settings, probe=probe, early_stop="probe.cer"))
    done = two_processes(recipe)
    assert done.returncode == 0, done.stderr
    assert "trained 4 steps" in done.stdout and "best probe.cer" in done.stdout and "at step 0" in done.stdout


def test_two_processes_learn_what_one_learns_from_the_same_batches(tmp_path: Path) -> None:
    """And when one of them is killed, the same command goes on to the same end."""
    base, lora = tiny.base("whisper", tmp_path / "base"), {"dropout": 0.0}  # chance differs between processes
    settings = {"base": base, "lora": lora, "batch_s": 0.7, "max_steps": 8, "validate_every": 2, "save_every": 4}
    one = prepared(tiny.recipe(tmp_path / "one", "whisper", accumulate=2, **settings))
    script.main(one)
    two = prepared(tiny.recipe(tmp_path / "two", "whisper", **settings))
    (tmp_path / "killed.py").write_text(ONE_IS_KILLED, encoding="utf-8")
    assert two_processes(two, str(tmp_path / "killed.py")).returncode != 0
    assert not adapter_folder(two).exists()
    done = two_processes(two)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained 8 steps") == 1
    assert len(metrics(one)) == len(metrics(two))
    for ours, theirs in zip(metrics(two), metrics(one), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_two_processes_go_on_with_the_random_numbers_of_each(tmp_path: Path) -> None:
    base, lora = tiny.base("whisper", tmp_path / "base"), {"dropout": 0.3}
    settings = {"base": base, "lora": lora, "batch_s": 0.7, "max_steps": 8, "validate_every": 2, "save_every": 4}
    recipe = prepared(tiny.recipe(tmp_path, "whisper", **settings))
    assert two_processes(recipe).returncode == 0
    folder = recipe.folder("train")
    shutil.rmtree(folder / "checkpoints" / "00000008")
    (folder / "finished.txt").unlink()
    noted = (folder / "metrics.jsonl").read_text(encoding="utf-8").replace("{", '{"first": true, ')
    (folder / "metrics.jsonl").write_text(noted, encoding="utf-8")
    whole = metrics(recipe)
    done = two_processes(recipe)
    assert done.returncode == 0, done.stderr
    again = metrics(recipe)
    assert {row["step"] for row in again if "first" in row} == {0, 2, 4}  # it went on from the checkpoint of step 4
    assert again == [row if row["step"] <= 4 else {k: v for k, v in row.items() if k != "first"} for row in whole]


ONE_HAS_TROUBLE = """
import os, sys
from pathlib import Path
import torch
import train.step
from recipes.schema import load
from train.__main__ import main
seen = set()
def gradients(run, portion, whole, gradients=train.step._gradients):
    loss, step = run.learner.loss, run.state.step
    def full(batch):
        raise torch.OutOfMemoryError("out of memory")
    trouble = {2: full, 5: lambda batch: loss(batch) * torch.nan}
    if os.environ["RANK"] == "1" and step in trouble and step not in seen:
        seen.add(step)
        run.learner.loss = trouble[step]
        if step == 5:
            names = {run.train.ids[i][:12] for piece in portion.pieces for i in piece}
            print("SPOILT", *sorted(names), file=sys.stderr)
    try:
        return gradients(run, portion, whole)
    finally:
        run.learner.loss = loss
train.step._gradients = gradients
main(load(Path(sys.argv[1])))
"""


def test_memory_or_numbers_that_fail_one_of_two_processes(tmp_path: Path) -> None:
    """The other one does not wait for ever, and only the utterances of the one are named."""
    base = tiny.base("whisper", tmp_path / "base")
    recipe = prepared(tiny.recipe(tmp_path, "whisper", base=base, batch_s=60, max_steps=8, validate_every=4))
    (tmp_path / "trouble.py").write_text(ONE_HAS_TROUBLE, encoding="utf-8")
    done = two_processes(recipe, str(tmp_path / "trouble.py"))
    assert done.returncode == 0, done.stderr
    assert "out of memory at step 3: each batch of 60 s is now taken in 2 parts" in done.stderr
    (spoilt,) = re.findall("SPOILT (.*)", done.stderr)
    (named,) = re.findall("step 6 left out: the loss is not a number on (.*)", done.stderr)
    assert sorted(named.strip().split(", ")) == spoilt.split()


def test_accelerate_trains_on_two_processes(tmp_path: Path) -> None:
    base = tiny.base("speecht5", tmp_path / "base")
    probe = {"every": 2, "count": 1}
    recipe = prepared(tiny.recipe(tmp_path, "speecht5", base=base, probe=probe, validate_every=2))
    done = two_processes(recipe)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained 4 steps") == 1
    assert [row["step"] for row in metrics(recipe) if "valid_loss" in row] == [0, 2, 4]
    assert adapter_folder(recipe).is_dir()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_our_configurations(path: Path) -> None:
    """It refuses a key that it does not know."""
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(path))
    assert found.num_processes > 1 and found.mixed_precision == "bf16"


def test_the_script_for_slurm_is_a_script() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "recipes" / "accelerate" / "slurm.sh")], check=True)


# On a machine without a GPU, Accelerate takes neither of the two from its configuration: it is told that this is one.
AS_ON_GPUS = """
import os, sys
from pathlib import Path
import accelerate, torch
import train.loop
from accelerate.utils import DistributedType
from recipes.schema import load
from train.__main__ import main
def accelerator(settings, made=train.loop._accelerator):
    accelerate.PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    if os.environ.get("ACCELERATE_USE_DEEPSPEED"):
        import deepspeed
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
    return made(settings)
train.loop._accelerator = accelerator
main(load(Path(sys.argv[1])))
"""


def launched(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A script that trains on two processes as one of our configurations says; it is for `two_processes`."""
    config = yaml.safe_load((ROOT / "recipes" / "accelerate" / f"{kind}.yaml").read_text(encoding="utf-8"))
    if kind == "deepspeed":
        pytest.importorskip("deepspeed", reason="needs DeepSpeed: DS_BUILD_OPS=0 pip install deepspeed")
        monkeypatch.setenv("DS_ACCELERATOR", "cpu")
        monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", str(config["deepspeed_config"]["zero_stage"]))
    else:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
        for name, value in config["fsdp_config"].items():
            monkeypatch.setenv(name.upper(), str(value))
    (folder / "as_on_gpus.py").write_text(AS_ON_GPUS, encoding="utf-8")
    return str(folder / "as_on_gpus.py")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fsdp", "deepspeed"])
def test_weights_or_optimiser_in_shares_learn_what_one_process_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """And when the run is stopped half way, it goes on to the same end."""
    base, lora = tiny.base("whisper", tmp_path / "base"), {"dropout": 0.0}
    settings = {"base": base, "lora": lora, "batch_s": 0.7, "validate_every": 2, "save_every": 4}
    one = prepared(tiny.recipe(tmp_path / "one", "whisper", accumulate=4, max_steps=8, **settings))
    script.main(one)
    asked = {"probe": {"every": 2, "count": 1}} if kind == "fsdp" else {}  # which has none, and says so
    two = prepared(tiny.recipe(tmp_path / "two", "whisper", accumulate=2, max_steps=8, **settings, **asked))
    trained_by = launched(kind, tmp_path, monkeypatch)
    done = two_processes(two, trained_by)
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(metrics(two), metrics(one), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    assert ("no probes under FSDP" in done.stderr) == (kind == "fsdp")
    valid = dataset.open_dataset(one)["valid"]
    ours, theirs = (losses(open_model(recipe, "adapter"), valid, {}) for recipe in (two, one))
    assert ours == pytest.approx(theirs, abs=1e-4)
    last = sorted((two.folder("train") / "checkpoints").iterdir())[-1]
    shutil.rmtree(last)
    (two.folder("train") / "finished.txt").unlink()
    again = two_processes(two, trained_by)
    assert again.returncode == 0, again.stderr
    for ours, theirs in zip(metrics(two), metrics(one), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


# ---------------------------------------------------------------- kinds of LoRA


@pytest.mark.parametrize("kind", ["rslora", "dora", "pissa"])
def test_other_kinds_of_lora_come_back_as_they_were_trained(tmp_path: Path, kind: str) -> None:
    base, lora = tiny.base("whisper", tmp_path / "base"), {"r": 4, "alpha": 8, kind: True}
    recipe = prepared(tiny.recipe(tmp_path, "whisper", base=base, lora=lora, learning_rate=0.02, max_steps=6))
    script.main(recipe)
    best = min(row["valid_loss"] for row in metrics(recipe) if "valid_loss" in row)
    found = json.loads((adapter_folder(recipe) / "adapter_config.json").read_text())
    assert (found["use_rslora"], found["use_dora"]) == (kind == "rslora", kind == "dora")
    assert (found["r"], found["init_lora_weights"]) == (8 if kind == "pissa" else 4, True)
    again = losses(open_model(recipe, "adapter"), dataset.open_dataset(recipe)["valid"], {})
    assert np.mean(again) == pytest.approx(best, rel=0.01)  # that one is a mean of batches
    assert np.mean(again) < 0.95 * next(row["valid_loss"] for row in metrics(recipe) if "valid_loss" in row)


def test_pissa_is_for_linear_layers(tmp_path: Path) -> None:
    base = tiny.base("whisper", tmp_path / "base")
    recipe = prepared(tiny.recipe(tmp_path, "whisper", base=base, lora={"pissa": True, "targets": ["conv1"]}))
    with pytest.raises(UserError, match=r"train.lora.pissa: .*conv1 is a convolution; name linear layers"):
        script.main(recipe)


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is possible here")
def test_a_base_of_4_bits_needs_a_gpu(tmp_path: Path) -> None:
    base = tiny.base("whisper", tmp_path / "base")
    with pytest.raises(UserError, match=r"train.quantise: nf4 needs an NVIDIA GPU; take train.quantise=null here"):
        script.main(prepared(tiny.recipe(tmp_path, "whisper", base=base, quantise="nf4")))
