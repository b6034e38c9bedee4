"""Mends what of a cache HDF5 or the list of parts cannot read; features are for others to make.

Whoever changes something holds the cache. Nothing is deleted: what cannot be mended gets another
name beside the cache, where neither readers nor extractions look for it.
"""

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.joining import Place, gathered
from mvsa_pipe.cache.layout import PARTS_SUFFIX, Segment, bounds_of, parts_folder
from mvsa_pipe.cache.manifest import LIST_NAME, Manifest, Part
from mvsa_pipe.cache.parts import write_part
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.spare import find_spare, is_current, put_back, spare_bytes, write_spare
from mvsa_pipe.cache.writing import structure_of, write_referring_file
from mvsa_pipe.durable import storage_errors
from mvsa_pipe.errors import CacheError

# Begins the names of what is set aside; they end so that nobody takes it for a cache or a part.
ASIDE = "damaged"


def has_whole_structure(path: Path) -> bool:
    """Whether there is nothing that ``restore`` would change.

    Raises:
        StorageError: A file may not be read.
    """
    parts = _parts(path)
    whole = all(_is_whole(file) for file in (path, *parts) if file.is_file())
    return whole and _lists(path, parts)


def _parts(path: Path) -> list[Path]:
    return sorted(parts_folder(path).glob("part-*.h5"))


def _lists(path: Path, parts: Sequence[Path]) -> bool:
    """Whether the list of parts can be read, and names all that the cache file refers to.

    A last line that was changed looks like one that a kill cut short.
    """
    if not parts:
        return True
    try:
        names = {part.name for part in Manifest(parts_folder(path)).parts}
    except CacheError:
        return False
    return bool(names) and {segment.name for segment in _segments(path)} <= names


def _is_whole(path: Path) -> bool:
    """Whether a file's structure and the copy agree, or there is no copy to mend it from."""
    spare = find_spare(path)
    if spare is not None:
        return is_current(path, spare)
    try:
        return FeatureFile(path).spare_place is None  # it was made before files had one
    except CacheError:
        return True


def restore(path: Path) -> list[Path]:
    """Gives a cache and its parts their structure back, in place; returns the files changed.

    A list of parts that was changed or lost is made anew of all parts that can be read.

    Raises:
        StorageError: The disk refuses.
    """
    parts = _parts(path)
    changed = [file for file in (path, *parts) if file.is_file() and _restored(file)]
    listing = parts_folder(path) / LIST_NAME
    if not _lists(path, parts):
        if listing.is_file():
            set_aside(listing)
        _list(parts)
        changed.append(listing)
    return changed


def _list(parts: Sequence[Path]) -> None:
    manifest = Manifest(parts[0].parent)
    for part in parts:
        try:
            file = FeatureFile(part)
        except CacheError:
            set_aside(part)
        else:
            size = part.stat().st_size
            manifest.append(Part(part.name, len(file.header.ids), size, file.seal))


def _restored(path: Path) -> bool:
    """Mends one file's structure, or the copy of it; whether there was something to mend."""
    if _is_whole(path):
        return False
    spare = find_spare(path)
    if spare is None:
        return _renewed(FeatureFile(path))
    put_back(path, spare)
    return True


def _renewed(file: FeatureFile) -> bool:
    """Makes the copy anew; not in a file that is longer than it was, where it would not fit."""
    places = {"spare": file.spare_place or 0}
    if not file.header.segments:
        places |= {name: file.place_of(name) for name in ("pooled", "hidden")}
    with storage_errors(file.path), file.path.open("r+b", buffering=0) as raw:
        runs = structure_of(file.path.stat().st_size, file.header, places)
        if spare_bytes(sum(length for _, length in runs)) != file.spare_length:
            return False
        write_spare(raw, places["spare"], runs)
    return True


def faults(path: Path) -> list[str]:
    """What is wrong with a cache, its parts, their list, and the copies of their structure.

    Raises:
        CacheError: Something cannot be read at all.
        StorageError: A file may not be read.
    """
    lost = unreadable_parts(path)
    files = [FeatureFile(path)] if path.is_file() else []
    files += [FeatureFile(part) for part in waiting_parts(path)]
    damaged = [post_id for file in files for post_id in damaged_beside(file, set(lost))]
    found = [*(f"part {name}" for name in lost), *(f"post {post_id}" for post_id in damaged)]
    if not found and not has_whole_structure(path):
        found.append("the structure of its files or a copy of it, while all posts are whole")
    return found


