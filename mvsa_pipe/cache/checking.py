"""Finds damage of a cache on disk: in its file, its parts, and the list of parts."""

from collections.abc import Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.content import PARTS_SUFFIX, Segment, parts_folder
from mvsa_pipe.cache.manifest import Manifest
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.disk import storage_errors
from mvsa_pipe.errors import CacheError
from mvsa_pipe.progress import OnUnits, ignore_units

# Suffix of files that were set aside, which are then no caches or parts.
ASIDE_SUFFIX = ".damaged"


def faults(path: Path, on_bytes: OnUnits = ignore_units) -> list[str]:
    """Faults of a cache, its parts and their list, one phrase each.

    Raises:
        CacheError: A file cannot be read at all.
        StorageError: Permission to read is missing.
    """
    lost = unreadable_parts(path)
    files = [FeatureFile(path)] if path.is_file() else []
    files += [FeatureFile(part) for part in uncommitted_parts(path)]
    damaged = [post_id for file in files for post_id in damaged_beside(file, set(lost), on_bytes)]
    found = [*(f"part {name}" for name in lost), *(f"post {post_id}" for post_id in damaged)]
    folder = parts_folder(path)
    referred = [folder / name for name in _sizes(path) if name not in lost]
    found += [
        f"bytes outside the features of {file.path.name} were changed; the features are intact"
        for file in [*files, *map(FeatureFile, referred)]
        if not file.has_whole_structure()
    ]
    unlisted = _sizes(path).keys() - {part.name for part in Manifest(folder).parts}
    if unlisted:
        found.append("the list of its parts lacks some that the cache refers to")
    return found


def bytes_on_disk(path: Path) -> int:
    """Bytes of a cache and its parts: about as many as checking it reads."""
    with storage_errors(path):
        files = [path, *parts_folder(path).glob("*")]
        return sum(file.stat().st_size for file in files if file.is_file())


def unreadable_parts(path: Path) -> list[str]:
    """Parts that are missing, unreadable, or differ from the committed ones.

    Raises:
        CacheError: The list of parts was changed.
    """
    manifest = Manifest(parts_folder(path))
    listed = {part.name: part.seal for part in manifest.parts}
    sizes = _sizes(path)
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


def uncommitted_parts(path: Path) -> list[Path]:
    """Readable committed parts that the cache file does not refer to."""
    elsewhere = {*unreadable_parts(path), *_sizes(path)}
    manifest = Manifest(parts_folder(path))
    return [manifest.folder / p.name for p in manifest.parts if p.name not in elsewhere]


def _sizes(path: Path) -> dict[str, int]:
    """Parts that a cache file refers to, with their sizes; empty if it is unreadable."""
    segments: tuple[Segment, ...] = ()
    if path.is_file():
        try:
            segments = FeatureFile(path).header.segments
        except CacheError:
            return {}
    return {segment.name: segment.size for segment in segments}


def damaged_beside(
    file: FeatureFile, parts: Set[str], on_bytes: OnUnits = ignore_units
) -> list[str]:
    """The damaged posts of a cache outside of the given parts."""
    within = np.flatnonzero(~rows_in(file, parts))
    return file.damaged_posts(within=within, on_bytes=on_bytes)


def rows_in(file: FeatureFile, parts: Set[str]) -> NDArray[np.bool_]:
    """Which rows of a cache are in the given parts, ``[N]``."""
    inside = np.zeros(len(file.header.ids), np.bool_)
    at = 0
    for segment in file.header.segments:
        inside[at : at + segment.rows] = segment.name in parts
        at += segment.rows
    return inside


def _aside(path: Path) -> Path:
    """A name for a damaged file beside its cache: a free one, or the one that it already has."""
    folder, name = path.parent, path.name
    if folder.suffix == PARTS_SUFFIX:  # this folder is deleted when the parts are joined
        folder, name = folder.parent, f"{folder.stem}.{name}"
    number, new = 1, folder / f"{name}{ASIDE_SUFFIX}"
    while new.exists() and not new.samefile(path):
        number += 1
        new = folder / f"{name}.{number}{ASIDE_SUFFIX}"
    return new


def keep_aside(path: Path) -> Path:
    """Links a damaged file under a second name, so that replacing it does not lose it.

    Raises:
        StorageError: Writing fails.
    """
    with storage_errors(path):
        new = _aside(path)
        if new.exists():  # an interrupted repair made it
            return new
        try:
            new.hardlink_to(path)
        except OSError:  # some file systems have no hard links
            path.rename(new)
    return new
