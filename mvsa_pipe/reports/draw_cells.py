"""Draws matrices and attention over a post: cells whose opacity is the number."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mvsa_pipe.analysis.finding import MatrixPlot, OverlayPlot
from mvsa_pipe.reports.canvas import (
    SMALL,
    WIDTH,
    Drawing,
    Frame,
    axes_in,
    blank,
    note_empty,
    text_px,
)
from mvsa_pipe.reports.palette import Colours
from mvsa_pipe.reports.plot_text import cell, finite, shown
from mvsa_pipe.reports.svg_markup import FONT_SIZE, Placed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Text on a cell must stay readable in both themes, so cells never become opaque.
_STRONGEST = 0.6
# Shades between nothing and the strongest: more cannot be told apart, and cells of one shade are
# one element of the file.
_SHADES = 30
_WORD_LINE, _WORD_HEIGHT, _MARGIN = 26, 20, 8
_MOST_WORDS = 400

_Cell = tuple[float, float, float, float, float]


def draw_matrix(plot: MatrixPlot, colours: Colours, title: str) -> Drawing:
    """A heat map with its numbers in the cells, where they fit."""
    rows = [shown(name, 24) for name in plot.rows]
    columns = [shown(name, 18) for name in plot.columns]
    left = 32 + max((text_px(name, SMALL) for name in rows), default=0)
    room = (WIDTH - left - 14) / max(len(columns), 1)
    texts, widest = _numbers(plot, room)
    turned = any(text_px(name, SMALL) > room - 6 for name in columns)
    names_px = max((text_px(name, SMALL) for name in columns), default=0) if turned else 14
    room = min(room, max(72, widest + 12))
    high = 26 if len(rows) <= 40 else 13
    top = names_px + 26
    right = WIDTH - left - room * max(len(columns), 1)
    frame = Frame(high * max(len(rows), 1), left, right, top, _MARGIN)
    figure, axes = axes_in(frame, colours, title)
    blank(axes)
    axes.set(xlim=(0, max(len(columns), 1)), ylim=(max(len(rows), 1), 0))
    least, most = _ends(value for line in plot.values for value in line)
    _shade(
        axes,
        [
            (column, row, 1, 1, (value - least) / (most - least))
            for row, line in enumerate(plot.values)
            for column, value in enumerate(line)
            if value is not None and math.isfinite(value)
        ],
        colours.series(0),
    )
    if widest + 2 <= room and high >= SMALL + 2:
        for row, line in enumerate(texts):
            for column, text in enumerate(line):
                _write(axes, column + 0.5, row + 0.5, text, colours.ink, "center")
    _matrix_names(axes, plot, (rows, columns), colours, frame, turned=turned)
    if not rows or not columns:
        note_empty(axes, colours)
    return Drawing(figure)


def _numbers(plot: MatrixPlot, room: float) -> tuple[list[list[str]], float]:
    """Numbers of the cells, shorter where cells are narrow, and the width of the widest."""
    widest = 0.0
    texts: list[list[str]] = []
    for short in (False, True):
        texts = [[cell(value, plot.percent, short=short) for value in line] for line in plot.values]
        widest = max((text_px(text, SMALL) for line in texts for text in line), default=20)
        if widest + 2 <= room:
            break
    return texts, widest


def _ends(values: Iterable[float | None]) -> tuple[float, float]:
    """Numbers of the weakest and the strongest shade; shares and counts begin at zero."""
    numbers = finite(values)
    least, most = min([0.0, *numbers]), max(numbers, default=1.0)
    return least, most if most > least else least + 1.0


def _matrix_names(
    axes: "Axes",
    plot: MatrixPlot,
    names: tuple[list[str], list[str]],
    colours: Colours,
    frame: Frame,
    *,
    turned: bool,
) -> None:
    rows, columns = names
    across, down = len(columns) or 1, len(rows) or 1
    gap_x, gap_y = 6 * across / frame.inner_width, 6 * down / frame.height
    if frame.height / down >= SMALL:
        for place, name in enumerate(rows):
            _write(axes, -gap_x, place + 0.5, name, colours.ink, "right")
    if frame.inner_width / across >= SMALL:
        for place, name in enumerate(columns):
            axes.text(
                place + 0.5,
                -gap_y,
                name,
                ha="left" if turned else "center",
                va="center" if turned else "bottom",
                rotation=90 if turned else 0,
                rotation_mode="anchor",
                size=SMALL,
                color=colours.ink,
            )
    middle_y = down / 2
    axes.text(
        -(frame.left - 12) * across / frame.inner_width,
        middle_y,
        shown(plot.row_label, max(6, int(frame.height / 6))),
        rotation=90,
        rotation_mode="anchor",
        ha="center",
        va="center",
        color=colours.muted,
    )
    axes.text(
        0,
        -(frame.top - 12) * down / frame.height,
        shown(plot.column_label, 60),
        ha="left",
        va="center",
        color=colours.muted,
    )


def _write(axes: "Axes", x: float, y: float, text: str, colour: str, side: str) -> None:
    axes.text(x, y, text, ha=side, va="center", size=SMALL, color=colour)


def _shade(
    axes: "Axes", cells: Sequence[_Cell], colour: str, strongest: float = _STRONGEST
) -> None:
    """Draws cells ``(x, y, width, height, share)``, those of one shade together."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    shades: dict[int, list[_Cell]] = defaultdict(list)
    for each in cells:
        shades[round(min(max(each[4], 0.0), 1.0) * _SHADES)].append(each)
    for shade, members in sorted(shades.items()):
        if not shade:
            continue
        corners = [
            point
            for x, y, wide, high, _ in members
            for point in ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high), (x, y))
        ]
        codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * len(members)
        opacity = strongest * shade / _SHADES
        axes.add_patch(
            PathPatch(Path(corners, codes), facecolor=colour, alpha=opacity, linewidth=0)
        )


