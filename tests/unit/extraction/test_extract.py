"""Stage one against a naive loop, and what it does again, not again, and not at all."""

import shutil
import subprocess
import sys
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from extraction_support import twelve_posts
from PIL import Image

from mvsa_pipe.backbones import load_backbone
from mvsa_pipe.backbones.options import BackboneOptions, Decode, Pooling
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.errors import ConfigError
from mvsa_pipe.extraction import batches, pipeline
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.images import decode_image
from mvsa_pipe.posts import read_posts
from mvsa_pipe.posts.contents import UnreadablePostsError
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.progress import NoProgress

TEXT, IMAGE = BackboneOptions("tiny-text"), BackboneOptions("tiny-image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("posts") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=40, image_px=32))
    return folder


@pytest.fixture
def posts(folder):
    return read_posts(folder)


@pytest.fixture
def options(tmp_path):
    return ExtractOptions(
        cache=tmp_path / "cache", precision="float32", dtype=StoredDtype.FLOAT32, batch_size=8
    )


def all_rows(file):
    return np.arange(len(file.header.ids))


@pytest.mark.parametrize("backbone", [TEXT, IMAGE], ids=lambda backbone: backbone.name)
def test_a_part_on_the_disk_is_not_held_while_the_next_is_computed(
    posts, options, backbone, monkeypatch
):
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 8)
    whole, held = pipeline.run_pipeline, []

    def watched(*args):
        before = None

        def is_held():
            return before is not None and before() is not None

        for part in whole(*args):
            until = time.monotonic() + 5  # the disk lets go of it a moment later
            while is_held() and time.monotonic() < until:
                time.sleep(0.01)
            held.append(is_held())
            before = weakref.ref(part)
            yield part
            del part

    monkeypatch.setattr(pipeline, "run_pipeline", watched)
    assert extract(posts, backbone, options, NoProgress()).extracted == len(posts)
    assert len(held) > 1
    assert not any(held)


