"""Caches whose structure is damaged: kept under another name, and made anew of what is left."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from feature_caches import features

from mvsa_pipe.backbones import tiny
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.checking import faults
from mvsa_pipe.cache.content import parts_folder
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import CacheWriter
from mvsa_pipe.errors import CacheError
from mvsa_pipe.extraction import batches
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.repair import repair
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.progress import NoProgress

NAMES = ("tiny-text", "tiny-image")


@pytest.fixture(scope="module")
def posts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("posts") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=32, image_px=32))
    return read_posts(folder)


@pytest.fixture(params=NAMES)
def backbone(request):
    return BackboneOptions(request.param, max_tokens=100)


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 8)
    return ExtractOptions(cache=tmp_path / "cache", precision="float32", batch_size=1, workers=1)


class Said(NoProgress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def run(posts, backbone, options, **changes):
    return extract(posts, backbone, replace(options, **changes), NoProgress()).file


def mend(path, posts, said=None):
    root = path.parents[1]
    return repair(path, posts, CacheFolder(root), "auto", said or NoProgress())


def agree(file, wanted):
    """Digests are equal; numbers up to what texts of other lengths in a batch round otherwise."""
    found = features(file)
    assert found.keys() == wanted.keys()
    for post_id, (digest, *numbers) in found.items():
        assert digest == wanted[post_id][0]
        for new, old in zip(numbers, wanted[post_id][1:], strict=True):
            both = (np.frombuffer(values, "f2").astype("f4") for values in (new, old))
            np.testing.assert_allclose(*both, atol=4e-3)


@pytest.fixture
def computed(monkeypatch):
    """Ids of the posts that are computed from here on."""
    ids, honest = [], CacheWriter.commit

    def commit(own, *blocks, **more):
        ids.extend(post_id for rows in blocks for post_id in rows.ids)
        honest(own, *blocks, **more)

    monkeypatch.setattr(CacheWriter, "commit", commit)
    return ids


def stopped(posts, backbone, options, after=3):
    """An extraction that ended after so many parts; returns its path."""
    left = [after]
    honest = CacheWriter.commit

    def commit(own, *blocks, **more):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        honest(own, *blocks, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CacheWriter, "commit", commit)
        with pytest.raises(KeyboardInterrupt):
            run(posts, backbone, options)
    (folder,) = options.cache.glob("*/*.parts")
    return folder.with_suffix(".h5")


def left_of(path):
    """How many posts such an extraction had not come to."""
    parts = parts_folder(path).glob("part-*")
    return 32 - sum(len(FeatureFile(part).header.ids) for part in parts)


def ruin(path):
    """Damages the structure, so that nothing can be opened any more."""
    bits(path, 9)
    with pytest.raises(CacheError, match="mvsa cache repair"):
        FeatureFile(path)


def bits(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def beside_features(path):
    """Changes a byte that nothing reads but ``mvsa cache verify``."""
    with h5py.File(path) as raw:
        at = raw["structure"].id.get_offset()
    bits(path, at)
    assert FeatureFile(path).damaged_posts() == []


def test_a_byte_that_is_not_read_costs_no_feature(posts, backbone, options, computed):
    file = run(posts, backbone, options)
    wanted = features(file)
    computed.clear()
    beside_features(file.path)
    (fault,) = faults(file.path)
    assert "outside the features" in fault
    assert mend(file.path, posts) == []
    assert faults(file.path) == []
    assert features(FeatureFile(file.path)) == wanted
    assert computed == []


@pytest.mark.parametrize("share", [0.01, 0.7, 0.999])
def test_a_cut_file_is_kept_and_made_anew(posts, backbone, options, computed, share):
    file = run(posts, backbone, options)
    wanted = features(file)
    computed.clear()
    data = file.path.read_bytes()
    cut = data[: int(len(data) * share)]
    file.path.write_bytes(cut)
    assert len(mend(file.path, posts)) == len(computed) == len(posts.posts)
    agree(FeatureFile(file.path), wanted)
    kept = file.path.with_name(file.path.name + ".damaged")
    assert kept.read_bytes() == cut
    assert faults(file.path) == []


def test_a_file_of_which_nothing_can_be_read_is_made_anew(posts, backbone, options):
    file = run(posts, backbone, options)
    wanted = features(file)
    ruin(file.path)
    ruined, said = file.path.read_bytes(), Said()
    assert len(mend(file.path, posts, said)) == len(posts.posts)
    agree(FeatureFile(file.path), wanted)
    (kept,) = file.path.parent.glob("*.damaged")
    assert kept.read_bytes() == ruined
    assert any(kept.name in line for line in said.lines)
    (entry,) = CacheFolder(options.cache).entries()
    assert entry.path == file.path


@pytest.mark.parametrize("memory", [True, False])
def test_the_backbone_is_known_from_the_file_or_from_what_was_resolved(
    posts, backbone, options, memory
):
    file = run(posts, backbone, options)
    wanted = features(file)
    whole = file.path.read_bytes()
    ruin(file.path)
    if memory:  # and the file is gone
        file.path.write_bytes(bytes(5000))
    else:
        shutil.rmtree(options.cache / ".resolved")
        file.path.write_bytes(whole)
        bits(file.path, whole.find(posts.posts[0].id.encode() + bytes(1)))
    mend(file.path, posts)
    agree(FeatureFile(file.path), wanted)


def test_nothing_says_how_it_was_made(posts, backbone, options):
    path = run(posts, backbone, options).path
    shutil.rmtree(options.cache / ".resolved")
    path.write_bytes(bytes(5000))
    said = rf"fingerprint was not found.*mvsa extract --data PATH --backbone {backbone.name}"
    with pytest.raises(CacheError, match=said):
        mend(path, posts)
    assert path.read_bytes() == bytes(5000)


def test_a_ruined_cache_of_other_weights_is_left_as_it_is(posts, backbone, options, monkeypatch):
    path = run(posts, backbone, options).path
    bits(path, path.read_bytes().find(posts.posts[0].id.encode() + bytes(1)))
    shutil.rmtree(options.cache / ".resolved")
    ruined = path.read_bytes()
    monkeypatch.setattr(tiny, "_SEED", 1)
    with pytest.raises(CacheError, match=r"(?s)with the weights of this cache was not found"):
        mend(path, posts)
    assert path.read_bytes() == ruined


@pytest.mark.parametrize("damage", ["structure", "cut", "gone"])
def test_a_ruined_part_of_an_unfinished_cache(posts, backbone, options, computed, damage):
    whole = run(posts, backbone, options, cache=options.cache / "whole")
    path = stopped(posts, backbone, options)
    parts = sorted(parts_folder(path).glob("part-*"))
    assert len(parts) == 3
    held = FeatureFile(parts[1]).header.ids
    computed.clear()
    if damage == "structure":
        ruin(parts[1])
    elif damage == "cut":
        parts[1].write_bytes(parts[1].read_bytes()[:900])
    else:
        parts[1].unlink()
    with pytest.raises(CacheError, match="mvsa cache repair"):
        run(posts, backbone, options)
    mended = mend(path, posts)
    assert set(held) < set(mended)  # and what the extraction had not come to
    assert sorted(computed) == sorted(mended)
    agree(FeatureFile(path), features(whole))


def test_a_part_with_a_changed_byte_that_is_not_read_keeps_its_rows(
    posts, backbone, options, computed
):
    whole = run(posts, backbone, options, cache=options.cache / "whole")
    path = stopped(posts, backbone, options)
    computed.clear()
    left = left_of(path)
    first, *_ = sorted(parts_folder(path).glob("part-*"))
    beside_features(first)
    assert mend(path, posts) != []  # the extraction is ended
    assert len(computed) == left
    agree(FeatureFile(path), features(whole))


def test_a_referred_part_with_a_changed_byte_that_is_not_read(posts, backbone, options, computed):
    file = run(posts, backbone, options, join_gib=0.0)
    wanted = features(file)
    computed.clear()
    first, *_ = sorted(parts_folder(file.path).glob("part-*"))
    beside_features(first)
    assert len(faults(file.path)) == 1
    assert mend(file.path, posts) == []
    assert faults(file.path) == []
    agree(FeatureFile(file.path), wanted)


def test_damaged_rows_of_an_unfinished_cache(posts, backbone, options, computed):
    whole = run(posts, backbone, options, cache=options.cache / "whole")
    path = stopped(posts, backbone, options)
    part = sorted(parts_folder(path).glob("part-*"))[1]
    file = FeatureFile(part)
    hit, left = file.header.ids[3], left_of(path)
    bits(part, file.place_of("pooled") + 3 * file.header.width * 2)
    computed.clear()
    assert hit in mend(path, posts)
    assert len(computed) == left + 1
    agree(FeatureFile(path), features(whole))


def test_a_list_of_parts_that_was_changed(posts, backbone, options, computed):
    whole = run(posts, backbone, options, cache=options.cache / "whole")
    path = stopped(posts, backbone, options)
    listing = parts_folder(path) / "manifest.jsonl"
    left = left_of(path)
    bits(listing, 20)
    computed.clear()
    mend(path, posts)
    assert len(computed) == left
    agree(FeatureFile(path), features(whole))


@pytest.mark.parametrize("damage", ["structure", "gone", "all"])
def test_a_ruined_part_that_a_cache_refers_to(posts, backbone, options, computed, damage):
    file = run(posts, backbone, options, join_gib=0.0)
    wanted = features(file)
    parts = sorted(parts_folder(file.path).glob("part-*"))
    hit = [*FeatureFile(parts[2]).header.ids]
    computed.clear()
    if damage == "structure":
        ruin(parts[2])
    elif damage == "gone":
        parts[2].unlink()
    else:
        hit = list(file.header.ids)
        for part in parts:
            ruin(part)
    mended = mend(file.path, posts)
    assert sorted(mended) == sorted(hit)
    assert sorted(computed) == sorted(hit)
    again = FeatureFile(file.path)
    assert again.header.segments
    agree(again, wanted)


@pytest.mark.parametrize("place", [20, -5])
def test_a_changed_list_of_parts_that_a_cache_refers_to(posts, backbone, options, computed, place):
    """A last line that was changed looks like one that a kill cut short."""
    file = run(posts, backbone, options, join_gib=0.0)
    wanted = features(file)
    bits(parts_folder(file.path) / "manifest.jsonl", place)
    with pytest.raises(CacheError, match="mvsa cache repair"):
        run(posts, backbone, options, join_gib=0.0)
    computed.clear()
    assert mend(file.path, posts) == []
    assert faults(file.path) == []
    agree(run(posts, backbone, options, join_gib=0.0), wanted)
    assert computed == []


def test_faults_of_parts_are_seen(posts, options):
    """Reading rows alone does not open the parts that a cache refers to."""
    file = run(posts, BackboneOptions("tiny-image"), options, join_gib=0.0)
    assert faults(file.path) == []
    first, second, *_ = sorted(parts_folder(file.path).glob("part-*"))
    beside_features(first)
    assert len(faults(file.path)) == 1
    ruin(second)
    found = faults(file.path)
    assert found[0] == f"part {second.name}"
    assert len(found) == 2


def test_shards_are_not_mended(posts, tmp_path):
    path = tmp_path / "cache" / posts.name / "shards" / "tiny-text-0.1-of-2.h5"
    with pytest.raises(CacheError, match=r"Shards are extracted again.*--shard"):
        mend(path, posts)


def test_a_ruined_file_that_refers_to_whole_parts(posts, backbone, options, computed):
    file = run(posts, backbone, options, join_gib=0.0)
    wanted = features(file)
    ruin(file.path)
    computed.clear()
    assert mend(file.path, posts) == []
    assert computed == []
    agree(FeatureFile(file.path), wanted)


def test_posts_of_a_ruined_part_that_the_data_set_lacks(posts, backbone, options):
    """Nothing is given up that cannot be made again."""
    file = run(posts, backbone, options, join_gib=0.0)
    part = sorted(parts_folder(file.path).glob("part-*"))[2]
    (hit, *_) = FeatureFile(part).header.ids
    ruin(part)
    before = file.path.read_bytes()
    fewer = replace(posts, posts=tuple(post for post in posts.posts if post.id != hit))
    with pytest.raises(CacheError, match="cannot be extracted again"):
        mend(file.path, fewer)
    assert file.path.read_bytes() == before
    assert part.is_file()


def test_of_another_data_set(posts, backbone, options):
    path = run(posts, backbone, options).path
    ruin(path)
    with pytest.raises(CacheError, match="of another data set"):
        mend(path, replace(posts, name="others"))


def test_an_unfinished_cache_that_is_whole_is_no_cache_yet(posts, backbone, options):
    path = stopped(posts, backbone, options)
    with pytest.raises(CacheError, match="no cache file here"):
        mend(path, posts)
