"""Opens run folders."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.errors import FIT_AGAIN, MvsaError, RunError, name_some
from mvsa_pipe.json_schema import parse_json, read_json, validated
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.formats import ReadOptions
from mvsa_pipe.posts.splits.split import PARTS
from mvsa_pipe.posts.tables.csv_rows import from_text_cell
from mvsa_pipe.runs.layout import (
    CONFIG,
    FAILED,
    HISTORY,
    METRICS,
    PREDICTIONS,
    RUN_SCHEMA,
    SPLIT,
    content_column,
)
from mvsa_pipe.runs.predictions import Prediction, Predictions, probability_columns
from mvsa_pipe.runs.schema import FailureShape, MetricsShape, check_config, read_options


@dataclass(frozen=True)
class Member:
    """A post of a run: a row of ``split.csv``, which can also be used as ``--split``.

    Attributes:
        post_id: The post.
        split: Its part.
        label: Its true class when the run was made.
        contents: Content digest of each modality that the head read; empty in runs of 0.1.
    """

    post_id: str
    split: str
    label: str
    contents: Mapping[Modality, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: Its folder.
        config: Its configuration.
        metrics: Its scores.
    """

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def title(self) -> str:
        """The head's name, with the number of seeds if it is an ensemble."""
        seeds = self.config.get("seeds")
        return f"{self.config['head']} × {len(seeds)} seeds" if seeds else str(self.config["head"])

    @property
    def read_options(self) -> ReadOptions:
        """How its posts were read."""
        return read_options(self.config["data"]["read"])

    def members(self) -> list[Member]:
        """The posts that the run was trained, selected and tested on, in order.

        Raises:
            RunError: The list is missing or damaged.
        """
        rows = _read_table(self.path / SPLIT, "list of posts", ("id", "split", "label"))
        members = [
            Member(
                row["id"],
                row["split"],
                row["label"],
                {m: digest for m in Modality if (digest := row.get(content_column(m)))},
            )
            for row in rows
        ]
        _require_listed_once(self.path / SPLIT, [(m.post_id, m.split) for m in members])
        return members

    def predictions(self) -> Predictions:
        """The run's predictions for its scored posts, in order.

        Raises:
            RunError: The table is missing or damaged, names classes that the run does not have, or
                contradicts its own probabilities.
        """
        path, columns = self.path / PREDICTIONS, ("post_id", "split", "label", "prediction")
        classes: list[str] = self.config["data"]["classes"]
        rows = _read_table(path, "predictions", columns)
        strange = sorted({row[n] for row in rows for n in ("label", "prediction")} - {*classes})
        if strange:
            raise RunError(
                "This run's predictions name classes that it does not have",
                where=path,
                expected=", ".join(classes),
                found=name_some(map(repr, strange)),
                hint=FIT_AGAIN,
            )
        _require_listed_once(path, [(row["post_id"], row["split"]) for row in rows])
        absent = sorted({*probability_columns(classes)} - rows[0].keys())
        if absent:
            raise RunError(
                "This run's predictions lack the probabilities of a class",
                where=path,
                expected=f"columns {', '.join(absent)}",
                hint=FIT_AGAIN,
            )
        places = {name: place for place, name in enumerate(classes)}
        shares = [[row.get(c) for c in probability_columns(classes)] for row in rows]
        fault = _share_fault(shares, [places[row["prediction"]] for row in rows])
        if fault is not None:
            place, what = fault
            raise RunError(
                "This run's predictions do not follow from their probabilities",
                where=path,
                found=f"post {rows[place]['post_id']!r}: {what}",
                hint=FIT_AGAIN,
            )
        found = (
            Prediction(
                post_id=row["post_id"],
                split=row["split"],
                label=row["label"],
                prediction=row["prediction"],
                probabilities=[float(str(share)) for share in own],
            )
            for row, own in zip(rows, shares, strict=True)
        )
        return Predictions(found, classes)

    def read_history(self) -> list[dict[str, Any]]:
        """One entry per epoch, or per strength of a baseline, in order.

        Raises:
            RunError: The record is missing or damaged.
        """
        path = self.path / HISTORY
        try:
            entries = [parse_json(line) for line in path.read_bytes().splitlines()]
        except (OSError, ValueError) as error:
            raise RunError(
                "This run's history cannot be read", where=path, found=error, hint=FIT_AGAIN
            ) from error
        return [entry for entry in entries if isinstance(entry, dict)]

    def checkpoint(self, name: str) -> bytes:
        """Content of the file with the trained model.

        Raises:
            RunError: It is missing, or cannot be read.
        """
        path = self.path / name
        if not path.is_file():
            raise RunError(
                "This run has no checkpoint",
                where=self.path,
                expected=name,
                found=name_some(sorted(p.name for p in self.path.iterdir())),
                hint=f"{FIT_AGAIN}; the numbers in metrics.json can still be reported",
            )
        try:
            return path.read_bytes()
        except OSError as error:
            raise RunError(
                "This checkpoint cannot be read", where=path, found=error, hint=FIT_AGAIN
            ) from error


