"""Regions of Morocco and varieties of its languages, as people are asked for theirs."""

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

import yaml

from recipes.records import AgeBand, Gender
from web.page import HERE, in_language


@cache
def places() -> dict[str, Any]:
    """Regions, dialects and the names of languages."""
    found: dict[str, Any] = yaml.safe_load((HERE / "places.yaml").read_text(encoding="utf-8"))
    return found


def named(rows: Mapping[str, dict[str, str]], language: str) -> list[tuple[str, str]]:
    """Code and name of each choice."""
    return [(code, in_language(row, language)) for code, row in rows.items()]


def about_people(t: Mapping[str, str], language: str, children: bool) -> dict[str, list[tuple[str, str]]]:
    """What all are asked about themselves: code and name of each region, age and gender. `t`: an app's sentences."""
    ages = [band for band in get_args(AgeBand) if children or band != "under18"]
    return {
        "regions": named(places()["regions"], language),
        "ages": [(band, t["under18"] if band == "under18" else band) for band in ages],
        "genders": [(gender, t[gender]) for gender in get_args(Gender)],
    }
