"""One HTML file that says what was found, with players and plots: `python -m evaluate.report RECIPE`."""

import base64
import io
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import soundfile

from evaluate import plots, results, stimuli
from evaluate.answers import Answer, Answers
from evaluate.results import Results
from evaluate.statistics import Figure, crossed_mean
from recipes.command import run
from recipes.provenance import read_lineage, write_text
from recipes.schema import Recipe
from web.offline import render

_PAGES = Path(__file__).parent / "pages"
_PLAYERS_MIB = 13.0  # of sound in the page, as it is written there; what does not fit is counted
_ORDER = ("base", "adapter", "recordings")


def main(recipe: Recipe) -> None:
    print(f"report: {write(recipe)}")


def write(recipe: Recipe) -> Path:
    """Write `report.html` and `report.json` from the results, and the ratings there are. Returns the page."""
    found = results.read(recipe)
    answers, earlier = _answers(recipe)
    heard = listening(answers, recipe)
    rows, silent = players(recipe, found)
    folder = recipe.folder("evaluate")
    text = render(
        _PAGES,
        "report.html",
        recipe=recipe,
        summary=summary(recipe, found, heard),
        results=found,
        tables={"measured": found.figures, "heard": heard},
        plots=drawings(recipe, found, heard),
        players=rows,
        silent=silent,
        listeners=len({answer.listener for answer in answers}),
        answers=len(answers),
        earlier=earlier,
        lineage=read_lineage(folder),
        nano="nano" in str(recipe.train.base),
        cells=cells,
    )
    data = {"results": asdict(found), "listening": {m: _plain(row) for m, row in heard.items()}}
    write_text(folder / "report.json", json.dumps(data, ensure_ascii=False, indent=1))
    write_text(folder / "report.html", text)
    return folder / "report.html"


# ---------------------------------------------------------------- in words


def summary(recipe: Recipe, found: Results, heard: dict[str, dict[str, Figure | None]]) -> list[str]:
    """The finding in plain sentences: which is better, by how much, how sure, on what."""
    said = []
    row = found.figures.get("CER", {})
    base, adapter, gap = row.get("base"), row.get("adapter"), row.get("adapter - base")
    if base and adapter and gap:
        said.append(
            f"{verdict(gap, 100, 'wrong characters of 100')}, on the same {gap.n} unseen sentences: "
            f"{share(adapter)} with it, {share(base)} with the base model."
        )
    elif adapter:
        said.append(f"Of 100 characters, {share(adapter)} are wrong, on {adapter.n} unseen sentences.")
    loss = found.figures.get("validation loss", {}).get("adapter - base")
    if loss:
        said.append(f"{verdict(loss, 1, 'loss')}, on {loss.n} validation utterances.")
    recordings = found.figures.get("CER", {}).get("recordings")
    if recordings:
        said.append(
            f"The recogniser that counted is itself wrong on {share(recordings)} of 100 characters of recordings."
        )
    if not recipe.train.recognises:
        said.append(_preference(heard.get("preferred over base", {}).get("adapter")))
    said += [f"Left out: {count}, {reason}." for reason, count in found.left_out.items()]
    return said


def _preference(liked: Figure | None) -> str:
    """Whether listeners preferred the adapter."""
    if liked is None:
        return "Nobody has compared them by ear yet: how they sound to people is not known."
    said = f"Listeners preferred the adapter in {share(liked)} of 100 pairs, {liked.n} in all; no difference is half."
    if liked.low is not None and liked.high is not None:
        told = not liked.low <= 0.5 <= liked.high
    else:
        told = liked.all_alike and liked.value != 0.5
    return said if told else said + " That does not tell which of the two they prefer."


def verdict(gap: Figure, scale: float, what: str) -> str:
    """A difference adapter - base, less is better, in words with its interval."""
    if gap.low is None or gap.high is None:
        return f"The adapter gives {gap.value * scale:+.2f} {what} against the base ({gap.why})"
    if not gap.apart_from_zero:
        span = f"95 % interval {gap.low * scale:+.2f} to {gap.high * scale:+.2f}"
        return f"No difference between adapter and base can be told ({gap.value * scale:+.2f} {what}, {span})"
    near, far = sorted((abs(gap.low) * scale, abs(gap.high) * scale))
    better, less = ("better", "less") if gap.value < 0 else ("worse", "more")
    if what != "loss":
        less = "fewer" if gap.value < 0 else "more"
    by = f"{abs(gap.value) * scale:.2f} {less} {what} (95 % interval {near:.2f} to {far:.2f})"
    return f"The adapter is {better} than the base: {by}"


