"""``mvsa report``: one page that shows runs, as a file without network requests."""

from pathlib import Path
from typing import Annotated

import typer

from mvsa_pipe.cli.console import line
from mvsa_pipe.cli.expand import expand
from mvsa_pipe.cli.screen import progress
from mvsa_pipe.metrics.options import ScoreChoice
from mvsa_pipe.reports.options import ReportOptions


@expand
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders, folders that contain runs, or records of a bench."),
    ],
    options: ReportOptions,
    shown: ScoreChoice,
) -> None:
    """Write a page about runs: verdict, leaderboard, plots, costs, claims, how to repeat.

    The page is one file that opens from the disk and makes no network request.
    """
    from mvsa_pipe.reports.write import write_report

    with progress() as screen:
        path = write_report(runs, options, screen, shown.chosen)
    line(f"report: {path}")
