"""``report``: collects a report and writes it as a file."""

from collections.abc import Sequence
from pathlib import Path

from mvsa_pipe.durable import write_bytes
from mvsa_pipe.metrics.options import DEFAULT_SCORES
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.progress import Progress
from mvsa_pipe.reports.collect import collect
from mvsa_pipe.reports.given_runs import given_runs
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.reports.page import html_page


def write_report(
    paths: Sequence[Path],
    options: ReportOptions,
    progress: Progress,
    scores: Sequence[Score] = DEFAULT_SCORES,
) -> Path:
    """Writes the page of some runs; returns its path.

    Args:
        paths: Run folders, folders that contain runs, or records of a bench.
        options: What the page contains, and where it is written.
        progress: Receives progress.
        scores: The scores of the leaderboard; the first one orders the heads.

    Raises:
        MvsaError: As ``given_runs`` and ``collect``.
        StorageError: The disk refuses; an older page is unchanged.
    """
    content = collect(given_runs(paths), options, scores, progress, [str(p) for p in paths])
    write_bytes(options.output, html_page(content).encode())
    return options.output
