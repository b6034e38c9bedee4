"""Repair, merge, export, shares, profiles and posts tried again, from the command line."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from mvsa_pipe.backbones import decoding
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import DataError
from mvsa_pipe.extraction import batches
from mvsa_pipe.locks import exclusive

EXTRACT = ("extract", "--partner", "none", "--data", "data", "--batch-size", "4", "--backbone")
EXPORTED = {"npy": "pooled.npy", "safetensors": "", "parquet": ""}


def cache_of(name: str, folder: str = "cache") -> Path:
    (path,) = Path(folder).glob(f"*/{name}-*.h5")
    return path


def flip(path: Path) -> str:
    """Changes the features of one post; returns its id."""
    file = FeatureFile(path)
    data = bytearray(path.read_bytes())
    data[file.place_of("pooled") + 7 * file.header.width * 2] ^= 1
    path.write_bytes(data)
    return file.header.ids[7]


@pytest.mark.usefixtures("workplace")
def test_repair(mvsa) -> None:
    path = cache_of("tiny-text")
    post_id = flip(path)
    assert mvsa("cache", "verify", "tiny-text").exit_code == 1
    mended = mvsa("cache", "repair", "tiny-text")
    assert mended.exit_code == 0, mended.stderr
    assert f"extracted again: {post_id}\n" in mended.stdout
    assert mvsa("cache", "verify", "tiny-text").exit_code == 0
    assert mvsa("cache", "repair", "tiny-text").stdout == f"{path}: whole\n"


@pytest.mark.usefixtures("workplace")
def test_repair_of_structure(mvsa, refused) -> None:
    path = cache_of("tiny-text")
    data = path.read_bytes()
    ruined = data[:9] + bytes([data[9] ^ 1]) + data[10:]
    path.write_bytes(ruined)
    assert f"mvsa cache repair {path}" in refused("cache", "info", "tiny-text")
    verified = mvsa("cache", "verify")
    assert verified.exit_code == 1
    assert "damaged" in verified.stdout
    repaired = mvsa("cache", "repair", "tiny-text")
    assert repaired.exit_code == 0, repaired.stderr
    assert "extracted again" in repaired.stdout
    kept = path.with_name(path.name + ".damaged")
    assert str(kept) in repaired.stderr
    assert kept.read_bytes() == ruined
    assert mvsa("cache", "verify").exit_code == 0
    assert FeatureFile(path).header.ids


@pytest.mark.usefixtures("workplace")
def test_repairs_that_cannot_be(refused) -> None:
    path = cache_of("tiny-text")
    assert "No cache is named" in refused("cache", "repair", "nothing")
    assert "Several caches fit" in refused("cache", "repair", "tiny")
    flip(path)
    assert "nothing at this path" in refused("cache", "repair", path, "--data", "nowhere")
    assert "another data set" in refused("cache", "repair", path, "--data-name", "others")
    with exclusive(path):
        before = path.read_bytes()
        assert "Another process is writing" in refused("cache", "repair", path, keeps=False)
        assert path.read_bytes() == before
    other = Path(shutil.copy(path, "elsewhere.h5"))
    assert "not at the path that mvsa extract uses" in refused("cache", "repair", other)
    shutil.rmtree("cache/.resolved")
    path.write_bytes(path.read_bytes()[:300])
    text = refused("cache", "repair", path)
    assert "its fingerprint was not found elsewhere" in text
    assert "then extract again: mvsa extract --data PATH --backbone tiny-text" in text


@pytest.fixture
def shares(workplace: Path, mvsa, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two of three shares of the posts."""
    monkeypatch.setattr(batches, "MOST_POSTS_A_PART", 16)
    for share in ("1/3", "3/3"):
        result = mvsa(*EXTRACT, "tiny-text", "--shard", share, "--cache", "apart")
        assert result.exit_code == 0, result.stderr
    return workplace


@pytest.mark.usefixtures("shares")
def test_merge_names_the_gap_until_it_is_filled(mvsa, refused) -> None:
    words = ("cache", "merge", "tiny-text", "--cache", "apart", "--data", "data")
    text = refused(*words)
    assert "not all shards" in text
    assert "Found 1-of-3, 3-of-3" in text
    two = ("1-of-3", "3-of-3")
    lacking = mvsa("cache", "merge", *two, "--cache", "apart", "--data", "data")
    assert lacking.exit_code == 1
    held = FeatureFile(cache_of("tiny-text", "apart")).header.ids
    everyone = FeatureFile(cache_of("tiny-text")).header.ids
    gap = [post_id for post_id in everyone if post_id not in held]
    assert gap
    assert f"{len(gap)} posts are in none of them: {', '.join(gap[:10])} and" in lacking.stdout
    assert mvsa(*EXTRACT, "tiny-text", "--shard", "2/3", "--cache", "apart").exit_code == 0
    done = mvsa(*words)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "100 posts of 3 caches" in done.stdout
    found, wanted = FeatureFile(cache_of("tiny-text", "apart")), FeatureFile(cache_of("tiny-text"))
    assert found.header.ids == wanted.header.ids


