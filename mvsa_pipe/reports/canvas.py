"""Figures and axes in pixels, and what several plots have: legend, reference lines, limits."""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mvsa_pipe.reports.palette import Colours
from mvsa_pipe.reports.plot_text import finite, shown, tick, width
from mvsa_pipe.reports.svg_markup import FONT_SIZE, Placed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 520
SMALL = FONT_SIZE - 1
# Pixels that a column of text takes at most in usual sans-serif fonts, per pixel of font size.
EM = 0.58
_LINE = 14
# Shapes repeat later than colours, so that the ninth group differs from the first.
MARKERS = "os^Dvp*XP"


@dataclass(frozen=True)
class Drawing:
    """A drawn figure.

    Attributes:
        figure: matplotlib's figure.
        picture: The picture to place below it.
    """

    figure: "Figure"
    picture: Placed | None = None


@dataclass(frozen=True)
class Frame:
    """Pixels around the axes, and their height."""

    height: float
    left: float = 52
    right: float = 14
    top: float = 10
    bottom: float = 40

    @property
    def inner_width(self) -> float:
        """Width of the axes."""
        return WIDTH - self.left - self.right


def axes_in(frame: Frame, colours: Colours, title: str = "") -> tuple["Figure", "Axes"]:
    """A figure with one pair of axes.

    Args:
        frame: Its sizes.
        colours: The colours.
        title: Drawn above the axes; pages have it in the caption instead.
    """
    from matplotlib.figure import Figure

    head = 24 if title else 0
    total = frame.height + frame.top + frame.bottom + head
    figure = Figure(figsize=(WIDTH / 72, total / 72), dpi=72, facecolor="none")
    axes = figure.add_axes(
        (
            frame.left / WIDTH,
            frame.bottom / total,
            frame.inner_width / WIDTH,
            frame.height / total,
        ),
        facecolor="none",
    )
    if title:
        figure.text(
            8 / WIDTH, 1 - 8 / total, shown(title, 70), va="top", weight="bold", color=colours.ink
        )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(colours.muted)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=colours.muted, pad=5)
    axes.set_axisbelow(True)
    return figure, axes


def blank(axes: "Axes") -> None:
    """Leaves only what is drawn explicitly."""
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])


def grid(axes: "Axes", colours: Colours, axis: str) -> None:
    """Thin lines at the ticks of ``x``, ``y`` or ``both`` axes."""
    options: dict[str, Any] = {"color": colours.grid, "linewidth": 0.8}
    axes.grid(True, axis=axis, **options)  # type: ignore[arg-type]


def number_ticks(axes: "Axes", *names: str, most: int = 6, whole: bool = False) -> None:
    """Ticks as plain numbers; matplotlib's own formatters would write offsets and powers.

    Args:
        axes: The axes.
        names: ``x``, ``y`` or both.
        most: The most intervals between ticks.
        whole: Whether only whole numbers have ticks, such as epochs.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for name in names:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_locator(MaxNLocator(most, integer=whole))
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def axis_labels(axes: "Axes", colours: Colours, x_label: str, y_label: str = "") -> None:
    """Names of the axes."""
    options: dict[str, Any] = {"color": colours.ink, "size": FONT_SIZE}
    axes.set_xlabel(shown(x_label, 80), labelpad=5, **options)
    axes.set_ylabel(shown(y_label, 42), labelpad=5, **options)


def limits(values: Iterable[float | None], pad: float = 0.05) -> tuple[float, float]:
    """Ends of an axis that contain all values, with some room; 0 to 1 if there are none."""
    numbers = finite(values)
    if not numbers:
        return 0.0, 1.0
    low, high = min(numbers), max(numbers)
    room = pad * (high - low) if high > low else 0.1 * abs(high) or 0.5
    return (max(low - room, 0.0) if low >= 0 else low - room), high + room


def lines_at(axes: "Axes", colours: Colours, places: Mapping[str, float], frame: Frame) -> None:
    """Dashed vertical lines whose names stand above the axes, in as many rows as they need."""
    low, high = axes.get_xlim()
    for name, (place, row) in _rows(places, (low, high), frame).items():
        axes.axvline(place, color=colours.muted, linewidth=1.1, linestyle=(0, (4, 3)))
        share = (place - low) / (high - low)
        side = "left" if share < 0.12 else "right" if share > 0.88 else "center"
        axes.text(
            place,
            1 + (4 + row * _LINE) / frame.height,
            shown(name, 34),
            transform=axes.get_xaxis_transform(),
            ha=side,
            size=SMALL,
            color=colours.muted,
        )


def room_above(places: Mapping[str, float], ends: tuple[float, float], frame: Frame) -> float:
    """Pixels that the names of ``lines_at`` take."""
    rows = _rows(places, ends, frame)
    return 8 + _LINE * (1 + max(row for _, row in rows.values())) if rows else 10


def _rows(
    places: Mapping[str, float], ends: tuple[float, float], frame: Frame
) -> dict[str, tuple[float, int]]:
    """The place of each line, and the row of its name."""
    per_unit = frame.inner_width / (ends[1] - ends[0])
    taken: list[float] = []
    rows: dict[str, tuple[float, int]] = {}
    known = [(value, name) for name, value in places.items() if math.isfinite(value)]
    for value, name in sorted(known):
        half = text_px(shown(name, 34), SMALL) / 2 + 4
        middle = (value - ends[0]) * per_unit
        middle = min(max(middle, half), max(half, frame.inner_width - half))
        row = next((r for r, end in enumerate(taken) if end <= middle - half), len(taken))
        taken[row : row + 1] = [middle + half]
        rows[name] = (value, row)
    return rows


def text_px(text: str, size: float = FONT_SIZE) -> float:
    """Pixels that text takes at most."""
    return width(text) * size * EM


def legend_rows(names: Sequence[str]) -> int:
    """Rows of a legend."""
    return math.ceil(len(names) / _legend_columns(names)) if names else 0


def legend_px(names: Sequence[str]) -> float:
    """Height of a legend, with the room above it."""
    return 8 + 17 * legend_rows(names) if names else 0


def legend(
    axes: "Axes", colours: Colours, handles: Sequence[Any], names: Sequence[str], frame: Frame
) -> None:
    """A legend below the axes."""
    if not names:
        return
    axes.legend(
        handles,
        [shown(name, 40) for name in names],
        loc="upper left",
        bbox_to_anchor=(0.0, -44 / frame.height),
        ncols=_legend_columns(names),
        frameon=False,
        fontsize=SMALL,
        labelcolor=colours.ink,
        borderaxespad=0,
        borderpad=0,
        handlelength=1.6,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.45,
    )


def _legend_columns(names: Sequence[str]) -> int:
    widest = max(text_px(shown(name, 40), SMALL) for name in names) + 40
    return max(1, min(len(names), int((WIDTH - 60) / widest)))


def note_empty(axes: "Axes", colours: Colours) -> None:
    """Says that there is nothing to draw."""
    axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=colours.muted)


def place_below(figure: "Figure", placed: Placed) -> None:
    """Draws a picture below everything else; the axes above it must be transparent."""
    content = base64.b64decode(placed.href.partition(",")[2])
    width, height = (72 * inches for inches in figure.get_size_inches())
    bottom = 1 - (placed.y + placed.height) / height
    axes = figure.add_axes(
        (placed.x / width, bottom, placed.width / width, placed.height / height), zorder=-1
    )
    axes.set_axis_off()
    with Image.open(io.BytesIO(content)) as picture:
        axes.imshow(np.asarray(picture.convert("RGB")), aspect="auto")
    for other in figure.axes:
        other.patch.set_visible(False)
