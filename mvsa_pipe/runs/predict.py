"""Predicts new posts with a run: one post, or a table of posts."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mvsa_pipe.durable import write_bytes
from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import Post, PostSet, ReadOptions, read_posts
from mvsa_pipe.posts.storage.base import FolderStorage
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Prediction, Run, predictions_of
from mvsa_pipe.runs.inference import load_head, only_read, predict_posts
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.predictions import csv_table, probability_cells, probability_columns


@dataclass(frozen=True)
class PredictResult:
    """Predictions, and the errors of posts that could not be read.

    Attributes:
        predictions: One per readable post.
        faults: Errors of the other posts, by id.
        classes: Names of the classes, in the order of the probabilities.
    """

    predictions: list[Prediction]
    faults: dict[str, str]
    classes: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)


def single_post(text: str | None, image: Path | None) -> PostSet:
    """One post from a text and a picture file.

    Raises:
        DataError: The picture does not exist.
    """
    if image is not None and not image.is_file():
        raise DataError("This image does not exist", where=image)
    folder = image.parent if image else Path()
    post = Post("1", text, image.name if image else None, label=None)
    return PostSet("single-post", (), (post,), FolderStorage(folder))


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
        MvsaError: From ``single_post`` or ``predict``.
    """
    given = {Modality.TEXT: text is not None, Modality.IMAGE: image is not None}
    missing = [name for name in map(Modality, run.config["caches"]) if not given[name]]
    if missing:
        raise ConfigError(
            f"This run reads the {' and the '.join(missing)} of a post, and none was given",
            where=run.path,
            expected=" and ".join(f"--{name}" for name in run.config["caches"]),
            hint="give it too, or use --data for a table of posts",
        )
    return predict(run, single_post(text, image), options, progress)


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
    rows = predictions_of(ids, [""] * len(ids), truth, answered.probabilities, classes)
    return PredictResult(rows, answered.faults, classes)


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
