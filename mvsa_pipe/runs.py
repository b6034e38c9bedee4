"""Run folders: everything that one trained head leaves behind, whole or not at all."""

import csv
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mvsa_pipe.durable import make_folder, storage_errors, write_json
from mvsa_pipe.errors import RunError, name_some

_CONFIG, _METRICS, _HISTORY = "config.json", "metrics.json", "history.jsonl"
_HEAD, _PREDICTIONS = "head.safetensors", "predictions.csv"
RUN_SCHEMA = 1


@dataclass(frozen=True)
class Prediction:
    """What a head says of one post.

    Attributes:
        post_id: The post.
        split: The part that it is in.
        label: Its true class; empty when unknown.
        prediction: The most probable class.
        probabilities: One a class.
    """

    post_id: str
    split: str
    label: str
    prediction: str
    probabilities: Sequence[float]


def predictions_of(
    post_ids: Sequence[str],
    splits: Sequence[str],
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    classes: Sequence[str],
) -> list[Prediction]:
    """One prediction a post from probabilities ``[N, C]``."""
    best = probabilities.argmax(axis=1)
    return [
        Prediction(post_id, split, label, classes[int(best[row])], probabilities[row].tolist())
        for row, (post_id, split, label) in enumerate(zip(post_ids, splits, labels, strict=True))
    ]


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

    def head_state(self) -> dict[str, Tensor]:
        """The trained weights.

        Raises:
            RunError: The checkpoint is missing or damaged.
        """
        path = self.path / _HEAD
        if not path.is_file():
            raise RunError(
                "This run has no checkpoint",
                where=self.path,
                expected=_HEAD,
                found=name_some(sorted(p.name for p in self.path.iterdir())),
                hint="mvsa fit again; the numbers in metrics.json can still be reported",
            )
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise RunError("This checkpoint is damaged", where=path, found=error) from error


def open_run(path: Path) -> Run:
    """Opens a run folder.

    Raises:
        RunError: It is missing, incomplete, or of another schema.
    """
    if not path.is_dir():
        beside = sorted(p.name for p in path.parent.glob("*/") if (p / _CONFIG).is_file())
        raise RunError(
            "There is no run here",
            where=path,
            expected="a folder that mvsa fit wrote",
            found=f"runs beside it: {name_some(beside)}" if beside else "nothing",
            hint="mvsa fit --head NAME",
        )
    config, metrics = _read_json(path / _CONFIG), _read_json(path / _METRICS)
    if config.get("schema") != RUN_SCHEMA:
        raise RunError(
            "This run was written in another version of the folder's layout",
            where=path,
            expected=f"schema {RUN_SCHEMA}",
            found=config.get("schema"),
            hint="mvsa fit again",
        )
    return Run(path, config, metrics)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"This run's {path.name} cannot be read", where=path, found=error, hint="mvsa fit again"
        ) from error
    if not isinstance(value, dict):
        raise RunError(f"This run's {path.name} is no JSON object", where=path)
    return value


def write_run(
    path: Path,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    history: Iterable[Mapping[str, Any]],
    head_state: Mapping[str, Tensor],
    predictions: Sequence[Prediction],
) -> Run:
    """Writes a run folder; it appears under its name only when all its files are there.

    Raises:
        RunError: A run of that name is there already.
        StorageError: The disk refuses.
    """
    if path.exists():
        raise RunError("A run of this name is there already", where=path, hint="use another --name")
    make_folder(path.parent)
    with storage_errors(path):
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            config = {"schema": RUN_SCHEMA, **config}
            write_json(folder / _CONFIG, config)
            write_json(folder / _METRICS, metrics)
            lines = "".join(json.dumps(entry) + "\n" for entry in history)
            (folder / _HISTORY).write_text(lines, encoding="utf-8")
            tensors = {
                name: value.detach().cpu().contiguous() for name, value in head_state.items()
            }
            save_file(tensors, folder / _HEAD)
            write_predictions(folder / _PREDICTIONS, predictions, config["data"]["classes"])
            folder.chmod(0o755)  # mkdtemp makes folders for the owner alone
            folder.rename(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Run(path, dict(config), dict(metrics))


def write_predictions(
    path: Path, predictions: Sequence[Prediction], classes: Sequence[str]
) -> None:
    """Writes one row a post: id, split, label, prediction, one probability a class.

    Raises:
        StorageError: The disk refuses.
    """
    with storage_errors(path), path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["post_id", "split", "label", "prediction", *_columns(classes)])
        for row in predictions:
            shares = [f"{share:.6f}" for share in row.probabilities]
            writer.writerow([row.post_id, row.split, row.label, row.prediction, *shares])


def _columns(classes: Sequence[str]) -> list[str]:
    return [f"p_{name}" for name in classes]


def free_name(folder: Path, wanted: str) -> str:
    """``wanted``, or the first of ``wanted-2``, ``wanted-3``, … that no run has."""
    if not (folder / wanted).exists():
        return wanted
    number = 2
    while (folder / f"{wanted}-{number}").exists():
        number += 1
    return f"{wanted}-{number}"
