"""``mvsa backbones``: the tables of backbones."""

from mvsa_pipe.backbones import IMAGE_BACKBONES, TEXT_BACKBONES
from mvsa_pipe.cli.console import out, remark
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.tables import titled


@expand
def backbones() -> None:
    """List the frozen backbones, one line each."""
    table = titled("", "backbone", "reads", "features", "source")
    for modality, rows in (("text", TEXT_BACKBONES), ("image", IMAGE_BACKBONES)):
        for row in rows:
            table.add_row(row.name, modality, row.summary, row.source)
    out.print(table)
    for fault in (*TEXT_BACKBONES.faults, *IMAGE_BACKBONES.faults):
        remark(("left out: ", "yellow"), fault)
