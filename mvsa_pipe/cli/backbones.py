"""``mvsa backbones``: the tables of backbones, and what is known of published weights."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer

from mvsa_pipe.backbones import BACKBONES, traits
from mvsa_pipe.backbones.family import PublishedModel
from mvsa_pipe.backbones.presets import PRESETS
from mvsa_pipe.cli.console import line, out, remark, show_json
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.tables import add_numbers, titled
from mvsa_pipe.modality import Modality
from mvsa_pipe.registry import Row


@expand
def backbones(
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """List the frozen backbones, and size, licence and source of published weights."""
    rows = [(modality, row) for modality, table in BACKBONES.items() for row in table]
    if json:
        show_json([_record(modality, row) for modality, row in rows])
        return
    table = titled("", "backbone", "reads", "features", "source")
    for modality, row in rows:
        table.add_row(row.name, modality.value, row.summary, row.source)
    out.print(table)
    _show_models([model for _, row in rows for model in _models(row)])
    for row in PRESETS:
        line(f"--preset {row.name} of extract and bench: ", row.summary)
    for table_of in BACKBONES.values():
        for fault in table_of.faults:
            remark(("left out: ", "yellow"), fault)


def _models(row: Row) -> Iterator[tuple[str, PublishedModel]]:
    """A family's published weights, by the names that load them."""
    for model in traits(row.name).models:
        yield model.name or row.name, model


def _show_models(models: list[tuple[str, PublishedModel]]) -> None:
    table = titled("published weights", "backbone: where from")
    add_numbers(table, "wide", "tokens", "million")
    table.add_column("licence", overflow="fold")
    for name, model in models:
        where = name if model.source in name else f"{name}: {model.source}"
        table.add_row(
            where,
            f"{model.width:,}",
            f"{model.tokens:,}",
            f"{model.parameters_millions:,.1f}",
            f"{model.licence}, gated" if model.gated else model.licence,
        )
    out.print(table)
    line("tokens: most of a text, or those of a picture; million: parameters of the part in use;")
    line("gated: its terms must be accepted before the first download")


def _record(modality: Modality, row: Row) -> dict[str, Any]:
    known = traits(row.name)
    models = [asdict(model) | {"name": name} for name, model in _models(row)]
    return {
        "backbone": row.name,
        "reads": modality.value,
        "features": row.summary,
        "source": row.source,
        "poolings": [pooling.value for pooling in known.poolings],
        "layers": known.layered,
        "extra": known.extra or None,
        "published": models,
    }
