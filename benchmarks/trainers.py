"""One side of a comparison of trainers, in a process of its own: `python -m benchmarks.trainers SIDE RECIPE [BATCH]`.

`ours` is the loop of `python -m train`; `theirs` is the `Seq2SeqTrainer` of transformers around the same model with
the same PEFT adapter, features and collator as in Hugging Face's guides for Whisper and SpeechT5 (batches of BATCH
utterances, drawn at random); `resumed` goes on from what `ours` left, to its first loss. Each takes ten steps
whenever a line comes in and answers with a line of JSON; after the last, it measures what it has learnt.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from evaluate.objective import errors
from prepare.dataset import open_dataset
from recipes.schema import Recipe, load
from train.__main__ import encoding_key, open_trainable
from train.batching import batches
from train.features import Features, encode_split, samples_of, speaker_voices
from train.loop import fit, validate
from train.memory import keep_memory

STEPS = 10  # a turn


def main() -> None:
    side, path, *batch = sys.argv[1:]
    recipe = load(Path(path), [])
    if side == "theirs":
        theirs(recipe, int(batch[0]))
    else:
        ours(recipe, resumed=side == "resumed")


class Turns:
    """Tells the parent what a turn cost, and waits until it may take the next."""

    def __init__(self) -> None:
        self.utterances = 0
        self.busy_s = 0.0  # inside forward, backward and the optimiser

    def wait(self) -> None:
        sys.stdin.readline()
        self.utterances, self.busy_s = 0, 0.0
        self.began_s, self.began_cpu_s = time.perf_counter(), time.process_time()

    def done(self) -> None:
        wall_s, cpu_s = time.perf_counter() - self.began_s, time.process_time() - self.began_cpu_s
        tell(utterances=self.utterances, wall_s=wall_s, cpu_s=cpu_s, busy_s=self.busy_s)
        self.wait()

    def timed(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*args: Any, **named: Any) -> Any:
            began_s = time.perf_counter()
            try:
                return work(*args, **named)
            finally:
                self.busy_s += time.perf_counter() - began_s

        return inside


def tell(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def memory_mb() -> float:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---------------------------------------------------------------- ours


def ours(recipe: Recipe, resumed: bool) -> None:
    """The parts of `python -m train`, in its order, with a stop every ten steps."""
    torch.set_flush_denormal(True)
    keep_memory()
    family, train, valid = opened(recipe)
    turns = Turns()
    count(family, turns, began_s=time.perf_counter() if resumed else None)
    backward, step = turns.timed(Accelerator.backward), turns.timed(AcceleratedOptimizer.step)

    def on_row(row: dict[str, Any]) -> None:
        if row["step"] == 0 and "valid_loss" in row:  # of the base
            tell(ready=True)
            turns.wait()
        if "valid_loss" in row:
            tell(step=row["step"], valid_loss=row["valid_loss"])

    with mock.patch.object(Accelerator, "backward", backward), mock.patch.object(AcceleratedOptimizer, "step", step):
        folder = recipe.folder("train")
        fit(family, train, valid, recipe.train, folder, recipe.seed, None, on_row, turns.done)
    tell(memory_mb=memory_mb(), waste=waste(recipe, family, train))
    if sys.stdin.readline():
        tell(counts=unseen(recipe, family))


def opened(recipe: Recipe) -> tuple[Any, Features, Features]:
    """The model to train and its features, as `train.__main__` makes them."""
    data, folder = open_dataset(recipe), recipe.folder("train")
    folder.mkdir(parents=True, exist_ok=True)
    texts = data["train"]["text_normalized"]
    family = open_trainable(recipe, texts)
    voices = speaker_voices(family, data["valid"]) | speaker_voices(family, data["train"])
    key = encoding_key(recipe, texts)
    made = [encode_split(family, data[split], voices, folder / "features", key) for split in ("train", "valid")]
    return family, made[0], made[1]


def count(family: Any, turns: Turns, began_s: float | None) -> None:
    """Have the family's loss count utterances and time; a resumed run ends with the first of its losses."""
    loss = turns.timed(family.loss)

    def counted(batch: dict[str, Any]) -> Any:
        if family.model.training:
            turns.utterances += len(batch["labels"])
            if began_s is not None:
                tell(resumed_s=time.perf_counter() - began_s)
                raise SystemExit
        return loss(batch)

    family.loss = counted


def waste(recipe: Recipe, family: Any, train: Features) -> float:
    """Share of the frames of an epoch's batches that hold no sound of the utterance."""
    sound = computed = 0.0
    for group in batches(train.durations_s, recipe.train.batch_s, recipe.seed, epoch=1):
        batch = family.collate(train.examples(group))
        if family.recognises:
            computed += len(group) * batch["input_features"].shape[-1]
            sound += 100 * sum(train.durations_s[index] for index in group)
        else:
            computed += batch["labels"][..., 0].numel()
            sound += float((batch["labels"][..., 0] != -100).sum())
    return 1 - sound / computed


