"""Plots of a report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluate.statistics import Figure
from web.drawings import COLOURS, INK, axes, svg

_COLOURS = {"base": COLOURS[1], "adapter": COLOURS[0], "recordings": COLOURS[2]}


def intervals(title: str, figures: Mapping[str, Figure | None], reference: float | None = None) -> str:
    """Each system's value with its interval, one line a system; `reference` is a dashed line."""
    shown = [(name, f) for name, f in figures.items() if f is not None and name in _COLOURS]
    figure, (plot,) = axes(title, 0.4 * len(shown) + 0.75, "x")
    for place, (name, one) in enumerate(reversed(shown)):
        colour = _COLOURS[name]
        if one.low is not None and one.high is not None:
            plot.plot([one.low, one.high], [place, place], color=colour, linewidth=4, alpha=0.45)
        plot.plot([one.value], [place], "o", color=colour, markersize=8)
    plot.set_yticks(range(len(shown)), [name for name, _ in reversed(shown)])
    plot.set_ylim(-0.6, len(shown) - 0.4)
    if reference is not None:
        plot.axvline(reference, color=INK, linestyle="--", linewidth=1)
    low, high = plot.get_xlim()
    plot.set_xlim(min(low, 0.0), high + 0.05 * (high - min(low, 0.0)))
    return svg(figure, f"{title}: " + ", ".join(f"{name} {one}" for name, one in shown))


def curves(path: Path) -> str | None:
    """Training and validation loss, and the probes' CER below, over steps. None without two rows of either."""
    rows = _rows(path)
    series = {
        name: [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        for name in ("loss", "valid_loss", "probe_cer")
    }
    if len(series["valid_loss"]) < 2:
        return None
    figure, (upper, *lower) = axes("Loss", 2.0, "y", rows=2 if series["probe_cer"] else 1)
    for name, label, colour in (
        ("loss", "training", INK),
        ("valid_loss", "validation", _COLOURS["adapter"]),
    ):
        if series[name]:
            upper.plot(*zip(*series[name], strict=True), color=colour, label=label, linewidth=1.8)
    upper.legend(frameon=False, labelcolor=INK, fontsize=9)
    for below in lower:
        below.plot(*zip(*series["probe_cer"], strict=True), "o-", color=_COLOURS["adapter"], markersize=4)
        below.set_title("CER of the probe sentences", loc="left", color=INK, fontsize=11)
        below.set_ylim(0, 1.1 * max(rate for _, rate in series["probe_cer"]) or 1)
    (lower or [upper])[-1].set_xlabel("optimiser steps", color=INK)
    first, last = series["valid_loss"][0], series["valid_loss"][-1]
    return svg(figure, f"validation loss {first[1]:.3f} at step {first[0]}, {last[1]:.3f} at step {last[0]}")


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
