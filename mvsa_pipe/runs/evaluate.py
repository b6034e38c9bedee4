"""Scores a run again, on its own split or on other posts, by the same code as after training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.metrics.scores import Scores, score
from mvsa_pipe.posts import PostSet, ReadOptions, read_posts
from mvsa_pipe.posts.contents import UnreadablePostsError
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Prediction, Run, predictions_of
from mvsa_pipe.runs.inference import load_head, only_read, predict_data_set
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.scored_posts import ALL, UNSEEN, scored_posts

# Why a post is left out of a score.
KNOWN = "the run was trained or selected on it"


@dataclass(frozen=True)
class Evaluation:
    """A run's scores on some posts.

    Attributes:
        protocol: Protocol tag of the posts.
        part: Their part.
        scores: The scores.
        predictions: One per post.
        left_out: Reason of every post that was not scored, by id.
        known: Scored posts that the run was trained or selected on.
        absent_classes: Classes of the run that no scored post has. Macro means are over the classes
            that occur among labels or predictions, as in scikit-learn.
    """

    protocol: str
    part: str
    scores: Scores
    predictions: list[Prediction]
    left_out: dict[str, str]
    known: tuple[str, ...]
    absent_classes: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "protocol": self.protocol,
            "part": self.part,
            "scores": self.scores.as_record(),
            "left_out": self.left_out,
            "known": list(self.known),
            "absent_classes": list(self.absent_classes),
        }


def evaluate(
    run: Run, options: InferenceOptions, progress: Progress, read: ReadOptions | None = None
) -> Evaluation:
    """Scores a run's head; features that the cache lacks are extracted first.

    Args:
        run: The run.
        options: The posts to score.
        progress: Notified of extractions.
        read: How other posts are read; by default like the run's own.

    Raises:
        RunError: The checkpoint is missing or does not fit, or labels are not the run's.
        SplitError: The part has no posts, or these posts are not those of the run.
        MvsaError: Posts cannot be read or extracted.
    """
    head = load_head(run, options.device, progress, options.head)
    posts = _read(run, options, read)
    chosen = scored_posts(run, posts, options)
    answered = predict_data_set(run, head, posts, chosen.ids, options, progress)
    usable, probabilities = answered.ids, answered.probabilities
    if not usable:
        raise UnreadablePostsError(answered.faults, posts.storage.root)
    labels = {post.id: post.label or "" for post in posts.posts}
    truth = [labels[i] for i in usable]
    classes = list(run.config["data"]["classes"])
    scores = score(
        np.array([classes.index(name) for name in truth], np.int64),
        probabilities.argmax(axis=1),
        classes,
    )
    rows = predictions_of(usable, [chosen.part] * len(usable), truth, probabilities, classes)
    left_out = dict.fromkeys(chosen.known if chosen.part == UNSEEN else (), KNOWN)
    return Evaluation(
        protocol=chosen.protocol,
        part=chosen.part,
        scores=scores,
        predictions=rows,
        left_out=left_out | answered.faults,
        known=chosen.known if chosen.part == ALL else (),
        absent_classes=tuple(name for name in classes if name not in truth),
    )


def _read(run: Run, options: InferenceOptions, read: ReadOptions | None) -> PostSet:
    """The posts, with the modalities that the head reads."""
    path = options.data or Path(run.config["data"]["path"])
    return read_posts(path, only_read(run, read or run.read_options))
