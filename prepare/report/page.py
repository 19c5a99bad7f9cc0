"""The report as one HTML file: who lost what, how figures are spread, and whom to listen to."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prepare import dataset, export
from prepare.figures import FACTS, Figures, shareable
from prepare.report import drawings, words
from prepare.report.losses import ANY, SEVERAL, Group, Table
from prepare.report.measures import Measure, measures
from prepare.report.outcomes import NOT_GIVEN, Came, Outcome
from prepare.report.players import Shelf
from recipes.provenance import read_lineage
from recipes.records import Quality
from recipes.schema import Recipe
from web.offline import render

_PAGES = Path(__file__).parent
_SPEAKERS = 20  # rows; of those who lose surely more, all


def html(
    recipe: Recipe,
    came: Came,
    tables: Sequence[Table],
    alone: Sequence[Group],
    shelves: Sequence[Shelf],
    silent: int,
) -> str:
    """The page. `alone`: each speaker as a group; `silent`: players without room for their sound."""
    salt = export.read_salt(recipe)
    codes = {one.clip.speaker: export.pseudonym(one.clip.speaker, salt) for one in came.outcomes}
    told = Facts(came, recipe.collect.coverage.min_speakers)
    marked = [group for group in alone if group.losses[ANY].verdict == "more"]
    return render(
        _PAGES,
        "report.html",
        name=recipe.name,
        purpose=recipe.prepare.purpose,
        made=read_lineage(dataset.dataset_folder(recipe)),
        version=dataset.dataset_hash(recipe),
        lead=words.headline(came, tables, alone, recipe.prepare.purpose),
        totals=totals(came),
        tables=[
            (table, drawings.shares(f"Stayed, by {words.FACTOR[table.factor]}", table.groups)) for table in tables
        ],
        fewest=recipe.collect.coverage.min_speakers,
        speakers=list(alone[: max(len(marked), _SPEAKERS)]),
        others=max(0, len(alone) - max(len(marked), _SPEAKERS)),
        figures=figures(came, tables, known_measures(recipe, came)),
        shelves=shelves,
        silent=silent,
        ANY=ANY,
        SEVERAL=SEVERAL,
        words=words,
        code=codes.__getitem__,
        facts=told.of,
        measured=measured,
        why=lambda one: unnamed(one, codes),
    )


def known_measures(recipe: Recipe, came: Came) -> list[Measure]:
    """What was measured of any recording, in the order of `Quality`; duration comes first."""
    known = {name for one in came.outcomes for name in one.figures}
    return measures((name for name in ("duration_s", *Quality.model_fields) if name in known), recipe.prepare)


def totals(came: Came) -> dict[str, str]:
    """The few numbers at the top."""
    stayed_s = sum(one.figures["duration_s"] for one in came.kept)
    found = {"came": f"{len(came.outcomes):,}", "stayed": words.percent(len(came.kept), len(came.outcomes))}
    return found | {"speech that stayed": words.span(stayed_s), "left out": f"{len(came.left_out):,}"}


def figures(came: Came, tables: Sequence[Table], known: Sequence[Measure]) -> list[dict[str, Any]]:
    """Each figure's plots, or the value that all have; and of how many that were left out it is not known."""
    parts, found = _parts(came, tables), []
    for measure in known:
        kept, left_out = (_values(part, measure) for part in (came.kept, came.left_out))
        lowest, highest = min(kept + left_out), max(kept + left_out)
        rows: list[drawings.Row] = [
            (name, _values(before, measure), _values(after, measure)) for name, (before, after) in parts.items()
        ]
        drawn = [
            drawings.histogram(measure, kept, left_out),
            drawings.strips(measure, [row for row in rows if row[1] or row[2]]),
        ]
        shown = drawn if measure.said(lowest) != measure.said(highest) else []
        unmeasured = len(came.left_out) - len(left_out)
        found.append({"measure": measure, "plots": shown, "alike": lowest, "unmeasured": unmeasured})
    return found


def _parts(came: Came, tables: Sequence[Table]) -> dict[str, tuple[list[Outcome], list[Outcome]]]:
    """What came and what stayed of all and of each group; of each split, what stayed."""
    found = {"all": (came.outcomes, came.kept)}
    for split in dataset.SPLITS:
        found[split] = ([], [one for one in came.kept if one.row and one.row[0] == split])
    for table in tables:
        mine: dict[str, tuple[list[Outcome], list[Outcome]]] = {group.name: ([], []) for group in table.groups}
        for one in came.outcomes:
            before, after = mine[table.names[one.groups[table.factor]]]
            before.append(one)
            if one.kept:
                after.append(one)
        for name, part in mine.items():
            plain = name not in (SEVERAL, NOT_GIVEN, *found)
            found[name if plain else f"{name} ({words.FACTOR[table.factor]})"] = part
    return found


def _values(part: Sequence[Outcome], measure: Measure) -> list[float]:
    return [one.figures[measure.name] for one in part if measure.name in one.figures]


def measured(one: Outcome, measure: Measure | None) -> str:
    """What a player says of its recording's figures."""
    said = [f"{one.figures['duration_s']:.1f} s"]
    if measure and measure.name != "duration_s" and measure.name in one.figures:
        said.insert(0, f"{measure.label.lower()} {measure.said(one.figures[measure.name])}")
    return ", ".join(said)


def unnamed(one: Outcome, codes: Mapping[str, str]) -> str:
    """Why a recording was left out, with other codes for speakers, and without what names a file."""
    if one.kind.startswith("audio cannot"):
        return one.kind
    known = "|".join(re.escape(code) for code in sorted(codes, key=len, reverse=True))
    return re.sub(rf"(?<!\w)({known})(?!\w)", lambda found: codes[found[1]], one.reason or "")


class Facts:
    """Which facts about a speaker can stand beside a voice: those that enough people share, all together."""

    def __init__(self, came: Came, least: int) -> None:
        sharing = defaultdict[tuple[str | None, ...], set[str]](set)
        for one in came.outcomes:
            if one.clip.speaker not in came.synthetic:
                facts = _facts(one)
                for length in range(1, len(FACTS) + 1):
                    sharing[facts[:length]].add(one.clip.speaker)
        self._came, self._least, self._figures = came, least, Figures(sharing=sharing)

    def of(self, one: Outcome) -> list[str]:
        """The values that may be shown, language first."""
        facts = _facts(one)
        if one.clip.speaker not in self._came.synthetic:
            facts = shareable(self._figures, facts, self._least)
        return [one.groups["language"], *(fact for fact in facts if fact)]


def _facts(one: Outcome) -> tuple[str | None, ...]:
    return tuple(None if one.groups[fact] == NOT_GIVEN else one.groups[fact] for fact in FACTS)
