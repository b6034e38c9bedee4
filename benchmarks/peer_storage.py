"""Writing and reading features against one HDF5 group a post and against ``.npy`` files a post.

As tools that match features do: a group or a pair of files a post, nothing compressed, nothing
checked, nothing synced. This project's files are synced and sealed, and its rows are checked when
they are read; each byte is written twice, to a part that survives a kill and to the finished file.
Synced peers show what outliving a power cut costs them. The page cache is warm.
"""

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import material
import numpy as np
from rounds import Contest, Sides, Variant

from mvsa_pipe.cache.content import PART_BYTES, Rows
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.progress import NoProgress

REQUIRES = ("h5py",)
POSTS = 1000
BATCH = 64

Features = tuple[np.ndarray, np.ndarray]  # pooled vectors, and hidden states end to end


def measure(posts: int, rounds: int, sides: Sides, scratch: Path) -> dict[str, Any]:
    """Writing all posts, and reading them in shuffled batches, for texts and for pictures."""
    results = {}
    for backbone in material.backbones():
        options = ExtractOptions(cache=scratch / "cache", device="cpu")
        source = extract(material.posts(posts, scratch), backbone, options, NoProgress()).file.path
        writing, reading = {}, {}
        for name, store in STORES.items():
            stored = write(store, source, scratch)
            found = partial(read, store, source, stored)
            writing[name] = Variant(partial(write, store, source, scratch), found)
            reading[name] = Variant(partial(read_through, store, source, stored), found)
        for what, ways in (("writing", writing), ("reading", reading)):
            own, *others = ways
            synced = what == "writing"  # the same files are read
            peers = {n: [ways[n]] for n in others if synced or not n.endswith("synced")}
            contest = Contest(ways[own], peers, _apart, tolerance=0.0)
            results[f"{what} {backbone.modality} features"] = sides.compared(contest, rounds)
    return results


class Store(ABC):
    """A way to keep features of posts, numbered from 0, in a folder."""

    @abstractmethod
    def write(self, source: Path, folder: Path) -> None:
        """Writes the features of a cache, which are in memory."""

    @abstractmethod
    def batches(self, folder: Path, chosen: Sequence[np.ndarray]) -> Iterator[Features]:
        """Features of each batch of posts, hidden states end to end."""


class OwnCache(Store):
    """This project's cache, by the writer of an extraction and the reader of training."""

    def write(self, source: Path, folder: Path) -> None:
        """Commits parts and joins them."""
        blocks, header = _blocks(source), FeatureFile(source).header
        with open_writer(CacheFolder(folder), header.dataset, header.fingerprint) as writer:
            part: list[Rows] = []
            for block in blocks:
                part.append(block)
                if sum(rows.hidden.nbytes for rows in part) >= PART_BYTES:
                    writer.commit(*part)
                    part = []
            if part:
                writer.commit(*part)
            writer.finish(header.ids, {})

    def batches(self, folder: Path, chosen: Sequence[np.ndarray]) -> Iterator[Features]:
        """Rows of the one file."""
        (path,) = folder.rglob("*.h5")
        file = FeatureFile(path)
        for posts in chosen:
            yield file.pooled(posts), file.hidden(posts)[0]


@dataclass(frozen=True)
class Groups(Store):
    """One HDF5 group a post.

    Attributes:
        reopen: Whether the file is opened anew for every post, as such tools do.
        sync: Whether the finished file is synced.
    """

    reopen: bool
    sync: bool = False

    def write(self, source: Path, folder: Path) -> None:
        """Creates a group with two data sets for every post."""
        with self._opened(folder, "a") as opened:
            for number, (pooled, hidden) in enumerate(_by_post(source)):
                with opened() as file:
                    group = file.create_group(str(number))
                    group.create_dataset("pooled", data=pooled)
                    group.create_dataset("hidden", data=hidden)
        if self.sync:
            _sync(folder / "features.h5")

    def batches(self, folder: Path, chosen: Sequence[np.ndarray]) -> Iterator[Features]:
        """Reads post after post and joins them."""
        with self._opened(folder, "r") as opened:
            for posts in chosen:
                rows = []
                for number in posts:
                    with opened() as file:
                        group = file[str(number)]
                        rows.append((group["pooled"][()], group["hidden"][()]))
                yield _joined(rows)

    @contextmanager
    def _opened(self, folder: Path, mode: str) -> Iterator[Callable[[], Any]]:
        """A function that returns the file, for a ``with`` statement a post."""
        path = folder / "features.h5"
        if self.reopen:
            yield partial(h5py.File, path, mode, libver="latest")
            return
        with h5py.File(path, mode, libver="latest") as file:
            yield partial(nullcontext, file)


