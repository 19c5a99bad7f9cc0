"""Whether intervals of listening tests hold what they promise, and how fast: `python -m benchmarks.evaluate`.

`--quick` takes a tenth of the panels and a smaller table for the comparison with statsmodels. One line a figure; 1
when one falls short. Panels are simulated: listeners and sentences differ, and each likes or suits one of two systems
more, though neither system is better. The seeds are fixed.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evaluate.statistics import mixed, sequential
from evaluate.statistics.bootstrap import crossed_means

SIZES = ((12, 10), (20, 20), (30, 20))
# Variances on a scale of 1 to 5: listener, sentence, listener by system, sentence by system, the rest.
LISTENER, ITEM, TASTE, FIT, REST = 0.30, 0.10, 0.08, 0.08, 0.50

Figure = tuple[str, float, float | None, float | None]  # name, value, at least, at most


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--report", type=int, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.report:
        return measure_report(asked.report)
    share = 10 if asked.quick else 1
    short = [say(*figure) for listeners, items in SIZES for figure in coverage(listeners, items, 500 // share)]
    short += [say(*figure) for figure in peeking(300 // share)]
    short += [say(*figure) for figure in invariance()]
    short += [say(*figure) for figure in speed(*((15, 10, 3) if asked.quick else (30, 20, 4)))]
    short += [say(*figure) for figure in report(100_000 // share)]
    return int(any(short))


def say(name: str, value: float, least: float | None = None, most: float | None = None) -> bool:
    """Print a figure; True where it falls short of its goal."""
    short = (least is not None and value < least) or (most is not None and value > most)
    goal = f"≥ {least:g} " if least is not None else ""
    goal += f"≤ {most:g}" if most is not None else ""
    print(f"{name:<66} {value:10.4f}  {goal:<15} {('short' if short else 'ok') if goal else ''}".rstrip(), flush=True)
    return short


Columns = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def panel(draw: np.random.Generator, listeners: int, items: int, systems: int = 2) -> Columns:
    """Ratings of equally good systems: scores, listeners, items, systems."""
    who, what, which = (axis.ravel() for axis in np.indices((listeners, items, systems)))
    scores = 3 + draw.normal(0, LISTENER**0.5, listeners)[who] + draw.normal(0, ITEM**0.5, items)[what]
    scores += draw.normal(0, TASTE**0.5, (listeners, systems))[who, which]
    scores += draw.normal(0, FIT**0.5, (items, systems))[what, which] + draw.normal(0, REST**0.5, len(who))
    return scores, who, what, which


def coverage(listeners: int, items: int, runs: int) -> Iterator[Figure]:
    """How often intervals of 95 % hold the truth, which is no difference."""
    held, draw = dict.fromkeys(("mixed", "two-way bootstrap", "pooled"), 0), np.random.default_rng(17)
    for run in range(runs):
        scores, who, what, which = panel(draw, listeners, items)
        fit = mixed.fit(scores, np.eye(2)[which], who.tolist(), what.tolist(), which.tolist())
        assert isinstance(fit, mixed.Fit)
        found = fit.contrast([1, -1])
        held["mixed"] += found.low <= 0 <= found.high
        names = np.array(["a", "b"])[which].tolist()
        drawn = crossed_means(scores, who.tolist(), what.tolist(), names, 500, run)[1]["a", "b"]
        held["two-way bootstrap"] += drawn.low is not None and drawn.high is not None and drawn.low <= 0 <= drawn.high
        a, b = scores[which == 0], scores[which == 1]
        held["pooled"] += abs(a.mean() - b.mean()) <= 1.96 * float(np.sqrt(a.var() / len(a) + b.var() / len(b)))
    size = f"{listeners} listeners x {items} sentences, {runs} panels"
    slack = 1.96 * (0.95 * 0.05 / runs) ** 0.5  # what so few panels can tell
    yield (
        f"coverage, mixed model, {size}",
        held["mixed"] / runs,
        0.93 - (slack if runs < 200 else 0),
        0.98 + (slack if runs < 200 else 0),
    )
    yield f"coverage, two-way bootstrap, {size}", held["two-way bootstrap"] / runs, 0.93 - slack, None
    yield f"coverage, all ratings pooled, {size}", held["pooled"] / runs, None, 0.87


def peeking(runs: int) -> Iterator[Figure]:
    """A test of two equal systems that is looked at after every fifth listener, up to 60."""
    stopped = naive = 0
    draw = np.random.default_rng(18)
    for _ in range(runs):
        scores, who, what, which = panel(draw, 60, 20)
        apart = np.clip(scores[which == 0] - scores[which == 1], -4, 4)
        one, item = who[which == 0], what[which == 0]
        by_listener = np.bincount(one, apart) / 20
        stops = wrong = False
        for n in range(5, 61, 5):
            seen = one < n
            look = sequential.look(apart[seen], one[seen].tolist(), item[seen].tolist(), 4, list(range(60)))
            assert isinstance(look, sequential.Look)
            stops |= look.may_stop
            wrong |= abs(by_listener[:n].mean()) > 1.96 * by_listener[:n].std(ddof=1) / np.sqrt(n)
        stopped, naive = stopped + stops, naive + wrong
    yield f"false stops, looks by betting, {runs} tests of 12 looks", stopped / runs, None, 0.05
    yield f"false stops, usual intervals, {runs} tests of 12 looks", naive / runs, None, None


def invariance() -> Iterator[Figure]:
    """How far figures move when rows are shuffled and gaps are written as rows without a rating."""
    scores, who, what, which = panel(np.random.default_rng(19), 20, 15, 3)
    names = np.array(["a", "b", "c"])[which]
    draw = np.random.default_rng(20)
    given = draw.random(len(scores)) < 0.7
    order = draw.permutation(np.flatnonzero(given))
    holes = np.where(given, scores, np.nan)
    moved = 0.0
    one = crossed_means(holes, who.tolist(), what.tolist(), names.tolist(), 500, 1)[1]["a", "b"]
    other = crossed_means(*(c[order].tolist() for c in (scores, who, what, names)), 500, 1)[1]["a", "b"]  # type: ignore[arg-type]
    assert one.low is not None and other.low is not None
    moved = max(moved, abs(one.low - other.low), abs(one.value - other.value))
    fits = []
    for rows in (np.flatnonzero(given), order):
        fit = mixed.fit(
            scores[rows], np.eye(3)[which[rows]], who[rows].tolist(), what[rows].tolist(), names[rows].tolist()
        )
        assert isinstance(fit, mixed.Fit)
        fits.append(fit.contrast([1, -1, 0]))
    yield (
        "largest change by row order and by how gaps are written",
        max(moved, abs(fits[0].low - fits[1].low)),
        None,
        1e-5,
    )


def speed(listeners: int, items: int, systems: int) -> Iterator[Figure]:
    """The crossed model beside statsmodels' on the same ratings, and the two-way bootstrap."""
    from pandas import DataFrame
    from statsmodels.regression.mixed_linear_model import MixedLM

    scores, who, what, which = panel(np.random.default_rng(21), listeners, items, systems)
    frame = DataFrame({"y": scores, "who": who, "what": what, "which": which, "all": 1})
    parts = {
        "who": "0 + C(who)",
        "what": "0 + C(what)",
        "taste": "0 + C(who):C(which)",
        "fit": "0 + C(what):C(which)",
    }
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = MixedLM.from_formula(
            "y ~ 0 + C(which)", groups="all", re_formula="0", vc_formula=parts, data=frame
        ).fit()
    their_s, begun = time.perf_counter() - begun, time.perf_counter()
    ours = mixed.fit(scores, np.eye(systems)[which], who.tolist(), what.tolist(), which.tolist())
    our_s = time.perf_counter() - begun
    assert isinstance(ours, mixed.Fit)
    names = {"who": "listener", "what": "item", "taste": "listener:system", "fit": "item:system"}
    apart = [abs(ours.variances["residual"] - theirs.scale), *np.abs(ours.beta - theirs.fe_params.to_numpy())]
    apart += [
        abs(ours.variances[names[n]] - v) for n, v in zip(theirs.model.exog_vc.names, theirs.vcomp, strict=True)
    ]
    yield f"statsmodels' MixedLM, {len(scores)} ratings, s", their_s, None, None
    yield f"crossed model, {len(scores)} ratings, s", our_s, None, None
    yield f"statsmodels' time over ours, {len(scores)} ratings", their_s / our_s, 15, None
    yield "largest difference of an estimate", float(max(apart)), None, 1e-3
    scores, who, what, which = panel(np.random.default_rng(22), 40, 60, 4)
    begun = time.perf_counter()
    crossed_means(scores, who.tolist(), what.tolist(), np.array(list("abcd"))[which].tolist(), 10_000, 1)
    yield "10,000 two-way draws at 40 x 60 x 4 ratings, s", time.perf_counter() - begun, None, 20


def report(ratings: int) -> Iterator[Figure]:
    """Findings and pages from so many ratings, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.evaluate", "--report", str(ratings)]
    seconds, mib = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    yield f"report from {ratings:,} ratings, s", float(seconds), None, 60
    yield f"report from {ratings:,} ratings, MiB", float(mib), None, 1024


def measure_report(ratings: int) -> int:
    """Print seconds and MiB of a report's findings, bias and three pages."""
    from benchmarks.report import made_up

    begun = time.perf_counter()
    made_up(ratings)
    print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
