"""Doubtful labels of a data set, by confident learning over out-of-fold probabilities.

Source:
    Northcutt, Jiang and Chuang 2021, Confident Learning, JAIR 70; its package cleanlab.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.analysis.finding import Cell, Estimate, FindingTable, estimate
from mvsa_pipe.analysis.options import LabelsOptions
from mvsa_pipe.analysis.out_of_fold import OutOfFold
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.metrics.scores import percentile_interval
from mvsa_pipe.metrics.weighted import Classes, Floats, resampled_posts
from mvsa_pipe.posts.post import Post
from mvsa_pipe.posts.readers.mvsa import NEUTRAL, majority_pair

Chosen = NDArray[np.bool_]
# The packages of the extra, by the names that they are imported by.
_PACKAGES = ("cleanlab", "statsmodels")


def require_packages() -> None:
    """Refuses early what needs packages that are not there.

    Raises:
        ConfigError: cleanlab or statsmodels is not installed.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"mvsa analyze labels needs {' and '.join(missing)}, which "
            f"{'are' if len(missing) > 1 else 'is'} not installed",
            hint='pip install "mvsa-pipe[labels]"',
        )


@dataclass(frozen=True)
class Suspects:
    """Posts with what the out-of-fold head says of their labels.

    Attributes:
        judged: The posts and their probabilities.
        quality: Probability of each given label ``[N]``.
        doubtful: Whether each post is a suspect ``[N]``.
        noise: Estimated share of wrong labels among those of each class ``[C]``.
    """

    judged: OutOfFold
    quality: Floats
    doubtful: Chosen
    noise: Floats

    @cached_property
    def predicted(self) -> Classes:
        """The most probable class of each post ``[N]``."""
        places: Classes = self.judged.probabilities.argmax(axis=1)
        return places

    @cached_property
    def posts(self) -> list[Post]:
        """The posts ``[N]``."""
        every = {post.id: post for post in self.judged.posts.posts}
        return [every[post_id] for post_id in self.judged.ids]

    @property
    def places(self) -> list[int]:
        """Places of the suspects, the most doubtful first."""
        found = np.flatnonzero(self.doubtful)
        return [int(place) for place in found[np.argsort(self.quality[found], kind="stable")]]

    @property
    def ids(self) -> set[str]:
        """The suspects."""
        return {self.judged.ids[place] for place in self.places}

    def record(self, place: int) -> dict[str, Any]:
        """A post's id, labels and quality."""
        post, classes = self.posts[place], self.judged.posts.classes
        pair = majority_pair(post.annotations) if post.annotations else None
        return {
            "post": post.id,
            "given": post.label,
            "suggested": classes[self.predicted[place]],
            "quality": round(float(self.quality[place]), 4),
            "text_label": None if pair is None else pair[0],
            "image_label": None if pair is None else pair[1],
        }


def find_suspects(judged: OutOfFold) -> Suspects:
    """Finds the labels that confident learning would remove.

    Quality is the probability of the given label. As many posts of each class are suspects as the
    estimated joint distribution of given and true labels says, those of the largest margin first.
    """
    from cleanlab.count import estimate_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels, shares = judged.labels, judged.probabilities
    joint = estimate_joint(labels, shares)
    totals = joint.sum(axis=1)
    right = np.divide(joint.diagonal(), totals, out=np.ones(len(joint)), where=totals > 0)
    return Suspects(
        judged,
        get_label_quality_scores(labels, shares, method="self_confidence"),
        np.asarray(find_label_issues(labels, shares, filter_by="prune_by_noise_rate", n_jobs=1)),
        1 - right,
    )


