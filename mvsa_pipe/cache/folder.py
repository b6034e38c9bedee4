"""The folder of all caches: what is there, and which file answers a question."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.durable import make_folder, storage_errors
from mvsa_pipe.errors import CacheError, MvsaError, name_some
from mvsa_pipe.modality import Modality


@dataclass(frozen=True)
class CacheEntry:
    """One cache as a listing shows it.

    Attributes:
        path: Its file.
        file: The opened file, or ``None`` while only parts exist or the file is damaged.
        bytes_on_disk: File and parts.
        parts: Committed parts of an extraction that has not ended.
        fault: Why it cannot be read; empty when it can.
    """

    path: Path
    file: FeatureFile | None
    bytes_on_disk: int
    parts: int
    fault: str = ""


class CacheFolder:
    """Feature files as ``<folder>/<data set>/<backbone>-<fingerprint>.h5``.

    Args:
        root: The folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, dataset: str, fingerprint: Fingerprint) -> Path:
        """Where the cache of one data set and fingerprint lies."""
        return self.root / dataset / fingerprint.file_name

    def entries(self) -> list[CacheEntry]:
        """All caches, damaged and unfinished ones too, by path."""
        files = set(self.root.glob("*/*.h5"))
        files |= {parts.with_suffix(".h5") for parts in self.root.glob("*/*.parts")}
        return [_entry(path) for path in sorted(files)]

    def newest(self, dataset: str, modality: Modality, wanted: str | None = None) -> FeatureFile:
        """The newest cache of a data set and modality.

        Args:
            dataset: The data set's name.
            modality: Text or image.
            wanted: A backbone's name as caches spell it, optionally followed by ``@`` and the
                first digits of a fingerprint; ``None`` takes any.

        Raises:
            CacheError: None fits; names those that are there. Or the newest that fits is damaged.
        """
        backbone, _, digits = (wanted or "").partition("@")
        readable, faults = [], []
        for path in self.root.glob(f"{dataset}/*.h5"):
            try:
                readable.append(FeatureFile(path))
            except CacheError as error:
                faults.append(error)
        fitting = [
            file
            for file in readable
            if (found := file.header.fingerprint).modality is modality
            and backbone in ("", found.backbone)
            and found.digest.startswith(digits)
        ]
        if fitting:
            return max(fitting, key=lambda file: file.path.stat().st_mtime_ns)
        if faults:
            raise faults[0]
        there = sorted({_shown(f) for f in readable if f.header.fingerprint.modality is modality})
        raise CacheError(
            f"No {modality} features of data set {dataset!r} are cached",
            where=self.root,
            expected=wanted or f"a cache of any {modality} backbone",
            found=name_some(there) if there else "none",
            hint="mvsa extract --data PATH --backbone NAME",
        )

    def locate(self, text: str) -> Path:
        """The cache file that a user means: a path, or a unique part of one.

        Raises:
            CacheError: None or several fit.
        """
        if Path(text).is_file():
            return Path(text)
        paths = [entry.path for entry in self.entries()]
        fitting = [p for p in paths if text in p.relative_to(self.root).as_posix()]
        if len(fitting) == 1:
            return fitting[0]
        raise CacheError(
            f"{'Several caches fit' if fitting else 'No cache is named'} {text!r}",
            where=self.root,
            expected="the path of a cache file, or a part of it that only one has",
            found=name_some(str(p.relative_to(self.root)) for p in fitting or paths) or "no cache",
            hint="mvsa cache list",
        )

    def remove(self, path: Path) -> None:
        """Deletes a cache, its parts and its lock.

        Raises:
            CacheError: An extraction is writing it now.
            StorageError: The disk refuses.
        """
        with storage_errors(path), exclusive(path):
            path.unlink(missing_ok=True)
            shutil.rmtree(parts_folder(path), ignore_errors=True)
        _lock_file(path).unlink(missing_ok=True)


def _shown(file: FeatureFile) -> str:
    fingerprint = file.header.fingerprint
    return f"{fingerprint.backbone}@{fingerprint.digest[:8]}"


def parts_folder(path: Path) -> Path:
    """Where the parts of an unfinished extraction lie."""
    return path.with_suffix(".parts")


def _entry(path: Path) -> CacheEntry:
    parts = sorted(parts_folder(path).glob("part-*.h5"))
    size = sum(p.stat().st_size for p in [path, *parts] if p.is_file())
    if not path.is_file():
        return CacheEntry(path, None, size, len(parts), "not finished: extract again to go on")
    try:
        return CacheEntry(path, FeatureFile(path), size, len(parts))
    except MvsaError as error:
        return CacheEntry(path, None, size, len(parts), error.what)


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.stem}.lock")


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a cache for writing; the kernel lets go of it when the process ends, however it ends.

    Raises:
        CacheError: Another process writes it now.
        StorageError: The disk refuses.
    """
    make_folder(path.parent)
    with storage_errors(path.parent), _lock_file(path).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise CacheError(
                "Another process is writing this cache",
                where=path,
                found=f"process {lock.read().strip() or 'unknown'}",
                hint="wait for it to end, then run the same again",
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
