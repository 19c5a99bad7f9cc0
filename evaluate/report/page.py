"""The report as HTML: a page a language, each one file that needs no other; and as JSON."""

import json
from pathlib import Path
from typing import Any

from evaluate import plots
from evaluate.metrics import METRICS
from evaluate.report import stated, tables
from evaluate.report.contents import Contents, contents
from evaluate.report.lead import lead
from evaluate.report.players import players
from evaluate.report.words import NAMES, Words
from recipes.provenance import write_text
from recipes.schema import Recipe
from web.offline import render

_HERE = Path(__file__).parent


def write(recipe: Recipe) -> Path:
    """Write the pages and `report.json` from the results, and the ratings there are. Returns the first page."""
    found = contents(recipe)
    heard, silent = players(recipe, found.results)
    folder, languages = recipe.folder("evaluate"), list(dict.fromkeys(recipe.evaluate.report.languages))
    said = {language: lead(found, Words(language)) for language in languages}
    data = json.dumps(found.json() | {"lead": said}, ensure_ascii=False, indent=1)
    for place, language in enumerate(languages):
        text = html(found, Words(language), languages, heard, silent)
        write_text(folder / page_name(language, first=place == 0), text)
    for language in {*NAMES} - {*languages[1:]}:  # of an earlier choice of languages
        (folder / page_name(language, first=False)).unlink(missing_ok=True)
    write_text(folder / "report.json", data)
    return folder / page_name(languages[0], first=True)


def page_name(language: str, first: bool) -> str:
    return "report.html" if first else f"report.{language}.html"


def html(found: Contents, say: Words, languages: list[Any], heard: list[dict[str, Any]], silent: int) -> str:
    """One page. `languages`: of all pages, the main one first; `heard`: rows of players."""
    links = [(NAMES[one], one, page_name(one, place == 0)) for place, one in enumerate(languages)]
    return render(
        _HERE,
        "report.html",
        say=say,
        found=found,
        recipe=found.recipe,
        results=found.results,
        lineage=found.lineage,
        links=links if len(links) > 1 else [],
        lead=lead(found, say),
        tests=[tables.listening(one, say) for one in found.tests],
        bias=[tables.bias(one, say) for one in found.bias],
        gates=[tables.gate(one, say) for one in found.gates],
        figures={
            tables.heading(metric, say): tables.figures(row, say) for metric, row in found.results.figures.items()
        },
        plots=drawings(found, say),
        curves=plots.curves(found.recipe.folder("train") / "metrics.jsonl", say),
        done=tables.done(found, say),
        pages=stated.pages(found.recipe) if found.tests else [],
        made_from=tables.made_from(found, say),
        players=heard,
        silent=silent,
        nano="nano" in str(found.recipe.train.base),
    )


def drawings(found: Contents, say: Words) -> list[str]:
    """The plots of what was measured."""
    drawn = []
    for metric, row in found.results.figures.items():
        if any(figure and " - " not in name for name, figure in row.items()):
            reference = METRICS[metric].target if metric in METRICS else None
            drawn.append(plots.intervals(say.metric(metric), row, reference, say.row))
    return drawn
