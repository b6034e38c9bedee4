"""What is cached, which file answers, and what may be removed."""

import os
from pathlib import Path

import pytest
from feature_caches import fingerprint, rows, write_cache

from mvsa_pipe.cache.content import parts_folder
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality


@pytest.fixture
def folder(tmp_path: Path) -> CacheFolder:
    """Two text caches, one image cache, one unfinished, one damaged."""
    folder = CacheFolder(tmp_path / "cache")
    write_cache(folder.root, ["a"])
    write_cache(folder.root, ["a"], Modality.IMAGE)
    with open_writer(folder, "set", fingerprint(backbone="newer")) as writer:
        writer.commit(rows(["a"]))
        path = writer.finish(["a"], {}).path
    os.utime(path, (2e9, 2e9))
    with open_writer(folder, "other", fingerprint(backbone="unfinished")) as writer:
        writer.commit(rows(["a"]))
        writer.commit(rows(["b"]))
    (folder.root / "other" / "damaged-0.h5").write_bytes(b"no cache")
    return folder


def test_entries(folder: CacheFolder) -> None:
    entries = {entry.path.name.rpartition("-")[0]: entry for entry in folder.entries()}
    assert entries.keys() == {"small", "newer", "unfinished", "damaged"} | {"small"}
    assert len(folder.entries()) == 5
    assert entries["unfinished"].parts == 2
    assert "incomplete" in entries["unfinished"].fault
    assert "damaged" in entries["damaged"].fault
    assert entries["newer"].file is not None
    assert entries["newer"].bytes_on_disk == entries["newer"].path.stat().st_size
    assert CacheFolder(folder.root / "nowhere").entries() == []


def test_the_newest_comes_first(folder: CacheFolder) -> None:
    def backbone(*question: object) -> str:
        return folder.fitting("set", *question)[0].header.fingerprint.backbone

    assert backbone(Modality.TEXT) == "newer"
    assert backbone(Modality.TEXT, "small") == "small"
    assert backbone(Modality.TEXT, f"small@{fingerprint().digest[:5]}") == "small"
    assert backbone(Modality.IMAGE) == "small"
    with pytest.raises(CacheError, match=r"No text features.*newer@\w+, small@\w+.*mvsa extract"):
        folder.fitting("set", Modality.TEXT, "bert")
    with pytest.raises(CacheError, match=r"No image features of data set 'nothing'.*none"):
        folder.fitting("nothing", Modality.IMAGE)
    with pytest.raises(CacheError, match="damaged, cut short"):
        folder.fitting("other", Modality.TEXT)


def test_locate(folder: CacheFolder) -> None:
    path = folder.path_of("set", fingerprint(backbone="newer"))
    for text in (str(path), path.name, "newer", "set/newer"):
        assert folder.locate(text) == path
    with pytest.raises(CacheError, match="Several caches fit 'small'"):
        folder.locate("small")
    with pytest.raises(CacheError, match="No cache is named 'bert'"):
        folder.locate("bert")
    assert folder.locate("unfinished").suffix == ".h5"


def test_remove_takes_all_that_belongs_to_a_cache(folder: CacheFolder) -> None:
    for name in ("newer", "unfinished", "damaged"):
        path = folder.locate(name)
        path.with_name(f".{path.name}.77.tmp").write_bytes(b"left over")
        folder.remove(path)
        assert not [p for p in path.parent.iterdir() if name in p.name]
    assert len(folder.entries()) == 2


def test_remove_takes_nothing_else(folder: CacheFolder, tmp_path: Path) -> None:
    text, table = tmp_path / "notes.txt", tmp_path / "mine.h5"
    for path in (text, table):
        path.write_bytes(b"dear to me")
    with pytest.raises(CacheError, match="No cache is named"):
        folder.locate(str(text))
    for path in (text, table, folder.root / "set", folder.root / "set" / "x.txt"):
        with pytest.raises(CacheError, match="not a cache in this folder"):
            folder.remove(path)
    assert text.exists()
    assert table.exists()


def test_one_damaged_part_goes_alone(folder: CacheFolder) -> None:
    """As the error of a damaged part says: the other parts are kept."""
    own = fingerprint(backbone="unfinished")
    path = folder.path_of("other", own)
    part = parts_folder(path) / "part-000000.h5"
    part.write_bytes(part.read_bytes()[:-50])
    with (
        pytest.raises(CacheError, match=f"mvsa cache remove {part}"),
        open_writer(folder, "other", own),
    ):
        pass
    folder.remove(folder.locate(str(part)))
    with open_writer(folder, "other", own) as writer:
        assert list(writer.committed) == ["b"]
        writer.commit(rows(["a"]))
        assert writer.finish(["a", "b"], {}).header.ids == ("a", "b")
