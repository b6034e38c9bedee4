"""Shares of the posts, extracted apart and merged, are the cache of all of them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from feature_caches import features
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.merge import merge
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import CacheWriter
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction import batches, job
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.extraction.result import Extraction
from mvsa_pipe.layers import Layers
from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.progress import NoProgress

BACKBONES = [BackboneOptions("tiny-text", max_tokens=8), BackboneOptions("tiny-image")]
LAYERED = [
    BackboneOptions("tiny-text", max_tokens=8, layers=layers)
    for layers in (Layers.LAST4, Layers.ALL)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=40, image_px=32))
    return folder


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExtractOptions:
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 4)  # ten parts
    monkeypatch.setattr(job, "now", lambda: "2026-01-01T00:00:00+00:00")
    return ExtractOptions(
        cache=tmp_path / "cache", precision="float32", batch_size=2, workers=1,
        on_bad_post=BadPostPolicy.SKIP,
    )  # fmt: skip


def run(
    posts: PostSet, backbone: BackboneOptions, options: ExtractOptions, **changes: Any
) -> Extraction:
    return extract(posts, backbone, replace(options, **changes), NoProgress())


@pytest.mark.parametrize("backbone", [*BACKBONES, *LAYERED], ids=lambda b: f"{b.name}-{b.layers}")
def test_four_merged_equal_the_unsharded_cache_byte_for_byte(
    folder: Path, options: ExtractOptions, backbone: BackboneOptions
) -> None:
    posts = read_posts(folder)
    whole = run(posts, backbone, options, cache=options.cache / "whole").file
    shares = [run(posts, backbone, options, shard=f"{n}/4") for n in (3, 1, 4, 2)]
    assert sorted(share.extracted for share in shares) == [10, 10, 10, 10]
    caches = CacheFolder(options.cache)
    files = [FeatureFile(path) for path in caches.shards_named(backbone.name)]
    assert {file.path for file in files} == {share.file.path for share in shares}
    merged = merge(caches, files, [post.id for post in posts.posts])
    assert merged.header.layers == whole.header.layers
    assert merged.path.name == whole.path.name
    same = merged.path.read_bytes() == whole.path.read_bytes()
    assert same  # never the bytes themselves: pytest would look for the difference for long
    assert run(posts, backbone, options).extracted == 0


def test_shares_of_several_layers_stay_in_their_parts(
    folder: Path, options: ExtractOptions, tmp_path: Path
) -> None:
    """Merged behind one file, and of a vision transformer, whose layers have an axis of tokens."""
    posts = read_posts(folder)
    backbone = BackboneOptions(f"hf-image:{_vision_transformer(tmp_path)}", layers=Layers.ALL)
    whole = run(posts, backbone, options, cache=options.cache / "whole").file
    shares = [run(posts, backbone, options, shard=f"{n}/3").file for n in (1, 2, 3)]
    assert whole.header.hidden_shape[2] == whole.header.layers == 3
    order = [post.id for post in posts.posts]
    caches = CacheFolder(options.cache)
    parted = merge(caches, shares, order, join_below_bytes=0.0)
    assert parted.header.segments
    assert parted.header.hidden_shape == whole.header.hidden_shape
    assert features(parted) == features(whole)
    parted.path.unlink()
    shutil.rmtree(parted.path.with_suffix(".parts"))
    merged = merge(caches, shares, order)
    same = merged.path.read_bytes() == whole.path.read_bytes()
    assert same


def _vision_transformer(root: Path) -> Path:
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=3, mlp_ratio=1, image_size=32, patch_size=16,
        num_attention_heads=2,
    )  # fmt: skip
    Dinov2Model(config).save_pretrained(root / "vit")
    size = {"height": 32, "width": 32}
    BitImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(root / "vit")
    return root / "vit"


def test_pictures_that_cannot_be_read(
    folder: Path, options: ExtractOptions, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for number in (2, 15, 33):
        (copy / "data" / f"{number}.jpg").write_bytes(b"no picture")
    posts = read_posts(copy)
    whole = run(posts, BACKBONES[1], options, cache=options.cache / "whole").file.header
    files = [run(posts, BACKBONES[1], options, shard=f"{n}/3").file for n in (1, 2, 3)]
    merged = merge(CacheFolder(options.cache), files, [post.id for post in posts.posts]).header
    assert merged.refused == whole.refused
    assert merged.ids == whole.ids


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda b: b.name)
def test_a_share_that_is_extracted_again_stays_its_share(
    folder: Path, options: ExtractOptions, backbone: BackboneOptions
) -> None:
    posts = read_posts(folder)
    first = run(posts, backbone, options, shard="2/4")
    again = run(posts, backbone, options, shard="2/4")
    assert (again.extracted, again.file.header.ids) == (0, first.file.header.ids)


def test_an_interrupted_share_goes_on(
    folder: Path, options: ExtractOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = read_posts(folder)
    whole = run(posts, BACKBONES[0], options, shard="2/4", cache=options.cache / "whole").file
    honest = CacheWriter.commit

    def interrupted(own: CacheWriter, *arguments: Any, **named: Any) -> None:
        honest(own, *arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(posts, BACKBONES[0], options, shard="2/4")
    done = run(posts, BACKBONES[0], options, shard="2/4")
    assert 0 < done.reused < len(done.file.header.ids)
    same = done.file.path.read_bytes() == whole.path.read_bytes()
    assert same


def test_more_shares_than_batches(folder: Path, options: ExtractOptions) -> None:
    """Whoever has nothing to do says so; nothing is wrong with the posts."""
    posts = read_posts(folder)
    with pytest.raises(ConfigError, match=r"Share 999/999 is empty.*fewer"):
        run(posts, BACKBONES[1], options, shard="999/999")


@pytest.mark.parametrize(
    "shard",
    ["", "1", "/", "0/4", "5/4", "1/0", "0/0", "-1/4", "1/-4", "1/4/4", "a/b", "1.5/4", " 1/4",
     "²/4", "1/", "/4"],
)  # fmt: skip
def test_shares_that_are_none(shard: str) -> None:
    with pytest.raises(ConfigError, match=r"--shard cannot be used.*i/n such as 1/4"):
        ExtractOptions(shard=shard)
