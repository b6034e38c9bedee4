"""Opens run folders."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mvsa_pipe.errors import RunError, name_some
from mvsa_pipe.runs.layout import CONFIG, HEAD, METRICS, PREDICTIONS, SCHEMA, SPLIT
from mvsa_pipe.spreadsheet import from_text_cell

_FIT_AGAIN = "mvsa fit with the same options makes the run again"


@dataclass(frozen=True)
class Member:
    """A post's place in a run: ``split.csv`` holds one row each, and serves as ``--split`` too.

    Attributes:
        post_id: The post.
        split: The part that it was in.
        label: Its true class at that time.
    """

    post_id: str
    split: str
    label: str


@dataclass(frozen=True)
class Recorded:
    """What ``predictions.csv`` holds of one post, but for the probabilities.

    Attributes:
        post_id: The post.
        split: The part that it was in.
        label: Its true class.
        prediction: The most probable class.
    """

    post_id: str
    split: str
    label: str
    prediction: str


@dataclass(frozen=True)
class Run:
    """A run as it lies on disk.

    Attributes:
        path: Its folder.
        config: Everything that the run was made from.
        metrics: Its scores.
    """

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def title(self) -> str:
        """The head's name, with the number of heads where it is an ensemble."""
        seeds = self.config.get("seeds")
        return f"{self.config['head']} × {len(seeds)} seeds" if seeds else str(self.config["head"])

    def members(self) -> list[Member]:
        """The posts that the run was trained, selected and tested on, in their order.

        Raises:
            RunError: The list is missing or damaged.
        """
        rows = _read_table(self.path / SPLIT, "list of posts", ("id", "split", "label"))
        return [Member(*row) for row in rows]

    def predictions(self) -> list[Recorded]:
        """What the run said of the posts that it was scored on, in their order.

        Raises:
            RunError: The table is missing or damaged, or names classes that the run has not.
        """
        path, columns = self.path / PREDICTIONS, ("post_id", "split", "label", "prediction")
        recorded = [Recorded(*row) for row in _read_table(path, "predictions", columns)]
        named = {name for row in recorded for name in (row.label, row.prediction)}
        strange = sorted(named - set(self.config["data"]["classes"]))
        if strange:
            raise RunError(
                "This run's predictions are of classes that it does not have",
                where=path,
                expected=", ".join(self.config["data"]["classes"]),
                found=name_some(map(repr, strange)),
                hint=_FIT_AGAIN,
            )
        return recorded

    def head_state(self) -> dict[str, Tensor]:
        """The trained weights.

        Raises:
            RunError: The checkpoint is missing or damaged.
        """
        path = self.path / HEAD
        if not path.is_file():
            raise RunError(
                "This run has no checkpoint",
                where=self.path,
                expected=HEAD,
                found=name_some(sorted(p.name for p in self.path.iterdir())),
                hint=f"{_FIT_AGAIN}; the numbers in metrics.json can still be reported",
            )
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise RunError(
                "This checkpoint is damaged", where=path, found=error, hint=_FIT_AGAIN
            ) from error


def open_run(path: Path) -> Run:
    """Opens a run folder.

    Raises:
        RunError: It is missing, incomplete, or of another schema.
    """
    if not path.is_dir() or not any((path / name).exists() for name in (CONFIG, METRICS)):
        near = _runs_in(path) or _runs_in(path.parent)
        raise RunError(
            "There is no run here",
            where=path,
            expected="a folder that mvsa fit wrote",
            found=f"runs nearby: {name_some(map(str, near))}" if near else None,
            hint="name one of them" if near else "mvsa fit --head NAME makes one",
        )
    config, metrics = _read_json(path / CONFIG), _read_json(path / METRICS)
    if config.get("schema") != SCHEMA:
        raise RunError(
            "This run was written in another version of the folder's layout",
            where=path,
            expected=f"schema {SCHEMA}",
            found=config.get("schema"),
            hint=_FIT_AGAIN,
        )
    return Run(path, config, metrics)


def _read_table(path: Path, what: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Some columns of a table that a run wrote, row by row.

    Raises:
        RunError: It is missing, damaged or empty.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [tuple(row[c] for c in columns) for row in csv.DictReader(file, strict=True)]
        if not rows or any(value is None for row in rows for value in row):
            raise ValueError("it is empty" if not rows else "a row was cut short")
        return [tuple(map(from_text_cell, row)) for row in rows]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RunError(
            f"This run's {what} cannot be read", where=path, found=error, hint=_FIT_AGAIN
        ) from error


def _runs_in(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"This run's {path.name} cannot be read", where=path, found=error, hint=_FIT_AGAIN
        ) from error
    if not isinstance(value, dict):
        raise RunError(f"This run's {path.name} is no JSON object", where=path, hint=_FIT_AGAIN)
    return value
