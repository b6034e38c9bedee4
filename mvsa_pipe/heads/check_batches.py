"""Random features, and short trainings over them, by which heads are checked."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes
from mvsa_pipe.heads.base import FusionHead

# The sizes that a head is tried with, no two of which are equal.
SIZES = FeatureSizes(text_width=24, image_width=20, image_tokens=5, classes=3)


def random_batch(
    sizes: FeatureSizes = SIZES, posts: int = 6, tokens: int = 7, seed: int = 0
) -> FeatureBatch:
    """Random features of posts with 1 to ``tokens`` real text tokens; padding holds garbage."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    lengths = torch.randint(1, tokens + 1, (posts,), generator=generator)
    lengths[0] = tokens
    return FeatureBatch(
        text_hidden=draw(posts, tokens, sizes.text_width),
        text_mask=torch.arange(tokens) < lengths[:, None],
        text_pooled=draw(posts, sizes.text_width),
        image_hidden=draw(posts, sizes.image_tokens, sizes.image_width),
        image_pooled=draw(posts, sizes.image_width),
    )


def make_labels(posts: int, classes: int = SIZES.classes) -> Tensor:
    """Labels that name each class about equally often."""
    return torch.arange(posts) % classes


def train(
    head: FusionHead, batch: FeatureBatch, steps: int, learning_rate: float = 3e-3
) -> Iterator[float]:
    """Trains a head on one batch; yields the loss of each step before it is taken."""
    labels = make_labels(len(batch), head.sizes.classes)
    optimiser = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=0.0)
    head.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss = F.cross_entropy(head(batch), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimiser.step()
        yield loss.item()


def select(batch: FeatureBatch, index: Any) -> FeatureBatch:  # noqa: ANN401  # as tensors take
    """Some posts of a batch."""
    chosen: dict[str, Any] = {name: value[index] for name, value in batch.tensors()}
    return FeatureBatch(**chosen)


def pad(batch: FeatureBatch, extra: int) -> FeatureBatch:
    """The batch with more padding, all of its padding being NaN."""
    hidden, mask = batch.text_hidden, batch.text_mask
    if hidden is None or mask is None:
        return batch
    posts, tokens, *rest = hidden.shape
    hidden = hidden.masked_fill(~mask.view(posts, tokens, *[1] * len(rest)), math.nan)
    return replace(
        batch,
        text_hidden=torch.cat([hidden, hidden.new_full((posts, extra, *rest), math.nan)], dim=1),
        text_mask=torch.cat([mask, mask.new_zeros(posts, extra)], dim=1),
    )


def one_by_one(head: FusionHead, batch: FeatureBatch) -> Tensor:
    """Logits of every post by itself, without padding."""
    alone = []
    for place in range(len(batch)):
        post = select(batch, slice(place, place + 1))
        if post.text_hidden is not None and post.text_mask is not None:
            real = post.text_mask[0]
            trimmed = post.text_hidden[:, real]
            post = replace(post, text_hidden=trimmed, text_mask=post.text_mask[:, real])
        alone.append(head(post))
    return torch.cat(alone)
