"""Records of analyses beside the runs that they are about: written whole, found again by run."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from mvsa_pipe.analysis.finding import AnalysedRun, Finding, FindingTable, Plot
from mvsa_pipe.durable import json_bytes, write_json
from mvsa_pipe.errors import RunError
from mvsa_pipe.json_schema import read_json, validated
from mvsa_pipe.options import Options
from mvsa_pipe.provenance import now, package_versions
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.layout import PREDICTIONS

# The folder of records, in the folder that contains the runs.
ANALYSES_FOLDER = "analyses"
_DIGITS = 12


def analysed_run(run: Run, title: str = "") -> AnalysedRun:
    """A run as a finding names it.

    Raises:
        RunError: Its predictions cannot be read.
    """
    path = run.path / PREDICTIONS
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:_DIGITS]
    except OSError as error:
        raise RunError("This run's predictions cannot be read", where=path, found=error) from error
    return AnalysedRun(str(run.path), title or run.title, digest)


def finding_of(
    analysis: str,
    runs: Sequence[Run],
    options: Options,
    *,
    question: str,
    verdict: list[str],
    tables: list[FindingTable],
    plots: list[Plot],
    method: list[str],
    posts: int,
    values: Mapping[str, Any] | None = None,
) -> Finding:
    """A finding with its runs, versions and time; arguments as its attributes.

    Raises:
        RunError: Predictions of a run cannot be read.
    """
    protocols = {str(run.metrics["protocol"]) for run in runs}
    return Finding(
        analysis=analysis,
        question=question,
        verdict=verdict,
        tables=tables,
        plots=plots,
        method=method,
        runs=[analysed_run(run) for run in runs],
        protocol=protocols.pop() if len(protocols) == 1 else "",
        posts=posts,
        options=msgspec.to_builtins(asdict(options), enc_hook=str),  # paths as text
        values=dict(values or {}),
        versions=package_versions(),
        written=now(),
    )


def save_finding(finding: Finding, runs: Sequence[Run]) -> Path:
    """Writes a finding beside the first of its runs; the same analysis replaces its own record.

    Raises:
        StorageError: The disk refuses; an older record is unchanged.
    """
    key = [finding.analysis, sorted(run.digest for run in finding.runs), finding.options]
    digest = hashlib.sha256(json_bytes(key)).hexdigest()[:_DIGITS]
    folder = runs[0].path.resolve().parent / ANALYSES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{finding.analysis}-{digest}.json"
    write_json(path, finding.as_record())
    return path


def read_finding(path: Path) -> Finding:
    """Reads the record of an analysis.

    Raises:
        RunError: It is no such record, or is damaged.
    """
    try:
        return validated(read_json(path), Finding)
    except (OSError, ValueError) as error:
        raise RunError(
            "This record of an analysis cannot be read",
            where=path,
            found=error,
            hint="delete it, and run mvsa analyze again",
        ) from error


def findings_about(runs: Iterable[Run]) -> list[Finding]:
    """The findings beside some runs that are about these runs alone, unchanged since.

    Raises:
        RunError: A record is damaged.
    """
    opened = list(runs)
    digests = {analysed_run(run).digest for run in opened}
    folders = dict.fromkeys(run.path.resolve().parent / ANALYSES_FOLDER for run in opened)
    paths = [
        path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.json"))
    ]
    found = [read_finding(path) for path in paths]
    return [each for each in found if {run.digest for run in each.runs} <= digests]
