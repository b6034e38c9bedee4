"""Tables that several verbs show: scores with their reference rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from mvsa_pipe.cli.console import percent, with_interval

# The scores that every table shows, with their headings.
SHOWN = {"accuracy": "accuracy %", "f1_macro": "macro-F1 %", "f1_weighted": "weighted F1 %"}


def score_table(title: str, first_column: str) -> Table:
    """An empty table of the shown scores."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first_column)
    for heading in SHOWN.values():
        table.add_column(heading, justify="right")
    return table


def add_scores(table: Table, name: str, scores: Mapping[str, Any], *rest: str) -> None:
    """One row with bootstrap intervals from a scores record."""
    cells = [with_interval(scores["values"][k], scores["intervals"][k]) for k in SHOWN]
    table.add_row(name, *cells, *rest)


def add_references(table: Table, references: Sequence[Mapping[str, Any]], *rest: str) -> None:
    """The majority and chance rows."""
    for row in references:
        cells = [
            percent(row["values"][k])
            + (f" ± {percent(row['deviations'][k])}" if row["deviations"][k] else "")
            for k in SHOWN
        ]
        table.add_row(row["name"], *cells, *rest, style="dim")


def class_table(scores: Mapping[str, Any]) -> Table:
    """Precision, recall, F1 and the confusion row of each class."""
    table = Table(title="per class", title_justify="left", title_style="bold")
    table.add_column("true class")
    for heading in ("precision %", "recall %", "F1 %", "posts"):
        table.add_column(heading, justify="right")
    for name in scores["classes"]:
        table.add_column(f"→ {name}", justify="right")
    for name, counts in zip(scores["classes"], scores["confusion"], strict=True):
        row = scores["per_class"][name]
        shares = [percent(row[k]) for k in ("precision", "recall", "f1")]
        table.add_row(name, *shares, f"{row['support']:,.0f}", *(f"{n:,}" for n in counts))
    return table