@pytest.mark.usefixtures("shares")
def test_merges_that_cannot_be(refused, mvsa) -> None:
    assert "no shards of 'nothing'" in refused("cache", "merge", "nothing", "--cache", "apart")
    assert "no shards of 'tiny'" in refused("cache", "merge", "tiny")
    both = ("cache", "merge", cache_of("tiny-text"), cache_of("tiny-image"))
    assert "a different fingerprint than requested" in refused(*both)
    assert mvsa(*EXTRACT, "tiny-image", "--shard", "2/3", "--cache", "apart").exit_code == 0
    assert "Shards of several caches" in refused("cache", "merge", "tiny", "--cache", "apart")
    (share,) = Path("apart").glob("*/shards/tiny-text-*.3-of-3.h5")
    flip(share)
    merge = ("cache", "merge", "1-of-3", share, "--cache", "apart")
    assert "damaged posts" in refused(*merge, keeps=False)  # but for the lock
    assert not list(Path("apart").glob("*/*.h5"))


@pytest.mark.usefixtures("workplace")
def test_every_way_out_that_is_named_is_one(mvsa, refused) -> None:
    """A part of a cache that refers to its parts is gone."""
    made = mvsa(*EXTRACT, "tiny-text", "--cache", "new", "--join-gib", "0")
    assert made.exit_code == 0
    path = cache_of("tiny-text", "new")
    (part,) = path.with_suffix(".parts").glob("part-*")
    part.unlink()
    verified = mvsa("cache", "verify", "--cache", "new")
    assert verified.exit_code == 1
    assert f"part {part.name}\nnext: mvsa cache repair {path}" in verified.stdout
    way_out = f"put that part back, or: mvsa cache repair {path}"
    export = ("cache", "export", "tiny-text", "--cache", "new", "--to", "out")
    for words in (export, (*EXTRACT, "tiny-text", "--cache", "new")):
        assert way_out in refused(*words)
    shutil.copytree("new", "mended")
    other = Path("mended", path.relative_to("new"))
    assert mvsa("cache", "repair", other, "--cache", "mended").exit_code == 0
    assert FeatureFile(other).damaged_posts() == []
    assert len(FeatureFile(other).header.ids) == 100
    assert mvsa("cache", "remove", path, "--cache", "new", "--yes").exit_code == 0
    assert mvsa(*EXTRACT, "tiny-text", "--cache", "new").exit_code == 0


@pytest.mark.usefixtures("workplace")
def test_an_unfinished_cache_is_named_by_the_path_that_it_will_have(mvsa, refused) -> None:
    assert mvsa(*EXTRACT, "tiny-text", "--cache", "new", "--join-gib", "0").exit_code == 0
    path = cache_of("tiny-text", "new")
    path.unlink()
    assert "There is no cache file here" in refused("cache", "repair", path, "--cache", "new")
    assert mvsa("cache", "remove", path, "--cache", "new", "--yes").exit_code == 0
    assert not path.with_suffix(".parts").exists()


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("form", EXPORTED)
def test_export(mvsa, refused, form: str) -> None:
    result = mvsa("cache", "export", "tiny-image", "--to", "out/features", "--as", form)
    assert result.exit_code == 0, result.stderr
    assert "100 posts in out/features" in result.stdout
    if form == "npy":
        file = FeatureFile(cache_of("tiny-image"))
        pooled = np.load("out/features/pooled.npy")
        np.testing.assert_array_equal(pooled, file.pooled(np.arange(100)))
    again = refused("cache", "export", "tiny-image", "--to", "out/features", "--as", form)
    assert "target of this export already exists" in again
    Path("file").touch()
    text = refused("cache", "export", "tiny-image", "--to", "file/below", "--as", form)
    assert "There is a file where a folder is needed" in text
    assert "No cache is named" in refused("cache", "export", "nothing", "--to", "new")
    flip(cache_of("tiny-image"))
    text = refused("cache", "export", "tiny-image", "--to", "new", "--as", form)
    assert "damaged posts" in text


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("command", [("cache", "info"), ("cache", "export"), ("cache", "verify")])
def test_names_too_long_for_any_disk(refused, command: tuple[str, str]) -> None:
    where = ("--to", "out") if command[1] == "export" else ()
    assert "No cache is named" in refused(*command, "x" * 300 + ".h5", *where)


