"""Fine-tune a model on the prepared dataset: `python -m train RECIPE`.

On several devices: `accelerate launch -m train RECIPE`.
"""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import set_seed
from rich.console import Console
from rich.table import Table

from prepare.dataset import dataset_folder, dataset_hash, open_dataset
from recipes.command import next_command, run
from recipes.provenance import is_withdrawn, refuse_withdrawn, write_text
from recipes.schema import Recipe, UserError
from train import adapter, revocation
from train.corpus import corpus_figures, recordings_heard
from train.effect import adapter_effect
from train.families import Family, Opposed, Samples, open_family
from train.features import Features, encode_split, speaker_voices
from train.loop import OnProbe, fit
from train.memory import keep_memory
from train.probes import Probes, figures, open_probes, probe, told
from train.tracker import Tracker
from train.watch import Watch


def main(recipe: Recipe) -> None:
    # Numbers too small to matter slow a CPU down by a factor of several; before the first worker thread starts.
    torch.set_flush_denormal(True)
    keep_memory()
    # Accelerate looks for other processes on a CPU only where it is told that there is no GPU.
    alone = "LOCAL_RANK" not in os.environ or torch.accelerator.is_available()
    here = PartialState(cpu=not alone, timeout=timedelta(hours=12))  # that long others may wait while one encodes
    data, folder = open_dataset(recipe), recipe.folder("train")
    with here.main_process_first():
        revocation.refuse_revoked_base(recipe, recipe.train.base)
        if finished(recipe):
            adapter.refuse_untrusted(recipe, adapter.adapter_folder(recipe))
            here.print(f"already trained: {adapter.adapter_folder(recipe)}")
            if (warned := folder / "watchdog.jsonl").exists() and warned.stat().st_size:
                here.print(f"with warnings, which are in {warned}")
            here.print(next_command("evaluate"))
            return
        family = open_trainable(recipe, data["train"]["text_normalized"])
        voices = speaker_voices(family, data["valid"]) | speaker_voices(family, data["train"])
        start_afresh_if_changed(recipe)
        watch, columns = Watch(recipe.train, folder), ("text_normalized", "duration_s")
        if here.is_main_process:
            watch.check(corpus_figures(family, {name: data["train"][name] for name in columns}))
        probes = open_probes(recipe, family, data, voices) if here.is_main_process else None
        key = encoding_key(recipe, data["train"]["text_normalized"])
        train = encode_split(family, data["train"], voices, folder / "features", key)
        valid = encode_split(family, data["valid"], voices, folder / "features", key)
    if here.is_main_process:
        show_weights(family)
        report_skipped(train, valid, folder)
        report_one_voice(voices)
        watch.check({"left_out": len(train.skipped) / max(1, len(train) + len(train.skipped))})
    refuse_empty(train, valid, folder)
    with Tracker(recipe) as tracker:
        on_probe = prober(recipe, probes, tracker)
        check, settings = dataset_check(recipe), recipe.train
        measuring = on_probe, tracker.row, check, watch.row, watch.checks
        state = fit(family, train, valid, settings, folder, recipe.seed, *measuring)
    if here.is_main_process:
        made = adapter.save(recipe, family)
        write_text(folder / "finished.txt", run_mark(recipe))
        print(f"trained {state.step} steps on {len(train)} utterances;", end=" ")
        print(f"best {told(recipe.train.early_stop, state.best)} at step {state.best_step}")
        report_watch(watch)
        print(f"{recipe.train.method} result in {made}")
        print(next_command("evaluate"))
    here.destroy_process_group()


def dataset_check(recipe: Recipe) -> Callable[[], None]:
    """Says, whenever it is called, whether the dataset that training began with may still be learnt from."""
    version = dataset_folder(recipe).resolve()

    def check() -> None:
        refuse_withdrawn(version, "training stops here; run: python -m prepare RECIPE, and train again")
        if not version.is_dir():
            raise UserError(f"{version}: made anew while training ran; run the same command again")

    return check


def run_mark(recipe: Recipe) -> str:
    """What a run belongs to: a dataset, settings of training, the weights it starts from, a seed."""
    settings = recipe.train
    models = (settings.base, settings.aligner, settings.speaker_encoder, settings.codec)
    weights = [adapter.base_hash(name) or "-" for name in models]
    # Who watches, and how much is kept, changes nothing in what is learnt.
    watching = {"wandb", "tensorboard", "keep_checkpoints"}
    if settings.early_stop == "valid_loss":
        watching.add("probe")
    learning = settings.model_dump(mode="json", exclude=watching)
    digest = hashlib.sha256(json.dumps(learning, sort_keys=True).encode()).hexdigest()
    return " ".join([dataset_hash(recipe), digest, *weights, str(recipe.seed)])


def finished(recipe: Recipe) -> bool:
    """Whether a run like this one has been brought to its end."""
    mark = recipe.folder("train") / "finished.txt"
    return mark.exists() and mark.read_text(encoding="utf-8") == run_mark(recipe)


