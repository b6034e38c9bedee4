"""Several image backbones fed in one pass."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extraction_support import twelve_posts
from feature_caches import features
from safetensors.torch import save_file
from torchvision import models

from mvsa_pipe.backbones import decoding
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.extraction import batches
from mvsa_pipe.extraction.extract import extract, extract_all
from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.posts import PostSet
from mvsa_pipe.posts.contents import UnreadablePostsError
from mvsa_pipe.progress import NoProgress

TINY, TEXT = BackboneOptions("tiny-image"), BackboneOptions("tiny-text")


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> BackboneOptions:
    path = tmp_path_factory.mktemp("weights") / "squeezenet1_0.safetensors"
    torch.manual_seed(0)
    save_file(models.squeezenet1_0(weights=None).state_dict(), path)
    return BackboneOptions("torchvision:squeezenet1_0", str(path))


@pytest.fixture
def posts(tmp_path: Path) -> PostSet:
    return twelve_posts(tmp_path / "posts", image_px=32)


@pytest.fixture
def options(tmp_path: Path) -> ExtractOptions:
    return ExtractOptions(cache=tmp_path / "cache", precision="float32", batch_size=4, workers=1)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each picture is decoded from here on; the measurement of what is lost aside."""
    count: Counter[str] = Counter()
    honest = decoding.decode_image

    def decode(data: bytes, where: object, *more: Any, **named: Any) -> Any:
        count[Path(str(where)).stem] += 1
        return honest(data, where, *more, **named)

    monkeypatch.setattr(decoding, "decode_image", decode)
    monkeypatch.setattr(LoadedBackbone, "deviation", lambda *_: None)
    return count


def apart(
    posts: PostSet, backbones: list[BackboneOptions], options: ExtractOptions
) -> list[FeatureFile]:
    options = replace(options, cache=options.cache / "apart")
    return [extract(posts, backbone, options, NoProgress()).file for backbone in backbones]


def test_it_gives_what_separate_passes_give_and_decodes_once(
    posts: PostSet, options: ExtractOptions, squeezenet: BackboneOptions, decoded: Counter[str]
) -> None:
    wanted = apart(posts, [TINY, squeezenet], options)
    decoded.clear()
    done = extract_all(posts, [squeezenet, TINY], options, NoProgress())
    assert decoded == {post.id: 1 for post in posts.posts}
    assert [d.extracted for d in done] == [12, 12]
    for found, file in zip(done, wanted[::-1], strict=True):  # in the order asked for
        assert found.file.header.fingerprint == file.header.fingerprint
        assert found.file.header.ids == file.header.ids
        assert features(found.file) == features(file)


@pytest.mark.parametrize("held", [4, 5])
def test_one_that_is_cached_in_part(
    posts: PostSet,
    options: ExtractOptions,
    squeezenet: BackboneOptions,
    decoded: Counter[str],
    held: int,
) -> None:
    wanted = apart(posts, [TINY, squeezenet], options)
    some = replace(posts, posts=posts.posts[3 : 3 + held])
    before = features(extract(some, TINY, options, NoProgress()).file)
    decoded.clear()
    tiny, other = extract_all(posts, [TINY, squeezenet], options, NoProgress())
    assert decoded == {post.id: 1 for post in posts.posts}
    assert (tiny.extracted, tiny.reused, other.extracted) == (12 - held, held, 12)
    found = features(tiny.file)
    assert before.items() <= found.items()
    assert features(other.file) == features(wanted[1])
    for post_id, said in features(wanted[0]).items():  # other batches may round otherwise
        for a, b in zip(found[post_id][1:], said[1:], strict=True):
            numbers = (np.frombuffer(values, "f2").astype("f4") for values in (a, b))
            np.testing.assert_allclose(*numbers, atol=4e-3)
    assert tiny.file.header.ids == tuple(post.id for post in posts.posts)


def test_bad_pictures_reach_every_backbone_and_text_goes_alone(
    posts: PostSet, options: ExtractOptions, squeezenet: BackboneOptions, tmp_path: Path
) -> None:
    (tmp_path / "posts" / "data" / f"{posts.posts[6].id}.jpg").write_bytes(b"no picture")
    with pytest.raises(UnreadablePostsError, match="1 posts"):
        extract_all(posts, [TINY, TEXT, squeezenet], options, NoProgress())
    skipping = replace(options, on_bad_post=BadPostPolicy.SKIP)
    done = extract_all(posts, [TINY, TEXT, squeezenet], skipping, NoProgress())
    assert [d.extracted for d in done] == [0, 0, 0]  # what is readable was kept the first time
    assert [len(d.file.header.ids) for d in done] == [11, 12, 11]
    bad = {posts.posts[6].id}
    assert [d.skipped.keys() for d in done] == [bad, set(), bad]


def test_stopped_between_the_commits_of_two_backbones(
    posts: PostSet,
    options: ExtractOptions,
    squeezenet: BackboneOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 4)
    wanted = apart(posts, [TINY, squeezenet], options)
    from mvsa_pipe.cache.writer import CacheWriter

    honest, calls = CacheWriter.commit, []

    def commit(own: CacheWriter, *blocks: Any, **more: Any) -> None:
        calls.append(own)
        if len(calls) == 4:  # the second part, the second backbone
            raise KeyboardInterrupt
        honest(own, *blocks, **more)

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "commit", commit)
        with pytest.raises(KeyboardInterrupt):
            extract_all(posts, [TINY, squeezenet], options, NoProgress())
    done = extract_all(posts, [TINY, squeezenet], options, NoProgress())
    assert [d.reused for d in done] == [8, 4]
    for found, file in zip(done, wanted, strict=True):
        assert features(found.file) == features(file)
