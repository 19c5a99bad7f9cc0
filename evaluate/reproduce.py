"""Whether an adapter, loaded in a process of its own, gives what it gave when it was evaluated.

`python -m evaluate.reproduce RECIPE --adapter FOLDER --out FILE` is that process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluate import systems
from evaluate.systems import Item, Rendered
from recipes.command import run
from recipes.schema import Recipe, UserError
from train.adapter import open_adapter, samples_of, voice_of

_COUNT = 3  # sentences or recordings
_MOST_DB = 1.0  # mean difference of spectra; 16-bit FLAC alone makes some hundredths
_FRAME = 512


def main(recipe: Recipe, arguments: argparse.Namespace) -> None:
    wanted = probes(recipe)
    model = open_adapter(recipe, Path(arguments.adapter), unsigned=True)
    voices = {} if recipe.train.recognises else voice_of(model, recipe)
    found: dict[str, Any] = {}
    for item in wanted:
        if recipe.train.recognises:
            found[item.id] = np.array(model.transcribe(samples_of(model, item.row), item.language))
        else:
            speech = model.synthesise(item.text, voices[item.speaker])
            found[item.id] = speech / max(1.0, float(np.abs(speech).max(initial=0.0)))
    np.savez(arguments.out, **found)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--adapter", required=True, metavar="FOLDER", help="what is about to be published")
    parser.add_argument("--out", required=True, metavar="FILE", help="where what it gave is written (npz)")


def probes(recipe: Recipe) -> list[Item]:
    """The first of the evaluation's items: the same ones in every process."""
    return systems.items(recipe)[0][:_COUNT]


def compare(recipe: Recipe, folder: Path) -> str:
    """Load the adapter of a folder in a fresh process and compare. Returns what was compared.

    Raises UserError when it does not load, or gives something else than the evaluation kept.
    """
    again = _in_a_fresh_process(recipe, folder)
    kept, _ = systems.render(recipe, "adapter", probes(recipe))
    worst = 0.0
    for one in kept:
        if recipe.train.recognises:
            if str(again[one.item.id]) != one.text:
                raise UserError("loaded anew, it writes something else than when it was evaluated; evaluate again")
            continue
        worst = max(worst, distance_db(_samples(one), again[one.item.id]))
        if worst > _MOST_DB:
            raise UserError("loaded anew, it sounds unlike what was evaluated; run python -m evaluate again")
    what = "transcripts are the same" if recipe.train.recognises else f"spectra differ by {worst:.2f} dB at most"
    return f"in a fresh process, {len(kept)} {what}"


def distance_db(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean difference of two spectrograms of waves (n,), from 60 dB below the louder one's peak up."""
    if abs(len(one) - len(other)) > _FRAME:
        return float("inf")
    length = min(len(one), len(other)) // _FRAME * _FRAME
    if not length:
        return 0.0
    sizes = [np.abs(np.fft.rfft(wave[:length].reshape(-1, _FRAME) * np.hanning(_FRAME))) for wave in (one, other)]
    floor = max(float(size.max()) for size in sizes) / 1000 + 1e-9
    levels = [20 * np.log10(np.maximum(size, floor)) for size in sizes]
    return float(np.abs(levels[0] - levels[1]).mean())


def _samples(one: Rendered) -> NDArray[np.float32]:
    assert one.samples is not None
    return one.samples


def _in_a_fresh_process(recipe: Recipe, folder: Path) -> dict[str, NDArray[Any]]:
    with tempfile.TemporaryDirectory() as scratch:
        path, out = Path(scratch, "recipe.yaml"), Path(scratch, "given.npz")
        path.write_text(recipe.text(), encoding="utf-8")
        command = [sys.executable, "-m", "evaluate.reproduce", str(path), "--adapter", str(folder), "--out", str(out)]
        here = Path(__file__).resolve().parents[1]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, env=dict(os.environ))
        if done.returncode:
            said = [line for line in done.stderr.strip().splitlines() if line] or ["it ended without a word"]
            raise UserError(f"it does not load in a fresh process: {said[-1].removeprefix('error: ')}")
        with np.load(out, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}


if __name__ == "__main__":
    run(main, __doc__ or "", options=options)
