"""Scores a run again, on its own split or on other posts, exactly as it was scored first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.errors import RunError, SplitError, name_some
from mvsa_pipe.extraction.contents import UnreadablePostsError
from mvsa_pipe.inference.loading import (
    features_for,
    head_probabilities,
    kept_features,
    load_head,
)
from mvsa_pipe.inference.options import InferenceOptions
from mvsa_pipe.metrics import Scores, score
from mvsa_pipe.posts import PostSet, ReadOptions, read_posts
from mvsa_pipe.posts.split import PARTS, TEST, VAL
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
        left_out: Posts that were not scored, by id, and why.
        relabelled: Scored posts whose label is another than when the run was made.
    """

    protocol: str
    part: str
    scores: Scores
    predictions: list[Prediction]
    left_out: dict[str, str]
    relabelled: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "protocol": self.protocol,
            "part": self.part,
            "scores": self.scores.as_record(),
            "left_out": self.left_out,
            "relabelled": list(self.relabelled),
        }


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
        SplitError: The part has no posts, or these posts lack some of it.
        MvsaError: As reading and extracting posts.
    """
    data = run.config["data"]
    head = load_head(run, options.device)
    posts = read_posts(options.data or Path(data["path"]), read or run.read_options)
    if posts.classes != tuple(data["classes"]):
        raise RunError(
            "These posts have other classes than the run was trained on",
            where=posts.storage.root,
            expected=", ".join(data["classes"]),
            found=", ".join(posts.classes),
        )
    chosen = _chosen(run, posts, options.part)
    with kept_features(run, options) as where:
        features = features_for(run, posts, chosen.ids, where, progress)
        usable = [i for i in chosen.ids if i not in features.faults]
        if not usable:
            raise UnreadablePostsError(features.faults, posts.storage.root)
        probabilities = head_probabilities(run, head, features.files, posts, usable, options.device)
    labels = {post.id: post.label or "" for post in posts.posts}
    truth = [labels[i] for i in usable]
    classes = list(posts.classes)
    scores = score(
        np.array([classes.index(name) for name in truth], np.int64),
        probabilities.argmax(axis=1),
        classes,
    )
    rows = predictions_of(usable, [chosen.part] * len(usable), truth, probabilities, classes)
    relabelled = tuple(i for i in usable if chosen.labels.get(i, labels[i]) != labels[i])
    return Evaluation(chosen.protocol, chosen.part, scores, rows, features.faults, relabelled)


@dataclass(frozen=True)
class _Chosen:
    """What is scored: ids in order, the part's name, the protocol tag, labels as they were."""

    ids: list[str]
    part: str
    protocol: str
    labels: dict[str, str]


def _chosen(run: Run, posts: PostSet, part: str | None) -> _Chosen:
    data = run.config["data"]
    own = posts.name == data["name"]
    labelled = [post.id for post in posts.posts if post.label is not None]
    if part == "all" or (part is None and not own):
        return _Chosen(labelled, "all", f"{posts.protocol}/all", {})
    if part not in (None, *PARTS):
        raise SplitError(
            f"--split {part} names no part", expected=f"{', '.join(PARTS)} or all", where=run.path
        )
    if not own:
        raise SplitError(
            f"The run's split has no part {part!r} of these posts",
            where=posts.storage.root,
            found=f"posts of {posts.name}, while the run was split on {data['name']}",
            hint="leave --split out to score all of them",
        )
    return _own_part(run, posts, part, set(labelled))


def _own_part(run: Run, posts: PostSet, part: str | None, labelled: set[str]) -> _Chosen:
    """A part of the run's own split, as the run recorded it.

    A random split drawn again would be another one as soon as posts were added or relabelled, and
    would test on posts that were trained on.
    """
    left_out = set(run.metrics.get("left_out", ()))
    members = [member for member in run.members() if member.post_id not in left_out]
    part = part or (TEST if any(member.split == TEST for member in members) else VAL)
    chosen = [member for member in members if member.split == part]
    if not chosen:
        raise SplitError(
            f"The run's split has no posts in its part {part!r}",
            where=run.path,
            found=f"parts {', '.join(sorted({member.split for member in members}))}",
        )
    lacking = [member.post_id for member in chosen if member.post_id not in labelled]
    if lacking:
        raise SplitError(
            f"These posts are not all of the run's part {part!r}",
            where=posts.storage.root,
            found=f"{len(lacking):,} of its {len(chosen):,} posts are missing: "
            f"{name_some(lacking)}",
            hint="name the posts that the run was made from with --data, or score all that is "
            "here with --split all",
        )
    return _Chosen(
        ids=[member.post_id for member in chosen],
        part=part,
        protocol=run.config["protocol"],
        labels={member.post_id: member.label for member in chosen},
    )
