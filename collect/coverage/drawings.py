"""Plots of the coverage page."""

from collections.abc import Mapping, Sequence
from typing import Any

from collect.coverage.tally import NOT_GIVEN, TOGETHER
from web.drawings import COLOURS, INK, axes, svg

_KINDS = {"female": COLOURS[1], "male": COLOURS[2], "other": COLOURS[3], NOT_GIVEN: "#8a93a5", TOGETHER: "#b9bfca"}

Bars = Mapping[str, Mapping[str, float]]  # by bar, then by part of it


def stacked(title: str, bars: Bars, axis: str) -> str:
    """Horizontal bars of several parts, the first on top. `axis`: what is counted."""
    parts = list(dict.fromkeys(part for bar in bars.values() for part in bar))
    colours = [_KINDS.get(part, COLOURS[at % len(COLOURS)]) for at, part in enumerate(parts)]
    figure, (plot,) = axes(title, 0.34 * len(bars) + 0.75 + 0.25 * (len(parts) > 1), "x")
    ends = dict.fromkeys(bars, 0.0)
    for part, colour in zip(parts, colours, strict=True):
        widths = [bar.get(part, 0.0) for bar in bars.values()]
        plot.barh(list(bars), widths, left=list(ends.values()), color=colour, label=part, height=0.62)
        ends = {bar: end + width for (bar, end), width in zip(ends.items(), widths, strict=True)}
    plot.invert_yaxis()
    plot.set_xlabel(axis, color=INK, fontsize=9)
    if len(parts) > 1:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, labelcolor=INK, fontsize=9, handlelength=1)
    said = "; ".join(f"{bar} {', '.join(f'{part} {n:.2f}' for part, n in row.items())}" for bar, row in bars.items())
    return svg(figure, f"{title}, {axis}: {said}")


def histogram(title: str, values: Sequence[float], axis: str, limit: float | None = None) -> str:
    """How often which value comes. `limit`: a dashed line."""
    figure, (plot,) = axes(title, 1.9, "y")
    counts, edges, _ = plot.hist(values, bins=min(24, max(6, len(values) // 8)), color=COLOURS[0])
    if limit is not None:
        plot.axvline(limit, color=COLOURS[4], linestyle="--", linewidth=1.4)
    _integers(plot)
    plot.set_xlabel(axis, color=INK, fontsize=9)
    most = int(counts.argmax())
    return svg(
        figure, f"{title}: {len(values)} recordings, most from {edges[most]:.1f} to {edges[most + 1]:.1f} {axis}"
    )


def lengths(title: str, clips: Mapping[int, int], longest: int = 30) -> str:
    """Clips by duration in whole seconds; those of `longest` and more together."""
    last = min(longest, max(clips))
    heights = [clips.get(second, 0) for second in range(last)]
    heights.append(sum(n for second, n in clips.items() if second >= last))
    figure, (plot,) = axes(title, 1.9, "y")
    plot.bar([second + 0.5 for second in range(last + 1)], heights, width=0.9, color=COLOURS[0])
    plot.set_xlim(0, last + 1)
    _integers(plot)
    more = f" ({last} and more together)" if max(clips) > last else ""
    plot.set_xlabel("seconds" + more, color=INK, fontsize=9)
    most = heights.index(max(heights))
    return svg(figure, f"{title}: {sum(heights)} recordings, most of {most} to {most + 1} seconds")


def _integers(plot: Any) -> None:
    plot.yaxis.get_major_locator().set_params(integer=True)
    plot.set_ylabel("recordings", color=INK, fontsize=9)
