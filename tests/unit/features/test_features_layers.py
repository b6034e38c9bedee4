"""Layers as heads read them: the last, the mean, or all along an axis of their own."""

import numpy as np
import pytest
import torch
from feature_caches import TOKENS, WIDTH, fingerprint, rows
from torch.nn import functional as F

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.features import load as loading
from mvsa_pipe.features.batch import ENCODED, FeatureSizes, Field
from mvsa_pipe.features.load import load
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.heads.build import build_head
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality

IDS = [f"post {n}" for n in range(7)]
ORDER = np.array([5, 0, 3, 6, 1])
TEXT, IMAGE = Modality.TEXT, Modality.IMAGE
LEARNED = FeatureOptions(layer_mix=LayerMix.LEARNED)


def cache(root, modality, layers, name="small"):
    mark = fingerprint(modality, backbone=name, layers="all" if layers > 1 else "last")
    with open_writer(CacheFolder(root), "set", mark) as writer:
        writer.commit(rows(IDS, modality, version=name, layers=layers))
        return writer.finish(IDS, {})


@pytest.fixture(autouse=True)
def _in_blocks(monkeypatch):
    monkeypatch.setattr(loading, "_MIX_BLOCK", 2)


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("mix", list(LayerMix))
def test_layers_are_mixed_row_by_row(tmp_path, modality, mix):
    file = cache(tmp_path, modality, 3)
    found, bounds = loading._states(file, ORDER, mix)
    raw, own = file.hidden(ORDER)
    wanted = torch.from_numpy(raw)
    if mix is LayerMix.LAST:
        wanted = wanted[..., -1, :]
    elif mix is LayerMix.MEAN:
        wanted = F.layer_norm(wanted.float(), (WIDTH,)).mean(dim=-2).half()
    assert torch.equal(found, wanted)
    assert bounds.tolist() == own.tolist()


@pytest.mark.parametrize("mix", list(LayerMix))
def test_a_cache_of_the_last_layer_is_read_as_ever(tmp_path, mix):
    file = cache(tmp_path, TEXT, 1)
    found, bounds = loading._states(file, ORDER, mix)
    raw, own = file.hidden(ORDER)
    assert torch.equal(found, torch.from_numpy(raw))
    assert bounds.tolist() == own.tolist()


@pytest.mark.parametrize("there_is_room", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
def test_where_there_is_a_gpu_states_are_read_into_page_locked_memory(
    tmp_path, monkeypatch, layers, there_is_room
):
    file, asked = cache(tmp_path, IMAGE, layers), []
    plain, _ = loading._states(file, ORDER, LayerMix.MEAN)
    ordinary = torch.empty

    def empty(shape, *, pin_memory=False, **how):
        if pin_memory:
            asked.append(shape)
            if not there_is_room:
                raise RuntimeError("CUDA error: out of memory")
        return ordinary(shape, **how)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", empty)
    found, _ = loading._states(file, ORDER, LayerMix.MEAN)
    assert len(asked) == 1
    assert torch.equal(found, plain)


def test_heads_that_mix_layers_read_all_of_them(tmp_path):
    files = {m: (cache(tmp_path, m, 3),) for m in Modality}
    features = load(files, IDS, list(ENCODED), 3, LEARNED)
    layers = ((3, WIDTH),)
    assert features.sizes == FeatureSizes(WIDTH, WIDTH, TOKENS, 3, layers, layers)
    batch = batch_of(features, torch.tensor([2]), list(ENCODED))
    for modality, (file,) in files.items():
        hidden = getattr(batch, f"{modality}_hidden")[0]
        raw = torch.from_numpy(file.hidden(np.array([2]))[0])
        assert torch.equal(hidden.reshape(raw.shape), raw)
    assert batch.text_mask.sum() == len(raw_text(files))


def raw_text(files):
    return files[TEXT][0].hidden(np.array([2]))[0]


@pytest.mark.parametrize("mix", [LayerMix.LAST, LayerMix.MEAN])
def test_mixed_layers_leave_heads_nothing_to_mix(tmp_path, mix):
    files = {m: (cache(tmp_path, m, 3),) for m in Modality}
    sizes = load(files, IDS, list(ENCODED), 3, FeatureOptions(layer_mix=mix)).sizes
    assert sizes == FeatureSizes(WIDTH, WIDTH, TOKENS, 3)


def test_joined_backbones_may_differ_in_layers(tmp_path):
    """A head over them sees the mean of each one's own layers, as scores are zero at first."""
    files = {m: tuple(cache(tmp_path, m, n, f"of {n}") for n in (1, 3)) for m in Modality}
    features = load(files, IDS, list(ENCODED), 3, LEARNED)
    assert features.sizes.text_layers == ((1, WIDTH), (3, WIDTH))
    assert features.sizes.image_tokens == 2 * TOKENS
    posts = torch.tensor([4, 1])
    head = build_head("hstec", features.sizes, 0)
    mixed = head.mixing(batch_of(features, posts, list(ENCODED)))
    averaged = load(files, IDS, list(ENCODED), 3, FeatureOptions(layer_mix=LayerMix.MEAN))
    plain = batch_of(averaged, posts, list(ENCODED))
    assert torch.equal(mixed.text_mask, plain.text_mask)
    for name in ("text_hidden", "image_hidden"):
        found, wanted = getattr(mixed, name), getattr(plain, name).float()
        # norms differ by a factor a token, which every head's own norm takes out
        assert found.shape == wanted.shape
        cosine = F.cosine_similarity(found, wanted, dim=-1)
        real = wanted.abs().sum(dim=-1) > 0
        assert (cosine[real] > 0.999).all()


def test_an_image_grid_holds_for_every_layer(tmp_path):
    file = cache(tmp_path, IMAGE, 3)
    raw = torch.from_numpy(file.hidden(np.arange(len(IDS)))[0])
    assert raw.shape[1] == TOKENS  # three: no square, so that a grid is refused
    with pytest.raises(Exception, match="form a square"):
        load({IMAGE: (file,)}, IDS, [Field.IMAGE_HIDDEN], 3, FeatureOptions(2, LayerMix.LEARNED))
