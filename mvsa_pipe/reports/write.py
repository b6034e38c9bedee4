"""Collects a report and writes it as a page, a document, or tables."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from mvsa_pipe.durable import write_bytes
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.options import DEFAULT_SCORES
from mvsa_pipe.metrics.score_table import Score
from mvsa_pipe.progress import Progress
from mvsa_pipe.reports.collect import collect
from mvsa_pipe.reports.content import ReportContent
from mvsa_pipe.reports.formats import csv_table, latex, markdown, slugs
from mvsa_pipe.reports.given_runs import given_runs
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.reports.page import html_page


def write_report(
    paths: Sequence[Path],
    options: ReportOptions,
    progress: Progress,
    scores: Sequence[Score] = DEFAULT_SCORES,
) -> Path:
    """Writes the report of some runs; returns its path.

    Args:
        paths: Run folders, folders that contain runs, or records of a bench.
        options: What the report contains, and where and how it is written.
        progress: Receives progress.
        scores: The scores of the leaderboard; the first one orders the heads.

    Raises:
        ConfigError: A folder is where the file is to be, or a file where the folder is.
        MvsaError: As ``given_runs`` and ``collect``.
        StorageError: The disk refuses; an older page is unchanged.
    """
    _require_place(paths, options)
    content = collect(given_runs(paths), options, scores, progress)
    match options.format:
        case "csv":
            _write_csv(content, options.path)
        case "markdown" | "latex":
            written = {"markdown": markdown, "latex": latex}[options.format]
            text = written(content.title, content.verdict, content.tables())
            write_bytes(options.path, text.encode())
        case _:
            write_bytes(options.path, html_page(content).encode())
    return options.path


def _require_place(paths: Sequence[Path], options: ReportOptions) -> None:
    """Refuses a folder in the place of a file, and the reverse, before anything is computed."""
    default = ReportOptions(format=options.format).path
    above = next((folder for folder in options.path.parents if folder.exists()), Path())
    if not above.is_dir():
        blocked, expected, better = above, "a folder", default
    elif options.format == "csv" and options.path.is_file():
        better = options.path.with_name(f"{options.path.stem}-{default.name}")
        blocked, expected = options.path, "a folder, with a file for each table"
    elif options.format != "csv" and options.path.is_dir():
        blocked, expected, better = options.path, "a file", options.path / default
    else:
        return
    words = ["mvsa", "report", *map(str, paths), "--format", options.format]
    raise ConfigError(
        "The report cannot be written here",
        where=blocked,
        expected=expected,
        found="a folder" if blocked.is_dir() else "a file",
        hint=shlex.join([*words, "--output", str(better)]),
    )


def _write_csv(content: ReportContent, folder: Path) -> None:
    tables = content.tables()
    for table, slug in zip(tables, slugs(tables), strict=True):
        write_bytes(folder / f"{slug}.csv", csv_table(table).encode())
