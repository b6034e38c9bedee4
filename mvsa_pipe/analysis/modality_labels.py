"""Posts by the labels of their text and their picture: alike, one neutral, or opposing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvsa_pipe.errors import DataError, MvsaError
from mvsa_pipe.metrics.weighted import Classes
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.readers.mvsa import NEUTRAL, majority_pair
from mvsa_pipe.runs import Run

ALIKE, TEXT_NEUTRAL, IMAGE_NEUTRAL, OPPOSING = (
    "alike",
    "text neutral",
    "image neutral",
    "opposing",
)


@dataclass(frozen=True)
class LabelGroups:
    """Posts by how the labels of text and picture relate.

    Attributes:
        places: Places of the posts of each group, by its name; groups without posts are absent.
        missing: Why there are no groups; empty if there are.
    """

    places: dict[str, Classes]
    missing: str = ""


def label_groups(run: Run, ids: Sequence[str], *, required: bool) -> LabelGroups:
    """Groups of a run's posts, from the labels that its data set has now.

    Args:
        run: The run.
        ids: The posts.
        required: Whether posts without such labels are an error.

    Raises:
        DataError: They are, and there are none.
    """
    places: dict[str, list[int]] = {}
    try:
        pairs = _pairs(run)
        for place, post_id in enumerate(ids):
            pair = pairs.get(post_id)
            if pair is not None:
                places.setdefault(_group(*pair), []).append(place)
        missing = "" if places else "its posts have one label for text and picture together"
    except MvsaError as error:
        missing = f"its posts cannot be read again: {error.paragraph()}"
    if missing and required:
        raise DataError(
            "Posts cannot be grouped by the labels of their text and their picture",
            where=run.config["data"]["path"],
            expected="posts with both labels, as in MVSA-Single, MVSA-Multiple and synthetic posts",
            found=missing,
            hint="leave out --by-labels: all other tables need no such labels",
        )
    named = (ALIKE, TEXT_NEUTRAL, IMAGE_NEUTRAL, OPPOSING)
    return LabelGroups({g: np.array(places[g], np.int64) for g in named if g in places}, missing)


def _pairs(run: Run) -> dict[str, tuple[str, str]]:
    """The majority's label of text and picture of every post that has them."""
    path = run.config["data"]["path"]
    if path is None:
        raise DataError("They were built in memory")
    posts = read_posts(Path(path), run.read_options)
    found = {p.id: majority_pair(p.annotations) for p in posts.posts if p.annotations}
    return {post_id: pair for post_id, pair in found.items() if pair is not None}


def _group(text: str, image: str) -> str:
    if text == image:
        return ALIKE
    if text == NEUTRAL:
        return TEXT_NEUTRAL
    return IMAGE_NEUTRAL if image == NEUTRAL else OPPOSING
