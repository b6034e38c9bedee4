"""The record of an analysis: a verdict in words, tables, and plots as data.

Every analysis returns a ``Finding``. The command line prints it, ``--json`` writes it, and the
report draws its plots; none of them knows which analysis it came from.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

FINDING_SCHEMA = 1


class Estimate(msgspec.Struct, frozen=True, tag="estimate"):
    """A number with its interval at 95 %.

    Attributes:
        value: The number.
        low: Lower bound.
        high: Upper bound.
    """

    value: float
    low: float
    high: float


Cell: TypeAlias = Estimate | str | int | float | bool | None


def _require_lengths(what: str, lists: Sequence[Sequence[object]], expected: int) -> None:
    for each in lists:
        if len(each) != expected:
            raise ValueError(f"{len(each)} {what}, where {expected} are needed")


class FindingTable(msgspec.Struct, frozen=True):
    """A table.

    Attributes:
        title: One line above it.
        columns: Headings; the first column names the rows.
        rows: Rows of as many cells. Shares are numbers from 0 to 1, not percentages.
        note: A sentence below it.
        percent: Headings of the columns whose numbers are shown in percent.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""
    percent: list[str] = []

    def __post_init__(self) -> None:
        """Refuses rows that do not have one cell a column, as in a damaged record."""
        _require_lengths("cells of the row", self.rows, len(self.columns))


class Series(msgspec.Struct, frozen=True):
    """A line of a plot.

    Attributes:
        name: Its name in the legend.
        x: Places on the horizontal axis.
        y: Values.
        low: Lower bounds of the band; empty without one.
        high: Upper bounds of the band.
        dashed: Whether it is a reference rather than a measurement.
    """

    name: str
    x: list[float]
    y: list[float]
    low: list[float] = []
    high: list[float] = []
    dashed: bool = False

    def __post_init__(self) -> None:
        """Refuses another number of values than of places."""
        bands = [band for band in (self.low, self.high) if band]
        _require_lengths("values of the line", [self.y, *bands], len(self.x))


class LinePlot(msgspec.Struct, frozen=True, tag="lines"):
    """Lines with bands over one axis.

    Attributes:
        title: What is seen, in one line.
        x_label: The horizontal axis, with its unit.
        y_label: The vertical axis, with its unit.
        series: The lines.
        marks: Vertical marks by name, such as the selected epoch.
        diagonal: Whether the line ``y = x`` is drawn.
        step: Whether values hold until the next place.
    """

    title: str
    x_label: str
    y_label: str
    series: list[Series]
    marks: dict[str, float] = {}
    diagonal: bool = False
    step: bool = False


class ForestRow(msgspec.Struct, frozen=True):
    """A row of a forest plot.

    Attributes:
        name: Its name.
        estimate: Its value with interval.
        group: Rows of one group have one colour.
    """

    name: str
    estimate: Estimate
    group: str = ""


class ForestPlot(msgspec.Struct, frozen=True, tag="forest"):
    """Values with intervals, one below the other.

    Attributes:
        title: What is seen, in one line.
        x_label: The axis, with its unit.
        rows: The rows, from the top.
        references: Vertical lines by name, such as a baseline or zero.
    """

    title: str
    x_label: str
    rows: list[ForestRow]
    references: dict[str, float] = {}


class Point(msgspec.Struct, frozen=True):
    """A point of a scatter plot, with the interval of its height if there is one."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    group: str = ""


class ScatterPlot(msgspec.Struct, frozen=True, tag="scatter"):
    """Named points.

    Attributes:
        title: What is seen, in one line.
        x_label: The horizontal axis, with its unit.
        y_label: The vertical axis, with its unit.
        points: The points.
        log_x: Whether the horizontal axis is logarithmic.
    """

    title: str
    x_label: str
    y_label: str
    points: list[Point]
    log_x: bool = False


class MatrixPlot(msgspec.Struct, frozen=True, tag="matrix"):
    """Numbers of rows by columns as shades, each written in its cell.

    Attributes:
        title: What is seen, in one line.
        row_label: What rows are.
        column_label: What columns are.
        rows: Names of rows.
        columns: Names of columns.
        values: A list a row; ``None`` where there is no number.
        percent: Whether numbers are shown in percent.
    """

    title: str
    row_label: str
    column_label: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    percent: bool = False

    def __post_init__(self) -> None:
        """Refuses another number of values than of rows and columns."""
        _require_lengths("rows of values", [self.values], len(self.rows))
        _require_lengths("values of the row", self.values, len(self.columns))


class OverlayPlot(msgspec.Struct, frozen=True, tag="overlay"):
    """Attention over one post: its words and the patches of its picture, as weights.

    Attributes:
        title: What is seen, in one line.
        post_id: The post.
        words: Words with their weights; empty if the head does not attend to words.
        patches: Weights of patches, rows from the top; empty if it does not attend to patches.
        run: Digest of the run whose attention it is; records hold no picture.
    """

    title: str
    post_id: str
    words: list[tuple[str, float]] = []
    patches: list[list[float]] = []
    run: str = ""

    def __post_init__(self) -> None:
        """Refuses rows of patches of different lengths."""
        if self.patches:
            _require_lengths("patches of the row", self.patches, len(self.patches[0]))


Plot: TypeAlias = LinePlot | ForestPlot | ScatterPlot | MatrixPlot | OverlayPlot


class AnalysedRun(msgspec.Struct, frozen=True):
    """A run that a finding is about.

    Attributes:
        path: Its folder.
        title: Its name in tables.
        digest: Digest of its predictions; a run that was trained again has another.
    """

    path: str
    title: str
    digest: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What an analysis found.

    Attributes:
        analysis: Name of the analysis.
        question: What it answers, as a question.
        verdict: The answer, in sentences.
        tables: Its tables.
        plots: Its plots.
        method: How it was computed: formulas, their sources, and what was left out.
        runs: The runs that it is about.
        protocol: Their protocol tag; empty if runs have different ones.
        posts: Number of the posts that were scored.
        options: The options of the analysis.
        values: Figures by name, for programs.
        versions: Versions of the packages that computed it.
        written: When it was computed.
        schema: Version of this record.
    """

    analysis: str
    question: str
    verdict: list[str]
    tables: list[FindingTable]
    plots: list[Plot]
    method: list[str]
    runs: list[AnalysedRun]
    protocol: str
    posts: int
    options: dict[str, Any]
    values: dict[str, Any] = {}
    versions: dict[str, str] = {}
    written: str = ""
    schema: int = FINDING_SCHEMA

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record

    def table(self, title: str) -> FindingTable:
        """The first table whose title begins so."""
        return next(table for table in self.tables if table.title.startswith(title))


def estimate(value: float, interval: Sequence[float]) -> Estimate:
    """A value with its interval."""
    return Estimate(float(value), float(interval[0]), float(interval[1]))
