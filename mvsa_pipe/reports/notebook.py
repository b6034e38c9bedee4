"""Tables and plots as HTML for the output of a notebook cell: self-contained, with its colours."""

from collections.abc import Sequence
from html import escape

from mvsa_pipe.analysis.finding import Finding, FindingTable, Plot
from mvsa_pipe.reports.formats import cell_text, number_columns
from mvsa_pipe.reports.palette import theme_css
from mvsa_pipe.reports.plot_text import shown
from mvsa_pipe.reports.plots import captioned

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


def _text(text: str) -> str:
    return escape(shown(text))


def _table(table: FindingTable) -> str:
    numbers = [' class="num"' if number else "" for number in number_columns(table)]
    units = [" %" if name in table.percent else "" for name in table.columns]
    head = "".join(
        f'<th scope="col"{kind}>{_text(name)}{unit}</th>'
        for name, unit, kind in zip(table.columns, units, numbers, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{escape(cell_text(cell, percent=bool(unit)))}</td>"
            for cell, unit, kind in zip(row, units, numbers, strict=True)
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
