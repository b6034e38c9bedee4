"""``mvsa analyze``: one verb for each row of the table of analyses."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvsa_pipe.analysis.analyses import ANALYSES, ANALYSIS_OPTIONS
from mvsa_pipe.cli.console import line, show_json
from mvsa_pipe.cli.expand import Verb, expand
from mvsa_pipe.cli.findings import show_finding
from mvsa_pipe.cli.screen import progress

if TYPE_CHECKING:
    from mvsa_pipe.analysis.finding import Finding
    from mvsa_pipe.runs import Run

app = typer.Typer(
    help="Analyse runs: what modalities contribute, calibration, robustness, labels and more.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def _analyze() -> None:
    """Makes typer treat every analysis as a subcommand."""


def _draw(finding: "Finding", runs: "Sequence[Run]", folder: Path) -> list[Path]:
    """Draws the plots of a finding, with pictures below patches; returns the files."""
    from mvsa_pipe.analysis.seen_picture import picture_below, seen_pictures
    from mvsa_pipe.disk import storage_errors
    from mvsa_pipe.durable import write_bytes
    from mvsa_pipe.reports.plots import png

    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    pictures = seen_pictures([finding], runs)
    paths = []
    for number, plot in enumerate(finding.plots, 1):
        words = re.sub(r"[^a-z0-9]+", "-", plot.title.casefold()).strip("-")[:60]
        paths.append(folder / f"{finding.analysis}-{number:02}-{words}.png")
        write_bytes(paths[-1], png(plot, picture=picture_below(plot, pictures)))
    return paths


def _verb(name: str, summary: str, kind: type[Any]) -> Callable[..., None]:
    def verb(
        runs: Annotated[
            list[Path],
            typer.Argument(
                help="Run folders, or folders of runs. Those that differ in their seed alone are "
                "one head."
            ),
        ],
        options: kind,  # type: ignore[valid-type]
        save: Annotated[
            bool,
            typer.Option(
                "--save/--no-save", help="Keep the record beside the runs, where reports find it."
            ),
        ] = True,
        png: Annotated[
            Path | None,
            typer.Option("--png", help="Also draw its plots, as PNG files in this folder."),
        ] = None,
        json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    ) -> None:
        from mvsa_pipe.analysis.finding_store import save_finding
        from mvsa_pipe.reports.given_runs import given_runs

        given = given_runs(runs)
        opened = given.runs
        with progress() as screen:
            for failed, reason in given.failed:
                screen.say(f"left out, as it failed: {failed}: {reason}")
            finding = ANALYSES.load(name)(opened, options, screen)
        path = save_finding(finding, opened) if save else None
        drawn = [] if png is None else _draw(finding, opened, png)
        if json:
            show_json(finding.as_record())
            return
        show_finding(finding)
        if path is not None:
            line(("record: ", "dim"), str(path))
        if drawn:
            line(("plots: ", "dim"), f"{len(drawn)} PNG files in {png}")

    verb.__doc__ = summary
    return expand(verb)


for _row in ANALYSES:
    app.command(_row.name, cls=Verb)(_verb(_row.name, _row.summary, ANALYSIS_OPTIONS[_row.name]))
