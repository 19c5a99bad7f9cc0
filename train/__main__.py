"""Fine-tune a model on the prepared dataset: `python -m train RECIPE` or `accelerate launch -m train RECIPE`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from prepare.dataset import open_dataset
from recipes.command import next_command, run
from recipes.provenance import read_lineage, write_text
from recipes.schema import Recipe, UserError
from train import adapter
from train.families import Family, Samples, open_family
from train.features import Features, encode_split, speaker_voices
from train.loop import fit
from train.probes import error_rate, probe


def main(recipe: Recipe) -> None:
    data = open_dataset(recipe)
    folder = recipe.folder("train")
    if finished(recipe):
        print(f"already trained: {adapter.adapter_folder(recipe)}\n{next_command("evaluate")}")
        return
    start_afresh_if_changed(recipe)
    family = open_trainable(recipe, data["train"]["text_normalized"])
    show_weights(family)
    voices = speaker_voices(family, data["valid"]) | speaker_voices(family, data["train"])
    key = encoding_key(recipe, data)
    train, valid = (encode_split(family, data[s], voices, folder / "features", key) for s in ("train", "valid"))
    report_skipped(train, valid, folder)
    with Tracker(recipe) as tracker:
        on_probe = prober(recipe, family, data["valid"], voices, tracker)
        state = fit(family, train, valid, recipe.train, folder, recipe.seed, on_probe, tracker.row)
    made = adapter.save(recipe, family)
    write_text(folder / "finished.txt", recipe.digest("prepare", "train"))
    print(f"trained {state.step} steps on {len(train)} utterances; best validation loss {state.best:.3f} at step {state.best_step}")
    print(f"{recipe.train.method} result in {made}\n{next_command("evaluate")}")


def finished(recipe: Recipe) -> bool:
    mark = recipe.folder("train") / "finished.txt"
    return mark.exists() and mark.read_text() == recipe.digest("prepare", "train")


def start_afresh_if_changed(recipe: Recipe) -> None:
    """Checkpoints belong to one dataset and one set of training settings; of others they are moved aside."""
    folder = recipe.folder("train")
    dataset = read_lineage(recipe.folder("prepare"))
    mark = folder / "started.txt"
    now = f"{dataset.clips} {recipe.digest('train')} {recipe.seed}"
    if mark.exists() and mark.read_text() != now:
        old = next(path for n in range(1, 10_000) if not (path := folder.with_name(f"{folder.name}.{n}")).exists())
        folder.rename(old)
        print(f"the recipe or the dataset changed: the earlier run is now in {old}")
    write_text(mark, now)


def open_trainable(recipe: Recipe, texts: list[str]) -> Family:
    """The base with LoRA on it, or a model whose every weight trains."""
    family = open_family(recipe.train, letters=texts)
    if recipe.train.method == "lora":
        adapter.add_lora(family, recipe.train.lora, texts)
    else:
        family.add_letters(texts)
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


def encoding_key(recipe: Recipe, data: Any) -> str:
    """What encoded features depend on besides the utterances themselves."""
    settings = recipe.train
    letters = sorted({letter for text in data["train"]["text_normalized"] for letter in text})
    aligner = adapter.base_hash(settings.aligner) or settings.aligner
    base = adapter.base_hash(settings.base) or f"{settings.base}@{settings.revision}"
    dataset = recipe.digest("prepare")
    return json.dumps([settings.family, base, settings.config, aligner, settings.speaker_encoder, letters, dataset])


def report_skipped(train: Features, valid: Features, folder: Path) -> None:
    """Say what the family could not learn from, and write it down. Raises UserError when nothing is left."""
    skipped = train.skipped + valid.skipped
    write_text(folder / "skipped.csv", "".join(f"{name},{json.dumps(why)}\n" for name, why in [("id", "reason"), *skipped]))
    if skipped:
        print(f"{len(skipped)} utterances skipped, listed in {folder / 'skipped.csv'}; first: {skipped[0][1]}")
    for name, split in (("train", train), ("valid", valid)):
        if not len(split):
            raise UserError(f"no utterance of the {name} split can be used: see {folder / 'skipped.csv'}")


def prober(recipe: Recipe, family: Family, rows: Any, voices: dict[str, Samples], tracker: "Tracker") -> Callable[[int], dict[str, Any]]:
    """A function that probes the model on the first utterances of the validation split."""
    settings = recipe.train.probe
    judge_name = recipe.evaluate.recogniser or recipe.train.aligner
    judge = adapter.open_recogniser(judge_name) if judge_name and not family.recognises and settings else None
    fixed = [rows[i] for i in range(min(settings.count, len(rows)))] if settings else []

    def figures(step: int) -> dict[str, Any]:
        results = probe(family, fixed, voices, judge)
        tracker.speech(step, results, family.rate_hz)
        if judge is None and not family.recognises:
            return {"probe_texts": [r.text for r in results]}
        return {"probe_cer": error_rate(results), "probe_heard": [r.heard for r in results]}

    return figures


class Tracker:
    """Weights & Biases, offline unless the recipe says otherwise; silent when disabled."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.run: Any = None

    def __enter__(self) -> "Tracker":
        import os

        settings = self.recipe.train.wandb
        if settings.mode != "disabled" and os.environ.get("RANK", "0") == "0":
            import wandb

            self.run = wandb.init(
                project=settings.project,
                name=self.recipe.name,
                mode=settings.mode,
                dir=self.recipe.folder("train"),
                config=self.recipe.model_dump(mode="json"),
                settings=wandb.Settings(silent=True, console="off"),
            )
        return self

    def __exit__(self, *error: object) -> None:
        if self.run:
            self.run.finish()

    def row(self, row: dict[str, Any]) -> None:
        """One row of metrics."""
        if self.run:
            self.run.log({k: v for k, v in row.items() if isinstance(v, int | float)}, step=row["step"])

    def speech(self, step: int, results: list[Any], rate_hz: int) -> None:
        """Probes as audio."""
        spoken = [r for r in results if r.samples is not None]
        if self.run and spoken:
            import wandb

            self.run.log({"probe": [wandb.Audio(r.samples, rate_hz, caption=r.text) for r in spoken]}, step=step)


if __name__ == "__main__":
    run(main, __doc__ or "")