def start_afresh_if_changed(recipe: Recipe) -> None:
    """Mark the folder as this run's; what an unlike run left is moved aside, to `train.1` and so on."""
    folder, now = recipe.folder("train"), run_mark(recipe)
    mark = folder / "started.txt"
    if mark.exists() and mark.read_text(encoding="utf-8") != now:
        names = (folder.with_name(f"{folder.name}.{n}") for n in itertools.count(1))
        old = next(path for path in names if not path.exists())
        if is_withdrawn(folder):  # features and weights of a voice that left
            shutil.rmtree(folder)
        else:
            folder.rename(old)
            print(f"the recipe, the dataset or the base changed: the earlier run is now in {old}")
    write_text(mark, now)


def open_trainable(recipe: Recipe, texts: list[str]) -> Family:
    """The base with LoRA on it, or a model whose every weight trains. New weights come from the seed."""
    set_seed(recipe.seed)
    family = open_family(recipe.train, letters=texts)
    if recipe.train.method == "lora":
        adapter.add_lora(family, recipe.train.lora, texts)
    else:
        family.add_letters(texts)
    if recipe.train.adversarial and isinstance(family, Opposed):
        family.add_discriminator()
    return family


def show_weights(family: Family) -> None:
    """Print what trains: a table on stderr."""
    table = Table("part", "weights", "training")
    parts: dict[str, list[int]] = {}
    for name, weight in family.model.named_parameters():
        part = ".".join(name.removeprefix("base_model.model.").split(".")[:2])
        count = parts.setdefault(part, [0, 0])
        count[0] += weight.numel()
        count[1] += weight.numel() * weight.requires_grad
    for part, (total, training) in parts.items():
        table.add_row(part, f"{total:,}", f"{training:,}")
    total, training = (sum(column) for column in zip(*parts.values(), strict=True))
    table.add_row("all", f"{total:,}", f"{training:,} ({training / total:.1%})")
    Console(stderr=True).print(table)


def encoding_key(recipe: Recipe, texts: Iterable[str]) -> str:
    """What encoded features depend on besides the utterances themselves."""
    settings = recipe.train
    models = (settings.base, settings.aligner, settings.speaker_encoder, settings.codec)
    weights = [adapter.base_hash(name) or name for name in models]
    letters = sorted({letter for text in texts for letter in text})
    about: list[Any] = [settings.family, settings.revision, settings.config, settings.lora.new_tokens]
    about += [settings.audio_context, settings.mms_adapter]
    return json.dumps([dataset_hash(recipe), *about, *weights, letters])


def report_skipped(train: Features, valid: Features, folder: Path) -> None:
    """Say what the family could not learn from, and write it to `skipped.csv`."""
    skipped = train.skipped + valid.skipped
    lines = [f"{name},{json.dumps(why, ensure_ascii=False)}\n" for name, why in skipped]
    write_text(folder / "skipped.csv", "".join(["id,reason\n", *lines]))
    if skipped:
        print(f"{len(skipped)} utterances skipped, listed in {folder / 'skipped.csv'};", end=" ")
        print(f"first: {skipped[0][1]}")


def report_one_voice(voices: dict[str, Samples]) -> None:
    """Say that several people become one voice, where the model knows no voices."""
    if len(voices) > 1 and not any(voice.size for voice in voices.values()):
        print(f"{len(voices)} speakers, and this model has one voice: it becomes a mixture of theirs;", end=" ")
        print("prepare.speakers takes one of them")


def report_watch(watch: Watch) -> None:
    """Print the last figures of the probes, with those of the base, and what the watchdog said."""
    last, before = watch.probed(), watch.probed(first=True)
    told_base = {name: f" (base {value:.3g})" for name, value in before.items()}
    if last:
        found = (f"{name} {value:.3g}{told_base.get(name, '')}" for name, value in last.items())
        print("last probe:", ", ".join(found))
    for rule, says in watch.said.items():
        print(f"warning: {says} [{rule}]")


def refuse_empty(train: Features, valid: Features, folder: Path) -> None:
    """Raises UserError when a split has nothing to learn from."""
    for name, split in (("train", train), ("valid", valid)):
        if not len(split):
            raise UserError(f"no utterance of the {name} split can be used: see {folder / 'skipped.csv'}")


def prober(recipe: Recipe, probes: Probes | None, tracker: Tracker) -> OnProbe | None:
    """A function that measures the model at a step. `probes`: None in processes that only wait for it."""
    if recipe.train.probe is None:
        return None
    started = recipe.train.base is not None  # as a model that can do something, to compare with

    def on_probe(step: int, averaged: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if probes is None:
            return found
        if step == 0:
            listener = probes.family if probes.family.recognises and started else probes.judge
            heard = recordings_heard(listener, probes.rows, probes.texts) if listener else {}
            found = {f"check_recordings_{name}": value for name, value in heard.items()}
            if not started:
                return found
        results = probe(probes)
        measured = figures(results) | (adapter_effect(probes) if step else {})
        found |= {f"probe_{name}": value for name, value in measured.items()}
        if not averaged:
            tracker.probes(step, probes, results)
            if step == 0 or not started:
                found["probe_texts"] = [result.text for result in results]
            if understood := [result.heard for result in results if result.heard is not None]:
                found["probe_heard"] = understood
        return found

    return on_probe


if __name__ == "__main__":
    run(main, __doc__ or "")