def unreadable_parts(path: Path) -> list[str]:
    """Committed parts that are gone, cannot be opened, or are not those that were committed."""
    manifest = Manifest(parts_folder(path))
    listed = {part.name: part.seal for part in manifest.parts}
    sizes = {segment.name: segment.size for segment in _segments(path)}
    lost = []
    for name in sorted({*listed, *sizes}):
        part = manifest.folder / name
        try:
            seal = FeatureFile(part).seal
        except CacheError:
            lost.append(name)
            continue
        size = part.stat().st_size
        if seal != listed.get(name, seal) or size != sizes.get(name, size):
            lost.append(name)
    return lost


def _segments(path: Path) -> tuple[Segment, ...]:
    try:
        return FeatureFile(path).header.segments
    except CacheError:
        return ()


def posts_in(file: FeatureFile, parts: Set[str]) -> list[str]:
    """The posts of a cache that lie in some of its parts."""
    inside = _rows_in(file, parts)
    return [file.header.ids[row] for row in np.flatnonzero(inside)]


def damaged_beside(file: FeatureFile, parts: Set[str]) -> list[str]:
    """The damaged posts of a cache among those that do not lie in some of its parts."""
    return file.damaged_posts(within=np.flatnonzero(~_rows_in(file, parts)))


def _rows_in(file: FeatureFile, parts: Set[str]) -> NDArray[np.bool_]:
    inside = np.zeros(len(file.header.ids), np.bool_)
    at = 0
    for segment in file.header.segments:
        inside[at : at + segment.rows] = segment.name in parts
        at += segment.rows
    return inside


def leave_out(path: Path, parts: Set[str]) -> None:
    """Takes some parts out of a cache and its list, and sets their files aside.

    Stopped in between, it lacks no more than those parts, and mending it again goes on.

    Raises:
        StorageError: The disk refuses.
    """
    if not parts:
        return
    if any(segment.name in parts for segment in _segments(path)):
        _refer_to_others(FeatureFile(path), parts)
    manifest = Manifest(parts_folder(path))
    for name in parts:  # before they are listed no more, and so would be swept as nobody's
        if (manifest.folder / name).exists():
            set_aside(manifest.folder / name)
    manifest.keep({part.name for part in manifest.parts} - parts)


def _refer_to_others(file: FeatureFile, parts: Set[str]) -> None:
    header = file.header
    rows = np.flatnonzero(~_rows_in(file, parts))
    if not len(rows):
        set_aside(file.path)
        return
    offsets = header.offsets
    kept = replace(
        header,
        ids=tuple(header.ids[row] for row in rows),
        digests=tuple(header.digests[row] for row in rows),
        offsets=None if offsets is None else bounds_of(np.diff(offsets)[rows]),
        segments=tuple(s for s in header.segments if s.name not in parts),
    )
    write_referring_file(file.path, kept, file.checksums[rows])


def keep_whole_rows(path: Path) -> list[str]:
    """Writes the whole rows of damaged parts anew and leaves those out; returns damaged posts.

    Parts that the cache file refers to are left as they are: their rows are checked with its own.

    Raises:
        StorageError: The disk refuses; nothing is lost.
    """
    hit: list[str] = []
    folder = parts_folder(path)
    for part in waiting_parts(path):
        file = FeatureFile(part)
        damaged = set(file.damaged_posts())
        if not damaged:
            continue
        hit += sorted(damaged)
        whole = [Place(file, row) for row, i in enumerate(file.header.ids) if i not in damaged]
        if whole:
            facts, manifest = file.header, Manifest(folder)
            new = folder / manifest.next_name()
            rows = [gathered(whole)]
            manifest.append(
                write_part(new, facts.dataset, facts.fingerprint, rows, facts.quarantine)
            )
        leave_out(path, {part.name})
    return hit


def waiting_parts(path: Path) -> list[Path]:
    """Committed parts that can be read, and that the cache file does not refer to."""
    elsewhere = {*unreadable_parts(path), *(segment.name for segment in _segments(path))}
    manifest = Manifest(parts_folder(path))
    return [manifest.folder / p.name for p in manifest.parts if p.name not in elsewhere]


def set_aside(path: Path) -> Path:
    """Gives a file that cannot be mended a name that says so, beside the cache; returns it.

    Raises:
        StorageError: The disk refuses.
    """
    folder, name = path.parent, path.name
    if folder.suffix == PARTS_SUFFIX:  # which is deleted when the parts are joined
        folder, name = folder.parent, f"{folder.stem}-{name}"
    with storage_errors(path):
        number, new = 1, folder / f"{ASIDE}-{name}.bak"
        while new.exists():
            number += 1
            new = folder / f"{ASIDE}-{number}-{name}.bak"
        return path.rename(new)
