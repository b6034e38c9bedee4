"""Writes a report as one HTML file: no request leaves it, and all text from data is escaped."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from mvsa_pipe import __version__
from mvsa_pipe.analysis.finding import Estimate, Plot
from mvsa_pipe.analysis.seen_picture import picture_below
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.printable import printable
from mvsa_pipe.reports.cells import NOT_RECORDED, ShownCell, columns_of, shown_cell
from mvsa_pipe.reports.content import Kind, Leaderboard, LeaderRow, ReportContent
from mvsa_pipe.reports.palette import THEME_CSS
from mvsa_pipe.reports.plots import captioned

_FOLDER = "mvsa_pipe.reports", "templates"
# Longer tables begin folded.
_MOST_OPEN_ROWS = 12


def html_page(content: ReportContent) -> str:
    """The page of a report: one HTML file without references to others."""
    script, style = "\n" + _source("page.js"), THEME_CSS + _source("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=content,
            board=content.leaderboard,
            kinds=_kinds(content.leaderboard),
            sections=_sections(content),
            plot_numbers=count(),
            style=Markup(style),  # noqa: S704  # of this package
            script=Markup(script),  # noqa: S704
            script_digest=digest,
            version=__version__,
        )
    )


def _source(name: str) -> str:
    package, folder = _FOLDER
    return files(package).joinpath(folder, name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_source),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_controls,
    )
    environment.filters.update(
        cell=shown_cell,
        plot=_plot,
        capitalize_first=lambda text: text[:1].upper() + text[1:],
        jpeg=lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode(),
        percent=lambda share: f"{100 * share:.1f}",
    )
    environment.globals.update(
        score_cell=_score_cell,
        bar_of=_bar,
        columns_of=columns_of,
        open_rows=_MOST_OPEN_ROWS,
        NOT_RECORDED=NOT_RECORDED,
    )
    return environment


def _without_controls(value: object) -> object:
    """Writes out control characters, which could reverse or hide text; markup stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@pass_context
def _plot(context: Context, plot: Plot) -> Markup:
    """A plot with ids of its own; its texts are escaped where it is drawn."""
    picture = picture_below(plot, context["report"].pictures)
    key = str(next(context["plot_numbers"]))
    return Markup(captioned(plot, key=key, picture=picture))  # noqa: S704


def _score_cell(score: Score, value: Estimate | float | None) -> ShownCell:
    if value is None:
        return ShownCell(NOT_RECORDED)
    if isinstance(value, Estimate):
        low, high = score.shown(value.low), score.shown(value.high)
        return ShownCell(score.shown(value.value), f"{low}, {high}", repr(value.value), True)
    return ShownCell(score.shown(value), "", repr(value), number=True)


def _bar(board: Leaderboard, row: LeaderRow) -> Mapping[str, float] | None:
    """Places of a row's interval on the leaderboard's axis, in percent; ``None`` outside it."""
    value = row.scores[0]
    low, high = board.axis
    width = (high - low) or 1.0
    low, width = low - 0.04 * width, 1.08 * width

    def place(number: float) -> float:
        return round(100 * (number - low) / width, 2)

    if value is None:
        return None
    if isinstance(value, Estimate):
        return {"low": place(value.low), "mid": place(value.value), "high": place(value.high)}
    middle = place(value)
    return {"low": middle, "mid": middle, "high": middle} if 0 <= middle <= 100 else None


def _kinds(board: Leaderboard) -> list[Kind]:
    """The kinds of rows that occur, in the order of the table of kinds."""
    present: set[Any] = {row.kind for row in board.rows}
    return [kind for kind in Kind if kind in present]


def _sections(content: ReportContent) -> list[tuple[str, str]]:
    """Anchors and titles of the page's sections."""
    return [
        ("verdict", "Verdict"),
        ("data", "Data"),
        ("leaderboard", "Leaderboard"),
        ("comparison", "Comparison"),
        ("heads", "Heads"),
        ("costs", "Costs"),
        ("posts", "Posts worth a look"),
        ("claims", "Published results"),
        *(
            (f"analysis-{place}", finding.analysis.replace("-", " ").capitalize())
            for place, finding in enumerate(content.findings, start=1)
        ),
        ("repeat", "How to repeat"),
    ]
