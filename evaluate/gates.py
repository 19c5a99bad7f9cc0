"""What the recipe asks of the adapter before it goes anywhere, and whether that is shown."""

from dataclasses import dataclass
from typing import Literal

from evaluate.bias import Bias
from evaluate.statistics import Figure
from recipes.schema import Gates

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
    about: str | None = None  # the group that a gap is of


def gates(asked: Gates, rating: Figure | None, cer: Figure | None, bias: Bias | None) -> list[Gate]:
    """Each gate that is asked. A limit is kept where the whole 95 % interval keeps it."""
    found = []
    if asked.min_rating is not None:
        found.append(_limit("min_rating", asked.min_rating, rating, 1))
    if asked.max_cer is not None:
        found.append(_limit("max_cer", asked.max_cer, cer, -1))
    if asked.max_gap is not None:
        found.append(_gap(asked.max_gap, bias) if bias else Gate("max_gap", asked.max_gap, *[None] * 3, "not shown"))
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
    mine = [gap for gap in bias.of("adapter") if gap.worse is not None]
    turn = 1 if bias.metric == "CER" else -1
    seen = []
    for gap in mine:
        ends = sorted(turn * edge for edge in (gap.low, gap.high) if edge is not None)
        verdict = _verdict([limit - ends[1], limit - ends[0]] if len(ends) == 2 else [])
        rank = ("failed", "not shown", "passed").index(verdict)
        seen.append(
            (
                rank,
                -(gap.worse or 0.0),
                Gate(
                    f"max_gap, {bias.metric}",
                    limit,
                    gap.worse,
                    *(ends or [None] * 2),
                    verdict,
                    f"{gap.factor}: {gap.group}",
                ),
            )
        )  # type: ignore[arg-type]
    if not seen:
        return Gate(f"max_gap, {bias.metric}", limit, None, None, None, "not shown")
    return min(seen, key=lambda one: one[:2])[2]
