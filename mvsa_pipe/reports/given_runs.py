"""Finds the runs that a user names: run folders, folders of runs, records of a bench."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mvsa_pipe.analysis.finding_store import ANALYSES_FOLDER
from mvsa_pipe.benches.study import STUDIES
from mvsa_pipe.errors import RunError
from mvsa_pipe.json_schema import Schema, read_json, validated
from mvsa_pipe.runs import Run, open_run
from mvsa_pipe.runs.layout import CONFIG, FAILED, METRICS
from mvsa_pipe.runs.reading import read_failure

_RECORD = "bench.json"
_BESIDE_RUNS = (ANALYSES_FOLDER, STUDIES)


class _Entry(Schema):
    """A run in the record of a bench."""

    run: str | None = None


class _BenchRecord(Schema):
    """What a report reads of the record of a bench."""

    runs: list[_Entry] = msgspec.field(default_factory=list)
    command: str = ""  # absent in older records


@dataclass(frozen=True)
class GivenRuns:
    """Opened runs.

    Attributes:
        runs: The runs.
        failed: Runs without a result, each with its reason.
        commands: The commands of the benches that made them, where all runs of a bench are given.
        named: The paths that the user named.
    """

    runs: list[Run]
    failed: list[tuple[str, str]]
    commands: list[str]
    named: list[str]


def given_runs(paths: Sequence[Path]) -> GivenRuns:
    """Opens the runs at some paths.

    Args:
        paths: Run folders, folders that contain runs, records of a bench, or folders of such
            records.

    A pattern such as ``runs/*`` also matches what lies beside runs: records of analyses and of
    tuning are skipped, and a run that a bench's record names again counts once.

    Raises:
        RunError: There is no run, or one is damaged.
    """
    named = [path for path in paths if path.name not in _BESIDE_RUNS] or paths
    folders = list({f.resolve(): f for path in named for f in _folders(path)}.values())
    failed: list[tuple[str, str]] = []
    runs = []
    for folder in folders:
        if (folder / FAILED).is_file():
            failed.append((folder.name, read_failure(folder).reason))
        else:
            runs.append(open_run(folder))
    if not runs:
        raise RunError(
            "All of these runs failed",
            where=", ".join(map(str, paths)),
            found=failed[0][1] if failed else None,
            hint="mvsa bench with --force trains them again",
        )
    return GivenRuns(runs, failed, _commands(folders), [str(path) for path in paths])


def _folders(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield from _of_record(path)
    elif _is_run(path):
        yield path
    elif (path / _RECORD).is_file():
        yield from _of_record(path / _RECORD)
    else:
        below = sorted(p for p in path.glob("*") if p.name[0] != "." and _is_run(p))
        yield from below or [path]  # opening it says what is missing


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in (CONFIG, METRICS, FAILED))


def _of_record(path: Path) -> Iterator[Path]:
    """The runs of a bench: beside its folder, else where they were written."""
    record = _read(path)
    written = [Path(entry.run) for entry in record.runs if entry.run is not None]
    if not written:
        raise _no_record(path, "no run folders")
    for run in written:
        beside = path.resolve().parent.parent / run.name
        yield beside if beside.is_dir() else run


def _commands(folders: Sequence[Path]) -> list[str]:
    """Commands of the benches beside some runs, whose runs are all among them."""
    names = {folder.name for folder in folders}
    beside = dict.fromkeys(folder.resolve().parent for folder in folders)
    paths = sorted(path for folder in beside for path in folder.glob(f"*/{_RECORD}"))
    records = []
    for path in paths:
        with suppress(RunError):  # found beside the runs, not named by the user
            records.append(_read(path))
    found = dict.fromkeys(
        record.command
        for record in records
        if record.command and {Path(entry.run or "").name for entry in record.runs} <= names
    )
    return list(found)


def _read(path: Path) -> _BenchRecord:
    try:
        return validated(read_json(path), _BenchRecord)
    except (OSError, ValueError) as error:
        raise _no_record(path, error) from error


def _no_record(path: Path, found: object) -> RunError:
    return RunError(
        "This file is not the record of a bench",
        where=path,
        expected=f"{_RECORD}, with the folders of its runs",
        found=found,
        hint="name run folders, or the folder that contains them",
    )
