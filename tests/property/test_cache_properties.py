"""A cache against a dictionary, whatever happens to it in whatever order."""

import tempfile
from pathlib import Path

import numpy as np
from feature_caches import expected, features, fingerprint, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.hdf5_skeleton import SparseFileBuffer
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.layers import Keep
from mvsa_pipe.modality import Modality

# Any text that a reader lets through as an id.
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
COMMITS = st.lists(
    st.tuples(st.lists(IDS, min_size=1, max_size=5, unique=True), st.sampled_from("xy")),
    min_size=1,
    max_size=4,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sessions=st.lists(st.tuples(COMMITS, st.booleans()), min_size=1, max_size=3),
    modality=st.sampled_from(list(Modality)),
    keep=st.sampled_from(list(Keep)),
    data=st.data(),
)
def test_it_holds_what_was_committed_last(
    sessions: list[tuple[list[tuple[list[str], str]], bool]],
    modality: Modality,
    keep: Keep,
    data: st.DataObject,
) -> None:
    """Sessions commit posts in new or changed versions; some finish, some are cut off."""
    own, wanted = fingerprint(modality, layers="last" if keep is Keep.ALL else "none"), {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = CacheFolder(Path(scratch))
        for commits, finishes in sessions:
            with open_writer(folder, "set", own) as writer:
                assert writer.committed == {i: content[0] for i, content in wanted.items()}
                for ids, version in commits:
                    part = rows(ids, modality, version=version, keep=keep)
                    writer.commit(part)
                    wanted |= expected(part)
                if finishes:
                    order = data.draw(st.permutations(sorted(wanted)))
                    assert writer.finish(order, {}).header.ids == tuple(order)
        with open_writer(folder, "set", own) as writer:
            path = writer.finish([], {}).path
        file = FeatureFile(path)
        assert features(file) == wanted
        assert file.damaged_posts() == []
        chosen = data.draw(st.lists(st.integers(0, len(wanted) - 1), max_size=8))
        pooled = file.pooled(np.array(chosen, np.int64))
        assert [v.tobytes() for v in pooled] == [wanted[file.header.ids[row]][1] for row in chosen]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 200_000), st.binary(max_size=300)),
        st.tuples(st.just("read"), st.integers(0, 200_000), st.integers(0, 300)),
        st.tuples(st.just("truncate"), st.integers(0, 200_000), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_the_sparse_image_is_a_file(steps: list[tuple[str, int, object]]) -> None:
    image = SparseFileBuffer()
    with tempfile.TemporaryFile() as plain:
        for what, place, value in steps:
            if what == "write":
                assert isinstance(value, bytes)
                for file in (image, plain):
                    file.seek(place)
                    file.write(value)
            elif what == "read":
                assert isinstance(value, int)
                image.seek(place)
                plain.seek(place)
                assert image.read(value) == plain.read(value)
            elif place >= image.size:  # HDF5 only ever grows what it lays out
                assert image.truncate(place) == plain.truncate(place)
        image.seek(0)
        plain.seek(0)
        assert image.read() == plain.read()
        assert image.size == plain.seek(0, 2)
