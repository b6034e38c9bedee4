"""Plots of findings as inline SVG and as PNG files.

matplotlib draws, as scikit-learn's users have it anyway, it lays out axes and ticks well, it works
offline, and its output is a plain SVG with text: no script and no browser is needed, unlike with
Plotly, Bokeh or Altair. Only its object interface is used (``Figure`` and a file back end), so that
no window system and no state of ``pyplot`` is touched. It is imported when the first plot is drawn.

Colours of the SVG are the CSS variables of ``THEME_CSS``, so that a page's theme applies to it; its
title is not drawn but is the accessible name: ``captioned`` puts it into the caption.
"""

import hashlib
import html
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from mvsa_pipe.analysis.finding import (
    ForestPlot,
    LinePlot,
    MatrixPlot,
    OverlayPlot,
    Plot,
    ScatterPlot,
)
from mvsa_pipe.reports.canvas import Drawing, place_below
from mvsa_pipe.reports.draw_axes import draw_forest, draw_lines, draw_scatter
from mvsa_pipe.reports.draw_cells import draw_matrix, draw_overlay
from mvsa_pipe.reports.palette import LIGHT, SENTINELS, THEME_CSS, Colours
from mvsa_pipe.reports.plot_text import description, drawable, shown
from mvsa_pipe.reports.svg_markup import FONT_SIZE, inline_svg

__all__ = ["THEME_CSS", "captioned", "png", "svg"]

# matplotlib's settings and Python's warning filters belong to the process.
_DRAWING = threading.Lock()
_PNG_DPI = 192
_PICTURES = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/webp;base64,")


def svg(plot: Plot, *, key: str = "", picture: str = "") -> str:
    """A plot as an ``<svg>`` element for a page that contains ``THEME_CSS``.

    The same arguments give the same bytes.

    Args:
        plot: The plot.
        key: Anything that tells it from an equal plot of the same page, as ids must differ.
        picture: A data URI (PNG, JPEG or WebP) of the post's picture, drawn below the patches of an
            ``OverlayPlot``.

    Raises:
        ValueError: ``picture`` is no such data URI.
    """
    if picture and not picture.startswith(_PICTURES):
        raise ValueError("picture must be a data URI of a PNG, JPEG or WebP file in base 64")
    digest = hashlib.sha256(ascii((plot, key)).encode()).hexdigest()[:10]
    file, plot = io.StringIO(), drawable(plot)
    with _settings(digest):
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        drawing = _drawn(plot, Colours(SENTINELS), "", picture)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(drawing.figure).print_figure(file, format="svg", metadata=nothing)
    return inline_svg(
        file.getvalue(), f"p{digest}", shown(plot.title), description(plot), drawing.picture
    )


def captioned(plot: Plot, *, key: str = "", picture: str = "") -> str:
    """A plot as ``svg`` returns it, in a ``<figure>`` with its title as caption."""
    caption = html.escape(shown(plot.title))
    drawn = svg(plot, key=key, picture=picture)
    return f'<figure class="plot"><figcaption>{caption}</figcaption>{drawn}</figure>'


def png(plot: Plot, *, picture: str = "") -> bytes:
    """A plot with its title as a PNG file, in the light theme.

    Args:
        plot: The plot.
        picture: As of ``svg``.
    """
    file, plot = io.BytesIO(), drawable(plot)
    with _settings("png"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        drawing = _drawn(plot, Colours(LIGHT), plot.title, picture)
        figure = drawing.figure
        figure.set_facecolor(LIGHT["paper"])
        if drawing.picture is not None:
            place_below(figure, drawing.picture)
        FigureCanvasAgg(figure).print_figure(
            file, format="png", dpi=_PNG_DPI, metadata={"Software": None}
        )
    return file.getvalue()


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    """Matplotlib's defaults with ours, whatever the user's own settings are."""
    with _DRAWING, warnings.catch_warnings():
        # The reader's fonts draw the text; matplotlib's font only measures it.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        from matplotlib import style

        ours = {
            "svg.fonttype": "none",
            "svg.hashsalt": salt,
            "text.parse_math": False,
            "font.size": FONT_SIZE,
            "axes.unicode_minus": False,
        }
        with style.context(["default", ours]):
            yield


def _drawn(plot: Plot, colours: Colours, title: str, picture: str) -> Drawing:
    match plot:
        case LinePlot():
            return draw_lines(plot, colours, title)
        case ForestPlot():
            return draw_forest(plot, colours, title)
        case ScatterPlot():
            return draw_scatter(plot, colours, title)
        case MatrixPlot():
            return draw_matrix(plot, colours, title)
        case OverlayPlot():
            return draw_overlay(plot, colours, title, picture)
