"""Layers as heads are handed them: the last, the mean, or all in turn."""

import numpy as np
import pytest
import torch
from feature_caches import TOKENS, WIDTH, fingerprint, rows
from torch.nn import functional as F

from mvsa_pipe import states
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.features.batch import ENCODED, FeatureSizes, Field
from mvsa_pipe.features.joined import load_features
from mvsa_pipe.features.resident import read_states
from mvsa_pipe.heads.building import build_head
from mvsa_pipe.layers import LayerMix
from mvsa_pipe.modality import Modality

IDS = [f"post {n}" for n in range(7)]
ORDER = np.array([5, 0, 3, 6, 1])
TEXT, IMAGE = Modality.TEXT, Modality.IMAGE


def cache(root, modality, layers, name="small"):
    mark = fingerprint(modality, backbone=name, layers="all" if layers > 1 else "last")
    with open_writer(CacheFolder(root), "set", mark) as writer:
        writer.commit(rows(IDS, modality, version=name, layers=layers))
        return writer.finish(IDS, {})


@pytest.fixture(autouse=True)
def _in_blocks(monkeypatch):
    monkeypatch.setattr(states, "_BLOCK", 2)


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("mix", list(LayerMix))
def test_layers_are_mixed_row_by_row(tmp_path, modality, mix):
    file = cache(tmp_path, modality, 3)
    found, bounds = read_states(file, ORDER, mix)
    raw, own = file.hidden(ORDER)
    wanted = torch.from_numpy(raw)
    if mix is LayerMix.LAST:
        wanted = wanted[..., -1, :]
    elif mix is LayerMix.MEAN:
        wanted = F.layer_norm(wanted.float(), (WIDTH,)).mean(dim=-2).half()
    elif modality is TEXT:
        wanted, own = wanted.flatten(0, 1), own * 3
    else:
        wanted = wanted.flatten(2)
    assert torch.equal(found, wanted)
    assert bounds.tolist() == own.tolist()


@pytest.mark.parametrize("mix", list(LayerMix))
def test_a_cache_of_the_last_layer_is_read_as_ever(tmp_path, mix):
    file = cache(tmp_path, TEXT, 1)
    found, bounds = read_states(file, ORDER, mix)
    raw, own = file.hidden(ORDER)
    assert torch.equal(found, torch.from_numpy(raw))
    assert bounds.tolist() == own.tolist()


@pytest.mark.parametrize("there_is_room", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
def test_where_there_is_a_gpu_states_are_read_into_page_locked_memory(
    tmp_path, monkeypatch, layers, there_is_room
):
    file, asked = cache(tmp_path, IMAGE, layers), []
    plain, _ = read_states(file, ORDER, LayerMix.MEAN)
    ordinary = torch.empty

    def empty(shape, *, pin_memory=False, **how):
        if pin_memory:
            asked.append(shape)
            if not there_is_room:
                raise RuntimeError("CUDA error: out of memory")
        return ordinary(shape, **how)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", empty)
    found, _ = read_states(file, ORDER, LayerMix.MEAN)
    assert len(asked) == 1
    assert torch.equal(found, plain)


def test_heads_are_handed_all_layers_of_a_token_in_turn(tmp_path):
    files = {m: (cache(tmp_path, m, 3),) for m in Modality}
    features = load_features(files, IDS, list(ENCODED), 3, mix=LayerMix.LEARNED)
    layers = ((3, WIDTH),)
    assert features.sizes == FeatureSizes(WIDTH, WIDTH, TOKENS, 3, layers, layers)
    batch = features.batch(torch.tensor([2]), list(ENCODED))
    for modality, (file,) in files.items():
        hidden = getattr(batch, f"{modality}_hidden")[0]
        raw = torch.from_numpy(file.hidden(np.array([2]))[0]).reshape(-1, 3, WIDTH)
        assert torch.equal(hidden.view(-1, 3, WIDTH), raw)
    assert batch.text_mask.sum() == 3 * len(raw_text(files))


def raw_text(files):
    return files[TEXT][0].hidden(np.array([2]))[0]


@pytest.mark.parametrize("mix", [LayerMix.LAST, LayerMix.MEAN])
def test_mixed_layers_leave_heads_nothing_to_mix(tmp_path, mix):
    files = {m: (cache(tmp_path, m, 3),) for m in Modality}
    sizes = load_features(files, IDS, list(ENCODED), 3, mix=mix).sizes
    assert sizes == FeatureSizes(WIDTH, WIDTH, TOKENS, 3)


def test_joined_backbones_may_differ_in_layers(tmp_path):
    """A head over them sees the mean of each one's own layers, as scores are zero at first."""
    files = {m: tuple(cache(tmp_path, m, n, f"of {n}") for n in (1, 3)) for m in Modality}
    features = load_features(files, IDS, list(ENCODED), 3, mix=LayerMix.LEARNED)
    assert features.sizes.text_layers == ((1, WIDTH), (3, WIDTH))
    assert features.sizes.image_tokens == 2 * TOKENS
    posts = torch.tensor([4, 1])
    head = build_head("hstec", features.sizes, 0)
    mixed = head.mixing(features.batch(posts, list(ENCODED)))
    averaged = load_features(files, IDS, list(ENCODED), 3, mix=LayerMix.MEAN)
    plain = averaged.batch(posts, list(ENCODED))
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
        load_features({IMAGE: (file,)}, IDS, [Field.IMAGE_HIDDEN], 3, 2, LayerMix.LEARNED)
