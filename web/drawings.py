"""Plots of pages that are one file, as SVG text that needs no other; its letters are shown in the page's fonts."""

import io
import warnings
from html import escape
from typing import Any, Literal

# Told apart in light and dark, and by those who see few colours (Okabe and Ito's palette).
COLOURS = ("#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#D55E00", "#F0E442", "#0072B2")
INK = "#7a8291"  # readable on white and on black


def axes(title: str, height: float, grid: Literal["x", "y"], rows: int = 1) -> tuple[Any, list[Any]]:
    """A figure without a window system, as wide as a phone shows it, and its axes, one below the other.

    `height`: of each, in inches. `title`: of the first.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, height * rows), layout="constrained")
    figure.patch.set_alpha(0)
    found = [figure.add_subplot(rows, 1, row + 1) for row in range(rows)]
    for one in found:
        one.patch.set_alpha(0)
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(INK)
        one.tick_params(colors=INK, labelsize=9)
        one.set_axisbelow(True)
        one.grid(axis=grid, color=INK, alpha=0.2, linewidth=0.6)
    found[0].set_title(title, loc="left", color=INK, fontsize=11)
    return figure, found


def svg(figure: Any, said: str) -> str:
    """The drawing as text, with what it shows in words for those who do not see it; the same in every run."""
    from matplotlib import rc_context

    out = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.hashsalt": said, "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # it only measures; the browser has fonts
        figure.savefig(out, format="svg", metadata=nothing)
    text = out.getvalue()
    return f'<svg role="img" aria-label="{escape(said)}"' + text[text.index("<svg") + 4 :]
