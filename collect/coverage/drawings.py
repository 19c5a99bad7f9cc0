"""Plots of the coverage page, as SVG text that needs no other file; its letters are shown in the page's fonts."""

import io
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

from collect.coverage.tally import NOT_GIVEN, TOGETHER

# Told apart in light and dark, and by those who see few colours (Okabe and Ito's palette).
_COLOURS = ("#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#D55E00", "#F0E442", "#0072B2")
_KINDS = {"female": _COLOURS[1], "male": _COLOURS[2], "other": _COLOURS[3], NOT_GIVEN: "#8a93a5", TOGETHER: "#b9bfca"}
_INK = "#7a8291"  # readable on white and on black

Bars = Mapping[str, Mapping[str, float]]  # by bar, then by part of it


def stacked(title: str, bars: Bars, axis: str) -> str:
    """Horizontal bars of several parts, the first on top. `axis`: what is counted."""
    parts = list(dict.fromkeys(part for bar in bars.values() for part in bar))
    colours = [_KINDS.get(part, _COLOURS[at % len(_COLOURS)]) for at, part in enumerate(parts)]
    figure, axes = _axes(title, 0.34 * len(bars) + 0.75 + 0.25 * (len(parts) > 1), "x")
    ends = dict.fromkeys(bars, 0.0)
    for part, colour in zip(parts, colours, strict=True):
        widths = [bar.get(part, 0.0) for bar in bars.values()]
        axes.barh(list(bars), widths, left=list(ends.values()), color=colour, label=part, height=0.62)
        ends = {bar: end + width for (bar, end), width in zip(ends.items(), widths, strict=True)}
    axes.invert_yaxis()
    axes.set_xlabel(axis, color=_INK, fontsize=9)
    if len(parts) > 1:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, labelcolor=_INK, fontsize=9, handlelength=1)
    said = "; ".join(f"{bar} {', '.join(f'{part} {n:.2f}' for part, n in row.items())}" for bar, row in bars.items())
    return _svg(figure, f"{title}, {axis}: {said}")


def histogram(title: str, values: Sequence[float], axis: str, limit: float | None = None) -> str:
    """How often which value comes. `limit`: a dashed line."""
    figure, axes = _axes(title, 1.9, "y")
    counts, edges, _ = axes.hist(values, bins=min(24, max(6, len(values) // 8)), color=_COLOURS[0])
    if limit is not None:
        axes.axvline(limit, color=_COLOURS[4], linestyle="--", linewidth=1.4)
    _integers(axes)
    axes.set_xlabel(axis, color=_INK, fontsize=9)
    most = int(counts.argmax())
    return _svg(
        figure, f"{title}: {len(values)} recordings, most from {edges[most]:.1f} to {edges[most + 1]:.1f} {axis}"
    )


def lengths(title: str, clips: Mapping[int, int], longest: int = 30) -> str:
    """Clips by duration in whole seconds; those of `longest` and more together."""
    last = min(longest, max(clips))
    heights = [clips.get(second, 0) for second in range(last)]
    heights.append(sum(n for second, n in clips.items() if second >= last))
    figure, axes = _axes(title, 1.9, "y")
    axes.bar([second + 0.5 for second in range(last + 1)], heights, width=0.9, color=_COLOURS[0])
    axes.set_xlim(0, last + 1)
    _integers(axes)
    more = f" ({last} and more together)" if max(clips) > last else ""
    axes.set_xlabel("seconds" + more, color=_INK, fontsize=9)
    most = heights.index(max(heights))
    return _svg(figure, f"{title}: {sum(heights)} recordings, most of {most} to {most + 1} seconds")


def _integers(axes: Any) -> None:
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("recordings", color=_INK, fontsize=9)


def _axes(title: str, height: float, grid: Literal["x", "y"]) -> tuple[Any, Any]:
    """A figure without a window system, as wide as a phone shows it, with quiet axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, height), layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=_INK, alpha=0.2, linewidth=0.6)
    axes.set_title(title, loc="left", color=_INK, fontsize=11)
    return figure, axes


def _svg(figure: Any, said: str) -> str:
    """The drawing as text, with what it shows in words for those who do not see it."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.hashsalt": said, "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # it only measures; the browser has fonts
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return f'<svg role="img" aria-label="{escape(said)}"' + text[text.index("<svg") + 4 :]
