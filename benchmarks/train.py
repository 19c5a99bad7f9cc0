"""Training against the Trainer of transformers: `python -m benchmarks.train [--quick | --learnt]`.

Prints one line a figure, `name  value  goal  ok|short`, and exits with 1 when one falls short. Same model, adapter,
data, same optimiser, same number of utterances; each side in a process of its own, ten steps by turns. A ratio
is the median over the turns after the first, in which memory is taken for the first time. Whisper tiny.en and real
clips are read from ../shared, and left out where that is not there: SpeechT5 then has the sample corpus. The whole
takes some 20 minutes on two cores. `--learnt`: what Whisper writes after training with `fit` and with 30 s; an hour.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from evaluate.statistics import ratio, ratio_difference
from recipes.schema import load

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
QUICK = "--quick" in sys.argv
TURNS = 2 if QUICK else 4  # of ten steps, by turns
LEARNING = 150  # steps after which the two contexts of Whisper are compared on unseen clips
BEFORE = 150  # steps of the whole SpeechT5-nano, that there be something to adapt
_short = False

TRAIN = {
    "lora": {"r": 32, "alpha": 64},
    "learning_rate": 1e-3,
    "warmup_steps": 15,
    "schedule": "constant",
    "save_every": 1000,
    "probe": None,
    "wandb": {"mode": "disabled"},
}
NANO = {  # SpeechT5 at a hundredth of its size
    "hidden_size": 256,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 1024,
    "decoder_ffn_dim": 1024,
    "speech_decoder_prenet_units": 256,
    "speech_decoder_postnet_layers": 3,
    "speech_decoder_postnet_units": 256,
    "speaker_embedding_dim": 64,
    "max_text_positions": 200,
    "max_speech_positions": 1000,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        if not (SHARED / "models" / "whisper-tiny-en").is_dir():
            print("Whisper: not measured, there is no ../shared/models/whisper-tiny-en")
        elif "--learnt" in sys.argv:
            learnt(Path(name))
        else:
            whisper(Path(name, "whisper"))
        if "--learnt" not in sys.argv:
            speecht5(Path(name, "speecht5"))
    raise SystemExit(_short)


def line(name: str, value: float, unit: str, goal: float | None, most: bool = False) -> None:
    """One figure. `most`: the goal is the most that it may be, else the least; None: for information."""
    global _short
    fits = goal is None or (value <= goal if most else value >= goal)
    _short |= not fits
    aim = "" if goal is None else f"goal {'≤' if most else '≥'} {goal:g}  {'ok' if fits else 'short'}"
    print(f"{name:<72} {value:10.4g} {unit:<14} {aim}", flush=True)


# ---------------------------------------------------------------- what is compared


def whisper(folder: Path) -> None:
    """Real weights, real clips; the encoder hears 30 s on both sides, and on ours also no more than there is."""
    window, fit = (
        written(folder / "30", whisper_recipe()),
        written(folder / "fit", whisper_recipe(audio_context="fit")),
    )
    other = written(folder / "theirs", whisper_recipe())
    prepared(window)
    for recipe in (fit, other):
        shutil.copytree(load(window, []).work_dir, load(recipe, []).work_dir)
    sides = {"theirs": Side("theirs", other, usual(window)), "ours": Side("ours", window), "fit": Side("ours", fit)}
    by_turns(sides)
    compared("Whisper tiny.en, 30 s", sides["ours"], sides["theirs"], faster=1.5)
    compared("Whisper tiny.en, fit", sides["fit"], sides["theirs"], faster=4.0, loss=False)
    line("Whisper tiny.en, fit: padding", sides["fit"].ends["waste"], "of frames", 0.05, most=True)
    resumed("Whisper tiny.en, fit", fit, steps=10 * TURNS)


def whisper_recipe(**settings: Any) -> dict[str, Any]:
    base = {"family": "whisper", "base": str(SHARED / "models" / "whisper-tiny-en"), "batch_s": 9.5}
    return real_clips("asr_train") | {"train": TRAIN | base | settings}


def real_clips(purpose: str) -> dict[str, Any]:
    """300 clips of Common Voice, 210 of them to train on."""
    consent = {"notice": "Common Voice, CC0-1.0", "controller": "Common Voice", "given_on": "2024-01-01"}
    basis = {"purposes": ["store_prepare", purpose]} | consent
    source = str(SHARED / "data" / "tamazight_speech")
    return {
        "collect": {"source": source, "language": "zgh-Tfng", "speaker": "unknown", "basis": basis},
        "prepare": {"purpose": purpose, "split": {"by": "sentence", "valid": 0.1, "test": 0.2, "exact": True}},
    }


def speecht5(folder: Path) -> None:
    """A small SpeechT5, trained whole for a moment: on the real clips, or on the repository's sample corpus."""
    split = {"by": "sentence", "valid": 0.1, "test": 0.1, "exact": True}
    sample = {"source": str(ROOT / "recipes" / "sample")}
    data = {"collect": sample, "prepare": {"purpose": "tts_multi", "split": split}}
    if (SHARED / "data" / "tamazight_speech").is_dir():
        data = real_clips("tts_multi")
    settings = TRAIN | {"family": "speecht5", "batch_s": 30}
    whole = {"config": NANO, "method": "full", "max_steps": BEFORE, "validate_every": BEFORE, "schedule": "cosine"}
    base = written(folder / "base", data | {"train": settings | whole})
    prepared(base)
    run("train", base)
    made = load(base, []).work_dir
    settings |= {"base": str(made / "train" / "adapter"), "learning_rate": 3e-4}
    ours, theirs = (written(folder / name, data | {"train": settings}) for name in ("ours", "theirs"))
    for path in (ours, theirs):
        for stage in ("collect", "prepare"):
            shutil.copytree(made / stage, load(path, []).work_dir / stage)
    sides = {"theirs": Side("theirs", theirs, usual(ours)), "ours": Side("ours", ours)}
    by_turns(sides)
    compared("SpeechT5-nano", sides["ours"], sides["theirs"], faster=1.5)
    line("SpeechT5-nano: padding", sides["ours"].ends["waste"], "of frames", 0.05, most=True)
    resumed("SpeechT5-nano", ours, steps=10 * TURNS)


