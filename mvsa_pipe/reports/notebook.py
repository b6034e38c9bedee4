"""Tables and plots as HTML for the output of a notebook cell: self-contained, with its colours."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mvsa_pipe.analysis.finding import (
    Cell,
    Finding,
    FindingTable,
    ForestPlot,
    ForestRow,
    MatrixPlot,
    Plot,
    estimate,
)
from mvsa_pipe.benches.summary import Bench
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.metrics.options import DEFAULT_SCORES
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.reports.cells import columns_of, shown_text
from mvsa_pipe.reports.curves import training_curves
from mvsa_pipe.reports.palette import theme_css
from mvsa_pipe.reports.plot_text import shown
from mvsa_pipe.reports.plots import captioned
from mvsa_pipe.runs import Run

_SCOPE = ".mvsa-output"
# Notebooks have a theme of their own, which may differ from the system's: the output brings its
# background along. Their rules for tables are stronger than those of one class.
_CSS = (
    theme_css(_SCOPE)
    + f"{_SCOPE}{{background:var(--paper);color:var(--ink);padding:.6rem .8rem;overflow-x:auto}}\n"
    f"{_SCOPE} table{{border-collapse:collapse;margin:.6rem 0;background:none;color:inherit}}\n"
    f"{_SCOPE} caption{{text-align:left;font-weight:600;color:inherit;padding:.2rem 0}}\n"
    f"{_SCOPE} table tr{{background:none}}\n"
    f"{_SCOPE} table th,{_SCOPE} table td{{text-align:left;padding:.2rem .7rem .2rem 0;"
    "border-bottom:1px solid var(--grid);font-variant-numeric:tabular-nums}\n"
    f"{_SCOPE} table .num{{text-align:right}}\n"
    f"{_SCOPE} .note{{color:var(--muted);font-size:.9em}}\n"
)
_MOST_ROWS = 60


def notebook_html(
    title: str,
    sentences: Sequence[str] = (),
    tables: Sequence[FindingTable] = (),
    plots: Sequence[Plot] = (),
    notes: Sequence[str] = (),
) -> str:
    """HTML for one output; text from data is escaped.

    Args:
        title: A heading.
        sentences: Paragraphs below it.
        tables: Tables; long ones are cut.
        plots: Plots.
        notes: Small paragraphs at the end.
    """
    parts = [
        f"<p><strong>{_text(title)}</strong></p>",
        *(f"<p>{_text(sentence)}</p>" for sentence in sentences),
        *map(_table, tables),
        *map(captioned, plots),
        *(f'<p class="note">{_text(note)}</p>' for note in notes),
    ]
    return f'<div class="{_SCOPE[1:]}"><style>{_CSS}</style>{"".join(parts)}</div>'


def finding_html(finding: Finding) -> str:
    """A finding as ``notebook_html``: question, verdict, tables, plots and method."""
    return notebook_html(
        finding.question, finding.verdict, finding.tables, finding.plots, finding.method
    )


def run_html(run: Run, title: str) -> str:
    """A run as ``notebook_html``: scores with intervals, confusion matrix, learning curve."""
    parts = run.metrics["scores"]
    last = [*parts][-1]
    plots: list[Plot] = [_confusion(parts[last], last)]
    try:
        plots += training_curves([run])
    except MvsaError:  # an output shows what there is
        notes = ["The history of the training cannot be read."]
    else:
        notes = []
    return notebook_html(title, (), [_scores(parts)], plots, notes)


def _scores(parts: Mapping[str, Any]) -> FindingTable:
    """Every score of each part with its interval."""
    names = dict.fromkeys(name for part in parts.values() for name in part["values"])
    rows: list[list[Cell]] = [
        [Score(name).row.title, *(_score(part, name) for part in parts.values())] for name in names
    ]
    posts = ", ".join(f"{part['posts']:,} posts of {name}" for name, part in parts.items())
    confidence = f"{100 * next(iter(parts.values()))['confidence']:g} %"
    note = f"{posts}; intervals: bootstrap over posts, {confidence}"
    return FindingTable("scores", ["score", *parts], rows, note)


def _score(part: Mapping[str, Any], name: str) -> Cell:
    if name not in part["values"]:
        return None
    return estimate(part["values"][name], part["intervals"][name])


def _confusion(scores: Mapping[str, Any], part: str) -> MatrixPlot:
    classes = [str(name) for name in scores["classes"]]
    values: list[list[float | None]] = [
        [count / sum(counts) if sum(counts) else None for count in counts]
        for counts in scores["confusion"]
    ]
    return MatrixPlot(
        f"confusion on {part}, % of each true class",
        "true class",
        "predicted class",
        classes,
        classes,
        values,
        percent=True,
    )


def bench_html(bench: Bench, sentences: Sequence[str]) -> str:
    """A bench as ``notebook_html``: verdict, heads with intervals, and a forest plot.

    Args:
        bench: The bench.
        sentences: Its verdict.
    """
    shown_scores = [s for s in DEFAULT_SCORES if any(s in row.mean for row in bench.rows)]
    titles = [score.row.title for score in shown_scores]
    rows: list[list[Cell]] = []
    plotted: list[ForestRow] = []
    for row in bench.rows:
        name = ", ".join(filter(None, (row.head, row.pair, row.setting)))
        cells: list[Cell] = [
            estimate(row.mean[score], row.interval[score]) if score in row.mean else None
            for score in shown_scores
        ]
        rows.append([name, *cells, row.seeds, row.parameters, row.seconds])
        if shown_scores and shown_scores[0] in row.mean:
            first = shown_scores[0]
            plotted.append(ForestRow(name, estimate(row.mean[first], row.interval[first])))
    columns = ["head", *titles, "seeds", "parameters", "s/run"]
    table = FindingTable("heads", columns, rows, "; ".join(bench.table_notes()), titles)
    plots: list[Plot] = []
    if plotted:
        lines = {
            str(reference["name"]): float(reference["values"][shown_scores[0]])
            for reference in bench.references
            if shown_scores[0] in reference["values"]
        }
        title = f"{titles[0]} on {bench.part}, 95 % intervals"
        plots.append(ForestPlot(title, titles[0], plotted, lines))
    return notebook_html(bench.table_title(), sentences, [table], plots)


def _text(text: str) -> str:
    return escape(shown(text))


def _table(table: FindingTable) -> str:
    columns = columns_of(table)
    kinds = [' class="num"' if column.number else "" for column in columns]
    head = "".join(
        f'<th scope="col"{kind}>{_text(name)}{" %" if column.percent else ""}</th>'
        for name, column, kind in zip(table.columns, columns, kinds, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{_text(shown_text(cell, column))}</td>"
            for cell, column, kind in zip(row, columns, kinds, strict=True)
        )
        + "</tr>"
        for row in table.rows[:_MOST_ROWS]
    )
    hidden = len(table.rows) - _MOST_ROWS
    note = " ".join([*([f"… and {hidden} more rows."] if hidden > 0 else []), table.note]).strip()
    return (
        f"<table><caption>{_text(table.title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table>" + (f'<p class="note">{_text(note)}</p>' if note else "")
    )
