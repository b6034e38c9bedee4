"""Predicts new posts with a run: one text and picture, or a table of posts."""

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mvsa_pipe.durable import write_bytes
from mvsa_pipe.errors import ConfigError, DataError
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import Post, PostSet, ReadOptions, read_posts
from mvsa_pipe.posts.contents import UnreadablePostsError, contents_of
from mvsa_pipe.posts.storage import FolderStorage
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Prediction, Run, predictions_of
from mvsa_pipe.runs.apply import (
    features_for,
    head_probabilities,
    kept_features,
    load_head,
    only_read,
)
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.predictions import csv_table, probability_cells, probability_columns


@dataclass(frozen=True)
class Answer:
    """Predictions, and what kept some posts from one.

    Attributes:
        predictions: One a post that could be read.
        faults: What is wrong with the others, by post id.
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
        DataError: There is no such picture.
    """
    if image is not None and not image.is_file():
        raise DataError("There is no such image", where=image)
    folder = image.parent if image else Path()
    post = Post("1", text, image.name if image else None, label=None)
    return PostSet("single-post", (), (post,), FolderStorage(folder))


def read_table(path: Path, read: ReadOptions, run: Run) -> PostSet:
    """Posts to predict, with or without labels and ids, with the halves that the run reads.

    Raises:
        DataError: They cannot be read.
    """
    asked = replace(only_read(run, read), require_labels=False, require_ids=False)
    return read_posts(path, asked)


def predict_one(
    run: Run, text: str | None, image: Path | None, options: InferenceOptions, progress: Progress
) -> Answer:
    """Predicts one post; its features are not kept.

    Raises:
        ConfigError: A half that the head reads was not given.
        MvsaError: As ``single_post`` and ``predict``.
    """
    given = {Modality.TEXT: text is not None, Modality.IMAGE: image is not None}
    lacking = [half for half in map(Modality, run.config["caches"]) if not given[half]]
    if lacking:
        raise ConfigError(
            f"This run reads the {' and the '.join(lacking)} of a post, and none was given",
            where=run.path,
            expected=" and ".join(f"--{half}" for half in run.config["caches"]),
            hint="give it too; --data takes a table of posts",
        )
    post = single_post(text, image)
    with tempfile.TemporaryDirectory() as scratch:
        return predict(run, post, replace(options, cache=Path(scratch)), progress)


def predict(run: Run, posts: PostSet, options: InferenceOptions, progress: Progress) -> Answer:
    """Predicts every post that has what the head reads, and says what the others lack.

    The features are cached like any data set's.

    Raises:
        RunError: The checkpoint is missing or does not fit.
        MvsaError: As extracting posts.
    """
    head = load_head(run, options.device)
    classes = tuple(run.config["data"]["classes"])
    faults: dict[str, str] = {}
    for name in run.config["caches"]:
        for post_id, fault in contents_of(posts, Modality(name), options.cache)[1].items():
            faults.setdefault(post_id, fault)
    readable = replace(posts, posts=tuple(p for p in posts.posts if p.id not in faults))
    if not readable.posts:
        return Answer([], faults, classes)
    options = replace(options, on_bad_post=BadPostPolicy.SKIP)
    with kept_features(run, options) as where:
        try:
            features = features_for(run, readable, _ids(readable), where, progress)
        except UnreadablePostsError as error:  # not one of them can be read
            return Answer([], faults | error.faults, classes)
        faults |= features.faults
        ids = [post_id for post_id in _ids(readable) if post_id not in faults]
        if not ids:
            return Answer([], faults, classes)
        probabilities = head_probabilities(run, head, features.files, posts, ids, options.device)
    labels = {post.id: post.label or "" for post in posts.posts}
    rows = predictions_of(ids, [""] * len(ids), [labels[i] for i in ids], probabilities, classes)
    return Answer(rows, faults, classes)


def _ids(posts: PostSet) -> list[str]:
    return [post.id for post in posts.posts]


def write_answer(path: Path, answer: Answer) -> None:
    """Writes one row a post: id, prediction, one probability a class, and the error if any.

    Raises:
        StorageError: The disk refuses; an older file is untouched.
    """
    columns = probability_columns(answer.classes)
    rows = [
        [row.post_id, row.prediction, *probability_cells(row), ""] for row in answer.predictions
    ]
    rows += [[i, "", *[""] * len(columns), fault] for i, fault in answer.faults.items()]
    write_bytes(path, csv_table(["post_id", "prediction", *columns, "error"], rows))