def draw_overlay(plot: OverlayPlot, colours: Colours, title: str, picture: str) -> Drawing:
    """Words shaded by their weights in wrapped lines, then the picture's patches."""
    words, lines = _wrapped([shown(word, 40) for word, _ in plot.words[:_MOST_WORDS]])
    side = 260.0 if plot.patches or picture else 0.0
    text_height = lines * _WORD_LINE
    height = max(text_height + side + (12 if text_height and side else 0), 40.0)
    frame = Frame(height, left=_MARGIN, right=_MARGIN, top=_MARGIN, bottom=_MARGIN)
    figure, axes = axes_in(frame, colours, title)
    blank(axes)
    axes.set(xlim=(0, frame.inner_width), ylim=(height, 0))
    least, most = _ends(weight for _, weight in plot.words)
    boxes = [
        (*place, (weight - least) / (most - least) if math.isfinite(weight) else 0.0)
        for (_, place), (_, weight) in zip(words, plot.words, strict=False)
    ]
    _shade(axes, boxes, colours.series(0))
    for word, (x, y, wide, high) in words:
        axes.text(x + wide / 2, y + high / 2, word, ha="center", va="center", color=colours.ink)
    _patches(axes, plot.patches, height - side, side, colours, over_picture=bool(picture))
    if not plot.words and not side:
        note_empty(axes, colours)
    top = figure.get_figheight() * 72 - frame.bottom - side
    return Drawing(figure, Placed(picture, _MARGIN, top, side, side) if picture else None)


def _wrapped(
    words: Sequence[str],
) -> tuple[list[tuple[str, tuple[float, float, float, float]]], int]:
    """Words with their boxes, and the number of lines."""
    placed = []
    x, line = 0.0, 0
    for word in words:
        wide = text_px(word, FONT_SIZE) + 8
        if x and x + wide > WIDTH - 2 * _MARGIN:
            x, line = 0.0, line + 1
        placed.append((word, (x, float(line * _WORD_LINE), wide, float(_WORD_HEIGHT))))
        x += wide + 3
    return placed, line + 1 if words else 0


def _patches(
    axes: "Axes",
    patches: Sequence[Sequence[float]],
    top: float,
    side: float,
    colours: Colours,
    *,
    over_picture: bool,
) -> None:
    columns = max(map(len, patches), default=0)
    if not columns:
        return
    wide, high = side / columns, side / len(patches)
    least, most = _ends(weight for line in patches for weight in line)
    cells = [
        (column * wide, top + row * high, wide, high, (weight - least) / (most - least))
        for row, line in enumerate(patches)
        for column, weight in enumerate(line)
        if math.isfinite(weight)
    ]
    # Pictures have blue skies more often than orange ones.
    _shade(axes, cells, colours.series(1 if over_picture else 0), 0.75 if over_picture else 0.85)
    for place in range(columns + 1):
        axes.plot([place * wide] * 2, [top, top + side], color=colours.grid, linewidth=0.6)
    for place in range(len(patches) + 1):
        axes.plot([0, side], [top + place * high] * 2, color=colours.grid, linewidth=0.6)
