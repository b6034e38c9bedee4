"""The folder of all caches: lists, finds and removes caches."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mvsa_pipe.backbones.options import TUNED_MARK
from mvsa_pipe.cache.checking import ASIDE_SUFFIX
from mvsa_pipe.cache.content import PARTS_SUFFIX, SOURCE, parts_folder
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.manifest import Manifest, delete_parts
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.disk import inside, storage_errors
from mvsa_pipe.durable import leftovers
from mvsa_pipe.errors import CacheError, MvsaError, name_some
from mvsa_pipe.layers import Keep
from mvsa_pipe.locks import exclusive, lock_file
from mvsa_pipe.modality import Modality

# Folder of shards inside a data set's folder.
SHARDS = "shards"


@dataclass(frozen=True)
class CacheEntry:
    """One row of a listing of caches.

    Attributes:
        path: Its file.
        file: The opened file, or ``None`` while only parts exist or the file is damaged.
        bytes_on_disk: File and parts.
        parts: Number of committed parts: of an unfinished extraction, or that the file refers to.
        fault: Why it cannot be read; empty if it can.
    """

    path: Path
    file: FeatureFile | None
    bytes_on_disk: int
    parts: int
    fault: str = ""


class StatesNotKeptError(CacheError):
    """Hidden states are needed, and only caches without them are there.

    Attributes:
        file: One of these.
        modality: Text or image.
    """

    def __init__(self, file: FeatureFile, readers: str = "Heads over tokens read") -> None:
        self.file = file
        fingerprint = file.header.fingerprint
        self.modality = fingerprint.modality
        super().__init__(
            f"{readers} hidden states of the {fingerprint.modality}, and those of "
            f"{fingerprint.backbone} were not kept",
            where=file.path,
            expected="a cache of hidden states, or heads over pooled vectors such as native-cat",
            found="pooled vectors alone, as --keep pooled keeps them",
            hint=f"mvsa extract --data {file.header.notes.get(SOURCE, 'PATH')} "
            f"--backbone {fingerprint.backbone} --keep all",
        )

    def read_by(self, heads: Sequence[str]) -> "StatesNotKeptError":
        """The same error about some heads."""
        *most, last = map(repr, heads)
        named = f"Heads {', '.join(most)} and {last} read" if most else f"Head {last} reads"
        return StatesNotKeptError(self.file, named)


class CacheFolder:
    """Feature files as ``<folder>/<data set>/<backbone>-<fingerprint>-<posts>.h5``.

    Args:
        root: The folder; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(
        self, dataset: str, fingerprint: Fingerprint, shard: str = "", mark: str = ""
    ) -> Path:
        """Path of the cache, or of one of its shards, of a data set's name and a fingerprint.

        Args:
            dataset: The data set's name.
            fingerprint: The fingerprint of its features.
            shard: Name of a share of the posts.
            mark: Distinguishes it from caches of other posts; empty in caches of 0.1.

        Raises:
            StorageError: The path would be outside of this folder.
        """
        name = fingerprint.file_name.removesuffix(".h5") + (f"-{mark}" if mark else "")
        if shard:
            return inside(self.root, dataset, SHARDS, f"{name}.{shard}.h5")
        return inside(self.root, dataset, f"{name}.h5")

    def of_fingerprint(self, dataset: str, fingerprint: Fingerprint) -> list[Path]:
        """Caches of a data set's name and a fingerprint, also unfinished ones, newest first."""
        place = inside(self.root, dataset)
        found = {path: path for path in place.glob("*.h5")}
        found |= {p.with_suffix(".h5"): p for p in place.glob(f"*{PARTS_SUFFIX}")} | found
        own = [path for path in found if fingerprint.names(path.name)]
        return sorted(own, key=lambda path: found[path].stat().st_mtime_ns, reverse=True)

    def entries(self) -> list[CacheEntry]:
        """All caches, including damaged and unfinished ones, by path."""
        files: set[Path] = set()
        for place in ("*", f"*/{SHARDS}"):
            files |= set(self.root.glob(f"{place}/*.h5"))
            parts = self.root.glob(f"{place}/*{PARTS_SUFFIX}")
            files |= {folder.with_suffix(".h5") for folder in parts}
        return [_entry(path) for path in sorted(files)]

    def left_behind(self) -> list[Path]:
        """Temporary files of killed writers, and damaged files that a repair set aside.

        The next writer of a cache deletes its temporary files; files that were set aside stay until
        the user removes them.
        """
        places = ("*", f"*/{SHARDS}", f"*/*{PARTS_SUFFIX}")
        marks = (".*.tmp", f"*{ASIDE_SUFFIX}")
        found = {p for place in places for mark in marks for p in self.root.glob(f"{place}/{mark}")}
        return sorted(path for path in found if path.is_file())

    def shards_named(self, text: str) -> list[Path]:
        """The shards of the one cache whose path contains ``text``.

        Raises:
            CacheError: Shards of several caches match.
        """
        found = [p for p in sorted(self.root.glob(f"*/{SHARDS}/*.h5")) if text in str(p)]
        caches = {(path.parent, path.name.rsplit(".", 2)[0]) for path in found}
        if len(caches) > 1:
            raise CacheError(
                f"Shards of several caches fit {text!r}",
                where=self.root,
                expected="a part of the path that only one cache has",
                found=name_some(sorted(name for _, name in caches)),
            )
        return found

    def readable(self, dataset: str) -> tuple[list[FeatureFile], list[CacheError]]:
        """All readable caches of a data set's name, and the errors of the others."""
        readable, faults = [], []
        for path in inside(self.root, dataset).glob("*.h5"):
            try:
                readable.append(FeatureFile(path))
            except CacheError as error:
                faults.append(error)
        return readable, faults

    def fitting(
        self,
        dataset: str,
        modality: Modality,
        wanted: str | None = None,
        *,
        several_layers: bool = False,
        states: bool = False,
    ) -> list[FeatureFile]:
        """The caches of a data set's name and a modality, newest first.

        Args:
            dataset: The data set's name.
            modality: Text or image.
            wanted: A backbone's name as in caches, optionally followed by ``@`` and first digits of
                a fingerprint; ``None`` takes all except fine-tuned ones.
            several_layers: Whether caches of several layers come before those of the last layer,
                instead of after them.
            states: Whether caches without hidden states are left out.

        Raises:
            CacheError: None matches, or a cache that might is damaged.
            StatesNotKeptError: All that match are without hidden states.
        """
        readable, faults = self.readable(dataset)
        fitting = [
            file
            for file in readable
            if file.header.fingerprint.modality is modality
            and _answers(file.header.fingerprint, wanted)
        ]
        kept = [file for file in fitting if file.header.fingerprint.keep is Keep.ALL]
        if states and fitting and not kept:
            if faults:
                raise faults[0]
            raise StatesNotKeptError(max(fitting, key=lambda file: file.path.stat().st_mtime_ns))
        if states:
            fitting = kept
        if fitting:
            return sorted(
                fitting,
                key=lambda file: (
                    (file.header.layers > 1) is several_layers,
                    file.path.stat().st_mtime_ns,
                ),
                reverse=True,
            )
        if faults:
            raise faults[0]
        named = (wanted or "").partition("@")[0]
        there = sorted({_shown(f) for f in readable if f.header.fingerprint.modality is modality})
        raise CacheError(
            f"No {modality} features of data set {dataset!r} are cached",
            where=self.root,
            expected=wanted or f"a cache of any {modality} backbone",
            found=name_some(there) if there else "none",
            hint=f"mvsa extract --data PATH --backbone {named or 'NAME'}",
        )

    def locate(self, text: str) -> Path:
        """The cache file of a path, or of a unique part of one.

        Raises:
            CacheError: None or several match.
        """
        with suppress(OSError):  # a name too long for the file system is no path
            if Path(text).suffix == ".h5" and Path(text).is_file():
                return Path(text)
        paths = [entry.path for entry in self.entries()]
        # Unfinished caches and leftover files.
        if Path(text) in paths or Path(text) in self.left_behind():
            return Path(text)
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
        """Deletes a cache with its parts, one part, or a leftover file.

        Raises:
            CacheError: It is outside of this folder, or another process writes it.
            StorageError: Deleting fails.
        """
        if path in self.left_behind():
            with storage_errors(path), exclusive(_owner(path)):  # its writer may still run
                path.unlink(missing_ok=True)
            return
        is_part = path.parent.suffix == PARTS_SUFFIX
        cache = path.parent.with_suffix(".h5") if is_part else path
        dataset = cache.parent.parent if cache.parent.name == SHARDS else cache.parent
        if cache.suffix != ".h5" or dataset.resolve().parent != self.root.resolve():
            raise CacheError(
                "This is not a cache in this folder, and only caches are removed",
                where=path,
                expected=f"a file such as {self.root / 'DATA-SET' / 'NAME.h5'}",
                hint="mvsa cache list, or name its folder: --cache DIR",
            )
        with storage_errors(path), exclusive(cache):
            if is_part:
                manifest = Manifest(path.parent)
                manifest.keep({part.name for part in manifest.parts} - {path.name})
            for file in (path, *leftovers(path)):
                file.unlink(missing_ok=True)
            if is_part:
                return
            delete_parts(parts_folder(cache))
            lock_file(cache).unlink(missing_ok=True)


