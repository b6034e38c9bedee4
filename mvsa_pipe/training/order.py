"""Which posts share a batch, and in which order batches come."""

import torch
from jaxtyping import Int
from torch import Tensor

# Batches of a window in which posts are sorted by length: wide enough that padding nearly goes,
# narrow enough that a post's companions change from epoch to epoch.
WINDOW_BATCHES = 16


def epoch_batches(
    posts: Int[Tensor, " n"],
    batch_size: int,
    generator: torch.Generator,
    lengths: Int[Tensor, " N"] | None = None,
) -> list[Int[Tensor, " _"]]:
    """Cuts one epoch's posts into shuffled batches.

    With lengths, posts of like length share a batch, so that little of it is padding: shuffled
    posts are sorted by length within windows of ``WINDOW_BATCHES`` batches, and the batches are
    shuffled again. Every post stands in exactly one batch, and only one batch is not full.

    Args:
        posts: Indices of the posts.
        batch_size: Posts a batch.
        generator: On the CPU, so that the order is the same on every device.
        lengths: Text tokens of every post that an index may name; ``None`` leaves lengths alone.
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
    """The same posts, short texts first; of equal length in the order given."""
    return posts[lengths[posts].argsort(stable=True)]
