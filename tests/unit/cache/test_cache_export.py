"""What other tools read of an export is what the cache holds."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from feature_caches import features, fingerprint, rows, write_cache
from safetensors import safe_open

from mvsa_pipe.cache import ExportFormat, row_joining
from mvsa_pipe.cache import export as exporting
from mvsa_pipe.cache.export import export
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError, StorageError
from mvsa_pipe.modality import Modality

IDS = ["7", "ünï/×", "", "a b", "x" * 300, "post"]
FORMATS = list(ExportFormat)


@pytest.fixture(params=list(Modality))
def modality(request: pytest.FixtureRequest) -> Modality:
    return Modality(request.param)


@pytest.fixture(params=list(StoredDtype))
def file(
    tmp_path: Path,
    modality: Modality,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> FeatureFile:
    """A cache that is read in several blocks."""
    monkeypatch.setattr(row_joining, "JOIN_BYTES", 100)
    dtype = StoredDtype(request.param)
    own = fingerprint(modality, dtype=dtype)
    with open_writer(CacheFolder(tmp_path / "cache"), "set", own) as writer:
        writer.commit(rows(IDS, modality, dtype=dtype.value))
        return writer.finish(IDS, {})


def every(file: FeatureFile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pooled vectors, hidden states as they are stored, and their bounds."""
    all_rows = np.arange(len(file.header.ids))
    return (file.pooled(all_rows), *file.hidden(all_rows))


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert found.tobytes() == wanted.tobytes()


def test_npy(file: FeatureFile, modality: Modality, tmp_path: Path) -> None:
    to = tmp_path / "new" / "arrays"
    export(file, to, ExportFormat.NPY)
    pooled, hidden, bounds = every(file)
    same(np.load(to / "pooled.npy"), pooled)
    same(np.load(to / "hidden.npy", mmap_mode="r"), hidden)
    assert json.loads((to / "ids.json").read_text("utf-8")) == IDS
    about = json.loads((to / "about.json").read_text("utf-8"))
    assert about["dataset"] == "set"
    assert about["fingerprint"] == file.header.fingerprint.to_json()
    names = {"pooled.npy", "hidden.npy", "ids.json", "about.json"}
    if modality is Modality.TEXT:
        same(np.load(to / "offsets.npy"), bounds)
        names.add("offsets.npy")
    assert {path.name for path in to.iterdir()} == names


def test_safetensors(file: FeatureFile, modality: Modality, tmp_path: Path) -> None:
    to = tmp_path / "features.safetensors"
    export(file, to, ExportFormat.SAFETENSORS)
    pooled, hidden, bounds = every(file)
    with safe_open(to, "np") as found:
        same(found.get_tensor("pooled"), pooled)
        same(found.get_tensor("hidden"), hidden)
        assert ("offsets" in found.keys()) == (modality is Modality.TEXT)  # noqa: SIM118  # no dict
        if modality is Modality.TEXT:
            same(found.get_tensor("offsets"), bounds)
        about = found.metadata()
    assert json.loads(about["ids"]) == IDS
    assert about["fingerprint"] == file.header.fingerprint.to_json()


def test_parquet(file: FeatureFile, tmp_path: Path) -> None:
    to = tmp_path / "features.parquet"
    export(file, to, ExportFormat.PARQUET)
    table = pq.read_table(to)
    _, hidden, bounds = every(file)
    dtype = file.header.fingerprint.dtype.value
    assert table["id"].to_pylist() == IDS
    said = features(file)
    for k, post_id in enumerate(IDS):
        pooled = np.array(table["pooled"][k].as_py(), dtype)
        states = np.array(table["hidden"][k].as_py(), dtype)
        assert pooled.tobytes() == said[post_id][1]
        wanted = hidden[bounds[k] : bounds[k + 1]].reshape(-1, file.header.width)
        same(states, wanted)
    assert table.schema.metadata[b"fingerprint"].decode() == file.header.fingerprint.to_json()


@pytest.mark.parametrize("form", FORMATS)
def test_a_cache_in_parts(tmp_path: Path, form: ExportFormat) -> None:
    with open_writer(CacheFolder(tmp_path / "cache"), "set", fingerprint()) as writer:
        writer.commit(rows(["a", "b"]))
        writer.commit(rows(["c"]))
        parted = writer.finish([], {}, join_below_bytes=0)
        assert parted.header.segments
    export(parted, tmp_path / "parted", form)
    export(write_cache(tmp_path / "joined", ["a", "b", "c"]), tmp_path / "whole", form)
    found, wanted = tmp_path / "parted", tmp_path / "whole"
    if form is ExportFormat.NPY:
        found, wanted = found / "hidden.npy", wanted / "hidden.npy"
    assert found.read_bytes() == wanted.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_there_is_never_replaced(tmp_path: Path, form: ExportFormat, what: str) -> None:
    file, to = write_cache(tmp_path / "cache", ["a"]), tmp_path / "there"
    if what == "file":
        to.write_text("precious")
    else:
        to.mkdir()
    with pytest.raises(StorageError, match=r"target of this export already exists.*--to PATH"):
        export(file, to, form)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "there"]
    assert to.is_dir() or to.read_text() == "precious"


@pytest.mark.parametrize("form", FORMATS)
def test_a_damaged_cache_leaves_nothing(
    tmp_path: Path, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_joining, "JOIN_BYTES", 10)  # found after some blocks were written
    path = write_cache(tmp_path / "cache", ["a", "b", "c"]).path
    data = bytearray(path.read_bytes())
    data[FeatureFile(path).place_of("pooled") + 2 * 8] ^= 1
    path.write_bytes(data)
    with pytest.raises(CacheError, match="damaged posts: c"):
        export(FeatureFile(path), tmp_path / "out", form)
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("form", FORMATS)
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that is refused after the first block."""
    file = write_cache(tmp_path / "cache", ["a", "b", "c"])
    honest = exporting.blocks

    def some(places: object, **_: object) -> object:
        yield from list(honest(places))[:1]  # type: ignore[arg-type]
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(exporting, "blocks", some)
    with pytest.raises(StorageError, match="disk is full"):
        export(file, tmp_path / "out", form)
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_is_full(
    tmp_path: Path, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the libraries themselves say of it is one clear paragraph too."""
    if form is ExportFormat.NPY:
        pytest.skip("writes to a folder")
    file = write_cache(tmp_path / "cache", ["a", "b", "c"])
    honest = exporting.replacing

    def full(target: Path) -> object:
        class Full:
            def __enter__(self) -> Path:
                self.inner = honest(target)
                temporary = self.inner.__enter__()
                temporary.symlink_to("/dev/full")
                return temporary

            def __exit__(self, *error: object) -> object:
                return self.inner.__exit__(*error)  # type: ignore[arg-type]

        return Full()

    monkeypatch.setattr(exporting, "replacing", full)
    with pytest.raises(StorageError, match="disk is full"):
        export(file, tmp_path / "out", form)
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]
