"""Plots of the report: figures of what was kept and of what was left out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prepare.report.losses import Group
from prepare.report.measures import Measure
from web.drawings import COLOURS, INK, axes, svg

_KEPT, _LEFT_OUT = COLOURS[0], COLOURS[1]
_LIMIT = COLOURS[4]
_FLAT: dict[str, Any] = {"solid_capstyle": "butt"}  # a line ends where its interval does

Values = Sequence[float] | NDArray[np.float64]
Row = tuple[str, Values, Values]  # name, before, after


def histogram(measure: Measure, kept: Values, left_out: Values) -> str:
    """How often which figure comes, with what was left out on top of what was kept; the limits are dashed lines."""
    figure, (plot,) = axes(_title(measure), 2.2, "y")
    shown = [np.asarray(values, float) * measure.scale for values in (kept, left_out)]
    edges = _edges(np.concatenate(shown), [limit.value * measure.scale for limit in measure.limits])
    clipped = [np.clip(values, edges[0], edges[-1]) for values in shown]
    plot.hist(clipped, bins=edges, stacked=True, color=(_KEPT, _LEFT_OUT), label=("kept", "left out"))
    _lines(plot, measure)
    plot.yaxis.get_major_locator().set_params(integer=True)
    plot.set_ylabel("recordings", color=INK, fontsize=9)
    if len(left_out):
        figure.legend(loc="outside lower center", ncols=2, frameon=False, labelcolor=INK, fontsize=9, handlelength=1)
    parts = [f"{word} {_spread(values)}" for word, values in zip(("kept", "left out"), shown, strict=True)]
    return svg(figure, f"{_title(measure)}: {'; '.join(parts)}{_said(measure)}")


def strips(measure: Measure, rows: Sequence[Row]) -> str:
    """Each group before (grey) and after (green): the middle half, the middle nine tenths, and the median."""
    figure, (plot,) = axes("by group, before and after", 0.34 * len(rows) + 0.7, "x")
    for at, (_, *both) in enumerate(rows):
        for values, offset, colour in zip(both, (0.17, -0.17), (INK, _KEPT), strict=True):
            if len(values):
                marks = np.quantile(np.asarray(values, float) * measure.scale, (0.05, 0.25, 0.5, 0.75, 0.95))
                place = len(rows) - 1 - at + offset
                plot.plot(marks[[0, 4]], [place, place], color=colour, linewidth=1.2, **_FLAT)
                plot.plot(marks[[1, 3]], [place, place], color=colour, linewidth=4, alpha=0.75, **_FLAT)
                plot.plot(marks[[2]], [place], "o", color=colour, markersize=5)
    plot.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    plot.set_ylim(-0.6, len(rows) - 0.4)
    _lines(plot, measure)
    said = (
        f"{name} before {_spread(before, measure.scale)}, after {_spread(after, measure.scale)}"
        for name, before, after in rows
    )
    return svg(figure, f"{_title(measure)} by group: {'; '.join(said)}{_said(measure)}")


def shares(title: str, groups: Sequence[Group]) -> str:
    """The share of each group that stayed, with its 95 % interval."""
    figure, (plot,) = axes(title, 0.34 * len(groups) + 0.75, "x")
    for at, group in enumerate(groups):
        place, colour = len(groups) - 1 - at, _LIMIT if group.marked else _KEPT
        if group.low is not None and group.high is not None:
            plot.plot(
                [100 * group.low, 100 * group.high], [place, place], color=colour, linewidth=4, alpha=0.45, **_FLAT
            )
        plot.plot([100 * group.stayed / group.came], [place], "o", color=colour, markersize=7)
    plot.set_yticks(range(len(groups)), [group.name for group in reversed(groups)])
    plot.set_ylim(-0.6, len(groups) - 0.4)
    plot.set_xlim(-3, 103)
    plot.set_xlabel("% that stayed", color=INK, fontsize=9)
    said = ", ".join(f"{group.name} {100 * group.stayed / group.came:.0f} %" for group in groups)
    return svg(figure, f"{title}: {said}")


def _title(measure: Measure) -> str:
    return f"{measure.label}, {measure.unit}" if measure.unit else measure.label


def _lines(plot: Any, measure: Measure) -> None:
    for limit in measure.limits:
        plot.axvline(limit.value * measure.scale, color=_LIMIT, linestyle="--", linewidth=1.4)
    if measure.target is not None:
        plot.axvline(measure.target * measure.scale, color=INK, linestyle=":", linewidth=1.4)


def _edges(values: NDArray[np.float64], limits: Sequence[float]) -> NDArray[np.float64]:
    """Borders of the bars: one falls on the limit where there is one. The outermost bars take what is beyond."""
    low, high = (float(edge) for edge in np.quantile(values, (0.001, 0.999)))
    low, high = min(low, *limits, high), max(high, *limits, low)
    if high - low < 1e-9:
        return np.array([low - 0.5, low + 0.5])
    width = (high - low) / min(30, max(8, len(values) // 8))
    anchor = limits[0] if limits else low
    first = anchor - width * np.ceil((anchor - low) / width - 1e-9)
    edges: NDArray[np.float64] = first + width * np.arange(round(np.ceil((high - first) / width - 1e-9)) + 1)
    return edges


def _spread(values: Values, scale: float = 1) -> str:
    if not len(values):
        return "none"
    low, middle, high = scale * np.quantile(np.asarray(values, float), (0.05, 0.5, 0.95))
    return f"{len(values)}, median {middle:.3g}, nine tenths from {low:.3g} to {high:.3g}"


def _said(measure: Measure) -> str:
    return "".join(f"; {limit.key} is {limit.value:g}" for limit in measure.limits)
