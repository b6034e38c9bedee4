"""Posts encoded in memory: the bits of a cache of these posts, and no file."""

from dataclasses import replace

import pytest
import torch
from extraction_support import twelve_posts

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.devices import Precision
from mvsa_pipe.errors import CacheError
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.forward import Forward
from mvsa_pipe.extraction.in_memory import encode
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.features.batch import Field
from mvsa_pipe.features.joined import JoinedFeatures
from mvsa_pipe.features.load import load
from mvsa_pipe.features.options import FeatureOptions
from mvsa_pipe.features.resident import ResidentFeatures
from mvsa_pipe.features.source import FeatureSource, batch_of
from mvsa_pipe.layers import LayerMix, Layers
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import contents_of
from mvsa_pipe.progress import NoProgress

CPU = torch.device("cpu")
TEXT, IMAGE = BackboneOptions("tiny-text"), BackboneOptions("tiny-image")
LAYERED = BackboneOptions("tiny-text", layers=Layers.ALL)
ALL = frozenset(Field)


@pytest.fixture
def posts(tmp_path):
    return twelve_posts(tmp_path / "data", image_px=48)


def forward(options, precision=Precision.FLOAT32, dtype=StoredDtype.FLOAT16):
    return Forward(load_backbone(options), CPU, precision, dtype)


def contents(posts, *modalities):
    return {m: contents_of(posts, m)[0] for m in modalities or Modality}


def same(one: FeatureSource, other: FeatureSource) -> None:
    """Every batch of both sources holds the same bits."""
    assert one.post_ids == other.post_ids
    assert one.sizes == other.sizes
    backwards = torch.arange(len(one.post_ids)).flip(0)
    pairs = [dict(batch_of(source, backwards, ALL).tensors()) for source in (one, other)]
    assert pairs[0].keys() == pairs[1].keys()
    for name, values in pairs[0].items():
        assert values.dtype == pairs[1][name].dtype
        assert torch.equal(values, pairs[1][name]), name


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (TEXT, FeatureOptions()),
        (TEXT, FeatureOptions(image_grid=1)),
        (LAYERED, FeatureOptions(layer_mix=LayerMix.LAST)),
        (LAYERED, FeatureOptions(layer_mix=LayerMix.MEAN)),
        (LAYERED, FeatureOptions(layer_mix=LayerMix.LEARNED)),
    ],
)
@pytest.mark.parametrize("how", [("float32", "float16"), ("bfloat16", "float32")])
def test_features_are_those_of_a_cache(posts, tmp_path, text, options, how):
    precision, dtype = Precision(how[0]), StoredDtype(how[1])
    kept = ExtractOptions(cache=tmp_path / "cache", device="cpu", precision=how[0], dtype=dtype)
    files = {b.modality: [extract(posts, b, kept, NoProgress()).file] for b in (text, IMAGE)}
    ids = [post.id for post in posts.posts]
    backbones = {b.modality: [forward(b, precision, dtype)] for b in (text, IMAGE)}
    encoded = encode(contents(posts), backbones, ALL, 3, options)
    assert encoded.faults == {}
    assert isinstance(encoded.features, ResidentFeatures)
    same(encoded.features, load(files, ids, ALL, 3, options))


def test_joined_backbones_are_those_of_their_caches(posts, tmp_path):
    kept = ExtractOptions(cache=tmp_path / "cache", device="cpu", precision="float32")
    wanted = [TEXT, replace(TEXT, max_tokens=5), IMAGE]
    backbones = {
        Modality.TEXT: [forward(wanted[0]), forward(wanted[1])],
        Modality.IMAGE: [forward(IMAGE)],
    }
    found = [extract(posts, b, kept, NoProgress()).file for b in wanted]
    files = {Modality.TEXT: found[:2], Modality.IMAGE: found[2:]}
    encoded = encode(contents(posts), backbones, ALL, 3)
    assert isinstance(encoded.features, JoinedFeatures)
    same(encoded.features, load(files, [post.id for post in posts.posts], ALL, 3))


def test_only_what_is_needed_is_kept(posts):
    backbones = {Modality.TEXT: [forward(TEXT)], Modality.IMAGE: [forward(IMAGE)]}
    pooled = encode(contents(posts), backbones, {Field.TEXT_POOLED}, 3).features
    assert isinstance(pooled, ResidentFeatures)
    assert pooled.bytes_held == 12 * 384 * 2


@pytest.mark.parametrize("options", [TEXT, IMAGE])
def test_one_modality_alone(posts, options):
    only = {options.modality: [forward(options)]}
    encoded = encode(contents(posts, options.modality), only, ALL, 3)
    names = {name for name, _ in batch_of(encoded.features, torch.arange(12), ALL).tensors()}
    mask = {"text_mask"} if options is TEXT else set()
    assert names == {f"{options.modality}_hidden", f"{options.modality}_pooled"} | mask


def test_no_posts_give_no_rows():
    backbones = {Modality.TEXT: [forward(TEXT)], Modality.IMAGE: [forward(IMAGE)]}
    encoded = encode({Modality.TEXT: [], Modality.IMAGE: []}, backbones, ALL, 3)
    assert encoded.features.post_ids == ()
    assert encoded.features.sizes.text_width == 384
    assert encoded.features.bytes_held == 0
    assert encoded.faults == {}


def test_unreadable_pictures_are_named_and_the_others_keep_their_bits(posts, tmp_path):
    broken = posts.posts[4]
    (posts.storage.root / broken.image).write_bytes(b"no picture")
    kept = ExtractOptions(
        cache=tmp_path / "cache", device="cpu", precision="float32", on_bad_post=BadPostPolicy.SKIP
    )
    files = {b.modality: [extract(posts, b, kept, NoProgress()).file] for b in (TEXT, IMAGE)}
    backbones = {Modality.TEXT: [forward(TEXT)], Modality.IMAGE: [forward(IMAGE)]}
    encoded = encode(contents(posts), backbones, ALL, 3)
    assert encoded.faults == {broken.id: "A file is no picture"}
    readable = [post.id for post in posts.posts if post is not broken]
    same(encoded.features, load(files, readable, ALL, 3))


def test_no_readable_picture_gives_no_rows(posts):
    for post in posts.posts:
        (posts.storage.root / post.image).write_bytes(b"no picture")
    encoded = encode(contents(posts, Modality.IMAGE), {Modality.IMAGE: [forward(IMAGE)]}, ALL, 3)
    assert encoded.features.post_ids == ()
    assert encoded.faults.keys() == {post.id for post in posts.posts}


def test_features_that_are_not_finite_are_refused(posts):
    spoiled = forward(TEXT)
    with torch.no_grad():
        next(spoiled.backbone.module.parameters()).fill_(float("nan"))
    with pytest.raises(CacheError, match=r"not finite.*12 posts"):
        encode(contents(posts, Modality.TEXT), {Modality.TEXT: [spoiled]}, ALL, 3)


def test_nothing_is_written(posts, tmp_path, monkeypatch):
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    encode(contents(posts, Modality.IMAGE), {Modality.IMAGE: [forward(IMAGE)]}, ALL, 3)
    assert sorted(tmp_path.rglob("*")) == before
