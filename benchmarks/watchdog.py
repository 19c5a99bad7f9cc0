"""The watchdog on runs that are broken on purpose, and on healthy ones: `python -m benchmarks.watchdog [--quick]`.

Ten seeds of each fault, for a recogniser and a generator: the nano models on the sample corpus, and tiny ones that
learn where to stop. `--quick`: two seeds. Prints one line a figure, `name  value  goal  ok|short`, and exits with 1
when one falls short. Each seed takes other clips, in another order, and other random numbers.
"""

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soxr

from collect import ingest
from prepare import __main__ as prepare
from prepare import dataset
from recipes.records import Utterance
from recipes.schema import Family, Recipe, UserError, load
from tests import tiny
from train import __main__ as script
from train import adapter
from train.features import encode_split
from train.watch import Watch

ROOT = Path(__file__).resolve().parents[1]
CAUGHT = 0.9  # of the seeds of each fault
TRAINED, HEARD = 26, 3  # clips to learn from and to validate with
Rows = list[Utterance]

_BRIEF = ["warmup_steps=4", "batch_s=10", "validate_every=10", "wandb.mode=disabled"]
RECOGNISER = ["family=ctc", "base=./nano_asr", "max_steps=20", "learning_rate=1e-3", "probe.every=6", "probe.count=3"]
GENERATOR = ["max_steps=30", "learning_rate=2e-3", "probe.every=10", "probe.count=3"]
STOPPING: dict[Family, dict[str, Any]] = {
    "qwen3_asr": {"max_steps": 150, "learning_rate": 1e-2},
    "csm": {"max_steps": 150, "learning_rate": 1e-2},
}
_TINY: dict[str, Any] = {"method": "full", "batch_s": 10, "validate_every": 50, "probe": {"every": 25, "count": 4}}


@dataclass(frozen=True)
class Fault:
    """A way to break a run, and the rules that should notice."""

    name: str
    rules: tuple[str, ...]
    rows: Callable[[Rows, int], Rows] = lambda rows, seed: rows
    settings: tuple[str, ...] = ()
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


# ---------------------------------------------------------------- what is broken


