"""``mvsa heads``: the table of heads."""

from mvsa_pipe.cli.console import out
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.tables import titled
from mvsa_pipe.heads import HEADS


@expand
def heads() -> None:
    """List the fusion heads, one line each."""
    table = titled("", "head", "method", "source")
    for row in HEADS:
        table.add_row(row.name, row.summary, row.source)
    out.print(table)
