"""A recipe's evaluation made up, so that its report can be timed: `benchmarks.evaluate` calls it."""

import tempfile
from pathlib import Path

import numpy as np

from evaluate import results, stimuli
from evaluate.objective import Measured
from evaluate.ratings import Person, Ratings, Score
from evaluate.report import contents, page
from evaluate.report.heard import Heard
from evaluate.results import Results
from evaluate.systems import Item, Rendered
from recipes.schema import Recipe, load

ROOT = Path(__file__).resolve().parents[1]
SYSTEMS = ("adapter", "base", "recordings")
SENTENCES = 50


def made_up(ratings: int) -> None:
    """Lay results of 50 sentences into a folder, and write the report of so many ratings of them, 40 a listener."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = load(ROOT / "recipes" / "demo.yaml").model_copy(update={"work_dir": Path(folder)})
        items = spoken(recipe)
        listeners = -(-ratings // 40)
        told = Heard("open", [panel(items, listeners, ratings)], listeners, ratings)
        contents.heard = lambda recipe: told  # type: ignore[assignment]
        page.write(recipe)


def spoken(recipe: Recipe) -> list[str]:
    """Results and clips of two systems."""
    draw = np.random.default_rng(1)
    clips = [
        Rendered(
            system, Item(f"sentence {n}", "zgh-Tfng", "s1"), draw.normal(0, 0.1, 16_000).astype(np.float32), 16_000
        )
        for n in range(SENTENCES)
        for system in ("adapter", "base")  # type: ignore[arg-type]
    ]
    stimuli.make(recipe, clips)
    rows = [Measured(one.system, one.item.id, "s1", one.item.text, "x", 3, 20, 1, 4, 1.0, 1, 4) for one in clips]
    results.write(recipe, Results(SENTENCES, {}, {}, rows))
    return [one.item.id for one in clips[::2]]


def panel(items: list[str], listeners: int, ratings: int) -> Ratings:
    """40 ratings by each listener, of three systems."""
    draw = np.random.default_rng(2)
    who, place = np.divmod(np.arange(ratings), 40)
    what, which = draw.integers(0, len(items), ratings), draw.integers(0, len(SYSTEMS), ratings)
    scores = 3 + draw.normal(0, 0.5, listeners)[who] + draw.normal(0, 0.3, len(items))[what] + 0.3 * (which == 0)
    scores = np.clip(np.round(scores + draw.normal(0, 0.7, ratings)), 1, 5)
    rows = [
        Score(f"l{a}", items[b], SYSTEMS[c], float(d), int(e) + 1)
        for a, b, c, d, e in zip(who, what, which, scores, place, strict=True)
    ]
    people = [
        Person(f"l{n}", {"gender": ("female", "male")[n % 2], "varieties": ("Sous", "Rif", "Atlas")[n % 3]})
        for n in range(listeners)
    ]
    return Ratings("acr", rows, [], people, ("adapter", "base"))
