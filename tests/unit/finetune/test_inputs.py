"""Pictures as fine-tuning sees them."""

import numpy as np
import pytest

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.decoding import ExactDecoding, FastDecoding
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.finetune.inputs import ImageInputs
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.contents import contents_of
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_synthetic(folder, SyntheticConfig(posts=30, image_px=150))
    return contents_of(read_posts(folder), Modality.IMAGE)[0]


def inputs(contents, decoding):
    return ImageInputs(load_backbone(BackboneOptions("tiny-image")), contents, 5, decoding)


def test_fast_decoding_gives_the_same_pictures_augmented_or_not(contents):
    exact, fast = (inputs(contents, how) for how in (ExactDecoding(), FastDecoding()))
    for post in range(5):
        np.testing.assert_array_equal(exact.pixels(post), fast.pixels(post))
        seen = exact.augmented(post, 1)
        np.testing.assert_array_equal(seen, fast.augmented(post, 1))
        assert (seen != exact.pixels(post)).any()
