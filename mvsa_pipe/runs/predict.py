"""Predicts new posts with a run: one post, or a table of posts."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mvsa_pipe.durable import write_bytes
from mvsa_pipe.errors import ConfigError, DataError, name_some
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, ReadOptions, read_posts
from mvsa_pipe.posts.in_memory import posts_in_memory
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Predictions, Run, predictions_of
from mvsa_pipe.runs.inference import load_head, only_read, predict_posts
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.predictions import csv_table, probability_cells, probability_columns
from mvsa_pipe.runs.temperature import tempered_as_stored
from mvsa_pipe.tabular import Row, Tabular


@dataclass(frozen=True, repr=False)
class PredictResult(Tabular):
    """Predictions, and the errors of posts that could not be read.

    Attributes:
        predictions: One per readable post.
        faults: Errors of the other posts, by id.
        classes: Names of the classes, in the order of the probabilities.
        alone: The half from which a post was predicted that lacks the other, by id.
    """

    predictions: Predictions
    faults: dict[str, str]
    classes: tuple[str, ...]
    alone: dict[str, Modality] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "predictions": [asdict(row) for row in self.predictions],
            "faults": self.faults,
            "classes": self.classes,
            "alone": self.alone,
        }

    def table_rows(self) -> Iterator[Row]:
        """Post, prediction and probabilities; posts without a prediction are in the notes."""
        return self.predictions.table_rows()

    def table_title(self) -> str:
        """How many posts were predicted."""
        return self.predictions.table_title()

    def table_notes(self) -> list[str]:
        """What kept posts from a prediction."""
        return [
            *self.remarks(),
            *(f"post {post_id}: {fault}" for post_id, fault in self.faults.items()),
        ]

    def remarks(self) -> list[str]:
        """Which posts were predicted from one half, in one line for each half."""
        by_half = {half: [i for i, own in self.alone.items() if own is half] for half in Modality}
        return [
            f"predicted from the {half} alone: {name_some(ids)}"
            for half, ids in by_half.items()
            if ids
        ]


def read_posts_to_predict(path: Path, read: ReadOptions, run: Run) -> PostSet:
    """Posts to predict, with or without labels and ids, with the modalities that the run reads.

    Raises:
        DataError: They cannot be read.
    """
    lenient = replace(only_read(run, read), require_labels=False, require_ids=False)
    return read_posts(path, lenient)


def predict_one(
    run: Run, text: str | None, image: Path | None, options: InferenceOptions, progress: Progress
) -> PredictResult:
    """Predicts one post; no file is written.

    Raises:
        ConfigError: A modality that the head reads was not given.
        DataError: The picture does not exist.
        MvsaError: From ``predict``.
    """
    require_modalities(run, text=text is not None, image=image is not None)
    if image is not None and not image.is_file():
        raise DataError("This image does not exist", where=image)
    texts, images = (None if given is None else [given] for given in (text, image))
    return predict(run, posts_in_memory(texts, images), options, progress)


def require_modalities(run: Run, *, text: bool, image: bool) -> None:
    """Raises an error if posts lack a modality that the run's head reads.

    Raises:
        ConfigError: A modality that the head reads was not given.
    """
    given = {Modality.TEXT: text, Modality.IMAGE: image}
    missing = [name for name in map(Modality, run.config["caches"]) if not given[name]]
    if missing and not run.config["training"].get("modality_dropout"):
        raise ConfigError(
            f"This run reads the {' and the '.join(missing)} of a post, and none was given",
            where=run.path,
            expected=" and ".join(f"--{name}" for name in run.config["caches"]),
            hint="give it too, or use --data for a table of posts",
        )


def predict(
    run: Run, posts: PostSet, options: InferenceOptions, progress: Progress
) -> PredictResult:
    """Predicts every post with the modalities that the head reads, and reports the others.

    No file is written: features are read from caches if these contain all posts as they are now,
    and computed in memory otherwise.

    Raises:
        RunError: The checkpoint is missing or does not fit.
        MvsaError: From ``predict_posts``.
    """
    head = load_head(run, options.device, progress, options.head)
    classes = tuple(run.config["data"]["classes"])
    answered = predict_posts(run, head, posts, options, progress)
    labels = {post.id: post.label or "" for post in posts.posts}
    ids = answered.ids
    truth = [labels[post_id] for post_id in ids]
    shares = answered.probabilities
    if options.calibrated:
        shares = tempered_as_stored(shares, run)
    rows = predictions_of(ids, [""] * len(ids), truth, shares, classes)
    alone = {post_id: answered.alone[post_id] for post_id in ids if post_id in answered.alone}
    return PredictResult(rows, answered.faults, classes, alone)


def write_results(path: Path, result: PredictResult) -> None:
    """Writes one row per post: id, prediction, one probability per class, and the error if any.

    Raises:
        StorageError: The disk refuses; an older file is unchanged.
    """
    columns = probability_columns(result.classes)
    rows = [
        [row.post_id, row.prediction, *probability_cells(row), ""] for row in result.predictions
    ]
    rows += [[i, "", *[""] * len(columns), fault] for i, fault in result.faults.items()]
    write_bytes(path, csv_table(["post_id", "prediction", *columns, "error"], rows))
