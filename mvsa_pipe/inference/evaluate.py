"""Scores a run again, on its own split or on other posts, exactly as it was scored first."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.errors import RunError, SplitError
from mvsa_pipe.inference.loading import features_for, head_probabilities, load_head
from mvsa_pipe.inference.options import InferenceOptions
from mvsa_pipe.metrics import Scores, score
from mvsa_pipe.posts import PostSet, ReadOptions, parse_split, protocol_tag, read_posts
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Prediction, Run, predictions_of


@dataclass(frozen=True)
class Evaluation:
    """A run's scores on some posts.

    Attributes:
        protocol: Tag of what was scored.
        part: Which part of it.
        scores: The scores.
        predictions: One a post.
    """

    protocol: str
    part: str
    scores: Scores
    predictions: list[Prediction]

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {"protocol": self.protocol, "part": self.part, "scores": self.scores.as_record()}


def evaluate(
    run: Run, options: InferenceOptions, progress: Progress, read: ReadOptions | None = None
) -> Evaluation:
    """Scores a run's head; features that the cache lacks are extracted first.

    Args:
        run: The run.
        options: What it is scored on.
        progress: Listens to extractions.
        read: How other posts are read; ``None`` as the run's own were.

    Raises:
        RunError: The checkpoint is missing or does not fit.
        SplitError: The part has no posts.
        MvsaError: As reading and extracting posts.
    """
    data = run.config["data"]
    head = load_head(run, options.device)
    posts = read_posts(options.data or Path(data["path"]), read or ReadOptions(**data["read"]))
    if posts.classes != tuple(data["classes"]):
        raise RunError(
            "These posts have other classes than the run was trained on",
            where=posts.storage.root,
            expected=", ".join(data["classes"]),
            found=", ".join(posts.classes),
        )
    own = posts.name == data["name"]
    ids, part, protocol = _chosen(posts, data, options.part, own=own)
    files = features_for(run, posts, options, progress)
    usable = [i for i in ids if all(i in file.rows for file in files.values())]
    probabilities = head_probabilities(head, files, usable, options.device)
    labels = {post.id: post.label or "" for post in posts.posts}
    truth = [labels[i] for i in usable]
    classes = list(posts.classes)
    scores = score(
        np.array([classes.index(name) for name in truth], np.int64),
        probabilities.argmax(axis=1),
        classes,
    )
    rows = predictions_of(usable, [part] * len(usable), truth, probabilities, classes)
    return Evaluation(protocol, part, scores, rows)


def _chosen(
    posts: PostSet, data: Mapping[str, Any], part: str | None, *, own: bool
) -> tuple[list[str], str, str]:
    """Ids to score in the data set's order, the part's name, and the protocol tag."""
    labelled = [post.id for post in posts.posts if post.label is not None]
    if part == "all" or (part is None and not own):
        return labelled, "all", f"{posts.protocol}/all"
    if not own:
        raise SplitError(
            f"The run's split has no part {part!r} of these posts",
            where=posts.storage.root,
            found=f"posts of {posts.name}, while the run was split on {data['name']}",
            hint="leave --split out to score all of them",
        )
    split = parse_split(data["split"], posts, seed=data["split_seed"])
    part = part or ("test" if split.ids("test") else "val")
    chosen = set(split.ids(part)) if part in ("train", "val", "test") else set()
    if not chosen:
        raise SplitError(
            f"The part {part!r} has no posts",
            where=protocol_tag(posts, split),
            expected="train, val, test or all",
        )
    return [i for i in labelled if i in chosen], part, protocol_tag(posts, split)
