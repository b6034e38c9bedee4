"""Pictures that cannot be read, and what is known of them the next time."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import CacheWriter
from mvsa_pipe.errors import CacheError, DataError
from mvsa_pipe.extraction import batches, forward, job, loaded_backbone
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.extraction.result import Extraction
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts import PostSet, read_posts
from mvsa_pipe.posts.contents import UnreadablePostsError, contents_of
from mvsa_pipe.posts.synthetic.config import SyntheticConfig
from mvsa_pipe.posts.synthetic.write import write_synthetic
from mvsa_pipe.progress import NoProgress

IMAGE = BackboneOptions("tiny-image")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("posts") / "posts"
    write_synthetic(folder, SyntheticConfig(posts=36, image_px=32))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "posts"))


@pytest.fixture
def options(tmp_path: Path) -> ExtractOptions:
    return ExtractOptions(
        cache=tmp_path / "cache", precision="float32", batch_size=4, workers=1,
        on_bad_post=BadPostPolicy.SKIP,
    )  # fmt: skip


def picture(folder: Path, number: int) -> Path:
    return folder / "data" / f"{number}.jpg"


def run(folder: Path | PostSet, options: ExtractOptions) -> Extraction:
    posts = folder if isinstance(folder, PostSet) else read_posts(folder)
    return extract(posts, IMAGE, options, NoProgress())


def values(done: Extraction) -> dict[str, tuple[bytes, bytes]]:
    file = done.file
    every = np.arange(len(file.header.ids))
    pooled, (hidden, _) = file.pooled(every), file.hidden(every)
    return {i: (pooled[k].tobytes(), hidden[k].tobytes()) for k, i in enumerate(file.header.ids)}


@pytest.fixture
def no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, loading a backbone fails the test."""

    def load(*_: object) -> LoadedBackbone:
        raise AssertionError("the backbone was loaded")

    monkeypatch.setattr(loaded_backbone.LoadedBackbone, "load", load)


def test_known_bad_pictures_are_not_decoded_again(
    folder: Path, options: ExtractOptions, request: pytest.FixtureRequest
) -> None:
    for number in (4, 9):
        picture(folder, number).write_bytes(b"no picture")
    first = run(folder, options)
    assert first.skipped.keys() == {"4", "9"}
    assert first.extracted == 34
    request.getfixturevalue("no_backbone")
    again = run(folder, options)
    assert (again.extracted, again.reused, again.skipped) == (0, 34, first.skipped)
    assert again.file.header.notes == first.file.header.notes


def test_a_mended_picture_is_extracted_and_struck_from_the_list(
    folder: Path, options: ExtractOptions
) -> None:
    whole = picture(folder, 4).read_bytes()
    picture(folder, 4).write_bytes(whole[:60])
    assert run(folder, options).skipped.keys() == {"4"}
    picture(folder, 4).write_bytes(whole)
    mended = run(folder, replace(options, on_bad_post=BadPostPolicy.ERROR))
    assert (mended.extracted, mended.skipped) == (1, {})
    assert mended.file.header.quarantine == ()
    assert len(mended.file.header.ids) == 36


def test_a_picture_that_was_spoiled_later_is_noted(folder: Path, options: ExtractOptions) -> None:
    run(folder, options)
    picture(folder, 4).write_bytes(b"no picture")
    spoiled = run(folder, options)
    assert spoiled.file.header.refused.keys() == {"4"}
    assert "4" in spoiled.file.header.ids  # what was computed once is not thrown away


def test_notes_of_posts_that_are_not_asked_for_now_stay(
    folder: Path, options: ExtractOptions, request: pytest.FixtureRequest
) -> None:
    picture(folder, 4).write_bytes(b"no picture")
    posts = read_posts(folder)
    run(posts, options)
    some = replace(posts, posts=posts.posts[20:])
    request.getfixturevalue("no_backbone")
    assert run(some, options).file.header.refused.keys() == {"4"}


def test_an_error_names_them_again_each_time(folder: Path, options: ExtractOptions) -> None:
    for number in (2, 30):
        picture(folder, number).write_bytes(b"no picture")
    picture(folder, 5).unlink()
    strict = replace(options, on_bad_post=BadPostPolicy.ERROR)
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            run(folder, strict)
        message = str(caught.value)
        assert all(f"{number}" in message for number in (2, 30))
    assert not list(options.cache.glob("*/*.h5"))
    done = run(folder, options)
    assert done.extracted == 0  # everything readable was kept
    assert len(done.file.header.ids) == 33


