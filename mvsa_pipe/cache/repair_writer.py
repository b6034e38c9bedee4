"""The writer of a damaged cache: damaged posts count as missing, and stay until they are replaced.

The old file stays until the new one replaces it, so that ``mvsa cache verify`` still finds a cache
damaged whose repair was interrupted. Posts that were extracted by then are committed in parts,
which the next repair reuses.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mvsa_pipe.cache.byte_reads import damaged
from mvsa_pipe.cache.checking import keep_aside
from mvsa_pipe.cache.content import Refusal, Segment
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.manifest import MANIFEST_NAME, CachePart, Manifest
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import JOIN_BELOW_BYTES, CacheWriter
from mvsa_pipe.errors import CacheError
from mvsa_pipe.locks import exclusive
from mvsa_pipe.progress import BYTES, NO_PROGRESS, Progress


@contextmanager
def open_repair(
    path: Path, dataset: str, fingerprint: Fingerprint, progress: Progress = NO_PROGRESS
) -> Iterator["RepairWriter"]:
    """Locks a damaged cache, checks all its features, and opens it for writing.

    Raises:
        CacheError: Another process writes it, or it has another data set or fingerprint.
        StorageError: Writing fails.
    """
    with exclusive(path):
        yield RepairWriter(path, dataset, fingerprint, progress)


class RepairWriter(CacheWriter):
    """A writer for which damaged features count as missing.

    Attributes:
        damaged: Posts of the cache whose features are damaged or missing.
    """

    def __init__(
        self, path: Path, dataset: str, fingerprint: Fingerprint, progress: Progress = NO_PROGRESS
    ) -> None:
        self._unreadable: list[Path] = []
        super().__init__(path, dataset, fingerprint)
        self.damaged = self._damaged(progress)
        for post_id in self.damaged:
            self._committed.pop(post_id, None)
            self.finished.pop(post_id, None)
        for source in {id(source): source for source, _ in self._sources}.values():
            if not source.has_whole_structure():
                self._moving.add(source.path)
        if self.file is not None and not self.file.has_whole_structure():
            self._moving.add(self.path)

    def _damaged(self, progress: Progress) -> list[str]:
        rows_of: dict[int, tuple[FeatureFile, list[int]]] = {}
        for place in self._places().values():
            rows_of.setdefault(id(place.file), (place.file, []))[1].append(place.row)
        every = [(file, np.array(sorted(rows), np.int64)) for file, rows in rows_of.values()]
        wanted = sum(file.bytes_of(rows) for file, rows in every)
        progress.start(f"checking {self.path.name}", wanted, BYTES)
        hit = {
            post_id
            for file, rows in every
            for post_id in file.damaged_posts(within=rows, on_bytes=progress.advance)
        }
        held = () if self.file is None else self.file.header.ids
        hit.update(post_id for post_id in held if post_id not in self._committed)
        return sorted(hit)

    def _found(self) -> FeatureFile | None:
        try:
            return super()._found()
        except CacheError:
            self._unreadable.append(self.path)
            return None

    def _listed(self, folder: Path) -> Manifest:
        """The list of parts; if it was changed or lost, a new list of all readable parts."""
        readable = self._readable_parts(folder)
        segments = () if self.file is None else self.file.header.segments
        referred = {segment.name for segment in segments} & readable.keys()
        try:
            manifest = Manifest(folder)
        except CacheError:
            self.set_aside.append(keep_aside(folder / MANIFEST_NAME))
        else:
            names = {part.name for part in manifest.parts}
            if referred <= names and (names or not readable):
                return manifest
        return Manifest.replaced(folder, list(readable.values()))

    def _readable_parts(self, folder: Path) -> dict[str, CachePart]:
        found = {}
        for path in sorted(folder.glob("part-*.h5")):
            try:
                file = FeatureFile(path)
            except CacheError:
                self._unreadable.append(path)
            else:
                size = path.stat().st_size
                found[path.name] = CachePart(path.name, len(file.header.ids), size, file.seal)
        return found

    def _sweep(self, referred: Container[str]) -> None:
        """Deletes nothing: any file may contain the only features of some posts."""

    def _drop_stale_parts(self, old: FeatureFile) -> None:
        """Keeps parts: they may contain posts that an earlier repair extracted again."""

    def _add_part(self, part: CachePart, referred: Sequence[Segment]) -> None:
        path = self._manifest.folder / part.name
        sizes = {segment.size for segment in referred}
        try:
            if sizes and sizes != {path.stat().st_size if path.is_file() else None}:
                raise damaged(path, "a part of the cache has another size")
            super()._add_part(part, referred)
        except CacheError:
            if path.is_file() and path not in self._unreadable:
                self._unreadable.append(path)

    def _require_all(self, old: FeatureFile) -> None:
        """Raises nothing: posts in missing parts count as damaged."""

    @property
    def unfinished(self) -> bool:
        """Whether the cache file must be rewritten."""
        segments = () if self.file is None else self.file.header.segments
        waiting = {part.name for part in self._manifest.parts} - {s.name for s in segments}
        faulty = self.damaged or self._unreadable or self._moving
        return bool(faulty or waiting) or super().unfinished

    def finish(
        self,
        order: Sequence[str],
        notes: Mapping[str, Any],
        quarantine: Iterable[Refusal] = (),
        join_below_bytes: float = JOIN_BELOW_BYTES,
        progress: Progress = NO_PROGRESS,
    ) -> FeatureFile:
        """Like ``CacheWriter.finish``; unreadable files are set aside first."""
        for path in self._unreadable:
            self.set_aside.append(keep_aside(path))
            if path != self.path:
                path.unlink(missing_ok=True)
        self._unreadable = []
        return super().finish(order, notes, quarantine, join_below_bytes, progress)
