"""Writes one cache part by part, so that committed parts survive a kill at any moment.

Each part is a small feature file, renamed into place and then entered in the manifest, which
commits it. Finishing joins the old file and all parts to a new file, which replaces the old one by
a rename, so that readers see one or the other. Caches above a size limit keep their rows in parts,
with a file that refers to them.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mvsa_pipe.cache import row_joining
from mvsa_pipe.cache.byte_reads import damaged
from mvsa_pipe.cache.content import PART_BYTES, Header, Refusal, Rows, Segment, parts_folder
from mvsa_pipe.cache.file_writing import write_feature_file, write_referring_file
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.manifest import CachePart, Manifest
from mvsa_pipe.cache.part_files import whole_parts, write_part
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.row_joining import RowLocation
from mvsa_pipe.durable import leftovers
from mvsa_pipe.errors import CacheError, StorageError, name_some
from mvsa_pipe.locks import exclusive
from mvsa_pipe.progress import BYTES, NO_PROGRESS, OnUnits, Progress, ignore_units

# Larger caches stay in parts, as joining takes the same space on the disk once more.
JOIN_BELOW_BYTES = 64 * 2**30

# Fewer bytes are copied before anyone could read of it.
_SHOWN_BYTES = 256 * 2**20


@contextmanager
def open_writer(
    folder: CacheFolder, dataset: str, fingerprint: Fingerprint, shard: str = "", mark: str = ""
) -> Iterator["CacheWriter"]:
    """Locks a cache and opens it for writing.

    Args:
        folder: The folder of all caches.
        dataset: The data set's name.
        fingerprint: The fingerprint of its features.
        shard: Name of a share of the posts; empty for all posts.
        mark: Distinguishes it from caches of other posts, see ``mark_for``.

    Raises:
        CacheError: Another process writes it, or it is damaged.
        StorageError: Writing fails. A cache on a read-only disk is opened; the error is raised when
            something has to be written.
    """
    path = folder.path_of(dataset, fingerprint, shard, mark)
    refusal = None
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(path))
        except StorageError as error:
            if not path.is_file():
                raise
            refusal = error  # raised by ``require_writable``
        yield CacheWriter(path, dataset, fingerprint, refusal)


class CacheWriter:
    """Commits parts and joins them; made by ``open_writer``.

    Attributes:
        path: The cache file.
        set_aside: Damaged files that were kept under other names.
        quarantine: Posts that could not be read in the last extraction that tried, by id.
        file: The existing cache file, if there is one.
        finished: Content digest of every post in it.
    """

    def __init__(
        self,
        path: Path,
        dataset: str,
        fingerprint: Fingerprint,
        refusal: StorageError | None = None,
    ) -> None:
        self.path = path
        self.set_aside: list[Path] = []
        self._refusal = refusal
        self._moving: set[Path] = set()  # files whose rows are copied elsewhere
        self._dataset = dataset
        self._fingerprint = fingerprint
        self._sources: list[tuple[FeatureFile, range]] = []  # files, and rows of each
        self._committed: dict[str, str] = {}
        self.quarantine: dict[str, Refusal] = {}
        self.file = old = self._found()
        self._manifest = self._listed(parts_folder(path))
        referred: dict[str, list[Segment]] = {}
        for segment in old.header.segments if old is not None else ():
            referred.setdefault(segment.name, []).append(segment)
        if refusal is None:
            self._sweep(referred)
        if old is not None:
            self._require_own(old)
            if not referred:
                self._add(old)
        for part in self._manifest.parts:
            self._add_part(part, referred.get(part.name, ()))
        if referred and old is not None:
            self._require_all(old)
            self.quarantine = old.header.refused | self.quarantine
        self._notes = dict(old.header.notes) if old else {}
        self.finished = old.header.content_digests if old else {}
        if refusal is None and old is not None and not referred:
            self._drop_stale_parts(old)

    def _found(self) -> FeatureFile | None:
        return FeatureFile(self.path) if self.path.exists() else None

    def _sweep(self, referred: Container[str]) -> None:
        """Deletes files of killed processes that the cache does not refer to."""
        for file in (*leftovers(self.path), *self._manifest.uncommitted()):
            if file.name not in referred:  # also if a damaged list lacks them
                file.unlink(missing_ok=True)

    def _drop_stale_parts(self, old: FeatureFile) -> None:
        """Deletes parts whose rows are all in the cache file, after a kill while finishing."""
        if self.unfinished:
            return
        if self._manifest.parts:
            self._sources, self._committed = [], {}
            self._add(old)
        self._manifest.discard()

    def require_writable(self) -> None:
        """Raises if the cache cannot be written.

        Raises:
            StorageError: The error of the attempt to lock it.
        """
        if self._refusal is not None:
            raise self._refusal

    def _listed(self, folder: Path) -> Manifest:
        """The list of parts; if it was lost, a new list of all whole parts."""
        manifest = Manifest(folder)
        if not manifest.parts and self._refusal is None:
            for part in whole_parts(folder, self._dataset, self._fingerprint):
                manifest.append(part)
        return manifest

    def _require_own(self, file: FeatureFile) -> None:
        self._fingerprint.require(file.header.fingerprint, file.path)
        if file.header.dataset != self._dataset:
            raise CacheError(
                "This cache is of another data set",
                where=file.path,
                expected=self._dataset,
                found=file.header.dataset,
            )

    def _add_part(self, part: CachePart, referred: Sequence[Segment]) -> None:
        """Adds a committed part, or only the rows that the cache file refers to."""
        source = self._opened(part)
        if not referred:
            self._add(source)
            return
        for segment in referred:
            self._hold(source, range(segment.row, segment.row + segment.rows))

    def _opened(self, part: CachePart) -> FeatureFile:
        path = self._manifest.folder / part.name
        if not path.is_file():
            raise damaged(path, "a committed part is missing")
        source = FeatureFile(path)
        if source.seal != part.seal:
            raise CacheError(
                "A part of this cache is not the one that was committed",
                where=source.path,
                hint=f"mvsa cache repair {self.path}",
            )
        return source

    def _add(self, source: FeatureFile) -> None:
        self._require_own(source)
        self._hold(source, range(len(source.header.ids)))
        for post_id in self.quarantine.keys() & source.header.ids:
            del self.quarantine[post_id]
        self.quarantine |= source.header.refused

    def _hold(self, source: FeatureFile, rows: range) -> None:
        own = slice(rows.start, rows.stop)
        self._sources.append((source, rows))
        self._committed.update(zip(source.header.ids[own], source.header.digests[own], strict=True))

    def _require_all(self, old: FeatureFile) -> None:
        lacking = [i for i in old.header.ids if i not in self._committed]
        if lacking:
            raise CacheError(
                f"This cache refers to {len(lacking):,} posts in missing parts",
                where=parts_folder(self.path),
                found=f"missing: {name_some(lacking)}",
                hint=f"mvsa cache repair {self.path}",
            )

    @property
    def committed(self) -> dict[str, str]:
        """Content digest of every post with committed features."""
        return dict(self._committed)

    def _places(self) -> dict[str, RowLocation]:
        """Location of every post's features; the last one if there are several."""
        return {
            post_id: RowLocation(source, row)
            for source, rows in self._sources
            for row in rows
            if (post_id := source.header.ids[row]) in self._committed
        }

    @property
    def payload_bytes(self) -> int:
        """Bytes of all committed features."""
        return row_joining.bytes_of(self._places().values())

    def posts_with_tokens(self, count: int) -> set[str]:
        """Ids of texts with exactly ``count`` tokens."""
        return {post_id for post_id, place in self._places().items() if place.tokens == count}

    @property
    def unfinished(self) -> bool:
        """Whether committed posts are not in the cache file yet."""
        return self._committed != self.finished

    def take_in(self, other: FeatureFile) -> None:
        """Adds the posts of another cache; ``finish`` copies them.

        Raises:
            CacheError: It has another fingerprint or data set.
        """
        self._add(other)

    def commit(self, *blocks: Rows, quarantine: Sequence[Refusal] = ()) -> None:
        """Commits the features of some posts; once this returns, a kill cannot lose them.

        Args:
            *blocks: The features, written to one part.
            quarantine: Posts that could not be read.

        Raises:
            CacheError: A number is not finite in the stored type.
            StorageError: Writing fails; everything committed before stays.
        """
        self.adopt(self.write_part(self._manifest.next_name(), blocks, quarantine))

    def write_part(
        self, name: str, blocks: Sequence[Rows], quarantine: Sequence[Refusal] = ()
    ) -> CachePart:
        """Writes a part beside the committed ones; ``adopt`` commits it.

        Raises:
            CacheError: A number is not finite in the stored type.
            StorageError: Writing fails.
        """
        return write_part(
            self._manifest.folder / name, self._dataset, self._fingerprint, blocks, quarantine
        )

    def adopt(self, part: CachePart) -> None:
        """Commits a part whose file is in place.

        Raises:
            CacheError: It does not match its seal, fingerprint or data set.
            StorageError: Writing fails.
        """
        source = self._opened(part)
        self._require_own(source)
        self._manifest.append(part)
        self._add(source)

    def finish(
        self,
        order: Sequence[str],
        notes: Mapping[str, Any],
        quarantine: Iterable[Refusal] = (),
        join_below_bytes: float = JOIN_BELOW_BYTES,
        progress: Progress = NO_PROGRESS,
    ) -> FeatureFile:
        """Makes one cache file of everything committed; the writer must not be used afterwards.

        Args:
            order: Ids that come first, in this order; other posts follow.
            notes: Facts for ``mvsa cache info``, which do not affect features.
            quarantine: Posts that could not be read.
            join_below_bytes: A larger cache keeps its rows in parts, in the order of the parts.
            progress: Shown the bytes that are copied, where these are many.

        Raises:
            CacheError: A committed part is damaged; names the posts.
            StorageError: Writing fails; the parts and the old file stay.
        """
        self.require_writable()
        facts = {**self._notes, **notes}, row_joining.sort_refusals(quarantine, order)
        held = self._places()
        payload = row_joining.bytes_of(held.values())
        if payload > join_below_bytes:
            return self._refer(held, *facts, progress)
        places = [held[i] for i in dict.fromkeys([*order, *held]) if i in held]
        on_bytes = _shown(progress, self.path, payload)
        blocks = row_joining.blocks(places, on_bytes=on_bytes)
        write_feature_file(self.path, self._header(places, *facts), blocks)
        self._manifest.discard()
        del held, places  # frees the headers of all parts before the new file's header is read
        self._sources, self._committed = [], {}
        return FeatureFile(self.path)

    def _refer(
        self,
        held: dict[str, RowLocation],
        notes: dict[str, Any],
        quarantine: tuple[Refusal, ...],
        progress: Progress,
    ) -> FeatureFile:
        folder = self._manifest.folder
        elsewhere = [
            place
            for place in held.values()
            if place.file.path.parent != folder or place.file.path in self._moving
        ]
        on_bytes = _shown(progress, folder, row_joining.bytes_of(elsewhere))
        for rows in row_joining.blocks(elsewhere, PART_BYTES, on_bytes):
            self.commit(rows)
        moved = self._places() if elsewhere else held
        places = sorted(moved.values(), key=lambda place: (place.file.path.name, place.row))
        segments = tuple(row_joining.segments_of(places))
        header = self._header(places, notes, quarantine, segments)
        write_referring_file(self.path, header, row_joining.checksums_of(places))
        self._manifest.keep({segment.name for segment in segments})
        for file in self._manifest.uncommitted():
            file.unlink(missing_ok=True)
        return FeatureFile(self.path)

    def _header(
        self,
        places: Sequence[RowLocation],
        notes: dict[str, Any],
        quarantine: tuple[Refusal, ...],
        segments: tuple[Segment, ...] = (),
    ) -> Header:
        like = places[0].file.header
        return Header(
            dataset=self._dataset,
            fingerprint=self._fingerprint,
            ids=tuple(place.id for place in places),
            digests=tuple(place.digest for place in places),
            offsets=row_joining.offsets_of(places),
            width=like.width,
            tokens=like.tokens,
            layers=like.layers,
            notes=notes,
            quarantine=quarantine,
            segments=segments,
        )


def _shown(progress: Progress, path: Path, payload_bytes: int) -> OnUnits:
    """Begins to show the copying of many bytes; returns the callback after some of them."""
    if payload_bytes < _SHOWN_BYTES:
        return ignore_units
    progress.start(f"writing {path.name}", payload_bytes, BYTES)
    return progress.advance
