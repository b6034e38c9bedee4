"""Writes run folders under unused names."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvsa_pipe.disk import make_folder, name_fault, storage_errors
from mvsa_pipe.durable import json_bytes, whole_folder
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
    """The files of a run folder.

    Attributes:
        config: Content of ``config.json``.
        metrics: Content of ``metrics.json``.
        history: One entry per epoch.
        model: Content of the trained model's files, by name.
        predictions: Its predictions for its scored posts.
        split: Content of ``split.csv``: see ``split_table``.
        more: Files to copy into the folder, by their names there.
    """

    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    model: Mapping[str, bytes]
    predictions: Sequence[Prediction]
    split: bytes
    more: Mapping[str, Path] = field(default_factory=dict)


def write_run(path: Path, contents: RunContents, *, replace: bool = False) -> Run:
    """Writes a run folder; it appears under its name only when all its files are complete.

    Args:
        path: The folder.
        contents: Its files.
        replace: Whether it replaces a run of that name.

    Raises:
        RunError: A run of that name exists already, and is not to be replaced.
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
    """Content of ``split.csv``: id, part, label and content digests of every post."""
    recorded = [m for m in Modality if any(m in member.contents for member in members)]
    rows = [
        [m.post_id, m.split, m.label, *(m.contents.get(name, "") for name in recorded)]
        for m in members
    ]
    return csv_table(["id", "split", "label", *map(content_column, recorded)], rows)


def refuse_taken(path: Path) -> None:
    """Raises if a name is taken, before any work is done.

    Raises:
        RunError: A file or folder of that name exists already.
    """
    if path.exists():
        raise _taken(path)


def _taken(path: Path) -> RunError:
    return RunError("A run of this name exists already", where=path, hint="use another --name")


def checked_run_name(name: str) -> str:
    """A run's name, checked to be safe as a folder name.

    Raises:
        ConfigError: It is empty, hidden, a path, or too long.
    """
    fault = name_fault(name) or ("it is hidden" if name.startswith(".") else "")
    if fault:
        raise ConfigError(
            "--name cannot be used",
            expected="the name of a new folder inside --runs, without slashes",
            found=f"{name[:80]!r}: {fault}",
        )
    return name


def free_name(folder: Path, wanted: str) -> str:
    """``wanted``, or the first unused one of the names ``wanted-2``, ``wanted-3`` and so on."""
    if not (folder / wanted).exists():
        return wanted
    number = 2
    while (folder / f"{wanted}-{number}").exists():
        number += 1
    return f"{wanted}-{number}"


def require_writable(folder: Path) -> None:
    """Makes a folder and checks that it is writable, before any work is done.

    Raises:
        StorageError: The disk refuses.
    """
    make_folder(folder)
    with storage_errors(folder), tempfile.TemporaryFile(dir=folder):
        pass