def open_run(path: Path) -> Run:
    """Opens a run folder.

    Raises:
        RunError: It is missing, incomplete, of another schema, or of a failed run.
    """
    if (path / FAILED).is_file():
        raise RunError(
            "This run failed",
            where=path,
            found=read_failure(path).reason,
            hint="mvsa bench with --force trains it again",
        )
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
    if config.get("schema") != RUN_SCHEMA:
        raise RunError(
            "This run was written in another version of the folder's layout",
            where=path,
            expected=f"schema {RUN_SCHEMA}",
            found=config.get("schema"),
            hint=FIT_AGAIN,
        )
    for name, value, check in (
        (CONFIG, config, check_config),
        (METRICS, metrics, lambda value: validated(value, MetricsShape)),
    ):
        try:
            check(value)
        except (ValueError, MvsaError) as error:
            raise RunError(
                f"This run's {name} does not have the expected content",
                where=path / name,
                found=error,
                hint=FIT_AGAIN,
            ) from error
    return Run(path, config, metrics)


def read_failure(path: Path) -> FailureShape:
    """The failure of a bench's run.

    Raises:
        RunError: The record is damaged.
    """
    try:
        return validated(_read_json(path / FAILED), FailureShape)
    except ValueError as error:
        raise RunError(
            f"This run's {FAILED} does not have the expected content",
            where=path / FAILED,
            found=error,
        ) from error


def _read_table(path: Path, what: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a run's table, which must have some columns.

    Raises:
        RunError: It is missing, damaged or empty.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        if not rows or any(row[column] is None for row in rows for column in columns):
            raise ValueError("it is empty" if not rows else "a row was cut short")
        return [row | {column: from_text_cell(row[column]) for column in columns} for row in rows]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise RunError(
            f"This run's {what} cannot be read", where=path, found=error, hint=FIT_AGAIN
        ) from error


def _require_listed_once(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Raises if a table lists a post twice, or has a row without a valid part.

    Raises:
        RunError: It does.
    """
    counts = Counter(post_id for post_id, _ in rows)
    twice = [post_id for post_id, count in counts.items() if count > 1]
    strange = [post_id for post_id, part in rows if part not in PARTS]
    if twice or strange:
        raise RunError(
            f"This run's {path.name} lists posts twice"
            if twice
            else f"This run's {path.name} names unknown parts",
            where=path,
            expected=f"each post once, in {', '.join(PARTS)}",
            found=name_some(map(repr, twice or strange)),
            hint=FIT_AGAIN,
        )


# Probabilities are written with six decimals.
_ROUNDING = 1e-6


def _share_fault(
    shares: Sequence[Sequence[object]], predicted: Sequence[int]
) -> tuple[int, str] | None:
    """Index of the first post with invalid probabilities, and the fault; ``None`` if all are valid.

    Args:
        shares: Probability of each class, per post.
        predicted: Index of each post's predicted class.
    """
    try:
        values = np.array(shares, np.float64)
    except (TypeError, ValueError, OverflowError):
        return 0, "a probability that is not a number, in this row or a later one"
    answers = np.take_along_axis(values, np.array(predicted, np.int64)[:, None], axis=1)[:, 0]
    room = 1e-4 + _ROUNDING * values.shape[1]
    for what, hit in (
        ("a probability that is not from 0 to 1", ~((values >= 0) & (values <= 1)).all(axis=1)),
        ("probabilities that do not add up to 1", np.abs(values.sum(axis=1) - 1) > room),
        ("another class is more probable", answers < values.max(axis=1) - 2 * _ROUNDING),
    ):
        if hit.any():
            return int(hit.argmax()), what
    return None


def _runs_in(folder: Path) -> list[Path]:
    return sorted(p.parent for p in folder.glob(f"*/{CONFIG}") if p.parent.name[0] != ".")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise RunError(
            f"This run's {path.name} cannot be read", where=path, found=error, hint=FIT_AGAIN
        ) from error
    if not isinstance(value, dict):
        raise RunError(f"This run's {path.name} is not a JSON object", where=path, hint=FIT_AGAIN)
    return value