def shuffled(rows: Rows, seed: int) -> Rows:
    """Transcripts in another order than the recordings."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return [_says(row, rows[index].text_normalized) for row, index in zip(rows, order, strict=True)]


def at_another_rate(rows: Rows, seed: int) -> Rows:
    """Recordings whose files name a wrong rate: 24, 22.05, 48 or 10.7 kHz that say 16 kHz."""
    return [_stretched(row, (1.5, 22.05 / 16, 3.0, 2 / 3)[seed % 4]) for row in rows]


def at_double_speed(rows: Rows, seed: int) -> Rows:
    """Recordings that are played twice as fast."""
    return [_stretched(row, 0.5) for row in rows]


def in_unknown_letters(rows: Rows, seed: int) -> Rows:
    """The same text in letters that no base here has seen: Armenian ones."""
    letters = sorted({letter for row in rows for letter in row.text_normalized} - {" "})
    other = {letter: chr(0x0531 + (seed + number) % 38) for number, letter in enumerate(letters)} | {" ": " "}
    return [_says(row, "".join(other[letter] for letter in row.text_normalized)) for row in rows]


def _says(row: Utterance, text: str) -> Utterance:
    return row.model_copy(update={"text": text, "text_normalized": text})


def _stretched(row: Utterance, factor: float) -> Utterance:
    samples = soxr.resample(dataset.decode(row.audio), row.rate_hz, round(row.rate_hz * factor))
    audio = dataset.encode(np.clip(samples, -1, 1).astype(np.float32), row.rate_hz)
    return row.model_copy(update={"audio": audio, "duration_s": len(samples) / row.rate_hz})


def lora_at_nothing() -> AbstractContextManager[Any]:
    """LoRA whose scale is zero."""

    def zeroed(family: Any, settings: Any, texts: Any, real: Any = adapter.add_lora) -> None:
        real(family, settings, texts)
        for layer in family.model.modules():
            if isinstance(layer, adapter.LoraLayer):
                layer.scaling["default"] = 0.0

    return mock.patch.object(adapter, "add_lora", zeroed)


def no_end_in_labels() -> AbstractContextManager[Any]:
    """Labels without the token, or the frame of codes, at which an utterance ends."""

    def without(family: Any, *rest: Any, real: Any = encode_split) -> Any:
        collate = family.collate
        end = family.config.codebook_eos_token_id if hasattr(family, "config") else family._end

        def collated(examples: Any) -> Any:
            batch = collate(examples)
            ends = batch["labels"] == end
            batch["labels"][ends.all(-1) if ends.ndim == 3 else ends] = -100
            return batch

        family.collate = collated
        return real(family, *rest)

    return mock.patch.object(script, "encode_split", without)


UNKNOWN = ("lora.new_tokens=false",)
EITHER = (
    Fault(
        "shuffled transcripts",
        ("shuffled", "other_transcripts", "left_out", "worse_than_base", "not_reading"),
        shuffled,
    ),
    Fault("LoRA scaled to nothing", ("adapter_without_effect",), around=lora_at_nothing),
    Fault("wrong sampling rate", ("sampling_rate", "speaking_rate"), at_another_rate),
    Fault("doubled speed", ("sampling_rate", "speaking_rate"), at_double_speed),
    Fault("letters all unknown", ("unknown_letters",), in_unknown_letters, UNKNOWN),
)
NO_STOP = Fault("no end in the labels", ("never_stops",), around=no_end_in_labels)
HEALTHY = Fault("healthy", ())


# ---------------------------------------------------------------- runs


class Enough(Exception):
    """The rule that was waited for has spoken."""


def warned(recipe: Recipe, fault: Fault) -> list[str]:
    """Train until a rule of the fault speaks, or to the end. Every rule that spoke."""
    found: list[str] = []

    class Noting(Watch):
        def check(self, figures: Any) -> dict[str, str]:
            return self._noted(super().check(figures))

        def row(self, row: Any) -> dict[str, str]:
            return self._noted(super().row(row))

        def _noted(self, new: dict[str, str]) -> dict[str, str]:
            found.extend(rule for rule in new if rule not in found)
            if set(found) & set(fault.rules):
                raise Enough
            return new

    said = io.StringIO()
    with contextlib.ExitStack() as around:
        around.enter_context(contextlib.redirect_stdout(said))
        around.enter_context(contextlib.redirect_stderr(said))
        around.enter_context(contextlib.suppress(Enough, UserError))
        around.enter_context(mock.patch.object(script, "Watch", Noting))
        around.enter_context(fault.around())
        script.main(recipe)
    return found


def nano(folder: Path, corpus: Rows, fault: Fault, settings: list[str], seed: int) -> list[str]:
    """A nano model on clips of the sample corpus."""
    keys = [f"train.{key}" for key in (*_BRIEF, *settings, *fault.settings)]
    recipe = load(ROOT / "recipes" / "demo.yaml", [f"work_dir={folder}", f"seed={seed}", *keys])
    order = np.random.default_rng(seed).permutation(len(corpus))[: TRAINED + HEARD]
    rows = fault.rows([corpus[index] for index in order], seed)
    splits = ["train"] * TRAINED + ["valid"] * HEARD
    dataset.write(recipe, [row.model_copy(update={"split": s}) for row, s in zip(rows, splits, strict=True)])
    return warned(recipe, fault)


def stopping(folder: Path, family: Family, fault: Fault, seed: int) -> list[str]:
    """A tiny model that learns four utterances by heart, with their ends."""
    recipe = tiny.recipe(folder, family, **{"base": tiny.base(family, folder / "base")} | _TINY | STOPPING[family])
    recipe = recipe.model_copy(update={"seed": seed})
    dataset.write(recipe, tiny.utterances())
    return warned(recipe, fault)


def sample(folder: Path) -> Rows:
    """The clips of one speaker of the sample corpus, prepared."""
    recipe = load(ROOT / "recipes" / "demo.yaml", [f"work_dir={folder}"])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ingest.main(recipe)
        prepare.main(recipe)
    splits = dataset.open_dataset(recipe)
    return [Utterance.model_validate(row) for split in ("train", "valid", "test") for row in splits[split]]


def runs(corpus: Rows) -> Iterator[tuple[str, Fault, Callable[[Path, int], list[str]]]]:
    """Every kind of run: its name, its fault, and how one seed of it is run."""
    for kind, settings, family in (("recogniser", RECOGNISER, "qwen3_asr"), ("generator", GENERATOR, "csm")):
        for fault in (HEALTHY, *EITHER):
            yield kind, fault, lambda folder, seed, s=settings, f=fault: nano(folder, corpus, f, s, seed)
        for fault in (HEALTHY, NO_STOP):
            yield f"{kind}, tiny", fault, lambda folder, seed, n=family, f=fault: stopping(folder, n, f, seed)


def main() -> None:
    seeds = range(2 if "--quick" in sys.argv else 10)
    short = False
    with tempfile.TemporaryDirectory() as home:
        corpus = sample(Path(home, "corpus"))
        for number, (kind, fault, once) in enumerate(runs(corpus)):
            spoke = [once(Path(home, f"{number}-{seed}"), seed) for seed in seeds]
            right = [bool(set(rules) & set(fault.rules)) if fault.rules else not rules for rules in spoke]
            share, goal = sum(right) / len(right), CAUGHT if fault.rules else 1.0
            short |= share < goal
            named = sorted({rule for rules in spoke for rule in rules})
            what = "caught" if fault.rules else "without a warning"
            verdict = "ok" if share >= goal else "short"
            print(f"{kind}: {fault.name}, {what}  {share:.2f} ({', '.join(named) or '-'})  ≥ {goal:g}  {verdict}")
            sys.stdout.flush()
    raise SystemExit(short)


if __name__ == "__main__":
    main()