def _owner(path: Path) -> Path:
    """The cache that a temporary file, or a file that was set aside, belongs to."""
    if path.parent.suffix == PARTS_SUFFIX:
        return path.parent.with_suffix(".h5")
    stem, _, _ = path.name.removeprefix(".").partition(".h5")
    return path.with_name(f"{stem}.h5")


def _answers(found: Fingerprint, wanted: str | None) -> bool:
    if not wanted:
        return not found.backbone.endswith(TUNED_MARK)
    backbone, _, digits = wanted.partition("@")
    return backbone in ("", found.backbone) and found.digest.startswith(digits)


def _shown(file: FeatureFile) -> str:
    fingerprint = file.header.fingerprint
    return f"{fingerprint.backbone}@{fingerprint.digest[:8]}"


def _entry(path: Path) -> CacheEntry:
    try:
        parts = Manifest(parts_folder(path)).parts
        size = sum(part.size for part in parts)
        if not path.is_file():
            return CacheEntry(
                path, None, size, len(parts), "incomplete: run mvsa extract again to resume"
            )
        return CacheEntry(path, FeatureFile(path), size + path.stat().st_size, len(parts))
    except MvsaError as error:
        return CacheEntry(path, None, path.stat().st_size if path.is_file() else 0, 0, error.what)
