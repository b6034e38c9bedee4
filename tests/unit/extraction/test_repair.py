"""Damaged posts are computed again, and nothing else is touched."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from feature_caches import features

from mvsa_pipe.backbones import tiny
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.content import parts_folder
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import CacheWriter
from mvsa_pipe.errors import CacheError
from mvsa_pipe.extraction import batches
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.extraction.repair import repair
from mvsa_pipe.locks import exclusive
from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.progress import NoProgress

BACKBONES = ("tiny-text", "tiny-image")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Posts, one of which has no picture, and both caches of them."""
    root = tmp_path_factory.mktemp("repair")
    write_synthetic(root / "data", SyntheticConfig(posts=36, image_px=32))
    (root / "data" / "data" / "5.jpg").write_bytes(b"no picture")
    for name in BACKBONES:
        extract(read_posts(root / "data"), BackboneOptions(name), _options(root), NoProgress())
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "root"))


def _options(root: Path, **changes: Any) -> ExtractOptions:
    plain = ExtractOptions(
        cache=root / "cache", precision="float32", on_bad_post=BadPostPolicy.SKIP, workers=1
    )
    return replace(plain, **changes)


def cache_of(root: Path, name: str) -> Path:
    (path,) = (root / "cache").glob(f"*/{name}-*.h5")
    return path


def flip(path: Path, name: str, *numbers: int) -> list[str]:
    """Changes one byte of some posts' features; returns their ids."""
    file = FeatureFile(path)
    header = file.header
    data = bytearray(path.read_bytes())
    for number in numbers:
        entry = number if header.offsets is None or name == "pooled" else header.offsets[number]
        shape = (header.width,) if name == "pooled" else header.hidden_shape[1:]
        data[file.place_of(name) + int(entry) * int(np.prod(shape)) * 2 + 3] ^= 1
    path.write_bytes(data)
    return [header.ids[number] for number in numbers]


def mend(root: Path, path: Path, posts: PostSet | None = None) -> list[str]:
    posts = posts or read_posts(root / "data")
    return repair(path, posts, CacheFolder(root / "cache"), "auto", NoProgress())


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the posts that are computed from here on."""
    ids: list[str] = []
    honest = CacheWriter.commit

    def commit(own: CacheWriter, *blocks: Any, **more: Any) -> None:
        ids.extend(post_id for rows in blocks for post_id in rows.ids)
        honest(own, *blocks, **more)

    monkeypatch.setattr(CacheWriter, "commit", commit)
    return ids


@pytest.mark.parametrize("part", ["pooled", "hidden"])
@pytest.mark.parametrize("name", BACKBONES)
def test_only_damaged_posts_are_extracted_again(
    root: Path, name: str, part: str, committed: list[str]
) -> None:
    path = cache_of(root, name)
    before = FeatureFile(path)
    wanted = features(before)
    hit = flip(path, part, 3, 20)
    assert mend(root, path) == hit
    assert sorted(committed) == sorted(hit)
    after = FeatureFile(path)
    found = features(after)
    assert after.header.ids == before.header.ids
    assert after.header.quarantine == before.header.quarantine
    assert {i: found[i] for i in found if i not in hit} == {
        i: wanted[i] for i in wanted if i not in hit
    }
    for post_id in hit:  # a batch of two may round otherwise than one of eight
        assert found[post_id][0] == wanted[post_id][0]
        for new, old in zip(found[post_id][1:], wanted[post_id][1:], strict=True):
            numbers = (np.frombuffer(values, "f2").astype("f4") for values in (new, old))
            np.testing.assert_allclose(*numbers, atol=4e-3)
    notes, old_notes = dict(after.header.notes), dict(before.header.notes)
    for key in ("written", "source", "deviation_from_float32"):
        del notes[key], old_notes[key]
    assert notes == old_notes


def test_a_whole_cache_is_left_alone(root: Path, committed: list[str]) -> None:
    path = cache_of(root, "tiny-text")
    before = path.read_bytes()
    assert mend(root, path) == []
    assert path.read_bytes() == before
    assert committed == []


def test_every_post_damaged(root: Path, committed: list[str]) -> None:
    path = cache_of(root, "tiny-image")
    wanted = features(FeatureFile(path))
    hit = flip(path, "pooled", *range(35))
    assert mend(root, path) == hit
    assert len(committed) == 35
    assert features(FeatureFile(path)) == wanted  # the very batches of the first time


@pytest.mark.parametrize("name", BACKBONES)
def test_a_cache_that_refers_to_parts(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 8)
    options = _options(root, cache=root / "parted", join_gib=0.0, batch_size=1)
    path = extract(
        read_posts(root / "data"), BackboneOptions(name), options, NoProgress()
    ).file.path
    before = FeatureFile(path)
    part = parts_folder(path) / before.header.segments[1].name
    wanted = features(before)
    hit = flip(part, "hidden", 2)
    assert before.damaged_posts() == hit
    mended = repair(
        path, read_posts(root / "data"), CacheFolder(root / "parted"), "auto", NoProgress()
    )
    assert mended == hit
    after = FeatureFile(path)
    assert after.header.segments
    assert after.damaged_posts() == []
    found = features(after)
    assert found.keys() == wanted.keys()
    assert {i: found[i] for i in found if i not in hit} == {
        i: wanted[i] for i in wanted if i not in hit
    }


def refused(root: Path, path: Path, match: str, posts: PostSet | None = None) -> None:
    before = path.read_bytes()
    with pytest.raises(CacheError, match=match):
        mend(root, path, posts)
    assert path.read_bytes() == before


def test_another_data_set(root: Path) -> None:
    path = cache_of(root, "tiny-text")
    flip(path, "pooled", 1)
    others = replace(read_posts(root / "data"), name="others")
    refused(root, path, r"of another data set.*Found others.*--data", others)


def test_other_weights(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cache_of(root, "tiny-text")
    flip(path, "pooled", 1)
    shutil.rmtree(root / "cache" / ".resolved")  # as a new version of the code does
    monkeypatch.setattr(tiny, "_SEED", 1)
    refused(root, path, "a different fingerprint than requested.*weights is")


def test_while_another_process_writes(root: Path) -> None:
    path = cache_of(root, "tiny-text")
    flip(path, "pooled", 1)
    with exclusive(path):
        refused(root, path, "Another process is writing this cache")


def test_posts_that_the_data_set_lacks_now(root: Path) -> None:
    """Their features cannot be made again; nothing is thrown away unasked."""
    path = cache_of(root, "tiny-text")
    (hit,) = flip(path, "pooled", 1)
    posts = read_posts(root / "data")
    fewer = replace(posts, posts=tuple(post for post in posts.posts if post.id != hit))
    refused(root, path, f"(?s)cannot be extracted again.*{hit}", fewer)


def test_a_cache_elsewhere_or_under_another_name(root: Path) -> None:
    """Only the file that an extraction would write can be mended in its place."""
    path = cache_of(root, "tiny-text")
    flip(path, "pooled", *range(36))
    shard = path.parent / "shards" / f"{path.stem}.1-of-2.h5"
    shard.parent.mkdir()
    elsewhere = "not at the path that mvsa extract uses"
    for other, said in (
        (shard, "Shards are extracted again"),
        (path.with_name("renamed.h5"), elsewhere),
        (root / "elsewhere.h5", elsewhere),
    ):
        path.rename(other)
        refused(root, other, said)
        assert not path.exists()
        other.rename(path)