def test_texts_equal_a_loop_over_single_posts(posts, options):
    file = extract(posts, TEXT, options, NoProgress()).file
    backbone = load_backbone(TEXT)
    assert file.header.ids == tuple(post.id for post in posts.posts)
    for row, post in enumerate(posts.posts):
        (ids,) = backbone.tokenize([post.text])
        tokens = torch.from_numpy(backbone.cut(ids))[None]
        with torch.inference_mode():
            alone = backbone.encode(tokens, torch.ones_like(tokens, dtype=torch.bool))
        hidden, _ = file.hidden(np.array([row]))
        np.testing.assert_allclose(hidden, alone.hidden[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(file.pooled(np.array([row])), alone.pooled.numpy(), atol=1e-5)


def test_images_equal_a_loop_over_single_posts(posts, options):
    file = extract(posts, IMAGE, options, NoProgress()).file
    backbone = load_backbone(IMAGE)
    for row, post in enumerate(posts.posts):
        picture = decode_image(posts.storage.read(post.image), post.image)
        with torch.inference_mode():
            alone = backbone.encode(torch.from_numpy(backbone.prepare(picture).copy())[None])
        hidden, _ = file.hidden(np.array([row]))
        np.testing.assert_allclose(hidden, alone.hidden.numpy(), atol=1e-5)


def test_fast_decoding_gives_the_very_features(tmp_path, options):
    """Of plain JPEGs, of one that Pillow resizes, and of a picture that is no JPEG."""
    posts = twelve_posts(tmp_path / "posts", image_px=150)
    wide, other = (tmp_path / "posts" / "data" / f"{number}.jpg" for number in (2, 3))
    picture = Image.open(wide)
    picture.save(other, "PNG")
    picture.resize((300, 90)).save(wide, "JPEG")
    exact, fast, auto = (
        extract(
            posts, IMAGE, replace(options, decode=decode, cache=tmp_path / decode), NoProgress()
        )
        for decode in (Decode.EXACT, Decode.FAST, Decode.AUTO)
    )
    assert exact.file.path.name == fast.file.path.name == auto.file.path.name
    assert exact.file.header.fingerprint == fast.file.header.fingerprint
    fast_here = replace(options, decode=Decode.FAST, cache=tmp_path / "exact")
    again = extract(posts, IMAGE, fast_here, NoProgress())
    assert (again.extracted, again.file.path) == (0, exact.file.path)
    exact, fast = exact.file, fast.file
    rows = all_rows(exact)
    assert len(rows) == 12
    np.testing.assert_array_equal(exact.hidden(rows)[0], fast.hidden(rows)[0])
    np.testing.assert_array_equal(exact.pooled(rows), fast.pooled(rows))


def test_added_posts_extract_only_themselves(posts, options):
    first = extract(replace(posts, posts=posts.posts[:25]), TEXT, options, NoProgress())
    second = extract(posts, TEXT, options, NoProgress())
    third = extract(posts, TEXT, options, NoProgress())
    assert (first.extracted, second.extracted, third.extracted) == (25, 15, 0)
    assert second.reused == 25
    assert second.file.header.ids == tuple(post.id for post in posts.posts)


def test_edited_posts_are_extracted_again(posts, options):
    extract(posts, TEXT, options, NoProgress())
    edited = replace(posts.posts[3], text="something else entirely")
    changed = replace(posts, posts=(*posts.posts[:3], edited, *posts.posts[4:]))
    assert extract(changed, TEXT, options, NoProgress()).extracted == 1


@pytest.mark.parametrize(
    "change",
    [{"dtype": StoredDtype.FLOAT16}, {"precision": "bfloat16"}],
    ids=["dtype", "precision"],
)
def test_other_settings_make_another_cache(posts, options, change):
    one = extract(posts, TEXT, options, NoProgress())
    other = extract(posts, TEXT, replace(options, **change), NoProgress())
    assert one.file.path != other.file.path
    assert other.extracted == len(posts)


def test_other_backbone_options_make_another_cache(posts, options):
    one = extract(posts, TEXT, options, NoProgress())
    for changed in (replace(TEXT, max_tokens=5), replace(TEXT, pooling=Pooling.CLS)):
        other = extract(posts, changed, options, NoProgress())
        assert one.file.path != other.file.path
        assert other.extracted == len(posts)


def test_cut_texts_are_counted(posts, options):
    notes = extract(posts, replace(TEXT, max_tokens=5), options, NoProgress()).file.header.notes
    assert notes["texts_cut"] == len(posts)
    assert notes["tokens_cut"] > len(posts)


@pytest.fixture
def broken_posts(folder, tmp_path):
    """The same posts with three pictures spoiled in three ways."""
    copy = tmp_path / "broken"
    shutil.copytree(folder, copy)
    (copy / "data" / "3.jpg").write_bytes(b"")
    (copy / "data" / "7.jpg").write_text("no picture")
    whole = (copy / "data" / "9.jpg").read_bytes()
    (copy / "data" / "9.jpg").write_bytes(whole[: len(whole) // 2])
    return read_posts(copy)


def test_unreadable_images_are_all_named_and_the_rest_is_kept(broken_posts, options):
    with pytest.raises(UnreadablePostsError) as refusal:
        extract(broken_posts, IMAGE, options, NoProgress())
    assert set(refusal.value.faults) == {"3", "7", "9"}
    skipping = replace(options, on_bad_post=BadPostPolicy.SKIP)
    done = extract(broken_posts, IMAGE, skipping, NoProgress())
    assert set(done.skipped) == {"3", "7", "9"}
    assert done.extracted == 0
    assert not {"3", "7", "9"} & set(done.file.header.ids)
    assert len(done.file.header.ids) == len(broken_posts) - 3


def test_the_deviation_from_float32_is_measured(posts, options):
    lossy = replace(options, precision="bfloat16", dtype=StoredDtype.FLOAT16)
    deviation = extract(posts, TEXT, lossy, NoProgress()).file.header.notes[
        "deviation_from_float32"
    ]
    assert 0 < deviation["largest"] < 0.1
    assert 0.999 < deviation["least_cosine"] < 1.0


def test_a_gpu_that_is_not_there_is_an_error(posts, options):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match="cuda"):
        extract(posts, TEXT, replace(options, device="cuda"), NoProgress())


def test_nothing_to_do_loads_no_torch(folder, posts, options):
    extract(posts, TEXT, options, NoProgress())
    script = f"""
import sys
from pathlib import Path
from mvsa_pipe.backbones.options import BackboneOptions, Pooling
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.posts import read_posts
from mvsa_pipe.progress import NoProgress
options = ExtractOptions(
    cache=Path({str(options.cache)!r}), precision="float32", dtype=StoredDtype.FLOAT32,
    batch_size=8,
)
posts = read_posts(Path({str(folder)!r}))
done = extract(posts, BackboneOptions("tiny-text"), options, NoProgress())
print(done.extracted, done.reused, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "40", "False"]
