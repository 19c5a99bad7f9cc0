"""Plots of a report."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evaluate.statistics import Figure
from web.drawings import COLOURS, INK, axes, svg

_COLOURS = {"base": COLOURS[1], "adapter": COLOURS[0], "recordings": COLOURS[2]}
_OTHERS = (COLOURS[3], COLOURS[6], COLOURS[4])

Said = Callable[[str], str]


def intervals(
    title: str,
    figures: Mapping[str, Figure | None],
    reference: float | None = None,
    name: Said = str,
    from_zero: bool = True,
) -> str:
    """Each system's value with its interval, one line a system; `reference` is a dashed line.

    Differences ("first - second") are not drawn beside values. `name`: how a system is called.
    """
    shown = [(name(key), colour(key, at), f) for at, (key, f) in enumerate(figures.items()) if f and " - " not in key]
    figure, (plot,) = axes(title, 0.4 * len(shown) + 0.75, "x")
    for place, (_, tint, one) in enumerate(reversed(shown)):
        if one.low is not None and one.high is not None:
            plot.plot([one.low, one.high], [place, place], color=tint, linewidth=4, alpha=0.45)
        plot.plot([one.value], [place], "o", color=tint, markersize=8)
    plot.set_yticks(range(len(shown)), [label for label, *_ in reversed(shown)])
    plot.set_ylim(-0.6, len(shown) - 0.4)
    if reference is not None:
        plot.axvline(reference, color=INK, linestyle="--", linewidth=1)
    low, high = plot.get_xlim()
    if from_zero:
        low = min(low, 0.0)
        plot.set_xlim(low, high + 0.05 * (high - low))
    return svg(figure, f"{title}: " + ", ".join(f"{label} {one}" for label, _, one in shown))


def colour(system: str, place: int) -> str:
    """A colour that is a system's own where it is one of ours."""
    return _COLOURS.get(system, _OTHERS[place % len(_OTHERS)])


def curves(path: Path, say: Said = str) -> str | None:
    """Training and validation loss, and the probes' CER below, over steps. None without two rows of either."""
    rows = _rows(path)
    series = {
        name: [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        for name in ("loss", "valid_loss", "probe_cer")
    }
    if len(series["valid_loss"]) < 2:
        return None
    figure, (upper, *lower) = axes(say("loss"), 2.0, "y", rows=2 if series["probe_cer"] else 1)
    for name, label, tint in (
        ("loss", "training", INK),
        ("valid_loss", "validation", _COLOURS["adapter"]),
    ):
        if series[name]:
            upper.plot(*zip(*series[name], strict=True), color=tint, label=say(label), linewidth=1.8)
    upper.legend(frameon=False, labelcolor=INK, fontsize=9)
    for below in lower:
        below.plot(*zip(*series["probe_cer"], strict=True), "o-", color=_COLOURS["adapter"], markersize=4)
        below.set_title(say("probe_cer"), loc="left", color=INK, fontsize=11)
        below.set_ylim(0, 1.1 * max(rate for _, rate in series["probe_cer"]) or 1)
    (lower or [upper])[-1].set_xlabel(say("steps"), color=INK)
    first, last = series["valid_loss"][0], series["valid_loss"][-1]
    return svg(figure, f"validation loss {first[1]:.3f} at step {first[0]}, {last[1]:.3f} at step {last[0]}")


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
