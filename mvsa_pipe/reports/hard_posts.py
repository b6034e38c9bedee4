"""Posts on which heads disagree, or are sure and wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO

import numpy as np

from mvsa_pipe.analysis.contest import Contest
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.images import decode_image
from mvsa_pipe.metrics.weighted import Floats
from mvsa_pipe.posts import Post, PostSet
from mvsa_pipe.reports.content import HardPost, HardPosts
from mvsa_pipe.reports.options import ReportOptions
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.own_posts import own_posts

_PICTURE_PX, _JPEG_QUALITY = 192, 72


def hard_posts(contest: Contest, options: ReportOptions) -> HardPosts:
    """Posts that are worth a look.

    A head's answer is that of the mean probabilities of its seeds.

    Args:
        contest: The heads.
        options: How many posts, and whether their texts and pictures are read.

    Raises:
        DataError: Texts and pictures are wanted, and the data set is not there, or changed.
        MvsaError: As ``read_posts``.
    """
    some = [_of_fold(contest, place) for place in range(len(contest.folds))]
    every = [post for posts in some for post in posts]
    disputed = [post for post in every if max(post.votes.values()) < post.heads]
    disputed.sort(key=lambda post: (-_entropy(post.votes), post.share, post.post_id))
    wrong = [post for post in every if post.predicted != post.label]
    wrong.sort(key=lambda post: (-post.share, post.post_id))
    found = HardPosts(disputed[: options.hard_posts], wrong[: options.hard_posts], shown=False)
    return _with_contents(found, contest.folds[0].run) if options.with_posts else found


def _of_fold(contest: Contest, place: int) -> list[HardPost]:
    fold = contest.folds[place]
    classes = [str(name) for name in fold.run.config["data"]["classes"]]
    shares = np.stack(
        [
            np.mean([answers.shares for answers in entry.folds[place]], axis=0)
            for entry in contest.entries
        ]
    )
    labels = contest.entries[0].folds[place][0].labels
    votes, mean = shares.argmax(axis=2), shares.mean(axis=0)
    return [
        _post(post_id, int(labels[n]), votes[:, n], mean[n], classes)
        for n, post_id in enumerate(fold.ids)
    ]


def _post(
    post_id: str, label: int, votes: np.ndarray, mean: Floats, classes: Sequence[str]
) -> HardPost:
    best = int(mean.argmax())
    counts = np.bincount(votes, minlength=len(classes))
    return HardPost(
        post_id=post_id,
        label=classes[label],
        predicted=classes[best],
        share=float(mean[best]),
        right=int((votes == label).sum()),
        heads=len(votes),
        votes={name: int(count) for name, count in zip(classes, counts, strict=True)},
    )


def _entropy(votes: Mapping[str, int]) -> float:
    shares = np.array([count for count in votes.values() if count], np.float64)
    shares /= shares.sum()
    return float(-(shares * np.log(shares)).sum())


def _with_contents(found: HardPosts, run: Run) -> HardPosts:
    posts = own_posts(run)
    by_id = {post.id: post for post in posts.posts}
    return HardPosts(
        [_shown(post, by_id[post.post_id], posts) for post in found.disputed],
        [_shown(post, by_id[post.post_id], posts) for post in found.wrong],
        shown=True,
    )


def _shown(hard: HardPost, post: Post, posts: PostSet) -> HardPost:
    return replace(hard, text=post.text or "", picture=_thumbnail(post, posts))


def _thumbnail(post: Post, posts: PostSet) -> bytes | None:
    """A small JPEG; ``None`` of a picture that cannot be read."""
    if post.image is None:
        return None
    try:
        picture = decode_image(posts.storage.read(post.image), posts.storage.where(post.image))
    except MvsaError:
        return None
    picture.thumbnail((_PICTURE_PX, _PICTURE_PX))
    file = BytesIO()
    picture.save(file, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return file.getvalue()
