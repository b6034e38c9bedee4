"""Pooled vectors alone as heads read them: resident, joined, beside a limit; states are refused."""

import numpy as np
import pytest
import torch
from feature_caches import WIDTH, fingerprint, rows

from mvsa_pipe.cache.folder import CacheFolder, StatesNotKeptError
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.features.batch import HIDDEN, POOLED, Field
from mvsa_pipe.features.load import FeatureOptions, load
from mvsa_pipe.features.source import batch_of
from mvsa_pipe.features.streamed import StreamedFeatures
from mvsa_pipe.layers import Keep
from mvsa_pipe.modality import Modality

IDS = [f"post {n}" for n in range(7)]
ORDER = [IDS[n] for n in (5, 0, 3)]


def cache(root, modality, keep, name="small"):
    mark = fingerprint(modality, backbone=name, layers="none" if keep is Keep.POOLED else "last")
    with open_writer(CacheFolder(root), "set", mark) as writer:
        writer.commit(rows(IDS, modality, version=name, keep=keep))
        return writer.finish(IDS, {})


def files(root, keep):
    return {modality: [cache(root, modality, keep)] for modality in Modality}


@pytest.mark.parametrize("limit", [float("inf"), 0.0])
@pytest.mark.parametrize("grid", [0, 2])
def test_vectors_are_those_of_a_cache_of_all(tmp_path, limit, grid):
    options = FeatureOptions(image_grid=grid)
    (alone, of_all) = (
        load(files(tmp_path, keep), ORDER, POOLED, 3, how, limit)
        for keep, how in ((Keep.POOLED, options), (Keep.ALL, FeatureOptions()))
    )
    assert not isinstance(alone, StreamedFeatures)
    every = torch.arange(3)
    for name, values in batch_of(alone, every, POOLED).tensors():
        torch.testing.assert_close(values, getattr(batch_of(of_all, every, POOLED), name))
    assert (alone.sizes.text_width, alone.sizes.image_width) == (WIDTH, WIDTH)
    assert alone.sizes.image_tokens == 1
    assert alone.token_counts is None


@pytest.mark.parametrize("need", sorted(HIDDEN))
def test_states_that_were_not_kept_are_refused(tmp_path, need):
    with pytest.raises(StatesNotKeptError, match=r"--keep all"):
        load(files(tmp_path, Keep.POOLED), ORDER, {need}, 3)


def test_backbones_are_joined_whatever_is_kept_of_each(tmp_path):
    both = {
        Modality.IMAGE: [
            cache(tmp_path, Modality.IMAGE, keep, name)
            for name, keep in (("one", Keep.ALL), ("two", Keep.POOLED))
        ]
    }
    joined = load(both, ORDER, {Field.IMAGE_POOLED}, 3)
    (name, values), *rest = batch_of(joined, torch.arange(3), {Field.IMAGE_POOLED}).tensors()
    assert (name, values.shape, rest) == ("image_pooled", (3, 2 * WIDTH), [])
    assert np.isfinite(values.numpy()).all()
    with pytest.raises(StatesNotKeptError, match="those of two were not kept"):
        load(both, ORDER, {Field.IMAGE_HIDDEN}, 3)
