"""Predicts new posts with a run: one text and picture, or a table of posts."""

import csv
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mvsa_pipe.durable import replacing
from mvsa_pipe.errors import DataError
from mvsa_pipe.extraction.contents import contents_of
from mvsa_pipe.extraction.options import BadPostPolicy
from mvsa_pipe.inference.loading import features_for, head_probabilities, load_head
from mvsa_pipe.inference.options import InferenceOptions
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import Post, PostSet, ReadOptions, read_posts
from mvsa_pipe.posts.storage import FolderStorage
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Prediction, Run, predictions_of


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
    post = Post("post", text, image.name if image else None, label=None)
    return PostSet("single-post", "single-post", (), (post,), FolderStorage(folder))


def read_table(path: Path, read: ReadOptions) -> PostSet:
    """Posts to predict, with or without labels.

    Raises:
        DataError: They cannot be read.
    """
    return read_posts(path, replace(read, require_labels=False))


def predict(run: Run, posts: PostSet, options: InferenceOptions, progress: Progress) -> Answer:
    """Predicts every post that has what the head reads, and says what the others lack.

    The features of a table are cached like any data set's; those of a single post are not kept.

    Raises:
        RunError: The checkpoint is missing or does not fit.
        MvsaError: As extracting posts.
    """
    head = load_head(run, options.device)
    classes = tuple(run.config["data"]["classes"])
    faults: dict[str, str] = {}
    for name in run.config["caches"]:
        for post_id, fault in contents_of(posts, Modality(name))[1].items():
            faults.setdefault(post_id, fault)
    readable = replace(posts, posts=tuple(p for p in posts.posts if p.id not in faults))
    if not readable.posts:
        return Answer([], faults, classes)
    options = replace(options, on_bad_post=BadPostPolicy.SKIP)
    with tempfile.TemporaryDirectory() as scratch:
        if posts.name == "single-post":
            options = replace(options, cache=Path(scratch))
        files = features_for(run, readable, options, progress)
        for file in files.values():
            for post_id, fault in file.header.notes.get("skipped", {}).items():
                faults.setdefault(post_id, fault)
        ids = [p.id for p in readable.posts if all(p.id in file.rows for file in files.values())]
        if not ids:
            return Answer([], faults, classes)
        probabilities = head_probabilities(head, files, ids, options.device)
    labels = {post.id: post.label or "" for post in posts.posts}
    rows = predictions_of(ids, [""] * len(ids), [labels[i] for i in ids], probabilities, classes)
    return Answer(rows, {i: f for i, f in faults.items() if i not in set(ids)}, classes)


def write_answer(path: Path, answer: Answer) -> None:
    """Writes one row a post: id, prediction, one probability a class, and the error if any.

    Raises:
        StorageError: The disk refuses; an older file is untouched.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        columns = [f"p_{name}" for name in answer.classes]
        writer.writerow(["post_id", "prediction", *columns, "error"])
        for row in answer.predictions:
            shares = [f"{share:.6f}" for share in row.probabilities]
            writer.writerow([row.post_id, row.prediction, *shares, ""])
        for post_id, fault in answer.faults.items():
            writer.writerow([post_id, "", *[""] * len(columns), fault])
