"""The committed nano models on fifty unseen sentences of their own voices: `python -m benchmarks.nano [--quick]`.

Prints one line a figure, `name  value  goal  ok|short`, and exits with 1 when one falls short. The sentences
are the test splits of recipes/nano_asr.yaml and recipes/nano_tts.yaml, made by espeak-ng where they are not there.
"""

import subprocess
import sys
from pathlib import Path

from evaluate.recognition import errors
from evaluate.statistics import Figure, ratio
from recipes.schema import Recipe, load
from train.adapter import open_dataset, open_model, open_recogniser, resampled, samples_of, voice_of

ROOT = Path(__file__).resolve().parents[1]
GOALS = {"nano_asr CER": 0.05, "nano_tts CER": 0.20}


def main() -> None:
    count = 10 if "--quick" in sys.argv else 50
    found = {"nano_asr CER": recogniser(count), "nano_tts CER": voice(count)}
    short = False
    for name, figure in found.items():
        fits = figure.value <= GOALS[name]
        short |= not fits
        print(f"{name:<14} {figure}  goal ≤ {GOALS[name]:.2f}  {'ok' if fits else 'short'}")
    raise SystemExit(short)


def recogniser(count: int) -> Figure:
    """What the recogniser hears in espeak-ng's recordings."""
    recipe = prepared("nano_asr")
    model = open_recogniser(str(ROOT / "recipes" / "nano_asr"))
    rows = open_dataset(recipe)["test"].select(range(count))
    return score(
        [(row["text_normalized"], model.transcribe(samples_of(model, row), row["language"])) for row in rows]
    )


def voice(count: int) -> Figure:
    """What the recogniser hears in the generator's speech."""
    recipe = prepared("nano_tts", "train.base=./nano_tts", "train.config={}", "train.method=lora")
    model, judge = open_model(recipe, "base"), open_recogniser(str(ROOT / "recipes" / "nano_asr"))
    voices = voice_of(model, recipe)
    pairs = []
    for row in open_dataset(recipe)["test"].select(range(count)):
        speech = model.synthesise(row["text_normalized"], voices[row["speaker"]])
        heard = judge.transcribe(resampled(speech, model.rate_hz, judge.rate_hz), row["language"])
        pairs.append((row["text_normalized"], heard))
    return score(pairs)


def prepared(name: str, *overrides: str) -> Recipe:
    """The recipe, with its dataset made."""
    path = ROOT / "recipes" / f"{name}.yaml"
    recipe = load(path, overrides)
    if not (recipe.folder("prepare") / "dataset").exists():
        for module in ("collect.synthetic", "collect.ingest", "prepare"):
            subprocess.run([sys.executable, "-m", module, str(path)], cwd=ROOT, check=True, stdout=sys.stderr)
    return recipe


def score(pairs: list[tuple[str, str]]) -> Figure:
    counts = [errors(text, heard) for text, heard in pairs]
    figure = ratio([c[0] for c in counts], [c[1] for c in counts], [text for text, _ in pairs], 2000, 17)
    assert figure is not None
    return figure


if __name__ == "__main__":
    main()
