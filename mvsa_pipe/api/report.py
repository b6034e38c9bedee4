"""``report``: one page that shows runs."""

from pathlib import Path
from typing import Any

from mvsa_pipe.api.bench import BenchTable
from mvsa_pipe.api.keywords import as_path, build
from mvsa_pipe.api.screen import shown_progress
from mvsa_pipe.metrics.options import ScoreChoice
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.reports.write import write_report
from mvsa_pipe.runs import Run


def report(
    *runs: Run | BenchTable | str | Path,
    output: str | Path | None = None,
    scores: str = ScoreChoice.scores,
    **options: Any,  # noqa: ANN401
) -> Path:
    """Writes a page about runs, as one file that makes no network request; returns its path.

    Args:
        runs: Runs or their folders, folders that contain runs, or benches or their records.
        output: The file to write; ``report.html`` by default.
        scores: The scores of the leaderboard, joined by commas; the first one orders the heads.
        options: Options of ``ReportOptions``, such as ``reference``, ``with_posts`` and ``format``.

    Raises:
        ConfigError: An option cannot be used.
        MvsaError: As ``mvsa_pipe.reports.write.write_report``.
    """
    settings = build(ReportOptions, {**options, "output": output})
    chosen = build(ScoreChoice, {"scores": scores}).chosen
    paths = [
        each.path if isinstance(each, Run | BenchTable) else as_path("runs", each) for each in runs
    ]
    with shown_progress() as screen:
        return write_report(paths, settings, screen, chosen)
