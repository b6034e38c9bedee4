"""Streamed features: the same batches and the same runs as resident ones, in bounded memory."""

import tracemalloc
from dataclasses import fields, replace

import pytest
import torch

from mvsa_pipe.errors import ConfigError
from mvsa_pipe.features.batch import HIDDEN, Field
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.features.streamed import BLOCKS, StreamedFeatures
from mvsa_pipe.runs.fit import run_head
from mvsa_pipe.runs.options import CacheChoice, DataChoice
from mvsa_pipe.runs.prepare import needs_of, prepare
from mvsa_pipe.training.options import TrainingOptions

KIB = 1 / 2**20  # GiB
TINY = CacheChoice(memory_gib=64 * KIB)
TRAINING = TrainingOptions(epochs=2, device="cpu", batch_size=8)


def both(heads=("dual-attention",), **changes):
    resident = CacheChoice(**changes)
    needs = needs_of(heads)
    streamed = replace(resident, memory_gib=TINY.memory_gib)
    return [prepare(DataChoice(), choice, needs) for choice in (resident, streamed)]


def same(one, other):
    for part in fields(one):
        left, right = getattr(one, part.name), getattr(other, part.name)
        assert (left is None) == (right is None)
        if isinstance(left, torch.Tensor):
            assert torch.equal(left, right)
        else:
            assert left == right


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    "changes", [{}, {"features": FeatureOptions(image_grid=2)}, {"text": "tiny-text"}]
)
def test_batches_are_the_same(changes):
    resident, streamed = (made.training_data.features for made in both(**changes))
    assert not isinstance(resident, StreamedFeatures)
    assert isinstance(streamed, StreamedFeatures)
    assert streamed.sizes == resident.sizes
    assert torch.equal(streamed.token_counts, resident.token_counts)
    chosen = list(torch.split(torch.randperm(len(resident.post_ids)), 7))
    for needs in (set(Field), HIDDEN, {Field.TEXT_POOLED}, {Field.IMAGE_HIDDEN}):
        pairs = zip(resident.batches(chosen, needs), streamed.batches(chosen, needs), strict=True)
        for one, other in pairs:
            same(one, other)


@pytest.mark.usefixtures("workplace")
def test_a_post_that_stands_twice_in_a_batch_is_there_twice():
    resident, streamed = (made.training_data.features for made in both())
    posts = torch.tensor([5, 2, 5, 9])
    same(batch_of(resident, posts, set(Field)), batch_of(streamed, posts, {*Field}))


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("head", ["dual-attention", "cmac-faithful", "native-cat"])
def test_runs_are_the_same_bit_for_bit(head):
    one, other = (run_head(made, head, {}, TRAINING) for made in both([head]))
    assert one.fitted.history == other.fitted.history
    assert (one.probabilities["test"] == other.probabilities["test"]).all()


@pytest.mark.usefixtures("workplace")
def test_it_is_said():
    resident, streamed = both()
    assert any("streamed" in line for line in streamed.remarks())
    assert not any("streamed" in line for line in resident.remarks())


@pytest.mark.usefixtures("workplace")
def test_memory_keeps_to_its_limit():
    limit = 2**20
    choice = CacheChoice(memory_gib=limit / 2**30)
    features = prepare(DataChoice(), choice, needs_of(["dual-attention"])).training_data.features
    assert isinstance(features, StreamedFeatures)
    whole = sum(
        batch.text_hidden.nbytes + batch.image_hidden.nbytes
        for batch in features.batches([torch.arange(len(features.post_ids))], HIDDEN)
    )
    chosen = list(torch.split(torch.arange(len(features.post_ids)), 4))
    tracemalloc.start()
    for _ in features.batches(chosen, HIDDEN):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert features.block_posts * BLOCKS < len(features.post_ids)
    assert peak < limit * 1.25 < whole


def test_a_limit_that_cannot_be_used():
    with pytest.raises(ConfigError, match="--memory-gib"):
        CacheChoice(memory_gib=-1)