@dataclass(frozen=True)
class NpyFiles(Store):
    """Two ``.npy`` files a post.

    Attributes:
        sync: Whether each is synced.
    """

    sync: bool = False

    def write(self, source: Path, folder: Path) -> None:
        """Saves every array."""
        for number, (pooled, hidden) in enumerate(_by_post(source)):
            for kind, values in (("pooled", pooled), ("hidden", hidden)):
                path = folder / f"{number}.{kind}.npy"
                np.save(path, values)
                if self.sync:
                    _sync(path)

    def batches(self, folder: Path, chosen: Sequence[np.ndarray]) -> Iterator[Features]:
        """Loads post after post and joins them."""
        for posts in chosen:
            kinds = ("pooled", "hidden")
            rows = [[np.load(folder / f"{n}.{kind}.npy") for kind in kinds] for n in posts]
            yield _joined(rows)


STORES = {
    "own": OwnCache(),
    "HDF5 groups, file reopened for each post": Groups(reopen=True),
    "HDF5 groups, file held open": Groups(reopen=False),
    "HDF5 groups, file held open and synced": Groups(reopen=False, sync=True),
    ".npy files": NpyFiles(),
    ".npy files, each synced": NpyFiles(sync=True),
}


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write(store: Store, source: Path, scratch: Path) -> Path:
    """Writes all features to a new folder."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    store.write(source, folder)
    return folder


def read_through(store: Store, source: Path, folder: Path) -> None:
    """Reads all features in shuffled batches and drops them."""
    for _ in store.batches(folder, _shuffled(source)):
        pass


def read(store: Store, source: Path, folder: Path) -> Features:
    """All features in that order."""
    pooled, hidden = zip(*store.batches(folder, _shuffled(source)), strict=True)
    return np.concatenate(pooled), np.concatenate(hidden)


def _joined(rows: Sequence[Sequence[np.ndarray]]) -> Features:
    """Vectors ``[n, D]`` and states of some posts, end to end."""
    pooled, hidden = zip(*rows, strict=True)
    return np.stack(pooled), np.concatenate(hidden)


def _apart(one: Features, other: Features) -> float:
    return 0.0 if all(map(np.array_equal, one, other)) else float("inf")


@cache
def _shuffled(source: Path) -> list[np.ndarray]:
    posts = len(FeatureFile(source).header.ids)
    order = np.random.default_rng(0).permutation(posts)
    return [order[start : start + BATCH] for start in range(0, posts, BATCH)]


@cache
def _blocks(source: Path) -> list[Rows]:
    """The features of a cache in memory, as the batches of an extraction come."""
    file = FeatureFile(source)
    header, every = file.header, np.arange(len(file.header.ids))
    blocks = []
    for start in range(0, len(every), BATCH):
        rows = every[start : start + BATCH]
        hidden, bounds = file.hidden(rows)
        ids, digests = ([own[row] for row in rows] for own in (header.ids, header.digests))
        lengths = None if header.offsets is None else np.diff(bounds)
        blocks.append(Rows(ids, digests, file.pooled(rows), hidden, lengths))
    return blocks


@cache
def _by_post(source: Path) -> list[Features]:
    """The same features, an entry a post."""
    return [
        (rows.pooled[place], rows.hidden[start:stop])
        for rows in _blocks(source)
        for place, (start, stop) in enumerate(zip(rows.bounds(), rows.bounds()[1:], strict=False))
    ]