@pytest.mark.usefixtures("workplace")
def test_a_target_too_long_for_any_disk(refused) -> None:
    assert "too long" in refused("cache", "export", "tiny-text", "--to", "x" * 300)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "1/0"])
def test_shares_that_are_none(refused, shard: str) -> None:
    assert "--shard cannot be used" in refused(*EXTRACT, "tiny-text", "--shard", shard)


@pytest.mark.usefixtures("workplace")
def test_a_profile_adds_up(mvsa) -> None:
    names = ("tiny-image", "--backbone", "tiny-text")
    result = mvsa(*EXTRACT, *names, "--cache", "new", "--profile", "new/profile.json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(Path("new/profile.json").read_text())
    assert record.keys() == {"tiny-image", "tiny-text"}
    for profile in record.values():
        phases, stages = profile["phases"], profile["stages"]
        assert sum(phases.values()) == pytest.approx(profile["wall_seconds"], abs=1e-3)
        assert sum(stages.values()) == pytest.approx(profile["lane_seconds"], abs=1e-3)
        lanes = profile["lanes"] * (phases["compute"] + phases["await_disk"])
        assert profile["lane_seconds"] == pytest.approx(lanes, abs=1e-3)
        assert stages["model"] > 0
        assert stages["idle"] >= 0
        assert profile["disk_seconds"] > 0


@pytest.mark.usefixtures("workplace")
def test_a_profile_that_cannot_be_written(mvsa) -> None:
    result = mvsa(*EXTRACT, "tiny-text", "--profile", "data")
    assert result.exit_code == 2
    assert "There is a file where a folder is needed" in result.stderr


@pytest.mark.usefixtures("workplace")
def test_posts_are_tried_again_when_asked(mvsa, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that failed once, whatever the reason, and reads the same bytes now."""
    honest = decoding.decode_image
    words = (*EXTRACT, "tiny-image", "--cache", "new", "--on-bad-image", "skip", "--json")

    def failing(data, where, *more, **named):
        if str(where).endswith("/9.jpg"):
            raise DataError("A fault of the moment")
        return honest(data, where, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "decode_image", failing)
        first = json.loads(mvsa(*words).stdout)[0]
    assert (first["extracted"], first["skipped"]) == (99, {"9": "A fault of the moment"})
    (again,) = json.loads(mvsa(*words).stdout)
    assert (again["extracted"], again["skipped"]) == (0, first["skipped"])
    (mended,) = json.loads(mvsa(*words, "--retry-failed").stdout)
    assert (mended["extracted"], mended["skipped"]) == (1, {})
    assert FeatureFile(cache_of("tiny-image", "new")).header.quarantine == ()


@pytest.mark.usefixtures("workplace")
def test_repair_during_an_extraction_says_so(refused) -> None:
    """Its parts come and go; none of them is damaged."""
    path = cache_of("tiny-text")
    parts = path.with_suffix(".parts")
    parts.mkdir()
    (parts / "manifest.jsonl").write_text("half a line")
    path.unlink()
    with exclusive(path):
        text = refused("cache", "repair", path)
    assert "Another process is writing this cache" in text
    assert "remove" not in text


@pytest.mark.usefixtures("workplace")
def test_a_whole_cache_that_may_only_be_read(mvsa, refused, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    path = cache_of("tiny-text")
    monkeypatch.setattr(FileLock, "acquire", refuse)
    done = mvsa(*EXTRACT, "tiny-text", "--batch-size", "0")
    assert done.exit_code == 0, done.stderr
    assert ": 0 extracted, " in done.stdout
    assert mvsa("cache", "repair", path).stdout == f"{path}: whole\n"
    text = Path("data/data/1.txt")
    text.write_text("another text")
    assert "cannot be written to" in refused(*EXTRACT, "tiny-text", "--batch-size", "0")


@pytest.mark.usefixtures("workplace")
def test_what_was_left_behind_is_listed_and_removed(mvsa, refused) -> None:
    path = cache_of("tiny-text")
    half = path.with_name(f".{path.name}.4242.tmp")
    kept = path.with_name(f"{path.name}.damaged")
    for file in (half, kept):
        file.write_bytes(b"half a file")
    listed = "".join(mvsa("cache", "list").stdout.split())
    assert f"mvsacacheremove{half}" in listed
    assert f"mvsacacheremove{kept}" in listed
    with exclusive(path):
        assert "Another process" in refused("cache", "remove", half, "--yes")
    for file in (half, kept):
        assert mvsa("cache", "remove", file, "--yes").exit_code == 0
        assert not file.exists()
    assert path.is_file()
    assert "left by a repair" not in mvsa("cache", "list").stdout
