"""One batch of random features that the tests of heads share."""

import pytest
import torch

from mvsa_pipe.features.batch import FeatureBatch, FeatureSizes


@pytest.fixture
def sizes() -> FeatureSizes:
    return FeatureSizes(text_width=7, image_width=5, image_tokens=4, classes=3)


@pytest.fixture
def batch(sizes: FeatureSizes) -> FeatureBatch:
    """Four posts of 6, 1, 3 and 4 tokens; padding holds huge values."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(6) < torch.tensor([6, 1, 3, 4])[:, None]
    hidden = torch.randn(4, 6, sizes.text_width, generator=generator)
    return FeatureBatch(
        text_hidden=hidden.masked_fill(~mask.unsqueeze(-1), 1e6),
        text_mask=mask,
        text_pooled=torch.randn(4, sizes.text_width, generator=generator),
        image_hidden=torch.randn(4, sizes.image_tokens, sizes.image_width, generator=generator),
        image_pooled=torch.randn(4, sizes.image_width, generator=generator),
    )
