"""The backbone whose pooled vector is a bag of patches, and what can be read from its features."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.posts.synthetic.art import picture, tweet
from mvsa_pipe.posts.synthetic.relations import SIDES

CUES = ("negative,positive", "positive,negative")


@pytest.fixture(scope="module")
def patches():
    return load_backbone(BackboneOptions("tiny-patches"))


def encode(backbone, pictures):
    pixels = [backbone.prepare(Image.open(BytesIO(each)).convert("RGB")) for each in pictures]
    with torch.no_grad():
        return backbone.encode(torch.tensor(np.stack(pixels)))


def accuracy(features, labels):
    """Of a linear probe, on the half of the posts that it was not fitted on."""
    half = len(labels) // 2
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    probe.fit(features[:half], labels[:half])
    return probe.score(features[half:], labels[half:])


def test_the_pooled_vector_does_not_change_when_patches_change_places(patches):
    generator = np.random.default_rng(0)
    pixels = torch.tensor(generator.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8))
    swapped = torch.cat([pixels[:, :, 32:], pixels[:, :, :32]], dim=2)
    with torch.no_grad():
        one, other = patches.encode(pixels), patches.encode(swapped)
    assert one.hidden.shape == (1, 16, 512)
    torch.testing.assert_close(one.pooled, other.pooled, atol=1e-5, rtol=0)
    assert (one.hidden - other.hidden).abs().max() > 0.1


def test_patches_tell_what_stands_where_and_their_mean_does_not(patches):
    generator = np.random.default_rng(0)
    cues = generator.choice(CUES, size=240)
    encoded = encode(patches, [picture(cue, 64, generator) for cue in cues])
    left = np.array([cue.startswith("positive") for cue in cues])
    assert accuracy(encoded.hidden[:, 0].numpy(), left) > 0.98
    # 120 posts at 0.5: four standard errors
    assert accuracy(encoded.pooled.numpy(), left) < 0.69


def test_the_text_tells_the_side_that_it_names():
    backbone = load_backbone(BackboneOptions("tiny-text"))
    generator = np.random.default_rng(0)
    sides = generator.choice(SIDES, size=120)
    pooled = []
    for side in sides:
        (token_ids,) = backbone.tokenize([tweet(side, generator)])
        with torch.no_grad():
            given = torch.tensor(token_ids[None]), torch.ones(1, len(token_ids), dtype=torch.bool)
            pooled.append(backbone.encode(*given).pooled[0].numpy())
    assert accuracy(np.stack(pooled), sides) > 0.95
