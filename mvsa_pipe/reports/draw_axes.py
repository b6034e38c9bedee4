"""Draws lines, forest plots and scatter plots."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mvsa_pipe.analysis.finding import ForestPlot, ForestRow, LinePlot, Point, ScatterPlot, Series
from mvsa_pipe.reports.canvas import (
    MARKERS,
    SMALL,
    WIDTH,
    Drawing,
    Frame,
    axes_in,
    axis_labels,
    grid,
    legend,
    legend_px,
    limits,
    lines_at,
    note_empty,
    number_ticks,
    room_above,
    text_px,
)
from mvsa_pipe.reports.label_places import Box, place_labels
from mvsa_pipe.reports.palette import Colours
from mvsa_pipe.reports.plot_text import finite, shown, tick, with_intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# After eight series colours repeat, with another dash.
_DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5, 1.5, 1.5)), (0, (1.5, 1.5)))
# Up to so many values, each has a marker.
_MARKED = 15


def draw_lines(plot: LinePlot, colours: Colours, title: str) -> Drawing:
    """Lines with bands, vertical marks and the diagonal."""
    places = [*plot.marks.values(), *(x for series in plot.series for x in series.x)]
    heights = [v for s in plot.series for v in (*s.y, *s.low, *s.high)]
    across, upward = limits(places, 0.02), limits(heights)
    if plot.diagonal:
        across = upward = limits([*heights, *places], 0.0)
    names = [series.name for series in plot.series if series.name]
    frame = Frame(height=230, bottom=42 + legend_px(names))
    frame = replace(frame, top=room_above(plot.marks, across, frame))
    figure, axes = axes_in(frame, colours, title)
    axes.set(xlim=across, ylim=upward)
    whole = all(x.is_integer() for series in plot.series for x in finite(map(float, series.x)))
    number_ticks(axes, "x", whole=whole)
    number_ticks(axes, "y")
    grid(axes, colours, "y")
    axis_labels(axes, colours, plot.x_label, plot.y_label)
    if plot.diagonal:
        axes.plot(across, across, color=colours.muted, linewidth=1, linestyle=(0, (2, 3)))
    handles = []
    coloured = 0
    for series in plot.series:
        handles.append(_line(axes, series, colours, coloured, step=plot.step))
        coloured += not series.dashed
    lines_at(axes, colours, plot.marks, frame)
    if not finite(heights):
        note_empty(axes, colours)
    named = [handle for handle, s in zip(handles, plot.series, strict=True) if s.name]
    legend(axes, colours, named, names, frame)
    return Drawing(figure)


def _line(axes: "Axes", series: Series, colours: Colours, place: int, *, step: bool) -> Any:  # noqa: ANN401  # an artist
    colour = colours.muted if series.dashed else colours.series(place)
    if series.low and series.high:
        axes.fill_between(
            series.x,
            series.low,
            series.high,
            color=colour,
            alpha=0.18,
            linewidth=0,
            step="post" if step else None,
        )
    (line,) = axes.plot(
        series.x,
        series.y,
        color=colour,
        linewidth=1.4 if series.dashed else 2,
        linestyle=(0, (5, 3)) if series.dashed else _DASHES[place // 8 % len(_DASHES)],
        drawstyle="steps-post" if step else "default",
        marker="" if series.dashed or len(series.x) > _MARKED else MARKERS[place % len(MARKERS)],
        markersize=4.5,
    )
    return line


def draw_forest(plot: ForestPlot, colours: Colours, title: str) -> Drawing:
    """Values with intervals, one below the other, with their numbers at the right."""
    estimates = [row.estimate for row in plot.rows]
    bounds = [number for e in estimates for number in (e.value, e.low, e.high)]
    across = limits([*bounds, *plot.references.values()])
    groups = list(dict.fromkeys(row.group for row in plot.rows))
    listed = groups if 1 < len(groups) < len(plot.rows) else []
    names = [shown(row.name, 30) for row in plot.rows]
    texts = with_intervals(estimates)
    step = 20 if len(names) <= 60 else 15
    frame = Frame(
        height=step * max(len(names), 2),
        left=16 + max(map(text_px, names), default=30),
        right=16 + max((text_px(text, SMALL) for text in texts), default=0),
        bottom=42 + legend_px(listed),
    )
    frame = replace(frame, top=room_above(plot.references, across, frame))
    figure, axes = axes_in(frame, colours, title)
    axes.set(xlim=across, ylim=(max(len(names), 2) - 0.5, -0.5))
    number_ticks(axes, "x", most=5)
    grid(axes, colours, "x")
    axis_labels(axes, colours, plot.x_label)
    axes.set_yticks(range(len(names)), names, size=SMALL + 1, color=colours.ink)
    handles = [_estimates(axes, plot.rows, g, colours, i) for i, g in enumerate(groups)]
    for place, text in enumerate(texts):
        axes.text(
            1 + 8 / frame.inner_width,
            place,
            text,
            transform=axes.get_yaxis_transform(),
            va="center",
            size=SMALL,
            color=colours.muted,
        )
    lines_at(axes, colours, plot.references, frame)
    if not finite(bounds):
        note_empty(axes, colours)
    legend(axes, colours, handles, listed, frame)
    return Drawing(figure)


def _estimates(
    axes: "Axes", rows: Sequence[ForestRow], group: str, colours: Colours, number: int
) -> Any:  # noqa: ANN401  # an artist
    colour = colours.series(number)
    places = [place for place, row in enumerate(rows) if row.group == group]
    values = [rows[place].estimate for place in places]
    whole = [
        (place, value)
        for place, value in zip(places, values, strict=True)
        if len(finite((value.low, value.high))) == 2
    ]
    axes.hlines(
        [place for place, _ in whole],
        [value.low for _, value in whole],
        [value.high for _, value in whole],
        color=colour,
        linewidth=2,
    )
    (markers,) = axes.plot(
        [value.value for value in values],
        places,
        color=colour,
        linestyle="",
        marker=MARKERS[number % len(MARKERS)],
        markersize=6.5,
    )
    return markers


def draw_scatter(plot: ScatterPlot, colours: Colours, title: str) -> Drawing:
    """Named points; names that would cover points or other names are left out."""
    known = [point for point in plot.points if len(finite((point.x, point.y))) == 2]
    points = [point for point in known if point.x > 0 or not plot.log_x]
    groups = list(dict.fromkeys(point.group for point in points))
    listed = groups if 1 < len(groups) < len(points) else []
    frame = Frame(height=270, bottom=42 + legend_px(listed))
    figure, axes = axes_in(frame, colours, title)
    upward = limits([v for p in points for v in (p.y, p.low, p.high)], 0.08)
    number_ticks(axes, "x", "y")
    if plot.log_x:
        _log_axis(axes, [point.x for point in points])
    else:
        axes.set_xlim(limits([point.x for point in points], 0.08))
    axes.set_ylim(upward)
    grid(axes, colours, "both")
    axis_labels(axes, colours, plot.x_label, plot.y_label)
    handles = [_points(axes, points, g, colours, i) for i, g in enumerate(groups)]
    _label(axes, points, colours)
    if not points:
        note_empty(axes, colours)
    legend(axes, colours, handles, listed, frame)
    return Drawing(figure)


def _log_axis(axes: "Axes", places: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    powers = [math.log10(place) for place in places] or [0.0]
    room = max(0.08 * (max(powers) - min(powers)), 0.1)
    low, high = min(powers) - room, max(powers) + room
    axes.set_xscale("log")
    axes.set_xlim(10.0**low, 10.0**high)
    few = high - low < 2
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.xaxis.set_minor_locator(NullLocator())


def _points(
    axes: "Axes", points: Sequence[Point], group: str, colours: Colours, number: int
) -> Any:  # noqa: ANN401  # an artist
    colour = colours.series(number)
    own = [point for point in points if point.group == group]
    ranged = [p for p in own if len(finite((p.low, p.high))) == 2]
    axes.vlines(
        [p.x for p in ranged],
        [p.low or 0.0 for p in ranged],
        [p.high or 0.0 for p in ranged],
        color=colour,
        linewidth=1.4,
        alpha=0.55,
    )
    (markers,) = axes.plot(
        [p.x for p in own],
        [p.y for p in own],
        color=colour,
        linestyle="",
        marker=MARKERS[number % len(MARKERS)],
        markersize=7,
    )
    return markers


def _label(axes: "Axes", points: Sequence[Point], colours: Colours) -> None:
    """Writes names beside points; a thin line leads to those that stand apart."""
    place = axes.transData.transform
    dots = [tuple(place((p.x, p.y))) for p in points]
    names = [shown(point.name, 26) for point in points]
    low, high = axes.transAxes.transform([(0, 0), (1, 1)])
    inside = Box(float(low[0]), float(low[1]), min(float(high[0]) + 12, WIDTH), float(high[1]))
    sizes = [(text_px(name, SMALL), SMALL + 2.0) for name in names]
    for name, dot, spot in zip(names, dots, place_labels(dots, sizes, inside), strict=True):
        if spot is None:
            continue
        axes.annotate(
            name,
            dot,
            spot.anchor,
            xycoords="figure pixels",
            textcoords="figure pixels",
            ha=spot.side,
            va="center",
            size=SMALL,
            color=colours.ink,
            arrowprops=(
                {"arrowstyle": "-", "color": colours.muted, "linewidth": 0.6, "shrinkB": 4}
                if spot.far
                else None
            ),
        )
