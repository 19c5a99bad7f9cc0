"""One HTML file that says what was found, with players and plots: `python -m evaluate.report RECIPE`."""

import base64
import io
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import soundfile
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluate import plots, results, stimuli
from evaluate.answers import Answer, Answers
from evaluate.results import Results
from evaluate.statistics import Figure, crossed_mean
from recipes.command import run
from recipes.provenance import read_lineage, write_text
from recipes.schema import Recipe

_PAGES = Path(__file__).parent / "pages"
_FONT = Path(__file__).parents[1] / "web" / "static" / "fonts" / "NotoSansTifinagh.woff2"
_PLAYERS_MIB = 12.0  # of sound in the page; what does not fit is counted in it


def main(recipe: Recipe) -> None:
    print(f"report: {write(recipe)}")


def write(recipe: Recipe) -> Path:
    """Write `report.html` and `report.json` from the results, and the ratings there are. Returns the page."""
    found = results.read(recipe)
    answers = _answers(recipe)
    heard = listening(answers, recipe)
    rows, silent = players(recipe, found)
    folder = recipe.folder("evaluate")
    environment = Environment(loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined)
    text = environment.get_template("report.html").render(
        recipe=recipe,
        summary=summary(recipe, found, heard),
        results=found,
        tables={"measured": found.figures, "heard by listeners": heard},
        plots=drawings(recipe, found, heard),
        players=rows,
        silent=silent,
        listeners=len({answer.listener for answer in answers}),
        answers=len(answers),
        lineage=read_lineage(folder),
        font=base64.b64encode(_FONT.read_bytes()).decode(),
        nano="nano" in str(recipe.train.base),
        show=show,
    )
    data = {"results": asdict(found), "listening": {m: _plain(row) for m, row in heard.items()}}
    write_text(folder / "report.json", json.dumps(data, ensure_ascii=False, indent=1))
    write_text(folder / "report.html", text)
    return folder / "report.html"


# ---------------------------------------------------------------- in words


def summary(recipe: Recipe, found: Results, heard: dict[str, dict[str, Figure | None]]) -> list[str]:
    """The finding in plain sentences: which is better, by how much, how sure, on what."""
    said = []
    for metric, what in (("CER", "of 100 characters"), ("WER", "of 100 words")):
        row = found.figures.get(metric, {})
        base, adapter, gap = row.get("base"), row.get("adapter"), row.get("adapter - base")
        if base and adapter and gap:
            said.append(
                f"{what.capitalize()}, {share(base)} are wrong with the base model and {share(adapter)} with the "
                f"{recipe.train.method} adapter: {verdict(gap, 100)}, on {gap.n} unseen sentences."
            )
            break
        if adapter:
            said.append(f"{what.capitalize()}, {share(adapter)} are wrong, on {adapter.n} unseen sentences.")
            break
    loss = found.figures.get("validation loss", {}).get("adapter - base")
    if loss:
        said.append(f"The loss on {loss.n} validation utterances: {verdict(loss, 1)}.")
    recordings = found.figures.get("CER", {}).get("recordings")
    if recordings:
        said.append(
            f"The recogniser that counted is itself wrong on {share(recordings)} of 100 characters of recordings."
        )
    liked = heard.get("preferred over base", {}).get("adapter")
    said.append(
        f"Listeners preferred the adapter in {share(liked)} of 100 pairs (no difference counts as half)."
        if liked
        else "Nobody has listened yet: how it sounds to people is not known."
    )
    if found.left_out:
        said.append(f"{found.left_out} sentences were left out because training had the same ones.")
    return said


def verdict(gap: Figure, scale: float) -> str:
    """A difference adapter - base, less is better, in words with its interval."""
    if gap.low is None or gap.high is None:
        return f"a difference of {gap.value * scale:+.2f}, with not enough data to say how sure"
    if not gap.apart_from_zero:
        span = f"95 % interval {gap.low * scale:+.2f} to {gap.high * scale:+.2f}"
        return f"no difference can be told ({gap.value * scale:+.2f}, {span})"
    near, far = sorted((abs(gap.low) * scale, abs(gap.high) * scale))
    better = "better" if gap.value < 0 else "worse"
    return f"the adapter is {better} by {abs(gap.value) * scale:.2f} (95 % interval {near:.2f} to {far:.2f})"


def share(figure: Figure) -> str:
    """A rate as of a hundred, with its interval."""
    if figure.low is None or figure.high is None:
        return f"{figure.value * 100:.1f} (too few for an interval)"
    return f"{figure.value * 100:.1f} ({figure.low * 100:.1f} to {figure.high * 100:.1f})"


def show(figure: Figure | None) -> str:
    """A figure for a table."""
    return "nothing to measure" if figure is None else str(figure)


# ---------------------------------------------------------------- what people heard


def listening(answers: list[Answer], recipe: Recipe) -> dict[str, dict[str, Figure | None]]:
    """Mean rating by system, and how often the adapter was preferred; listeners and sentences both drawn anew."""
    settings = recipe.evaluate
    table: dict[str, dict[str, Figure | None]] = {}
    for system in ("base", "adapter", "recordings"):
        rated = [a for a in answers if system in a.ratings]
        if rated:
            values, who, what = zip(*((a.ratings[system], a.listener, a.item) for a in rated), strict=True)
            figure = crossed_mean(values, who, what, settings.resamples, recipe.seed)
            table.setdefault("mean rating, 1 to 5", {})[system] = figure
    chosen = [a for a in answers if a.preferred]
    if chosen:
        worth = {"adapter": 1.0, "none": 0.5}
        points = [worth.get(str(a.preferred), 0.0) for a in chosen]
        who, what = zip(*((a.listener, a.item) for a in chosen), strict=True)
        figure = crossed_mean(points, who, what, settings.resamples, recipe.seed)
        table["preferred over base"] = {"adapter": figure}
    return table


def _answers(recipe: Recipe) -> list[Answer]:
    if not (recipe.folder("evaluate") / "answers.sqlite").is_file():
        return []
    answers = Answers(recipe)
    try:
        return answers.all()
    finally:
        answers.close()


# ---------------------------------------------------------------- pictures and sound


def drawings(recipe: Recipe, found: Results, heard: dict[str, dict[str, Figure | None]]) -> list[str]:
    """The plots of the page, as SVG."""
    drawn = [plots.curves(recipe.folder("train") / "metrics.jsonl")]
    for metric, row in {**found.figures, **heard}.items():
        reference = {"duration ratio": 1.0, "preferred over base": 0.5}.get(metric)
        if any(row.get(name) for name in ("base", "adapter", "recordings")):
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
            data = _compressed((recipe.folder("evaluate") / "stimuli" / f"{clip.name}.wav").read_bytes())
            if len(data) < left:
                left -= len(data)
                sound = base64.b64encode(data).decode()
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
