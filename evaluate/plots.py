"""Plots of a report, as SVG text that needs no other file."""

import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from evaluate.statistics import Figure

# Told apart by colour and by place, in light and dark (Okabe and Ito's palette).
_COLOURS = {"base": "#E69F00", "adapter": "#009E73", "recordings": "#56B4E9"}
_INK = "#7a8291"  # readable on white and on black


def intervals(title: str, figures: Mapping[str, Figure | None], reference: float | None = None) -> str:
    """Each system's value with its interval, one line a system; `reference` is a dashed line."""
    shown = [(name, f) for name, f in figures.items() if f is not None and name in _COLOURS]
    figure, axes = _axes(title, height=0.4 * len(shown) + 0.75)
    for place, (name, one) in enumerate(reversed(shown)):
        colour = _COLOURS[name]
        if one.low is not None and one.high is not None:
            axes.plot([one.low, one.high], [place, place], color=colour, linewidth=4, alpha=0.45)
        axes.plot([one.value], [place], "o", color=colour, markersize=8)
    axes.set_yticks(range(len(shown)), [name for name, _ in reversed(shown)])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    if reference is not None:
        axes.axvline(reference, color=_INK, linestyle="--", linewidth=1)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.0), high + 0.05 * (high - min(low, 0.0)))
    return _svg(figure, f"{title}: " + ", ".join(f"{name} {one}" for name, one in shown))


def curves(path: Path) -> str | None:
    """Training and validation loss, and the probes' CER below, over steps. None without two rows of either."""
    rows = _rows(path)
    series = {
        name: [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        for name in ("loss", "valid_loss", "probe_cer")
    }
    if len(series["valid_loss"]) < 2:
        return None
    figure, axes = _axes("Loss", height=2.0, rows=2 if series["probe_cer"] else 1)
    upper, *lower = axes if isinstance(axes, list) else [axes]
    for name, label, colour in (
        ("loss", "training", _INK),
        ("valid_loss", "validation", _COLOURS["adapter"]),
    ):
        if series[name]:
            upper.plot(*zip(*series[name], strict=True), color=colour, label=label, linewidth=1.8)
    upper.legend(frameon=False, labelcolor=_INK, fontsize=9)
    for axis in lower:
        axis.plot(*zip(*series["probe_cer"], strict=True), "o-", color=_COLOURS["adapter"], markersize=4)
        axis.set_title("CER of the probe sentences", loc="left", color=_INK, fontsize=11)
        axis.set_ylim(0, 1.1 * max(rate for _, rate in series["probe_cer"]) or 1)
    (lower or [upper])[-1].set_xlabel("optimiser steps", color=_INK)
    first, last = series["valid_loss"][0], series["valid_loss"][-1]
    return _svg(figure, f"validation loss {first[1]:.3f} at step {first[0]}, {last[1]:.3f} at step {last[0]}")


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _axes(title: str, height: float, rows: int = 1) -> tuple[Any, Any]:
    """A figure without a window system, with quiet axes."""
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(4.4, height * rows), layout="constrained")  # as wide as a phone shows it
    found: Sequence[Any] = [figure.add_subplot(rows, 1, row + 1) for row in range(rows)]
    for axes in found:
        axes.patch.set_alpha(0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(_INK)
        axes.tick_params(colors=_INK, labelsize=9)
        axes.grid(axis="x" if rows == 1 and height < 2.5 else "y", color=_INK, alpha=0.2, linewidth=0.6)
    found[0].set_title(title, loc="left", color=_INK, fontsize=11)
    return figure, list(found) if rows > 1 else found[0]


def _svg(figure: Any, said: str) -> str:
    """The drawing as text, with what it shows in words for those who do not see it."""
    from matplotlib import rc_context

    out = io.StringIO()
    figure.patch.set_alpha(0)
    with rc_context({"svg.hashsalt": said}):  # ids that are the same in every run, and differ between drawings
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return f'<svg role="img" aria-label="{escape(said)}"' + text[text.index("<svg") + 4 :]
