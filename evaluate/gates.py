"""What the recipe asks of the adapter before it goes anywhere, and whether that is shown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evaluate.bias import Bias, Gap
from evaluate.statistics import Figure
from recipes.schema import Gates, Recipe

Verdict = Literal["passed", "failed", "not shown"]  # the last: too few data to say either


@dataclass(frozen=True)
class Gate:
    """One key of `evaluate.gates`, and what was found."""

    key: str
    asked: float
    found: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    about: Gap | None = None  # the group that is worst off


def gates(asked: Gates, rating: Figure | None, cer: Figure | None, bias: Bias | None) -> list[Gate]:
    """Each gate that is asked. A limit is kept where the whole 95 % interval keeps it."""
    found = []
    if asked.min_rating is not None:
        found.append(_limit("min_rating", asked.min_rating, rating, 1))
    if asked.max_cer is not None:
        found.append(_limit("max_cer", asked.max_cer, cer, -1))
    if asked.max_gap is not None:
        found.append(
            _gap(asked.max_gap, bias) if bias else Gate("max_gap", asked.max_gap, None, None, None, "not shown")
        )
    return found


def _limit(key: str, limit: float, figure: Figure | None, better: int) -> Gate:
    """`better`: 1 where more is better, -1 where less is."""
    if figure is None:
        return Gate(key, limit, None, None, None, "not shown")
    edges = [None if edge is None else better * (edge - limit) for edge in (figure.low, figure.high)]
    return Gate(key, limit, figure.value, figure.low, figure.high, _verdict(edges))


def _verdict(edges: list[float | None]) -> Verdict:
    """From how far both ends of an interval are on the right side of the limit."""
    known = [edge for edge in edges if edge is not None]
    if len(known) < 2 or min(known) < 0 < max(known):
        return "not shown"
    return "passed" if min(known) >= 0 else "failed"


def _gap(limit: float, bias: Bias) -> Gate:
    """The adapter's groups: none may be worse off by more than the limit. The one furthest beyond it is named."""
    turn = 1 if bias.metric == "CER" else -1
    key, seen = f"max_gap, {bias.metric}", []
    for gap in bias.of("adapter"):
        if gap.worse is None:
            continue
        low, high = (None, None) if gap.low is None or gap.high is None else sorted((turn * gap.low, turn * gap.high))
        verdict = _verdict([None if edge is None else limit - edge for edge in (low, high)])
        rank = ("failed", "not shown", "passed").index(verdict)
        seen.append((rank, -gap.worse, Gate(key, limit, gap.worse, low, high, verdict, gap)))
    if not seen:
        return Gate(key, limit, None, None, None, "not shown")
    return min(seen, key=lambda one: one[:2])[2]


# ---------------------------------------------------------------- on the terminal


def reported(recipe: Recipe) -> list[dict[str, Any]]:
    """The gates as `report.json` has them."""
    rows: list[dict[str, Any]] = json.loads((recipe.folder("evaluate") / "report.json").read_text(encoding="utf-8"))[
        "gates"
    ]
    return rows


def tell(rows: Sequence[Mapping[str, Any]]) -> int:
    """Print each gate's verdict. Returns how many failed."""
    for row in rows:
        found = "nothing to judge by" if row["found"] is None else f"found {row['found']:.3g}"
        if row["low"] is not None and row["high"] is not None:
            found += f" ({row['low']:.3g} to {row['high']:.3g})"
        about = f", {row['about']['kind']} {row['about']['factor']}: {row['about']['group']}" if row["about"] else ""
        print(f"evaluate.gates.{row['key']} {row['asked']:g}: {row['verdict']}; {found}{about}")
    return sum(row["verdict"] == "failed" for row in rows)
