"""Regions of Morocco and varieties of its languages, as people are asked for theirs."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from web.page import HERE, in_language


@cache
def places() -> dict[str, Any]:
    """Regions, dialects and the names of languages."""
    found: dict[str, Any] = yaml.safe_load((HERE / "places.yaml").read_text(encoding="utf-8"))
    return found


def named(rows: Mapping[str, dict[str, str]], language: str) -> list[tuple[str, str]]:
    """Code and name of each choice."""
    return [(code, in_language(row, language)) for code, row in rows.items()]
