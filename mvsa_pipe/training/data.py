"""The training and validation posts of a head."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from mvsa_pipe.devices import fits_on
from mvsa_pipe.errors import SplitError
from mvsa_pipe.features.batch import FeatureBatch, Field
from mvsa_pipe.features.source import FeatureSource

# Batches of a window in which posts are sorted by length: wide enough to avoid most padding,
# narrow enough that batches differ from epoch to epoch.
WINDOW_BATCHES = 16
# Posts whose tokens are in memory at once while statistics of them are computed.
_POSTS_READ = 64


def epoch_batches(
    posts: Int[Tensor, " n"],
    batch_size: int,
    generator: torch.Generator,
    lengths: Int[Tensor, " N"] | None = None,
) -> list[Int[Tensor, " _"]]:
    """Cuts one epoch's posts into shuffled batches.

    With lengths, posts of like length share a batch, so that little of it is padding: shuffled
    posts are sorted by length within windows of ``WINDOW_BATCHES`` batches, and the batches are
    shuffled again. Each post is in exactly one batch, and at most one batch is not full.

    Args:
        posts: Indices of the posts.
        batch_size: Posts per batch.
        generator: On the CPU, so that the order is the same on every device.
        lengths: Text tokens of every indexed post; ``None`` ignores lengths.
    """
    shuffled = posts[torch.randperm(len(posts), generator=generator).to(posts.device)]
    if lengths is None:
        return list(torch.split(shuffled, batch_size))
    batches = [
        batch
        for window in torch.split(shuffled, WINDOW_BATCHES * batch_size)
        for batch in torch.split(by_length(window, lengths), batch_size)
    ]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def by_length(posts: Int[Tensor, " n"], lengths: Int[Tensor, " N"]) -> Int[Tensor, " n"]:
    """The posts sorted by text length, shortest first; stable for equal lengths."""
    return posts[lengths[posts].argsort(stable=True)]


@dataclass(frozen=True)
class TrainingData:
    """The training and validation posts of a head; it has no test part.

    Attributes:
        features: Features of all posts.
        labels: Class of every post ``[N]``; -1 where unknown.
        train: Indices of the training posts.
        val: Indices of the validation posts.
        classes: Names of the classes.
        texts: Text of every post, for baselines that read terms; ``None`` if unknown.
    """

    features: FeatureSource
    labels: Int[Tensor, " N"]
    train: Int[Tensor, " n"]
    val: Int[Tensor, " m"]
    classes: tuple[str, ...]
    texts: tuple[str, ...] | None = None

    def require_posts(self) -> None:
        """Raises if there are no training or no validation posts.

        Raises:
            SplitError: There are no training or no validation posts.
        """
        if not len(self.train) or not len(self.val):
            raise SplitError(
                "A head needs training posts, and validation posts to select its epoch by",
                found=f"{len(self.train)} train, {len(self.val)} val",
                hint="--split random-8:1:1, or a split with both parts",
            )

    def train_batches(self, needs: Iterable[Field]) -> Iterator[FeatureBatch]:
        """Declared features of all training posts in their order, in small batches."""
        return self.features.batches(torch.split(self.train, _POSTS_READ), needs)

    def steps_an_epoch(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return -(-len(self.train) // batch_size)

    def to(self, device: torch.device) -> "TrainingData":
        """The same data on a device, or unchanged if it does not fit there.

        Features that do not fit are copied to the device batch by batch.
        """
        here = self.labels.device.type == device.type
        if here or not fits_on(device, self.features.bytes_held):
            return self
        tensors = (self.labels, self.train, self.val)
        labels, train, val = (tensor.to(device) for tensor in tensors)
        return replace(self, features=self.features.to(device), labels=labels, train=train, val=val)