def usual(path: Path) -> int:
    """Utterances in a batch of ours, on average: as many as each of the Trainer's has."""
    from prepare.dataset import open_dataset
    from train.batching import batches

    recipe = load(path, [])
    durations_s = open_dataset(recipe)["train"]["duration_s"]
    return round(len(durations_s) / len(batches(durations_s, recipe.train.batch_s, recipe.seed, epoch=0)))


def written(folder: Path, whole: dict[str, Any]) -> Path:
    """A recipe in a folder of its own."""
    folder.mkdir(parents=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "speed", "work_dir": "work"} | whole), encoding="utf-8")
    return path


def prepared(path: Path) -> None:
    for module in ("collect.ingest", "prepare"):
        run(module, path)


def run(module: str, path: Path) -> None:
    subprocess.run([sys.executable, "-m", module, str(path)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


# ---------------------------------------------------------------- how


class Side:
    """A process that trains ten steps when it is told to."""

    def __init__(self, kind: str, recipe: Path, batch: int = 0, steps: int = 10 * TURNS) -> None:
        self.turns: list[dict[str, float]] = []
        self.ends: dict[str, Any] = {}
        self.losses: dict[int, float] = {}
        settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        settings["train"] |= {"max_steps": steps, "validate_every": steps}
        recipe.write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.left = steps // 10
        command = [sys.executable, "-m", "benchmarks.trainers", kind, str(recipe), str(batch)]
        log = open(recipe.with_name(f"{kind}.log"), "w", encoding="utf-8")  # noqa: SIM115, as long as the process
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, text=True, **pipes)  # type: ignore[call-overload]
        self.until("ready")

    def until(self, key: str) -> dict[str, Any]:
        """What comes in, up to something with this key."""
        for row in map(json.loads, self.process.stdout):
            if "valid_loss" in row:
                self.losses[row["step"]] = row["valid_loss"]
            if key in row:
                return dict(row)
        raise RuntimeError(f"{' '.join(self.process.args)}: ended early")

    def say(self) -> None:
        print("", file=self.process.stdin, flush=True)

    def turn(self) -> None:
        self.say()
        self.turns.append(self.until("wall_s"))
        self.left -= 1
        if not self.left:
            self.say()
            self.ends = self.until("memory_mb")

    def unseen(self) -> list[tuple[str, int, int]]:
        self.say()
        counts: list[tuple[str, int, int]] = self.until("counts")["counts"]
        return counts

    def rates(self, key: str) -> list[float]:
        """Utterances in a second of each turn after the first."""
        return [turn["utterances"] / turn[key] for turn in self.turns[1:TURNS]]


def by_turns(sides: dict[str, Side]) -> None:
    for _ in range(TURNS):
        for side in sides.values():
            side.turn()


def compared(name: str, ours: Side, theirs: Side, faster: float, loss: bool = True) -> None:
    """The figures of one side over the other's."""
    for key, unit, goal in (("wall_s", "×", faster), ("cpu_s", "×", None)):
        pairs = zip(ours.rates(key), theirs.rates(key), strict=True)
        what = "utterances a second" if key == "wall_s" else "utterances a second of the processor"
        line(f"{name}: {what}, ours / Trainer's", statistics.median(a / b for a, b in pairs), unit, goal)
    line(f"{name}: ours", statistics.median(ours.rates("wall_s")), "utterances/s", None)
    line(f"{name}: Trainer's", statistics.median(theirs.rates("wall_s")), "utterances/s", None)
    memory = ours.ends["memory_mb"], theirs.ends["memory_mb"]
    line(f"{name}: peak memory, {memory[0]:.0f} / {memory[1]:.0f} MB", memory[0] / memory[1], "×", 0.8, most=True)
    idle = [1 - turn["busy_s"] / turn["wall_s"] for turn in ours.turns[1:TURNS]]
    line(f"{name}: outside forward, backward, optimiser", statistics.median(idle), "of a step", 0.03, most=True)
    seen = [sum(turn["utterances"] for turn in side.turns[:TURNS]) for side in (ours, theirs)]
    ends = ours.losses[10 * TURNS], theirs.losses[10 * TURNS]
    goal = ends[1] if loss else None
    line(f"{name}: validation loss, {seen[0]} / {seen[1]} utterances", ends[0], f"/ {ends[1]:.4g}", goal, most=True)
    if theirs.ends["in_memory"] != ends[1]:
        line(f"{name}: Trainer's with batch statistics that PEFT does not save", theirs.ends["in_memory"], "", None)


def learnt(folder: Path) -> None:
    """Character error rates on clips that nobody trained on; both contexts have the same batches."""
    contexts = {"30 s": 30, "fit": "fit"}
    paths = {
        name: written(folder / name, whisper_recipe(audio_context=contexts[name], batch_s=24)) for name in contexts
    }
    prepared(paths["30 s"])
    shutil.copytree(load(paths["30 s"], []).work_dir, load(paths["fit"], []).work_dir)
    heard = {}
    for name, path in paths.items():
        side = Side("ours", path, steps=LEARNING)
        while side.left:
            side.turn()
        clips, edits, lengths = zip(*side.unseen(), strict=True)
        heard[name] = edits, lengths
        took_s = sum(turn["wall_s"] for turn in side.turns)
        print(f"Whisper tiny.en, {name}, {LEARNING} steps in {took_s:.0f} s: ", end="")
        print(f"CER {ratio(edits, lengths, clips, 2000, 17)}", flush=True)
    difference = ratio_difference(heard["fit"], heard["30 s"], clips, 2000, 17)
    print(f"Whisper tiny.en: CER, fit - 30 s {difference}")
    assert difference is not None and difference.low is not None
    line("Whisper tiny.en: CER, fit - 30 s, surely more by", max(0.0, difference.low), "", 0.0, most=True)


def resumed(name: str, recipe: Path, steps: int) -> None:
    """From the command to the first loss after the last checkpoint, and the part of it that is the loop's."""
    settings = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    settings["train"]["max_steps"] = steps + 10
    recipe.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.trainers", "resumed", str(recipe)]
    began_s = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    whole_s = time.perf_counter() - began_s
    row = json.loads(done.stdout.splitlines()[-1])
    line(f"{name}: resume, from the checkpoint to the next step", row["resumed_s"], "s", 5.0, most=True)
    line(f"{name}: resume, the whole command, imports included", whole_s, "s", None)


if __name__ == "__main__":
    main()
