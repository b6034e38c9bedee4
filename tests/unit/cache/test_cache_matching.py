"""Which of several caches is the one of some posts, to extract into and to read."""

import os
from pathlib import Path

import pytest
from feature_caches import fingerprint, rows

from mvsa_pipe.cache.content import Refusal
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.matching import SOURCE, CacheContent, first_complete, mark_for, mark_of
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import ContentDigests

FINGERPRINT = fingerprint()


def digests(ids: str, version: str = "first") -> dict[str, str]:
    return {i: f"{version}-{i}" for i in ids}


@pytest.fixture
def folder(tmp_path: Path) -> CacheFolder:
    return CacheFolder(tmp_path / "cache")


def extract(
    folder: CacheFolder, wanted: dict[str, str], source: str = "here", *, finish: bool = True
) -> Path:
    """What an extraction of such posts does to the caches; returns the one that it chose."""
    mark = mark_for(folder, "set", FINGERPRINT, wanted, source)
    with open_writer(folder, "set", FINGERPRINT, mark=mark) as writer:
        for post_id, digest in wanted.items():
            if writer.committed.get(post_id) != digest:
                writer.commit(rows([post_id], version=digest.partition("-")[0]))
        if finish and writer.unfinished:
            writer.finish(list(wanted), {SOURCE: source})
        return writer.path


def test_two_sets_of_one_name_alternate_without_a_loss(folder: CacheFolder) -> None:
    first, second = digests("abcd"), digests("abcd", "second")
    paths = [extract(folder, wanted, where) for wanted, where in ((first, "x"), (second, "y"))]
    assert len(set(paths)) == 2
    before = [path.read_bytes() for path in paths]
    for wanted, where, path in ((first, "x", paths[0]), (second, "y", paths[1])) * 2:
        assert extract(folder, wanted, where) == path
    assert [path.read_bytes() for path in paths] == before
    assert all(mark_of(path, FINGERPRINT) for path in paths)


def test_sets_that_share_one_edited_post_stay_apart(folder: CacheFolder) -> None:
    edited = {**digests("abcd"), "a": "second-a"}
    paths = {extract(folder, digests("abcd"), "x"), extract(folder, edited, "y")}
    assert len(paths) == 2
    assert extract(folder, digests("abcd"), "x") in paths


def test_a_set_that_is_edited_where_it_lies_keeps_its_cache(folder: CacheFolder) -> None:
    path = extract(folder, digests("abcd"))
    assert extract(folder, {**digests("abcd"), "a": "second-a"}) == path
    assert FeatureFile(path).header.content_digests["a"] == "second-a"
    other = extract(folder, digests("abcd", "third"))  # nothing is as it was
    assert other != path


def test_a_cache_name_that_stands_for_other_posts_by_now_is_not_taken(folder: CacheFolder) -> None:
    path = extract(folder, digests("abcd"), "x")
    extract(folder, {**digests("abcd"), "a": "second-a"}, "x")
    back = extract(folder, digests("abcd"), "y")
    assert back != path
    assert extract(folder, digests("abcd"), "y") == back


def test_subsets_and_supersets_share_a_cache_that_loses_nothing(folder: CacheFolder) -> None:
    path = extract(folder, digests("abcd"))
    assert extract(folder, digests("bc"), "elsewhere") == path
    assert extract(folder, digests("cdef"), "elsewhere") == path
    assert set(FeatureFile(path).header.ids) == set("abcdef")
    assert extract(folder, digests("xyz")) != path  # they have no post in common


def test_an_unfinished_cache_is_gone_on_with(folder: CacheFolder) -> None:
    path = extract(folder, digests("ab"), finish=False)
    assert not path.exists()
    assert extract(folder, digests("abc")) == path
    other = extract(folder, digests("abc", "second"), finish=False)
    assert other != path
    assert extract(folder, digests("abc", "second")) == other


def test_a_list_of_parts_that_was_lost_still_says_whose_they_are(folder: CacheFolder) -> None:
    path = extract(folder, digests("ab"), finish=False)
    (path.with_suffix(".parts") / "manifest.jsonl").unlink()
    assert extract(folder, digests("abc")) == path


def test_a_cache_without_a_mark_or_a_source_serves_and_grows(folder: CacheFolder) -> None:
    """As 0.1 wrote it."""
    with open_writer(folder, "set", FINGERPRINT) as writer:
        writer.commit(rows(list("abc")))
        old = writer.finish("abc", {}).path
    assert old.name == FINGERPRINT.file_name
    assert mark_of(old, FINGERPRINT) == ""
    assert extract(folder, digests("abc")) == old
    assert extract(folder, {**digests("abcd"), "a": "second-a"}) == old
    assert extract(folder, digests("abcd", "third")) != old


def test_a_damaged_cache_that_may_be_the_right_one_is_said(folder: CacheFolder) -> None:
    path = extract(folder, digests("abcd"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CacheError, match="mvsa cache repair"):
        extract(folder, digests("abcd"))


def test_the_first_that_has_all_posts_as_they_are_serves(folder: CacheFolder) -> None:
    first = extract(folder, digests("abcd"), "x")
    second = extract(folder, digests("abcd", "second"), "y")
    os.utime(second, (2e9, 2e9))
    files = folder.fitting("set", Modality.TEXT)
    assert [file.path for file in files] == [second, first]
    found = first_complete(files, ContentDigests(digests("ab")))
    assert found is not None
    assert found.path == first
    assert first_complete(files, ContentDigests(digests("abx"))) is None
    assert (
        first_complete(files, ContentDigests(digests("ab"), {"c"})) is None
    )  # c can no longer be read
    assert first_complete(files, ContentDigests(digests("ab"), {"c"}), skipped={"c"}) is not None


def test_what_was_refused_is_no_gap_until_it_changes() -> None:
    held = CacheContent(Path("x.h5"), digests("a"), {"b": Refusal("b", "bad", "broken")})
    assert not held.gap(ContentDigests({**digests("a"), "b": "bad"}))
    assert held.gap(ContentDigests({**digests("a"), "b": "mended"})).lacking == ["b"]
    assert not held.gap(ContentDigests(digests("a"), {"b"}))
    assert held.gap(ContentDigests({}, {"a", "c"})) == held.gap(ContentDigests({}, ["a", "c"]))
    assert held.unserved(ContentDigests({**digests("a"), "b": "bad"}, {"c"})) == {"b", "c"}
