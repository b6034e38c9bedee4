"""Tables of evidence: order, ties and leak-free scores, with the verdict below."""

from typing import TYPE_CHECKING

from rich.text import Text

from mvsa_pipe.cli.console import line, out, sentence
from mvsa_pipe.cli.score_tables import score_interval
from mvsa_pipe.cli.tables import NOT_RECORDED, add_numbers, titled

if TYPE_CHECKING:
    from mvsa_pipe.analysis.evidence import Evidence


def show_evidence(found: "Evidence", words: list[str]) -> None:
    """Prints the heads in order, best first, and the verdict; fits 80 columns."""
    score = found.score
    table = titled(f"order by {score.row.title} · {found.method}", "head")
    add_numbers(table, score.heading, "rank", "ranks", "group")
    if found.leaked:
        add_numbers(table, "leak-free")
    for row in found.rows:
        shown = Text.assemble(
            score.shown(row.mean), (f" {score_interval(score, row.interval)}", "dim")
        )
        low, high = row.ranks
        cells: list[Text | str] = [
            shown,
            str(row.rank),
            f"{low}-{high}" if low < high else str(low),
            str(row.group),
        ]
        if found.leaked:
            cells.append(NOT_RECORDED if row.leak_free is None else score.shown(row.leak_free))
        table.add_row(Text(row.name, "bold" if row.group == 1 else ""), *cells)
    out.print(table)
    line(("group 1 cannot be told apart from the first; ranks hold all at once at 95 %", "dim"))
    for text in words:
        sentence(text)
