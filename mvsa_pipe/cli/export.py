"""``mvsa export``: exports a run as a self-contained folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvsa_pipe.cli.console import line, remark, show_json, size
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.export.options import ExportOptions

if TYPE_CHECKING:
    from mvsa_pipe.export.write import Exported


@expand
def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    options: ExportOptions,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Write a run as a self-contained folder: head, backbones, model card.

    load_exported of mvsa_pipe.export loads the folder. ONNX files of the head and of the whole
    model are checked against torch; models that cannot be written as ONNX are reported, and with
    --onnx the exit code is 1.
    """
    from mvsa_pipe.export.write import export_run
    from mvsa_pipe.runs import open_run

    opened = open_run(run)
    with progress() as screen:
        done = export_run(opened, options, screen)
    for file in done.onnx:
        if file.fault:
            remark((f"{file.name} could not be written", "yellow"), f": {file.fault}")
    if json:
        show_json(done.as_record())
    else:
        _show(done)
    if options.onnx and any(file.fault for file in done.onnx):
        raise typer.Exit(1)


def _show(done: "Exported") -> None:
    for name, count in done.files.items():
        line(f"{name}  {size(count)}")
    for file in done.onnx:
        if file.largest_difference is not None:
            line(f"{file.name}: at most {file.largest_difference:.1g} from torch's probabilities")
    line(f"exported: {done.folder}; from mvsa_pipe.export import load_exported loads it")
