"""``mvsa analyze``: one verb for each row of the table of analyses."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mvsa_pipe.analysis.analyses import ANALYSES, ANALYSIS_OPTIONS
from mvsa_pipe.cli.console import line, show_json
from mvsa_pipe.cli.expand import Verb, expand
from mvsa_pipe.cli.findings import show_finding
from mvsa_pipe.cli.screen import progress

app = typer.Typer(
    help="Analyse runs: what each modality contributes, calibration, robustness, labels and more.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def _analyze() -> None:
    """Makes typer treat every analysis as a subcommand."""


def _verb(name: str, summary: str, kind: type[Any]) -> Callable[..., None]:
    def verb(
        runs: Annotated[
            list[Path],
            typer.Argument(help="Run folders; those that differ in their seed alone are one head."),
        ],
        options: kind,  # type: ignore[valid-type]
        save: Annotated[
            bool,
            typer.Option(
                "--save/--no-save", help="Keep the record beside the runs, where reports find it."
            ),
        ] = True,
        json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    ) -> None:
        from mvsa_pipe.analysis.finding_store import save_finding
        from mvsa_pipe.runs import open_run

        opened = [open_run(path) for path in runs]
        with progress() as screen:
            finding = ANALYSES.load(name)(opened, options, screen)
        path = save_finding(finding, opened) if save else None
        if json:
            show_json(finding.as_record())
            return
        show_finding(finding)
        if path is not None:
            line(("record: ", "dim"), str(path))

    verb.__doc__ = summary
    return expand(verb)


for _row in ANALYSES:
    app.command(_row.name, cls=Verb)(_verb(_row.name, _row.summary, ANALYSIS_OPTIONS[_row.name]))
