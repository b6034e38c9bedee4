"""Writes run folders under names that are free."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mvsa_pipe.durable import (
    make_folder,
    name_fault,
    replacing,
    storage_errors,
    whole_folder,
    write_bytes,
    write_json,
)
from mvsa_pipe.errors import ConfigError, RunError
from mvsa_pipe.modality import Modality
from mvsa_pipe.runs.layout import (
    CONFIG,
    HISTORY,
    METRICS,
    PREDICTIONS,
    SCHEMA,
    SPLIT,
    content_column,
)
from mvsa_pipe.runs.predictions import Prediction, write_csv, write_predictions
from mvsa_pipe.runs.reading import Member, Run


def write_run(
    path: Path,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    history: Iterable[Mapping[str, Any]],
    model: Mapping[str, bytes],
    predictions: Sequence[Prediction],
    members: Sequence[Member],
    more: Mapping[str, Path] | None = None,
) -> Run:
    """Writes a run folder; it appears under its name only when all its files are there.

    Args:
        path: The folder.
        config: Everything that the run was made from.
        metrics: Its scores.
        history: One entry an epoch.
        model: Content of the files that hold the trained model, by their names.
        predictions: What it says of posts.
        members: Its posts, and their parts.
        more: Files that are copied into it, by their names there.

    Raises:
        RunError: A run of that name is there already.
        StorageError: The disk refuses.
    """
    refuse_taken(path)
    config = {"schema": SCHEMA, **config}
    try:
        with whole_folder(path) as folder:
            write_json(folder / CONFIG, config)
            write_json(folder / METRICS, metrics)
            lines = "".join(json.dumps(entry) + "\n" for entry in history)
            write_bytes(folder / HISTORY, lines.encode())
            for name, data in model.items():
                write_bytes(folder / name, data)
            write_predictions(folder / PREDICTIONS, predictions, config["data"]["classes"])
            halves = [m for m in Modality if any(m in member.contents for member in members)]
            rows = [
                [m.post_id, m.split, m.label, *(m.contents.get(half, "") for half in halves)]
                for m in members
            ]
            columns = ["id", "split", "label", *map(content_column, halves)]
            write_csv(folder / SPLIT, columns, rows)
            for name, file in (more or {}).items():
                with replacing(folder / name) as temporary:
                    shutil.copyfile(file, temporary)
    except FileExistsError as error:
        raise _taken(path) from error  # another process was faster
    return Run(path, dict(config), dict(metrics))


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