def unseen(recipe: Recipe, family: Any) -> list[tuple[str, int, int]]:
    """Wrong characters and all characters of each clip of the test split, by its id."""
    family.model = (
        family.model.merge_and_unload().eval()
    )  # beside it, an adapter's new rows are copied for each token
    found = []
    for row in open_dataset(recipe)["test"]:
        heard = family.transcribe(samples_of(family, row), row["language"])
        edits, length, *_ = errors(row["text_normalized"], heard)
        found.append((row["id"], edits, length))
    return found


# ---------------------------------------------------------------- theirs


def theirs(recipe: Recipe, batch: int) -> None:
    """The Trainer with what the guides give it; the loss after its last step is measured as ours is."""
    from transformers import PrinterCallback, Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback

    data, settings, turns = open_dataset(recipe), recipe.train, Turns()
    texts = data["train"]["text_normalized"]
    family = open_trainable(recipe, texts)
    rows, collate = (whisper if family.recognises else speecht5)(recipe, family, data["train"])

    class Stops(TrainerCallback):
        def on_train_begin(self, *args: Any, **named: Any) -> None:
            tell(ready=True)
            turns.wait()

        def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
            turns.utterances += batch
            if state.global_step % STEPS == 0:
                turns.done()

    arguments = Seq2SeqTrainingArguments(
        output_dir=str(recipe.folder("train") / "trainer"),
        per_device_train_batch_size=batch,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=settings.warmup_steps,
        lr_scheduler_type="constant_with_warmup",
        max_steps=settings.max_steps,
        max_grad_norm=settings.clip_norm,
        save_strategy="no",
        logging_steps=STEPS,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_drop_last=True,
        disable_tqdm=True,
        report_to=[],
        seed=recipe.seed,
    )
    model: Any = family.model
    trainer = Seq2SeqTrainer(
        model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[Stops()]
    )
    trainer.remove_callback(PrinterCallback)  # standard output is for the parent
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    trainer.train()
    most_mb = memory_mb()
    torch.set_flush_denormal(True)
    _, _, valid = opened(recipe)
    in_memory = validate(family, valid, settings.batch_s, Accelerator())
    for (
        name,
        buffer,
    ) in model.named_buffers():  # the Trainer moves the base's batch statistics, PEFT does not save them
        buffer.copy_(statistics[name])
    loss = validate(family, valid, settings.batch_s, Accelerator())
    tell(memory_mb=most_mb, in_memory=in_memory, step=settings.max_steps, valid_loss=loss)


def whisper(recipe: Recipe, family: Any, rows: Any) -> tuple[Any, Callable[[list[Any]], Any]]:
    """Features of 30 s kept in the dataset; a collator that pads labels and drops the first token."""
    extract, tokenizer, start = family.features, family.tokenizer, family.model.config.decoder_start_token_id
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def prepared(row: dict[str, Any]) -> dict[str, Any]:
        heard = extract(samples_of(family, row), sampling_rate=family.rate_hz).input_features[0]
        return {"input_features": heard, "labels": tokenizer(row["text_normalized"]).input_ids}

    def collate(examples: list[dict[str, Any]]) -> Any:
        inputs = [{"input_features": example["input_features"]} for example in examples]
        batch = extract.pad(inputs, return_tensors="pt")
        padded = tokenizer.pad([{"input_ids": example["labels"]} for example in examples], return_tensors="pt")
        labels = padded["input_ids"].masked_fill(padded.attention_mask.ne(1), -100)
        batch["labels"] = labels[:, 1:] if (labels[:, 0] == start).all() else labels
        return batch

    return rows.map(prepared, remove_columns=rows.column_names), collate


def speecht5(recipe: Recipe, family: Any, rows: Any) -> tuple[Any, Callable[[list[Any]], Any]]:
    """Mel frames and the voice kept in the dataset; a collator that pads both sides."""
    from transformers import SpeechT5Processor

    processor: Any = SpeechT5Processor(family.features, family.tokenizer)
    voices = speaker_voices(family, rows)
    reduction = family.config.reduction_factor
    family.model.config.use_cache = False

    def prepared(row: dict[str, Any]) -> dict[str, Any]:
        spoken = family.features(audio_target=samples_of(family, row), sampling_rate=family.rate_hz).input_values[0]
        ids = family.encode(row["text_normalized"], np.zeros(16_000, np.float32), np.zeros(0, np.float32))["ids"]
        return {"input_ids": ids.tolist(), "labels": spoken, "speaker_embeddings": voices[row["speaker"]]}

    def collate(examples: list[dict[str, Any]]) -> Any:
        batch = processor.pad(
            input_ids=[{"input_ids": example["input_ids"]} for example in examples],
            labels=[{"input_values": example["labels"]} for example in examples],
            return_tensors="pt",
        )
        mask = batch.pop("decoder_attention_mask")
        labels = batch["labels"].masked_fill(mask.unsqueeze(-1).ne(1), -100)
        batch["labels"] = labels[:, : int(mask.sum(1).max()) // reduction * reduction]
        batch["speaker_embeddings"] = torch.tensor([example["speaker_embeddings"] for example in examples])
        return batch

    return rows.map(prepared, remove_columns=rows.column_names), collate


if __name__ == "__main__":
    main()
