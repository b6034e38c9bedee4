"""Whatever is done to the bytes of a cache, it is refused or says exactly what it said before."""

import faulthandler
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from feature_caches import fingerprint, rows, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvsa_pipe.cache.content import Refusal, parts_folder
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.modality import Modality

IDS = [f"post-{n}" for n in range(6)]

# Where is a share of the file, so that any file of any length is hit anywhere.
WHERE = st.floats(0, 1, exclude_max=True)
DAMAGES = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), WHERE, st.integers(1, 255)),
        st.tuples(st.just("overwrite"), WHERE, st.binary(min_size=1, max_size=64)),
        st.tuples(st.just("blank"), WHERE, st.sampled_from([4, 16, 64, 512])),
        st.tuples(st.just("insert"), WHERE, st.binary(min_size=1, max_size=64)),
        st.tuples(st.just("remove"), WHERE, st.integers(1, 200)),
        st.tuples(st.just("cut"), WHERE, st.none()),
    ),
    min_size=1,
    max_size=3,
)


def damage(data: bytes, how: list[tuple[str, float, object]]) -> bytes:
    for what, where, value in how:
        at = int(where * len(data))
        head, tail = data[:at], data[at:]
        match what, value:
            case "flip", int():
                tail = bytes([tail[0] ^ value]) + tail[1:] if tail else tail
            case "overwrite", bytes():
                tail = (value + tail[len(value) :])[: len(tail)]
            case "blank", int():
                tail = bytes(min(value, len(tail))) + tail[value:]
            case "insert", bytes():
                tail = value + tail
            case "remove", int():
                tail = tail[value:]
            case "cut", _:
                tail = b""
        data = head + tail
    return data


@dataclass
class Case:
    """A cache with all its files as they were written, and what it says."""

    root: Path
    modality: Modality
    path: Path
    truth: tuple[object, ...]
    files: dict[Path, bytes]

    def restore(self) -> None:
        for path, data in self.files.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)


@pytest.fixture(scope="module", params=["joined", "referring"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """One cache of texts and one of pictures."""
    cases = []
    for modality in Modality:
        root = tmp_path_factory.mktemp(request.param)
        with open_writer(CacheFolder(root), "set", fingerprint(modality)) as writer:
            writer.commit(rows(IDS[:4], modality))
            writer.commit(rows(IDS[4:], modality))
            refused = [Refusal("x", "1", "why")]
            limit = 1e9 if request.param == "joined" else 0
            path = writer.finish(IDS, {"device": "cpu"}, refused, limit).path
        files = [path, *sorted(parts_folder(path).glob("*"))]
        assert len(files) == (1 if request.param == "joined" else 4)
        contents = {file: file.read_bytes() for file in files}
        cases.append(Case(root, modality, path, whole(FeatureFile(path)), contents))
    return cases


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A library that never comes back ends the tests with a traceback, not the patience."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


ANY_CASE = st.integers(0, 1)
ANY_FILE = st.integers(0, 3)
QUICK = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(which=ANY_CASE, victim=ANY_FILE, how=DAMAGES)
def test_a_reader_is_refused_or_right(
    case: list[Case], which: int, victim: int, how: list[tuple[str, float, object]]
) -> None:
    own = case[which]
    path = list(own.files)[victim % len(own.files)]
    path.write_bytes(damage(own.files[path], how))
    try:
        assert whole(FeatureFile(own.path)) == own.truth
    except MvsaError:
        pass
    finally:
        own.restore()


@QUICK
@given(which=ANY_CASE, victim=ANY_FILE, how=DAMAGES)
def test_a_writer_is_refused_or_right_and_deletes_nothing(
    case: list[Case], which: int, victim: int, how: list[tuple[str, float, object]]
) -> None:
    """Whoever opens a damaged cache for writing keeps all that it refers to."""
    own = case[which]
    path = list(own.files)[victim % len(own.files)]
    path.write_bytes(damage(own.files[path], how))
    try:
        with open_writer(CacheFolder(own.root), "set", fingerprint(own.modality)) as writer:
            assert writer.committed == {post_id: f"first-{post_id}" for post_id in IDS}
    except MvsaError:
        pass
    finally:
        lost = [file.name for file in own.files if not file.exists()]
        own.restore()
    assert lost == []


def test_virtual_data_sets_are_never_trusted(case: list[Case]) -> None:
    """HDF5 keeps what they refer to without a checksum, and loops for ever over a damaged one."""
    for own in case:
        data = own.files[own.path]
        heap = data.find(b"GCOL")
        if heap < 0:
            assert len(own.files) == 1
            continue
        try:
            for start in range(heap + 8, heap + 200, 4):
                own.path.write_bytes(data[:start] + bytes(16) + data[start + 16 :])
                assert whole(FeatureFile(own.path)) == own.truth
        finally:
            own.restore()
