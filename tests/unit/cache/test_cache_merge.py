"""Caches that were made apart become one, unless they disagree."""

from pathlib import Path

import pytest
from feature_caches import expected, features, fingerprint, rows, write_cache

from mvsa_pipe.cache.content import Refusal
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.merge import merge
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality


@pytest.mark.parametrize("limit", [1e9, 0.0])
@pytest.mark.parametrize("modality", list(Modality))
def test_posts_of_all_in_the_order_asked_for(
    tmp_path: Path, modality: Modality, limit: float
) -> None:
    sources = [
        write_cache(tmp_path / name, list(name), modality, texts_cut=2, device=name)
        for name in ("ad", "bde", "c")  # d is in two of them, and equal
    ]
    file = merge(CacheFolder(tmp_path / "all"), sources, list("abc"), limit)
    assert features(FeatureFile(file.path)) == expected(rows(list("abcde"), modality))
    assert file.header.notes == {"texts_cut": 6, "device": "ad"}
    assert bool(file.header.segments) == (limit == 0)
    if limit:
        assert file.header.ids == tuple("abcde")
    for source in sources:
        assert source.damaged_posts() == []  # they stay


def test_into_a_cache_that_is_there(tmp_path: Path) -> None:
    own = write_cache(tmp_path, ["a"])
    other = write_cache(tmp_path / "other", ["b"])
    for sources in ([other], [own, other], [other, own]):
        file = merge(CacheFolder(tmp_path), [FeatureFile(s.path) for s in sources])
        assert file.path == own.path
        assert features(file) == expected(rows(["a", "b"]))


def test_the_quarantine_without_posts_that_another_has(tmp_path: Path) -> None:
    sources = []
    for name, refused in (("a", "bx"), ("b", "y")):
        with open_writer(CacheFolder(tmp_path / name), "set", fingerprint()) as writer:
            writer.commit(rows([name]))
            why = [Refusal(i, "1", "why") for i in refused]
            sources.append(writer.finish([], {}, why))
    file = merge(CacheFolder(tmp_path / "all"), sources)
    assert file.header.refused.keys() == {"x", "y"}


def refused(tmp_path: Path, sources: list[FeatureFile], match: str) -> None:
    with pytest.raises(CacheError, match=match):
        merge(CacheFolder(tmp_path / "all"), sources)
    assert not list(tmp_path.glob("all/*/*.h5"))


@pytest.mark.parametrize("what", ["content", "features"])
def test_disagreement(tmp_path: Path, what: str) -> None:
    first = write_cache(tmp_path / "first", ["a", "b", "c"])
    with open_writer(CacheFolder(tmp_path / "second"), "set", fingerprint()) as writer:
        second = rows(["b", "z"])
        if what == "features":
            second.hidden[0, 0] += 1
        else:
            second = rows(["b", "z"], version="second")
        writer.commit(second)
        other = writer.finish([], {})
    refused(tmp_path, [first, other], r"disagree about 1 posts.*of b\.")


def test_another_fingerprint(tmp_path: Path) -> None:
    first = write_cache(tmp_path, ["a"])
    with open_writer(CacheFolder(tmp_path), "set", fingerprint(weights="other")) as writer:
        writer.commit(rows(["b"]))
        other = writer.finish([], {})
    refused(tmp_path, [first, other], "a different fingerprint than requested.*weights is 'other'")


def test_another_data_set(tmp_path: Path) -> None:
    first = write_cache(tmp_path, ["a"])
    with open_writer(CacheFolder(tmp_path), "others", fingerprint()) as writer:
        writer.commit(rows(["b"]))
        other = writer.finish([], {})
    refused(tmp_path, [first, other], "of another data set.*Found others")


def test_a_damaged_source(tmp_path: Path) -> None:
    first, second = (write_cache(tmp_path / name, [name]) for name in "ab")
    data = bytearray(second.path.read_bytes())
    data[second.place_of("hidden")] ^= 1
    second.path.write_bytes(data)
    refused(tmp_path, [first, FeatureFile(second.path)], "damaged posts: b")
