"""Several layers extracted: what is kept, what is said first, what is refused, what is reused."""

import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.errors import StorageError
from mvsa_pipe.extraction import disk_space
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.repair import repair
from mvsa_pipe.layers import Layers
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.progress import NoProgress

ALL = BackboneOptions("tiny-text", layers=Layers.ALL)
Usage = namedtuple("Usage", ["total", "used", "free"])


class Lines(NoProgress):
    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)


@pytest.fixture(scope="module")
def posts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("posts") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=30, image_px=32))
    return read_posts(folder)


@pytest.fixture
def options(tmp_path):
    return ExtractOptions(cache=tmp_path / "cache", batch_size=8)


def test_layers_are_kept_beside_the_last_and_say_their_bytes_first(posts, options):
    last = extract(posts, replace(ALL, layers=Layers.LAST), options, NoProgress()).file
    lines = Lines()
    done = extract(posts, ALL, options, lines)
    assert done.extracted == 30  # a cache of the last layer serves none that asks for more
    size = done.file.header.payload_bytes
    (said,) = [line for line in lines.said if "layers" in line]
    assert said == f"tiny-text: 2 layers of 30 posts will take {size / 1e6:,.1f} MB"
    rows = np.arange(30)
    assert np.array_equal(last.hidden(rows)[0], done.file.hidden(rows)[0][:, -1])
    assert np.array_equal(last.pooled(rows), done.file.pooled(rows))
    again = Lines()
    assert extract(posts, ALL, options, again).reused == 30
    assert not again.said


@pytest.mark.parametrize("short", [0, 1])
def test_a_disk_without_room_is_refused_before_anything_is_written(
    posts, options, monkeypatch, short
):
    """Parts and the joined cache lie side by side."""
    size = extract(posts, ALL, options, NoProgress()).file.header.payload_bytes
    shutil.rmtree(options.cache)
    free = Usage(0, 0, 2 * size - short)
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: free)
    if not short:
        assert extract(posts, ALL, options, NoProgress()).extracted == 30
        return
    with pytest.raises(StorageError, match=r"too little free space for these layers.*free.*Found"):
        extract(posts, ALL, options, NoProgress())
    assert not list(options.cache.rglob("*.h5"))
    assert not list(options.cache.rglob("*.jsonl"))
    in_parts = replace(options, join_gib=0.0)  # nothing is joined: once is enough
    assert extract(posts, ALL, in_parts, NoProgress()).extracted == 30


def test_damaged_layers_are_extracted_again(posts, options):
    file = extract(posts, ALL, options, NoProgress()).file
    assert file.backbone_options() == ALL
    whole = bytearray(file.path.read_bytes())
    damaged = bytearray(whole)
    damaged[file.place_of("hidden") + 5] ^= 1
    file.path.write_bytes(damaged)
    hit = repair(file.path, posts, CacheFolder(options.cache), "cpu", NoProgress())
    assert hit == [file.header.ids[0]]
    mended = CacheFolder(options.cache).fitting(posts.name, ALL.modality)[0]
    assert mended.damaged_posts() == []
    assert np.array_equal(mended.hidden(np.arange(30))[0].shape[1:], (2, 384))
