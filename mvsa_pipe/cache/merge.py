"""Merges caches of the same data set and fingerprint that were made separately."""

from collections.abc import Sequence
from typing import Any

from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.matching import mark_of
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import JOIN_BELOW_BYTES, open_writer
from mvsa_pipe.errors import CacheError, name_some
from mvsa_pipe.progress import NO_PROGRESS, Progress


def merge(
    folder: CacheFolder,
    sources: Sequence[FeatureFile],
    order: Sequence[str] = (),
    join_below_bytes: float = JOIN_BELOW_BYTES,
    progress: Progress = NO_PROGRESS,
) -> FeatureFile:
    """Merges caches into the first of them, or into the cache that it is a shard of.

    Args:
        folder: The folder of all caches, including the merged one.
        sources: The caches; they are kept.
        order: Ids of posts in the data set's order; other posts follow.
        join_below_bytes: A larger cache keeps its rows in parts.
        progress: Shown the bytes that are copied.

    Raises:
        CacheError: The caches differ in data set, fingerprint or features of a post, or one is
            damaged.
        StorageError: Writing fails; nothing is lost.
    """
    header = sources[0].header
    mark = mark_of(sources[0].path, header.fingerprint)
    merged = folder.path_of(header.dataset, header.fingerprint, mark=mark)
    there = [FeatureFile(merged)] if merged.exists() else []
    _refuse_disagreement([*there, *sources])
    with open_writer(folder, header.dataset, header.fingerprint, mark=mark) as writer:
        for source in sources:
            if source.path.resolve() != writer.path.resolve():
                writer.take_in(source)
        quarantine = list(writer.quarantine.values())
        return writer.finish(order, _notes(sources), quarantine, join_below_bytes, progress)


def _refuse_disagreement(sources: Sequence[FeatureFile]) -> None:
    held: dict[str, tuple[FeatureFile, tuple[Any, ...]]] = {}
    for source in sources:
        sources[0].header.fingerprint.require(source.header.fingerprint, source.path)
        differing = []
        for row, post_id in enumerate(source.header.ids):
            said = (source.header.digests[row], *source.checksums[row].tolist())
            _, before = held.setdefault(post_id, (source, said))
            if said != before:
                differing.append(post_id)
        if differing:
            raise CacheError(
                f"Two caches disagree about {len(differing):,} posts",
                where=source.path,
                found=f"another content or other features than {held[differing[0]][0].path} of "
                f"{name_some(differing)}",
                hint="merge caches of disjoint posts; mvsa extract brings each up to date",
            )


def _notes(sources: Sequence[FeatureFile]) -> dict[str, Any]:
    """The notes of the first cache, with the sums of all counts."""
    notes = dict(sources[0].header.notes)
    for name in ("texts_cut", "tokens_cut"):
        if name in notes:
            notes[name] = sum(source.header.notes.get(name, 0) for source in sources)
    return notes
