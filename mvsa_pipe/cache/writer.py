"""Fills one cache part by part, so that whatever was committed outlives any end of the process.

Each part is a small feature file of its own, put into place by a rename: a part is there and whole,
or not there. Finishing joins the old file and all parts into one new file, which replaces the old
one by a rename too; a reader sees the one or the other.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.fingerprint import Fingerprint, StoredDtype
from mvsa_pipe.cache.folder import CacheFolder, parts_folder
from mvsa_pipe.cache.layout import Header, Rows
from mvsa_pipe.cache.lock import exclusive
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writing import write_feature_file
from mvsa_pipe.durable import leftovers, make_folder
from mvsa_pipe.errors import CacheError
from mvsa_pipe.modality import Modality

# What one part, and one block while joining, holds in memory.
PART_BYTES = 32 * 2**20


@contextmanager
def open_writer(
    folder: CacheFolder, dataset: str, fingerprint: Fingerprint
) -> Iterator["CacheWriter"]:
    """Opens a cache for writing, alone.

    Raises:
        CacheError: Another process writes it, or what is there is damaged.
        StorageError: The disk refuses.
    """
    path = folder.path_of(dataset, fingerprint)
    with exclusive(path):
        yield CacheWriter(path, dataset, fingerprint)


class CacheWriter:
    """Commits parts and joins them; made by ``open_writer``.

    Attributes:
        path: The cache file.
    """

    def __init__(self, path: Path, dataset: str, fingerprint: Fingerprint) -> None:
        self.path = path
        self._dataset = dataset
        self._fingerprint = fingerprint
        self._sources: list[FeatureFile] = []
        for file in leftovers(path):
            file.unlink(missing_ok=True)
        if path.exists():
            self._add(FeatureFile(path))
        parts = sorted(parts_folder(path).glob("part-*.h5"))
        for part in parts:
            self._add(FeatureFile(part))
        self._next_part = 1 + max((int(p.stem.removeprefix("part-")) for p in parts), default=-1)

    def _add(self, source: FeatureFile) -> None:
        self._fingerprint.require(source.header.fingerprint, source.path)
        self._sources.append(source)

    @property
    def committed(self) -> dict[str, str]:
        """Content digest of every post whose features are safe on disk."""
        return {
            post_id: digest
            for source in self._sources
            for post_id, digest in zip(source.header.ids, source.header.digests, strict=True)
        }

    def noted(self, name: str) -> dict[str, str]:
        """A note that says something of posts by their ids, from file and parts together."""
        found = (source.header.notes.get(name, {}) for source in self._sources)
        return {post_id: text for part in found for post_id, text in part.items()}

    @property
    def unfinished(self) -> bool:
        """Whether parts wait to be joined into the cache file."""
        return any(source.path != self.path for source in self._sources)

    def commit(self, rows: Rows, notes: Mapping[str, Any] | None = None) -> None:
        """Makes the features of some posts safe; after this returns they are never lost.

        Args:
            rows: The features.
            notes: Facts that the next extraction needs if this one is interrupted.

        Raises:
            CacheError: A number is not finite in the stored type.
            StorageError: The disk refuses; everything committed before stays.
        """
        self._refuse_overflow(rows)
        folder = parts_folder(self.path)
        make_folder(folder)
        path = folder / f"part-{self._next_part:06d}.h5"
        header = self._header(rows.ids, rows.digests, rows.lengths, rows, notes)
        write_feature_file(path, header, [rows])
        self._add(FeatureFile(path))
        self._next_part += 1

    def finish(self, order: Sequence[str], notes: Mapping[str, Any]) -> FeatureFile:
        """Joins everything committed into the cache file.

        Args:
            order: Ids that come first, in this order; others follow as they are found.
            notes: Facts for ``mvsa cache info`` that decide no value.

        Raises:
            CacheError: A committed part was damaged since; names the posts.
            StorageError: The disk refuses; the parts and the old file stay.
        """
        newest = {i: n for n, source in enumerate(self._sources) for i in source.header.ids}
        ids = [i for i in dict.fromkeys([*order, *newest]) if i in newest]
        places = [(newest[i], self._sources[newest[i]].rows[i]) for i in ids]
        digests = [self._sources[s].header.digests[row] for s, row in places]
        lengths = self._lengths(places)
        header = self._header(ids, digests, lengths, None, {**self._old_notes(), **notes})
        write_feature_file(self.path, header, self._blocks(header, places))
        shutil.rmtree(parts_folder(self.path), ignore_errors=True)
        return FeatureFile(self.path)

    def _old_notes(self) -> dict[str, Any]:
        return dict(self._sources[0].header.notes) if self._sources else {}

    def _lengths(self, places: Sequence[tuple[int, int]]) -> NDArray[np.int64] | None:
        if self._fingerprint.modality is Modality.IMAGE:
            return None
        offsets = [source.header.offsets for source in self._sources]
        return np.array([offsets[s][r + 1] - offsets[s][r] for s, r in places], np.int64)  # type: ignore[index]

    def _header(
        self,
        ids: Sequence[str],
        digests: Sequence[str],
        lengths: NDArray[np.int64] | None,
        rows: Rows | None,
        notes: Mapping[str, Any] | None = None,
    ) -> Header:
        """The header of a part made of ``rows``, or of a file joined from the sources."""
        like = self._sources[0].header if rows is None else None
        image = self._fingerprint.modality is Modality.IMAGE
        return Header(
            dataset=self._dataset,
            fingerprint=self._fingerprint,
            ids=tuple(ids),
            digests=tuple(digests),
            offsets=None if lengths is None else _offsets(lengths),
            width=like.width if like else rows.pooled.shape[1],  # type: ignore[union-attr]
            tokens=(like.tokens if like else rows.hidden.shape[1]) if image else 0,  # type: ignore[union-attr]
            notes=dict(notes or {}),
        )

    def _blocks(self, header: Header, places: Sequence[tuple[int, int]]) -> Iterator[Rows]:
        """The rows of the joined file, a memory-bounded block at a time, from whatever source."""
        posts_a_block = max(1, PART_BYTES * len(places) // max(1, header.payload_bytes))
        for start in range(0, len(places), posts_a_block):
            stop = min(start + posts_a_block, len(places))
            yield self._block(header, places[start:stop], start, stop)

    def _block(
        self, header: Header, places: Sequence[tuple[int, int]], start: int, stop: int
    ) -> Rows:
        of_source = np.array([s for s, _ in places])
        row = np.array([r for _, r in places], np.int64)
        pieces: list[NDArray[Any]] = [np.empty(0)] * len(places)
        pooled = np.empty((len(places), header.width), self._fingerprint.dtype.value)
        for number in np.unique(of_source):
            here = np.flatnonzero(of_source == number)
            source = self._sources[number]
            pooled[here] = source.pooled(row[here])
            hidden, bounds = source.hidden(row[here])
            for k, at in enumerate(here):
                pieces[at] = hidden[bounds[k] : bounds[k + 1]]
        text = header.offsets is not None
        return Rows(
            ids=header.ids[start:stop],
            digests=header.digests[start:stop],
            pooled=pooled,
            hidden=np.concatenate(pieces),
            lengths=np.array([len(piece) for piece in pieces], np.int64) if text else None,
        )

    def _refuse_overflow(self, rows: Rows) -> None:
        narrow = self._fingerprint.dtype is StoredDtype.FLOAT16
        for name, values in (("pooled", rows.pooled), ("hidden", rows.hidden)):
            if not np.isfinite(values).all():
                raise CacheError(
                    f"A {name} feature of {self._fingerprint.backbone} is not finite in "
                    f"{self._fingerprint.dtype}",
                    where=self.path,
                    found=f"among {len(rows.ids)} posts beginning with {rows.ids[0]}",
                    hint="store wider numbers: --dtype float32"
                    if narrow
                    else "check the weights: they give no numbers for these posts",
                )


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
