"""Several backbones a modality: whose numbers stand where, and what heads make of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from feature_caches import TOKENS, WIDTH, fingerprint, rows
from torch import nn
from torch.nn import functional as F

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError, ConfigError
from mvsa_pipe.features import load as loading
from mvsa_pipe.features.batch import ENCODED, FeatureBatch, FeatureSizes, Field
from mvsa_pipe.features.joined import JoinedFeatures, join_batches
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.modality import Modality

IDS = [f"post {n}" for n in range(7)]
TEXT, IMAGE = Modality.TEXT, Modality.IMAGE


@pytest.fixture(autouse=True)
def _drawn_alike():
    torch.manual_seed(0)


def narrower(values, modality):
    """Features of another width, and of fewer tokens a post."""
    if modality is IMAGE:
        return replace(values, pooled=values.pooled[:, :3], hidden=values.hidden[:, :1, :3])
    ends = values.bounds()[1:] - 1  # the last token of every post
    ones = np.ones(len(values.ids), np.int64)
    return replace(
        values, pooled=values.pooled[:, :3], hidden=values.hidden[ends, :3], lengths=ones
    )


@pytest.fixture
def files(tmp_path):
    """Two caches a modality, of different widths and token counts."""
    found = {}
    for modality in Modality:
        for name, change in (("one", lambda v, _: v), ("other", narrower)):
            mark = fingerprint(modality, backbone=name)
            with open_writer(CacheFolder(tmp_path), "set", mark) as writer:
                writer.commit(change(rows(IDS, modality, version=name), modality))
                found[modality] = (*found.get(modality, ()), writer.finish(IDS, {}))
    return found


def load(files, ids=IDS, needs=tuple(ENCODED), grid=0):
    return loading.load(files, ids, needs, 3, FeatureOptions(image_grid=grid))


def alone(files, modality, which, posts):
    own = {modality: files[modality][which : which + 1]}
    needs = needs_of(modality)
    return batch_of(loading.load(own, IDS, needs, 3), posts, needs)


def normalised(x):
    return F.layer_norm(x.float(), x.shape[-1:])


def test_one_backbone_a_modality_is_read_as_ever(files):
    single = {modality: of_it[:1] for modality, of_it in files.items()}
    features = load(single)
    assert not isinstance(features, JoinedFeatures)
    assert features.sizes == FeatureSizes(WIDTH, WIDTH, TOKENS, 3)


def test_a_modality_of_one_backbone_is_untouched_beside_a_joined_one(files):
    posts = torch.tensor([4, 0])
    batch = batch_of(load({TEXT: files[TEXT], IMAGE: files[IMAGE][:1]}), posts, list(ENCODED))
    own = alone(files, IMAGE, 0, posts)
    assert torch.equal(batch.image_pooled, own.image_pooled)
    assert torch.equal(batch.image_hidden, own.image_hidden)
    assert batch.text_pooled.shape == (2, WIDTH + 3)


def test_sizes_add_up(files):
    features = load(files)
    assert features.sizes == FeatureSizes(WIDTH + 3, WIDTH + 3, TOKENS + 1, 3)
    assert len(features.post_ids) == len(IDS)
    each = [loading.load({m: (f,)}, IDS, needs_of(m), 3) for m in files for f in files[m]]
    assert features.bytes_held == sum(source.bytes_held for source in each)
    assert features.to(torch.device("cpu")).sizes == features.sizes


def needs_of(modality):
    return [need for need in ENCODED if need.modality is modality]


def test_every_number_stands_in_its_place(files):
    posts = torch.tensor([5, 2, 3])
    batch = batch_of(load(files), posts, list(ENCODED))
    for modality in Modality:
        first, second = (alone(files, modality, n, posts) for n in (0, 1))
        name = f"{modality}_pooled"
        side_by_side = [normalised(getattr(b, name)) for b in (first, second)]
        assert near(getattr(batch, name), torch.cat(side_by_side, dim=1))
        name = f"{modality}_hidden"
        joined, a, b = (getattr(x, name) for x in (batch, first, second))
        count = a.shape[1]
        assert near(joined[:, :count, :WIDTH], normalised(a))
        assert near(joined[:, count:, WIDTH:], normalised(b))
        assert not joined[:, :count, WIDTH:].any()
        assert not joined[:, count:, :WIDTH].any()
    masks = [alone(files, TEXT, n, posts).text_mask for n in (0, 1)]
    assert torch.equal(batch.text_mask, torch.cat(masks, dim=1))


def near(found, wanted):
    return found.dtype == torch.float16 and torch.allclose(found.float(), wanted, atol=2e-3)


def test_each_set_meets_a_projection_of_its_own():
    """A linear map behind the norm of every head, over joined tokens, is one map a set."""
    first, second = torch.randn(2, 5, 6), torch.randn(2, 3, 4)
    joined = join_batches([FeatureBatch(image_hidden=x) for x in (first, second)]).image_hidden
    linear = nn.Linear(10, 8)
    found = linear(normalised(joined))
    scale = (10 / 6) ** 0.5, (10 / 4) ** 0.5  # the norm over all columns, of which some are zero
    own = linear.weight[:, :6], linear.weight[:, 6:]
    for at, x, u, c in (
        (slice(5), first, own[0], scale[0]),
        (slice(5, 8), second, own[1], scale[1]),
    ):
        torch.testing.assert_close(
            found[:, at], c * normalised(x) @ u.T + linear.bias, atol=1e-4, rtol=1e-4
        )


def test_a_loud_backbone_does_not_drown_a_quiet_one():
    loud, quiet = torch.randn(4, 6) * 1000 + 500, torch.randn(4, 5) / 1000
    joined = join_batches([FeatureBatch(text_pooled=x) for x in (loud, quiet)]).text_pooled
    deviations = joined[:, :6].std(dim=1), joined[:, 6:].std(dim=1)
    assert all(0.5 < float(d) < 2 for part in deviations for d in part)


def test_a_batch_holds_only_what_was_declared(files):
    batch = batch_of(load(files), torch.arange(3), [Field.TEXT_POOLED])
    assert batch.text_pooled is not None
    assert batch.text_hidden is None
    assert batch.image_pooled is None


def test_posts_that_one_cache_lacks_are_refused_by_its_name(files, tmp_path):
    mark = fingerprint(IMAGE, backbone="short")
    with open_writer(CacheFolder(tmp_path), "set", mark) as writer:
        writer.commit(rows(IDS[:5], IMAGE))
        short = writer.finish(IDS, {})
    with pytest.raises(CacheError, match=r"cache of short lacks 2 posts.*post 5, post 6"):
        load({**files, IMAGE: (*files[IMAGE], short)})


def test_a_modality_without_caches_is_refused(files):
    with pytest.raises(CacheError, match="No image cache"):
        load({TEXT: files[TEXT]})


def test_an_image_grid_holds_for_each(files):
    with pytest.raises(ConfigError, match="3 tokens"):
        load(files, grid=2)
