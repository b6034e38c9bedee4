"""Scores a run again, on its own split or on other posts, by the same code as after training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.errors import RunError
from mvsa_pipe.metrics.scores import Scores, score
from mvsa_pipe.posts import PostSet, ReadOptions, read_posts
from mvsa_pipe.posts.contents import UnreadablePostsError
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Predictions, Run, predictions_of
from mvsa_pipe.runs.inference import load_head, only_read, predict_data_set
from mvsa_pipe.runs.options import InferenceOptions
from mvsa_pipe.runs.scored_posts import ALL, UNSEEN, scored_posts
from mvsa_pipe.runs.temperature import tempered_as_stored
from mvsa_pipe.tabular import Row, Tabular

_MOST_REASONS = 5

# Why a post is left out of a score.
KNOWN = "the run was trained or selected on it"


@dataclass(frozen=True, repr=False)
class Evaluation(Tabular):
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
    predictions: Predictions
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

    def table_rows(self) -> Sequence[Row]:
        """The scores with their intervals."""
        return self.scores.table_rows()

    def table_title(self) -> str:
        """What was scored."""
        return f"{self.protocol}, {self.part}, {self.scores.posts:,} posts"

    def table_notes(self) -> list[str]:
        """Remarks about the posts that qualify the score."""
        lines = [
            f"{count:,} of these posts were left out: {reason}"
            for reason, count in Counter(self.left_out.values()).most_common(_MOST_REASONS)
        ]
        if self.known:
            lines.append(
                f"{len(self.known):,} of the scored posts are among those that the run was trained "
                "or selected on: the score is too optimistic for new posts"
            )
        if self.absent_classes:
            lines.append(
                f"no scored post is {' or '.join(self.absent_classes)}: macro means are over the "
                "classes that occur among labels or predictions"
            )
        return lines


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
    if options.calibrated:
        probabilities = tempered_as_stored(probabilities, run)
    labels = {post.id: post.label or "" for post in posts.posts}
    truth = [labels[i] for i in usable]
    classes = list(run.config["data"]["classes"])
    scores = score(
        np.array([classes.index(name) for name in truth], np.int64),
        probabilities.argmax(axis=1),
        classes,
        probabilities,
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
    if options.given is not None:
        return options.given
    recorded = run.config["data"]["path"]
    if options.data is None and recorded is None:
        raise RunError(
            "This run's posts were built in memory, so that they cannot be read again",
            where=run.path,
            hint="run.evaluate(posts) takes them, and so does mvsa evaluate RUN --data PATH",
        )
    return read_posts(options.data or Path(recorded), only_read(run, read or run.read_options))
