"""Tables of scores with reference rows, and of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mvsa_pipe.cli.console import out, percent
from mvsa_pipe.cli.tables import NOT_RECORDED, add_numbers, cell_text, titled
from mvsa_pipe.metrics.options import DEFAULT_SCORES
from mvsa_pipe.metrics.score_table import Score

# Columns of a terminal that no table fills.
_NO_LIMIT = 10_000


def score_table(title: str, first_column: str, scores: Sequence[Score] = DEFAULT_SCORES) -> Table:
    """An empty table of some scores."""
    table = titled(title, first_column)
    add_numbers(table, *(score.heading for score in scores))
    return table


def add_scores(
    table: Table,
    name: str,
    record: Mapping[str, Any],
    scores: Sequence[Score] = DEFAULT_SCORES,
) -> None:
    """Adds a row with bootstrap intervals from a scores record."""
    values, intervals = record["values"], record["intervals"]
    cells = [
        Text.assemble(s.shown(values[s]), (f" {score_interval(s, intervals[s])}", "dim"))
        if s in values
        else NOT_RECORDED
        for s in scores
    ]
    table.add_row(name, *cells)


def score_interval(score: Score, bounds: Sequence[float]) -> str:
    """``[70.2, 77.9]`` of a percentage, ``[0.512, 0.604]`` of another number."""
    return f"[{score.shown(bounds[0])}, {score.shown(bounds[1])}]"


def add_references(
    table: Table,
    references: Sequence[Mapping[str, Any]],
    *rest: str,
    scores: Sequence[Score] = DEFAULT_SCORES,
) -> None:
    """Adds the majority and chance rows."""
    for row in references:
        values, deviations = row["values"], row["deviations"]
        cells = [
            s.shown(values[s]) + (f" ± {s.shown(deviations[s])}" if deviations[s] else "")
            if s in values
            else NOT_RECORDED
            for s in scores
        ]
        table.add_row(row["name"], *cells, *rest, style="dim")


def add_ceilings(table: Table, ceilings: Mapping[str, float], scores: Sequence[Score]) -> None:
    """Adds the best possible accuracies that a data set declares; other scores have none."""
    for name, value in ceilings.items() if Score.ACCURACY in scores else ():
        cells = [score.shown(value) if score is Score.ACCURACY else "" for score in scores]
        table.add_row(cell_text(f"ceiling: {name}"), *cells, style="dim")


def class_table(scores: Mapping[str, Any], title: str) -> RenderableType:
    """Precision, recall, F1 and the confusion row of each class; two tables if one is too wide."""
    one = _class_table(scores, title, shares=True, confusion=True)
    if Measurement.get(out, out.options.update(max_width=_NO_LIMIT), one).maximum <= out.width:
        return one
    apart = f"{title}: predicted as"
    return Group(
        _class_table(scores, title, shares=True),
        _class_table(scores, apart, confusion=True),
    )


def _class_table(
    scores: Mapping[str, Any], title: str, *, shares: bool = False, confusion: bool = False
) -> Table:
    table = titled(title, "true class")
    if shares:
        add_numbers(table, "precision %", "recall %", "F1 %", "posts")
    for name in scores["classes"] if confusion else ():
        table.add_column(Text(cell_text(f"→ {name}"), overflow="fold"), justify="right")
    for name, counts in zip(scores["classes"], scores["confusion"], strict=True):
        row = scores["per_class"][name]
        cells = [percent(row[k]) for k in ("precision", "recall", "f1")]
        cells.append(f"{row['support']:,.0f}")
        table.add_row(name, *(cells if shares else ()), *(f"{n:,}" for n in counts if confusion))
    return table
