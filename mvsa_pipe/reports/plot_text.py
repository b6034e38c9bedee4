"""Text in plots: names from data that are safe to draw, numbers, and descriptions in words."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, TypeVar

import msgspec

from mvsa_pipe.analysis.finding import (
    Estimate,
    ForestPlot,
    LinePlot,
    MatrixPlot,
    OverlayPlot,
    Plot,
    ScatterPlot,
    Series,
)
from mvsa_pipe.printable import one_line
from mvsa_pipe.reports.cells import NOT_RECORDED

# XML has no place for them, not even as escapes.
_NOT_XML = str.maketrans({"\ufffe": "\ufffd", "\uffff": "\ufffd"})
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
# A description is heard from start to end: longer lists are cut.
_MOST_ITEMS = 12
# Numbers beyond it, and below its inverse, have no place on an axis.
_LARGEST = 1e15


def shown(text: str, columns: int = 0) -> str:
    """One line without control characters; longer text is cut in the middle.

    Args:
        text: Any text.
        columns: The most columns that it may take; 0 for any number.
    """
    clean = one_line(text).translate(_NOT_XML)
    if not columns or width(clean) <= columns:
        return clean
    first, last = columns - columns // 3 - 1, columns // 3
    return f"{_within(clean, first)}…{_within(clean[::-1], last)[::-1]}"


def width(text: str) -> int:
    """Columns that text takes; wide characters take two, combining ones none."""
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _within(text: str, columns: int) -> str:
    taken = 0
    for place, character in enumerate(text):
        taken += _columns(character)
        if taken > columns:
            return text[:place]
    return text


def number(value: float | None) -> str:
    """A number in three or four digits; a dash if there is none."""
    if value is None or not math.isfinite(value):
        return NOT_RECORDED
    size = abs(value)
    for unit, letter in _UNITS:
        if size >= max(unit, 1e4):
            return f"{value / unit:.3g}{letter}"
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.3f}" if 0.01 <= size < 10 else f"{value:.3g}"


def tick(value: float) -> str:
    """A number at an axis, without trailing zeros."""
    for unit, letter in _UNITS:
        if abs(value) >= max(unit, 1e4):
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}"


def with_intervals(estimates: Sequence[Estimate]) -> list[str]:
    """``0.712 [0.690, 0.733]`` of each, with the same decimals.

    The decimals give half of the median interval two digits.
    """
    widths = [e.high - e.low for e in estimates]
    known = [width for width in widths if math.isfinite(width) and width > 0]
    decimals = min(max(1 - math.floor(math.log10(median(known) / 2)), 1), 6) if known else 3
    return [
        _with_interval(estimate, decimals) if width in known else number(estimate.value)
        for estimate, width in zip(estimates, widths, strict=True)
    ]


def _with_interval(estimate: Estimate, decimals: int) -> str:
    parts = (estimate.value, estimate.low, estimate.high)
    if max(map(abs, parts)) >= 1e4 or estimate.high - estimate.low >= 100:
        value, low, high = map(number, parts)
    else:
        value, low, high = (f"{part:.{decimals}f}" for part in parts)
    return f"{value} [{low}, {high}]"


def cell(value: float | None, percent: bool, *, short: bool = False) -> str:
    """A number in a cell of a matrix; a short one has one digit less."""
    if value is None or not math.isfinite(value):
        return NOT_RECORDED
    if percent:
        return f"{100 * value:.0f}" if short else f"{100 * value:.1f}"
    return f"{value:.2f}" if short and 0.01 <= abs(value) < 10 else number(value)


PlotT = TypeVar("PlotT", bound=Plot)


def drawable(plot: PlotT) -> PlotT:
    """The same plot with numbers that arithmetic on axes can bear: NaN for infinite ones."""
    bounded: PlotT = msgspec.convert(_bounded(msgspec.to_builtins(plot)), type(plot))
    return bounded


def _bounded(value: Any) -> Any:  # noqa: ANN401  # a plain value of any kind
    if isinstance(value, dict):
        return {name: _bounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_bounded(each) for each in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return math.nan
    return 0.0 if abs(value) < 1 / _LARGEST else min(max(value, -_LARGEST), _LARGEST)


def finite(values: Iterable[float | None]) -> list[float]:
    """The values that can be drawn."""
    return [value for value in values if value is not None and math.isfinite(value)]


def description(plot: Plot) -> str:
    """The main numbers of a plot in words, for readers who cannot see it."""
    match plot:
        case LinePlot():
            lines = _listed([_series(series) for series in plot.series])
            marks = _listed([f"{shown(k)} at {number(v)}" for k, v in plot.marks.items()])
            sentences = [f"{plot.y_label} by {plot.x_label}. {lines}", marks and f"Marked: {marks}"]
        case ForestPlot():
            texts = with_intervals([row.estimate for row in plot.rows])
            named = zip(plot.rows, texts, strict=True)
            rows = _listed([f"{shown(row.name)} {text}" for row, text in named])
            lines = _listed([f"{shown(k)} {number(v)}" for k, v in plot.references.items()])
            sentences = [f"{plot.x_label}: {rows}", lines and f"Reference lines: {lines}"]
        case ScatterPlot():
            points = _listed(
                [f"{shown(p.name)} at {number(p.x)}, {number(p.y)}" for p in plot.points]
            )
            sentences = [f"{plot.y_label} by {plot.x_label}: {points}"]
        case MatrixPlot():
            sentences = [f"{plot.row_label} by {plot.column_label}: {_matrix(plot)}"]
        case OverlayPlot():
            sentences = _overlay(plot)
    return shown(" ".join(f"{sentence}." for sentence in sentences if sentence))


def _listed(items: Sequence[str]) -> str:
    listed = "; ".join(items[:_MOST_ITEMS])
    rest = len(items) - _MOST_ITEMS
    return f"{listed}; and {rest} more" if rest > 0 else listed


def _series(series: Series) -> str:
    pairs = [(x, y) for x, y in zip(series.x, series.y, strict=True) if len(finite((x, y))) == 2]
    if not pairs:
        return f"{shown(series.name)}: no values"
    (first_x, first), (last_x, last) = pairs[0], pairs[-1]
    top_x, top = max(pairs, key=lambda pair: pair[1])
    return (
        f"{shown(series.name)}: {number(first)} at {number(first_x)}, {number(last)} at "
        f"{number(last_x)}, highest {number(top)} at {number(top_x)}"
    )


def _matrix(plot: MatrixPlot) -> str:
    cells = [
        (value, f"{shown(row)}, {shown(column)} {cell(value, plot.percent)}")
        for row, values in zip(plot.rows, plot.values, strict=True)
        for column, value in zip(plot.columns, values, strict=True)
        if value is not None and math.isfinite(value)
    ]
    if not cells:
        return "no values"
    if len(cells) <= 2 * _MOST_ITEMS:
        return "; ".join(text for _, text in cells)
    return f"{len(cells)} values; lowest: {min(cells)[1]}; highest: {max(cells)[1]}"


def _overlay(plot: OverlayPlot) -> list[str]:
    heaviest = sorted(
        ((w, word) for word, w in plot.words if math.isfinite(w)), key=lambda pair: -pair[0]
    )
    words = "; ".join(f"{shown(word)} {number(weight)}" for weight, word in heaviest[:5])
    patches = [
        (weight, row, column)
        for row, weights in enumerate(plot.patches, start=1)
        for column, weight in enumerate(weights, start=1)
        if math.isfinite(weight)
    ]
    sentences = [f"Post {shown(plot.post_id)}", words and f"Heaviest words: {words}"]
    if patches:
        weight, row, column = max(patches)
        sentences.append(f"Heaviest patch: row {row}, column {column}, {number(weight)}")
    return sentences
