"""Noise on features: its deviation, what it leaves alone, the same draws in stacks, off in eval."""

from dataclasses import replace

import pytest
import torch
from training_support import OPTIONS, TOKENS, WIDTH, make_data, small

from mvsa_pipe.features.batch import ENCODED, HIDDEN, Field
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.modality import Modality
from mvsa_pipe.training.fitting import fit_head
from mvsa_pipe.training.noise import FeatureNoise
from mvsa_pipe.training.scoring import predict_logits

CPU = torch.device("cpu")
NAME = "native-cat"


def noise_of(data, strength=0.5, seed=0):
    return FeatureNoise.of(strength, seed, data, ENCODED, CPU)


def test_the_deviation_is_that_of_each_dimension_over_the_training_posts():
    data = make_data()
    noise = noise_of(data, strength=2.0)
    features, text = data.features, data.features.text_hidden
    ends = text.offsets + text.lengths
    tokens = torch.cat([text.states[text.offsets[i] : ends[i]] for i in data.train])
    each = {
        Field.TEXT_POOLED: features.text_pooled[data.train],
        Field.IMAGE_POOLED: features.image_pooled[data.train],
        Field.IMAGE_HIDDEN: features.image_hidden[data.train].flatten(0, 1),
        Field.TEXT_HIDDEN: tokens,
    }
    for field, values in each.items():
        expected = 2.0 * values.std(dim=0, correction=0)
        torch.testing.assert_close(noise.deviations[field], expected)


def test_what_is_added_has_that_deviation_and_leaves_padding_alone():
    data = make_data()
    noise = noise_of(data)
    batch = batch_of(data.features, data.train, ENCODED)
    many = [noise.added(batch, noise.draw(len(batch))) for _ in range(400)]
    for field in ENCODED:
        before = getattr(batch, field.value)
        apart = torch.stack([getattr(one, field.value) - before for one in many])
        if field in HIDDEN:
            # the same for all tokens of a post, of which the first is always there
            shared = apart[:, :, :1].expand_as(apart)
            if field is Field.TEXT_HIDDEN:
                assert not apart[:, :, 1:][~batch.text_mask[:, 1:].expand(400, -1, -1)].any()
                there = batch.text_mask.expand(400, -1, -1)
                apart, shared = apart[there], shared[there]
            torch.testing.assert_close(apart, shared, atol=1e-5, rtol=1e-4)
        found = apart.flatten(0, -2)
        torch.testing.assert_close(found.mean(0), torch.zeros(WIDTH), atol=0.02, rtol=0)
        torch.testing.assert_close(found.std(0), noise.deviations[field], rtol=0.03, atol=0)


def test_columns_of_another_backbone_stay_zero():
    data = make_data()
    joined = JoinedFeatures(dict.fromkeys(Modality, (data.features, data.features)))
    together = replace(data, features=joined)
    noise = noise_of(together)
    batch = batch_of(joined, data.train, ENCODED)
    noisy = noise.added(batch, noise.draw(len(batch)))
    assert noise.joined == HIDDEN
    for field in HIDDEN:
        one, other = getattr(batch, field.value), getattr(noisy, field.value)
        assert not other[one == 0].any()
        assert (one != other).any()
    own = batch.image_hidden[:, :TOKENS, :WIDTH].flatten(0, 1)
    expected = 0.5 * own.std(dim=0, correction=0)
    torch.testing.assert_close(noise.deviations[Field.IMAGE_HIDDEN][:WIDTH], expected)


def test_draws_depend_on_the_seed_alone():
    data = make_data()
    first, again, other = (noise_of(data, seed=seed).draw(5) for seed in (0, 0, 1))
    for field in ENCODED:
        assert torch.equal(first[field], again[field])
        assert not torch.equal(first[field], other[field])


def test_draws_are_in_the_same_order_in_every_process():
    """The order of a set of texts differs from process to process."""
    noise = noise_of(make_data())
    assert list(noise.deviations) == list(noise.draw(3)) == sorted(ENCODED)


@pytest.mark.parametrize("name", [NAME, "co-attention"])
def test_training_posts_alone_get_noise(name):
    data = make_data()
    noisy = replace(OPTIONS, feature_noise=0.5)
    fitted, plain = (fit_head(name, small(name), data, one) for one in (noisy, OPTIONS))
    assert fitted.history[0]["train_loss"] != plain.history[0]["train_loss"]
    once, twice = (predict_logits(fitted.head, data.features, data.val) for _ in range(2))
    assert torch.equal(once, twice)
    again = fit_head(name, small(name), data, noisy)
    assert again.history == fitted.history
