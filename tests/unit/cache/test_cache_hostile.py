"""Files made to harm: no more is read than they hold, and other caches still serve."""

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash
from feature_caches import fingerprint, rows, whole, write_cache

from mvsa_pipe.cache.content import parts_folder
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.manifest import Manifest
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality

IDS = [f"post-{n}" for n in range(6)]
HUGE = 2**31
# What opening a file of some kilobytes may take at most.
MOST_BYTES = 32 * 2**20


def renewed(file: h5py.File, name: str, make: Callable[[], object]) -> None:
    del file[name]
    make()


def fill_value(file: h5py.File) -> None:
    """2 GiB that no byte of the file holds."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    renewed(file, "ids", lambda: file.create_dataset("ids", (HUGE,), "S1", dcpl=plan))


def gzip(file: h5py.File) -> None:
    def make() -> None:
        made = file.create_dataset("ids", (2**22,), "S64", chunks=(2**16,), compression="gzip")
        made[:] = b"x"

    renewed(file, "ids", make)


def gzipped_notes(file: h5py.File) -> None:
    def make() -> None:
        made = file.create_dataset("notes", (1,), "S67108864", chunks=(1,), compression="gzip")
        made[0] = b'{"a": "' + b"x" * (2**26 - 9) + b'"}'

    renewed(file, "notes", make)


def empty_chunks(file: h5py.File) -> None:
    renewed(
        file, "pooled", lambda: file.create_dataset("pooled", (HUGE, 4), "f2", chunks=(2**18, 4))
    )


def external_data(file: h5py.File) -> None:
    renewed(
        file,
        "digests",
        lambda: file.create_dataset("digests", (6,), "S8", external=[("/etc/passwd", 0, 48)]),
    )


def virtual_data(file: h5py.File) -> None:
    def make() -> None:
        layout = h5py.VirtualLayout((6,), "S8")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (6,), "S8")
        file.create_virtual_dataset("digests", layout)

    renewed(file, "digests", make)


def soft_link(file: h5py.File) -> None:
    file["other"] = file["ids"][:]
    renewed(file, "ids", lambda: file.__setitem__("ids", h5py.SoftLink("/other")))


def external_link(file: h5py.File) -> None:
    renewed(file, "ids", lambda: file.__setitem__("ids", h5py.ExternalLink("o.h5", "/ids")))


def linked_group(file: h5py.File) -> None:
    file.move("quarantine", "elsewhere")
    file["quarantine"] = h5py.SoftLink("/elsewhere")


def variable_strings(file: h5py.File) -> None:
    kind = h5py.string_dtype()
    renewed(file, "ids", lambda: file.create_dataset("ids", data=IDS, dtype=kind))


def variable_attribute(file: h5py.File) -> None:
    del file.attrs["dataset"]
    file.attrs["dataset"] = "set"


def array_attribute(file: h5py.File) -> None:
    del file.attrs["schema"]
    file.attrs["schema"] = np.full(4000, 2)


def other_shape(file: h5py.File) -> None:
    renewed(file, "offsets", lambda: file.__setitem__("offsets", np.zeros(3, "i8")))


def falling_offsets(file: h5py.File) -> None:
    offsets = file["offsets"][:]
    offsets[2] = offsets[-1] + 5
    file["offsets"][:] = offsets


def other_type(file: h5py.File) -> None:
    values = file["checksums"][:].astype("f8")
    renewed(file, "checksums", lambda: file.__setitem__("checksums", values))


def a_group(file: h5py.File) -> None:
    renewed(file, "pooled", lambda: file.create_group("pooled"))


def absent(file: h5py.File) -> None:
    del file["seal"]


def deep_notes(file: h5py.File) -> None:
    text = b"[" * 100_000
    renewed(file, "notes", lambda: file.__setitem__("notes", np.array(text, f"S{len(text)}")))


TRICKS = [
    fill_value, gzip, gzipped_notes, empty_chunks, external_data, virtual_data, soft_link,
    external_link, linked_group, variable_strings, variable_attribute, array_attribute, other_shape,
    falling_offsets, other_type, a_group, absent, deep_notes,
]  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_it_is_refused_before_it_takes_memory(
    tmp_path: Path, trick: Callable[[h5py.File], None]
) -> None:
    good = write_cache(tmp_path, IDS, Modality.IMAGE)
    path = write_cache(tmp_path, IDS).path
    with h5py.File(path, "r+") as file:
        trick(file)
    tracemalloc.start()
    try:
        with pytest.raises(CacheError, match=r"damaged, cut short, or no feature cache.*Found"):
            FeatureFile(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_BYTES
    folder = CacheFolder(tmp_path)
    faults = {entry.path: entry.fault for entry in folder.entries()}
    assert faults[path]
    assert faults[good.path] == ""
    assert folder.fitting("set", Modality.IMAGE)[0].path == good.path


def sealed_anew(path: Path, **changes: Any) -> None:
    """Lets a cache say something else, under a seal that is right again."""
    file = FeatureFile(path)
    header = replace(file.header, **changes)
    with h5py.File(path, "r+") as raw:
        for name in ("notes", "segments"):
            if name in changes:
                text = json.dumps(changes[name]).encode()
                del raw[name]
                raw[name] = np.array(text, f"S{len(text)}")
        raw["seal"][0] = header.seal(file.checksums)


@pytest.mark.parametrize("notes", [["a"], "text", 5, {"texts_cut": "x"}, {"tokens_cut": [1]}])
def test_notes_of_another_form(tmp_path: Path, notes: Any) -> None:
    path = write_cache(tmp_path, IDS).path
    sealed_anew(path, notes=notes)
    with pytest.raises(CacheError, match="/notes contain"):
        FeatureFile(path)


def referring(root: Path) -> FeatureFile:
    with open_writer(CacheFolder(root), "set", fingerprint()) as writer:
        writer.commit(rows(IDS[:4]))
        writer.commit(rows(IDS[4:]))
        return writer.finish(IDS, {}, (), 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "../../../../etc/passwd"),
        ("name", "/etc/passwd"),
        ("name", "part-000000.h5/../../x"),
        ("name", 5),
        ("rows", 10**15),
        ("rows", -1),
        ("rows", "4"),
        ("entries", 10**15),
        ("entry", 10**15),
        ("hidden", -8),
        ("size", 2**70),
    ],
)
def test_segments_that_lead_elsewhere(tmp_path: Path, name: str, value: Any) -> None:
    path = referring(tmp_path).path
    with h5py.File(path, "r+") as raw:
        told = json.loads(bytes(raw["segments"][()]))
        told["runs"][0][name] = value
        text = json.dumps(told).encode()
        del raw["segments"]
        raw["segments"] = np.array(text, f"S{len(text)}")
    with pytest.raises(CacheError, match="damaged, cut short, or no feature cache"):
        FeatureFile(path)


def test_a_cache_that_refers_to_parts_is_still_read(tmp_path: Path) -> None:
    assert whole(referring(tmp_path / "apart")) == whole(write_cache(tmp_path / "one", IDS))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../../x", "posts": 1, "size": 1, "seal": ""},
        {"name": "part-x.h5", "posts": 1, "size": 1, "seal": ""},
        {"name": "part-000000.h5", "posts": "1", "size": 1, "seal": ""},
        {"name": "part-000000.h5", "posts": 1, "size": -1, "seal": ""},
        {"name": "part-000000.h5"},
        {"surprise": 1},
        [1],
        None,
    ],
)
def test_lists_of_parts_that_lead_elsewhere(tmp_path: Path, fields: Any) -> None:
    record = json.dumps(fields).encode()
    line = record + f"\t{xxhash.xxh3_64_hexdigest(record)}\n".encode()
    (tmp_path / "manifest.jsonl").write_bytes(line + line)
    with pytest.raises(CacheError, match="list of this cache's parts was changed"):
        Manifest(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": 5},
        {"weights": None},
        {"preprocessing": ["a"]},
        {"preprocessing": {"a": {"b": 1}}},
        {"precision": 1.5},
    ],
)
def test_fingerprints_of_another_form(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write_cache(tmp_path, IDS).path
    line = replace(fingerprint(), **changes).to_json().encode()
    with h5py.File(path, "r+") as raw:
        del raw.attrs["fingerprint"]
        raw.attrs["fingerprint"] = np.bytes_(line)
    with pytest.raises(CacheError, match="not a fingerprint"):
        FeatureFile(path)


def test_parts_beside_a_hostile_one_keep_their_names(tmp_path: Path) -> None:
    path = referring(tmp_path).path
    assert [part.name for part in Manifest(parts_folder(path)).parts] == [
        "part-000000.h5",
        "part-000001.h5",
    ]