def class_table(suspects: Suspects) -> FindingTable:
    """Suspects of each given label."""
    judged = suspects.judged
    rows: list[list[Cell]] = []
    for place, name in enumerate(judged.posts.classes):
        own = judged.labels == place
        doubtful = own & suspects.doubtful
        suggested = Counter(suspects.predicted[doubtful].tolist()).most_common(1)
        rows.append(
            [
                name,
                int(own.sum()),
                int(doubtful.sum()),
                float(suspects.noise[place]),
                judged.posts.classes[suggested[0][0]] if suggested else None,
            ]
        )
    return FindingTable(
        "suspects by given label",
        ["given label", "posts", "suspects", "estimated noise", "mostly suggested"],
        rows,
        "estimated noise: share of labels that are wrong by the estimated joint distribution",
        ["estimated noise"],
    )


def kind_table(suspects: Suspects, options: LabelsOptions) -> FindingTable:
    """Accuracy of the out-of-fold head, and suspects, on different kinds of posts."""
    right = suspects.predicted == suspects.judged.labels
    rows: list[list[Cell]] = [
        [
            name,
            int(own.sum()),
            _share(right, own, options),
            _share(suspects.doubtful, own, options),
        ]
        for name, own in _kinds(suspects).items()
        if own.any()
    ]
    return FindingTable(
        f"posts by kind, judged by {suspects.judged.head}",
        ["posts", "number", "accuracy", "suspects"],
        rows,
        "",
        ["accuracy", "suspects"],
    )


def _kinds(suspects: Suspects) -> dict[str, Chosen]:
    judged, posts = suspects.judged, suspects.posts
    pairs = [majority_pair(post.annotations) if post.annotations else None for post in posts]
    of_group: dict[int, set[int]] = {}
    for group, label in zip(judged.groups.tolist(), judged.labels.tolist(), strict=True):
        of_group.setdefault(group, set()).add(label)
    several = [len(post.annotations) > 1 for post in posts]
    unanimous = [len(set(post.annotations)) == 1 for post in posts]
    kinds = {
        "all": [True] * len(posts),
        "text and picture agree": [p is not None and p[0] == p[1] for p in pairs],
        "text neutral, picture not": [p is not None and p[0] == NEUTRAL != p[1] for p in pairs],
        "picture neutral, text not": [p is not None and p[1] == NEUTRAL != p[0] for p in pairs],
        "annotators unanimous": [s and u for s, u in zip(several, unanimous, strict=True)],
        "annotators differ": [s and not u for s, u in zip(several, unanimous, strict=True)],
        "duplicates with different labels": [
            len(of_group[group]) > 1 for group in judged.groups.tolist()
        ],
    }
    return {name: np.array(own, np.bool_) for name, own in kinds.items()}


def _share(hits: Chosen, own: Chosen, options: LabelsOptions) -> Estimate:
    """Share of hits among some posts, with a bootstrap interval over these."""
    values = hits[own].astype(np.float32)
    generator = np.random.default_rng(options.seed)
    blocks = resampled_posts(len(values), options.resamples, generator)
    drawn = np.concatenate([block @ values for block in blocks]) / len(values)
    return estimate(float(values.mean()), percentile_interval(drawn, 0.95))


def suspect_table(suspects: Suspects, options: LabelsOptions) -> FindingTable:
    """The most doubtful posts; text and picture only where they are asked for."""
    shown = suspects.places[: options.listed]
    paired = any(post.annotations for post in suspects.posts)
    rows: list[list[Cell]] = []
    for place in shown:
        record, post = suspects.record(place), suspects.posts[place]
        row: list[Cell] = [record[k] for k in ("post", "given", "suggested", "quality")]
        row += [record["text_label"], record["image_label"]] if paired else []
        rows.append([*row, post.text, post.image] if options.with_posts else row)
    columns = ["post", "given", "suggested", "quality"]
    columns += ["text label", "picture label"] if paired else []
    return FindingTable(
        f"most doubtful labels, {len(shown):,} of {len(suspects.places):,}",
        [*columns, "text", "picture"] if options.with_posts else columns,
        rows,
        "quality: probability of the given label"
        + ("" if options.with_posts else "; --with-posts lists text and picture"),
    )
