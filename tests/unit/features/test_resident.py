"""Features in memory: ragged texts, the order of posts, the image grid, what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.errors import CacheError, ConfigError
from mvsa_pipe.features.batch import ENCODED, Field
from mvsa_pipe.features.grid import grid_tokens, to_grid
from mvsa_pipe.features.load import load
from mvsa_pipe.features.resident import RaggedText
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import read_posts


@pytest.fixture(scope="session")
def files(pipeline):
    folder = CacheFolder(pipeline / "cache")
    name = read_posts(pipeline / "data").name
    return {m: folder.fitting(name, m)[:1] for m in Modality}


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
    st.lists(st.integers(0, 7), min_size=1, max_size=12),
)
def test_ragged_batches_are_naive_padding(lengths, chosen):
    chosen = [index % len(lengths) for index in chosen]
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    states = torch.randn(int(bounds[-1]), 3)
    text = RaggedText(states, torch.tensor(bounds[:-1]), torch.tensor(lengths))
    posts, longest = torch.tensor(chosen), max(lengths[index] for index in chosen)
    assert text.longest([posts, posts[:1]]) == [longest, lengths[chosen[0]]]
    padded, mask = text.padded(posts, longest)
    assert padded.shape == (len(chosen), longest, 3)
    for row, index in enumerate(chosen):
        own = states[bounds[index] : bounds[index + 1]]
        assert torch.equal(padded[row, : len(own)], own)
        assert mask[row].tolist() == [True] * len(own) + [False] * (longest - len(own))


def test_features_follow_the_order_of_ids(files):
    ids = list(files[Modality.TEXT][0].header.ids)[:9][::-1]
    features = load(files, ids, list(ENCODED), 3)
    assert features.post_ids == tuple(ids)
    assert len(features.post_ids) == 9
    for row, post_id in enumerate(ids):
        batch = batch_of(features, torch.tensor([row]), list(ENCODED))
        for modality, name in ((Modality.TEXT, "text"), (Modality.IMAGE, "image")):
            at = np.array([files[modality][0].rows[post_id]])
            pooled = torch.from_numpy(files[modality][0].pooled(at))
            assert torch.equal(getattr(batch, f"{name}_pooled"), pooled)
            hidden = torch.from_numpy(files[modality][0].hidden(at)[0])
            assert torch.equal(getattr(batch, f"{name}_hidden").reshape(hidden.shape), hidden)


def test_a_batch_holds_only_what_was_declared(files):
    ids = files[Modality.TEXT][0].header.ids[:4]
    features = load(files, ids, [Field.TEXT_POOLED, Field.IMAGE_POOLED], 3)
    batch = batch_of(features, torch.arange(4), [Field.TEXT_POOLED])
    assert batch.text_pooled is not None
    assert batch.text_hidden is None
    assert batch.image_pooled is None
    assert features.text_hidden is None
    assert features.image_hidden is None


def test_what_is_held_is_counted(files):
    features = load(files, files[Modality.TEXT][0].header.ids[:4], list(ENCODED), 3)
    tensors = [
        features.text_hidden.states,
        features.text_pooled,
        features.image_hidden,
        features.image_pooled,
    ]
    assert features.bytes_held == sum(t.numel() * 2 for t in tensors)  # stored as float16


def test_missing_posts_are_refused_by_name(files):
    ids = [*files[Modality.TEXT][0].header.ids[:2], "no-such-post"]
    with pytest.raises(CacheError, match=r"lacks 1 post.*no-such-post"):
        load(files, ids, [Field.TEXT_POOLED], 3)


def test_a_missing_modality_is_refused(files):
    text = {Modality.TEXT: files[Modality.TEXT]}
    with pytest.raises(CacheError, match="No image cache"):
        load(text, files[Modality.TEXT][0].header.ids[:2], [Field.IMAGE_POOLED], 3)


@pytest.mark.parametrize("extra", [0, 1])
def test_an_image_grid_averages_areas_and_keeps_a_first_token(extra):
    cells = torch.arange(16.0).reshape(1, 16, 1)
    hidden = torch.cat([torch.full((1, extra, 1), 99.0), cells], dim=1)
    found = to_grid(hidden, 2)[0, :, 0].tolist()
    assert found == [99.0] * extra + [2.5, 4.5, 10.5, 12.5]
    assert grid_tokens(16 + extra, 2) == 4 + extra


@pytest.mark.parametrize("grid", [0, 4, 9])
def test_an_image_grid_never_makes_more_tokens(grid):
    hidden = torch.randn(2, 16, 3)
    assert torch.equal(to_grid(hidden, grid), hidden)


def test_an_image_grid_averages_every_layer_alone():
    layers = torch.randn(3, 17, 2, 5)
    found = to_grid(layers, 2)
    assert found.shape == (3, 5, 2, 5)
    for layer in range(2):
        assert torch.equal(found[:, :, layer], to_grid(layers[:, :, layer], 2))


def test_image_tokens_without_a_square_have_no_grid():
    assert grid_tokens(12, 0) == 12
    with pytest.raises(ConfigError, match="form a square"):
        grid_tokens(12, 2)
