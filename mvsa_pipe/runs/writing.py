"""Writes run folders under names that are free."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvsa_pipe.durable import (
    json_bytes,
    make_folder,
    name_fault,
    storage_errors,
    whole_folder,
)
from mvsa_pipe.errors import ConfigError, RunError
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs.layout import (
    CONFIG,
    HISTORY,
    METRICS,
    PREDICTIONS,
    RUN_SCHEMA,
    SPLIT,
    content_column,
)
from mvsa_pipe.runs.predictions import Prediction, csv_table, predictions_table
from mvsa_pipe.runs.reading import Member, Run


@dataclass(frozen=True)
class RunContents:
    """Everything that a run folder holds.

    Attributes:
        config: Everything that the run was made from.
        metrics: Its scores.
        history: One entry per epoch.
        model: Content of the files that hold the trained model, by their names.
        predictions: Its predictions for the posts that it was scored on.
        split: Content of ``split.csv``: see ``split_table``.
        more: Files that are copied into the folder, by their names there.
    """

    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    model: Mapping[str, bytes]
    predictions: Sequence[Prediction]
    split: bytes
    more: Mapping[str, Path] = field(default_factory=dict)


def write_run(path: Path, contents: RunContents, *, replace: bool = False) -> Run:
    """Writes a run folder; it appears under its name only when all its files are there.

    Args:
        path: The folder.
        contents: Its files.
        replace: Whether it takes the place of a run of that name.

    Raises:
        RunError: A run of that name is there already, and is not to be replaced.
        StorageError: The disk refuses.
    """
    if not replace:
        refuse_taken(path)
    config = {"schema": RUN_SCHEMA, **contents.config}
    lines = "".join(json.dumps(entry) + "\n" for entry in contents.history)
    files = {
        CONFIG: json_bytes(config),
        METRICS: json_bytes(contents.metrics),
        HISTORY: lines.encode(),
        PREDICTIONS: predictions_table(contents.predictions, config["data"]["classes"]),
        SPLIT: contents.split,
        **contents.model,
    }
    try:
        with whole_folder(path, replace=replace) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            for name, file in contents.more.items():
                shutil.copyfile(file, folder / name)
    except FileExistsError as error:
        raise _taken(path) from error  # another process was faster
    return Run(path, config, dict(contents.metrics))


def split_table(members: Sequence[Member]) -> bytes:
    """The content of ``split.csv``: id, part, label and digests of the contents of every post."""
    halves = [m for m in Modality if any(m in member.contents for member in members)]
    rows = [
        [m.post_id, m.split, m.label, *(m.contents.get(half, "") for half in halves)]
        for m in members
    ]
    return csv_table(["id", "split", "label", *map(content_column, halves)], rows)


def refuse_taken(path: Path) -> None:
    """Refuses a name before any work is done under it.

    Raises:
        RunError: Something of that name is there already.
    """
    if path.exists():
        raise _taken(path)


def _taken(path: Path) -> RunError:
    return RunError("A run of this name is there already", where=path, hint="use another --name")


def checked_run_name(name: str) -> str:
    """A run's name, safe as the name of one folder.

    Raises:
        ConfigError: It is empty, hidden, a path, or too long.
    """
    fault = name_fault(name) or ("it is hidden" if name.startswith(".") else "")
    if fault:
        raise ConfigError(
            "--name cannot be used",
            expected="the name of a folder to be made inside --runs, without slashes",
            found=f"{name[:80]!r}: {fault}",
        )
    return name


def free_name(folder: Path, wanted: str) -> str:
    """``wanted``, or the first of ``wanted-2``, ``wanted-3``, … that nothing there has."""
    if not (folder / wanted).exists():
        return wanted
    number = 2
    while (folder / f"{wanted}-{number}").exists():
        number += 1
    return f"{wanted}-{number}"


def require_writable(folder: Path) -> None:
    """Makes a folder and tries to write there, before work depends on it.

    Raises:
        StorageError: The disk refuses.
    """
    make_folder(folder)
    with storage_errors(folder), tempfile.TemporaryFile(dir=folder):
        pass