def share(figure: Figure) -> str:
    """A rate as of a hundred, with its interval."""
    if figure.low is None or figure.high is None:
        return f"{figure.value * 100:.1f} ({figure.why})"
    return f"{figure.value * 100:.1f} ({figure.low * 100:.1f} to {figure.high * 100:.1f})"


def cells(figure: Figure | None) -> tuple[str, str, str]:
    """A figure for a table: its value, its interval or why there is none, and its n."""
    if figure is None:
        return "", "nothing to measure", "0"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}", figure.why or "", str(figure.n)
    return f"{figure.value:.3f}", f"{figure.low:.3f} to {figure.high:.3f}", str(figure.n)


# ---------------------------------------------------------------- what people heard


def listening(answers: list[Answer], recipe: Recipe) -> dict[str, dict[str, Figure | None]]:
    """Mean rating by system, and how often each was preferred; listeners and sentences are both drawn anew."""

    def figure(points: list[tuple[float, Answer]]) -> Figure | None:
        values, who, what = zip(*((value, a.listener, a.item) for value, a in points), strict=True)
        return crossed_mean(values, who, what, recipe.evaluate.resamples, recipe.seed)

    table: dict[str, dict[str, Figure | None]] = {}
    for system in _ORDER:
        if rated := [(float(a.ratings[system]), a) for a in answers if system in a.ratings]:
            table.setdefault("mean rating, 1 to 5", {})[system] = figure(rated)
    both = [
        (float(a.ratings["adapter"] - a.ratings["base"]), a) for a in answers if {"adapter", "base"} <= {*a.ratings}
    ]
    if both:
        table["mean rating, 1 to 5"]["adapter - base"] = figure(both)
    for other in ("base", "recordings"):
        for system in ("adapter", "base"):
            pairs = [a for a in answers if a.preferred and system != other and {*a.systems} == {system, other}]
            if points := [(0.5 if a.preferred == "none" else float(a.preferred == system), a) for a in pairs]:
                table.setdefault(f"preferred over {other}", {})[system] = figure(points)
    return table


def _answers(recipe: Recipe) -> tuple[list[Answer], int]:
    """The answers on these stimuli, and how many there are on earlier ones."""
    if not (recipe.folder("evaluate") / "answers.sqlite").is_file() or recipe.train.recognises:
        return [], 0
    answers = Answers(recipe, stimuli.name_of_test(stimuli.read(recipe)))
    try:
        return answers.all(), answers.of_other_tests()
    finally:
        answers.close()


# ---------------------------------------------------------------- pictures and sound


def drawings(recipe: Recipe, found: Results, heard: dict[str, dict[str, Figure | None]]) -> list[str]:
    """The plots of the page, as SVG."""
    drawn = [plots.curves(recipe.folder("train") / "metrics.jsonl")]
    for metric, row in {**found.figures, **heard}.items():
        reference = {"duration ratio": 1.0}.get(metric, 0.5 if metric.startswith("preferred") else None)
        if any(row.get(name) for name in _ORDER):
            drawn.append(plots.intervals(metric, row, reference))
    return [one for one in drawn if one]


def players(recipe: Recipe, found: Results) -> tuple[list[dict[str, Any]], int]:
    """One row a sentence: its text, and what each system said, heard or wrote. And how many had no room for sound."""
    clips = {} if recipe.train.recognises else {(s.item, s.system): s for s in stimuli.read(recipe)}
    rows: dict[str, dict[str, Any]] = {}
    left = _PLAYERS_MIB * 2**20
    silent = 0
    for one in found.measured:
        row = rows.setdefault(one.item, {"text": one.text, "direction": _direction(one.text), "systems": []})
        sound = None
        if clip := clips.get((one.item, one.system)):
            if left > 0:
                sound = base64.b64encode(_compressed(stimuli.sound(recipe, clip))).decode()
                left -= len(sound)
            else:
                silent += 1
        rate = one.char_edits / one.chars if one.heard is not None and one.chars else None
        row["systems"].append({"name": one.system, "heard": one.heard, "cer": rate, "sound": sound})
    return list(rows.values()), silent


@cache
def _compressed(wav: bytes) -> bytes:
    """A WAV as MP3, which every browser plays."""
    samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="float32")
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format="MP3")
    return out.getvalue()


def _direction(text: str) -> str:
    return "rtl" if any("\u0590" <= letter <= "\u08ff" for letter in text) else "ltr"


def _plain(row: dict[str, Figure | None]) -> dict[str, Any]:
    return {system: asdict(figure) if figure else None for system, figure in row.items()}


if __name__ == "__main__":
    run(main, __doc__ or "")