def test_a_data_set_of_which_nothing_can_be_read(folder: Path, options: ExtractOptions) -> None:
    for path in (folder / "data").glob("*.jpg"):
        path.write_bytes(b"no picture")
    with pytest.raises(UnreadablePostsError, match="36 posts have a text or image"):
        run(folder, options)


def test_a_line_of_pixels_is_a_bad_picture_not_a_full_memory(
    folder: Path, options: ExtractOptions
) -> None:
    Image.new("RGB", (1, 60_000), "red").save(picture(folder, 7))
    Image.new("RGB", (30_000, 100), "red").save(picture(folder, 8))
    Image.new("RGB", (1600, 8), "red").save(picture(folder, 9))
    done = run(folder, options)
    assert done.skipped.keys() == {"7", "8"}
    assert "too narrow" in done.skipped["7"]


def test_a_picture_that_changes_meanwhile_is_not_cached_under_its_old_digest(
    folder: Path,
) -> None:
    contents, _ = contents_of(read_posts(folder), Modality.IMAGE)
    shutil.copy(picture(folder, 2), picture(folder, 1))
    by_id = {item.id: item for item in contents}
    by_id["2"].read_image()
    with pytest.raises(DataError, match="changed during the extraction"):
        by_id["1"].read_image()


def test_a_memory_that_is_wrong_is_set_right_and_said(
    folder: Path, options: ExtractOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = LoadedBackbone.load(IMAGE, options).resolved
    wrong = replace(known, fingerprint=replace(known.fingerprint, precision="bfloat16"))
    with monkeypatch.context() as patch:
        patch.setattr(job, "recall", lambda *_: wrong)
        with pytest.raises(CacheError, match=r"remembered.*no longer valid.*run the same again"):
            run(folder, options)
    assert run(folder, options).file.header.fingerprint == known.fingerprint


class InterruptedHereError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 4])
def test_interrupted_among_bad_pictures_it_ends_as_if_nothing_had_happened(
    folder: Path, options: ExtractOptions, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The known bad ones must not shift the batches of those that follow."""
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 8)
    for number in (2, 3, 11, 20):
        picture(folder, number).write_bytes(b"no picture")
    whole = run(folder, replace(options, cache=options.cache / "whole"))
    honest_commit, committed = CacheWriter.commit, []

    def failing_commit(own: Any, *blocks: Any, **more: Any) -> None:
        honest_commit(own, *blocks, **more)
        committed.append(blocks)
        if len(committed) == after:
            raise InterruptedHereError

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "commit", failing_commit)
        with pytest.raises(InterruptedHereError):
            run(folder, options)
    resumed = run(folder, options)
    assert resumed.reused > 0
    assert values(resumed) == values(whole)
    assert resumed.skipped == whole.skipped
    notes, wanted = (dict(done.file.header.notes) for done in (resumed, whole))
    for note in (notes, wanted):
        del note["written"]
    assert notes == wanted


def test_killed_before_the_parts_were_joined_it_joins_them(
    folder: Path, options: ExtractOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(folder, replace(options, cache=options.cache / "whole"))
    with monkeypatch.context() as patch:

        def finish(*_: object) -> None:
            raise InterruptedHereError

        patch.setattr(CacheWriter, "finish", finish)
        with pytest.raises(InterruptedHereError):
            run(folder, options)
    assert CacheFolder(options.cache).entries()[0].parts == 1
    joined = run(folder, options)
    assert (joined.extracted, joined.reused) == (0, 36)
    assert values(joined) == values(whole)
    assert "deviation_from_float32" in joined.file.header.notes


def test_numbers_beyond_half_precision_end_in_one_clear_error(
    folder: Path, options: ExtractOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in no warning of the measurement of what is lost."""
    honest = forward.Forward.launch

    def large(own: Any, encode: Any, *inputs: Any) -> Any:
        def scaled(*values: Any) -> Any:
            encoded = encode(*values)
            return type(encoded)(encoded.hidden * 1e7, encoded.pooled * 1e7)

        return honest(own, scaled, *inputs)

    monkeypatch.setattr(forward.Forward, "launch", large)
    with pytest.raises(CacheError, match=r"not finite in float16.*--dtype float32"):
        run(folder, options)
    wide = run(folder, replace(options, dtype=StoredDtype.FLOAT32))
    assert wide.extracted == 36
