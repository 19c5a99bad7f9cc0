"""Forced alignment against ctc-segmentation on the same emissions: `python -m benchmarks.align [--quick]`.

Prints one line a figure, `name  value  goal  ok|short`, and exits with 1 when one falls short. The speech is
espeak-ng's, heard by recipes/nano_asr. Needs `pip install ctc-segmentation`, which the workbench itself does not use.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import ctc_segmentation
import numpy as np
from numpy.typing import NDArray

from prepare.align import spell
from prepare.recogniser import emissions, open_recogniser
from prepare.text import normalise
from prepare.viterbi import best_path
from tests.spoken import spoken

ROOT = Path(__file__).resolve().parents[1]
COUNT = 10 if "--quick" in sys.argv else 40
ROUNDS = 5


def main() -> None:
    recogniser = open_recogniser(str(ROOT / "recipes" / "nano_asr"))
    lines = (ROOT / "recipes" / "text" / "tamazight.txt").read_text(encoding="utf-8").splitlines()[:COUNT]
    ids = [spell(recogniser, normalise(line, "zgh-Tfng")).ids for line in lines]
    heard = emissions(recogniser, [spoken(line).samples for line in lines])
    space = spell(recogniser, "ⴰ ⴰ").ids[1:2]
    # One after the other, with a space between, as one recording of some minutes.
    long = np.concatenate(heard), np.concatenate([part for one in ids for part in (one, space)][:-1])
    settings = ctc_segmentation.CtcSegmentationParameters(
        char_list=list(recogniser.tokenizer.get_vocab()), index_duration=recogniser.step_s, blank=recogniser.blank
    )

    def ours(frames: NDArray[np.float32], target: NDArray[np.int32]) -> NDArray[np.int64]:
        path = best_path(frames, target, recogniser.blank)
        return np.searchsorted(path, 2 * np.arange(len(target)) + 1)

    def theirs(frames: NDArray[np.float32], target: NDArray[np.int32]) -> NDArray[np.int64]:
        text, _ = ctc_segmentation.prepare_token_list(settings, [target])
        timings, _, _ = ctc_segmentation.ctc_segmentation(settings, frames, text)
        return np.round(timings[2 : 2 + len(target)] / recogniser.step_s).astype(np.int64)  # after start and blank

    apart = [ours(*pair) - theirs(*pair) for pair in zip(heard, ids, strict=True)]
    alone = seconds(ours, list(zip(heard, ids, strict=True))), seconds(theirs, list(zip(heard, ids, strict=True)))
    joined = seconds(ours, [long]), seconds(theirs, [long])
    short = line("clips, times ctc-segmentation", alone[1] / alone[0], 3)
    short |= line(f"{len(long[0]) * recogniser.step_s:.0f} s in one, times it", joined[1] / joined[0], 3)
    # The first letter is left out: its start is free there, and takes the silence before it here.
    begins = [1 + np.flatnonzero(one == space[0]) for one in ids]
    words = np.concatenate([gap[at] for gap, at in zip(apart, begins, strict=True)])
    letters = np.concatenate([gap[1:] for gap in apart])
    short |= line("word starts within one frame of its", float(np.mean(np.abs(words) <= 1)), 0.99)
    short |= line("letters within one frame of its", float(np.mean(np.abs(letters) <= 1)), 0.95)
    raise SystemExit(short)


def seconds(work: Callable[..., object], pairs: list[tuple[NDArray[np.float32], NDArray[np.int32]]]) -> float:
    """The best of some rounds, after one that compiles."""
    work(*pairs[0])
    found = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for pair in pairs:
            work(*pair)
        found.append(time.perf_counter() - begun)
    return min(found)


def line(name: str, value: float, goal: float) -> bool:
    """One figure. True where it falls short."""
    print(f"{name:<40} {value:8.3f}  goal ≥ {goal:g}  {'ok' if value >= goal else 'short'}")
    return value < goal


if __name__ == "__main__":
    main()
