"""What a Ray actor does for an extraction: it computes leased parts and puts their files in place.

It holds no lock, writes no manifest and decides nothing: whoever leased the part commits it.
"""

import io
import pickle
import platform
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.layout import Refusal, Rows
from mvsa_pipe.cache.manifest import Part
from mvsa_pipe.cache.parts import write_part
from mvsa_pipe.devices import usable_cores
from mvsa_pipe.durable import storage_errors
from mvsa_pipe.errors import ConfigError, MvsaError
from mvsa_pipe.extraction.clock import Clock, Stage
from mvsa_pipe.extraction.flow import flow
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.session import Session, make_work
from mvsa_pipe.extraction.work import Batch
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.storage import Storage
from mvsa_pipe.provenance import package_versions


@dataclass(frozen=True)
class Assignment:
    """What all leases of one pass have in common.

    Attributes:
        backbones: The backbones, with absolute paths.
        options: How features are made; of ``cache`` nothing is read.
        dataset: The data set's name.
        storage: Kind and absolute root of the storage that pictures are read from.
        sharing: How many actors share one machine.
    """

    backbones: tuple[BackboneOptions, ...]
    options: ExtractOptions
    dataset: str
    storage: tuple[type[Storage], Path]
    sharing: int

    @classmethod
    def of(
        cls,
        backbones: Sequence[BackboneOptions],
        options: ExtractOptions,
        posts: PostSet,
        sharing: int,
    ) -> "Assignment":
        """The same work as seen from any working directory."""
        located = tuple(backbone.located() for backbone in backbones)
        storage = type(posts.storage), posts.storage.root.resolve()
        return cls(located, options, posts.name, storage, sharing)


@dataclass(frozen=True)
class Ready:
    """What an actor has loaded.

    Attributes:
        node: The machine's name.
        fingerprints: What each backbone's features are.
        versions: Packages that decide numbers.
    """

    node: str
    fingerprints: tuple[Fingerprint, ...]
    versions: dict[str, str]


@dataclass(frozen=True)
class Delivery:
    """What came of one lease, for each backbone.

    Attributes:
        parts: The part files that lie in place; ``None`` where no post could be read.
        refused: Posts that could not be read.
        hidden_bytes: Bytes of hidden states in all parts.
        profile: Where the time went, as ``Clock.as_record`` gives it.
    """

    parts: tuple[Part | None, ...]
    refused: tuple[tuple[Refusal, ...], ...]
    hidden_bytes: int
    profile: dict[str, Any]


class ExtractionActor:
    """Loads the backbones once and computes one lease after another.

    Two calls may be under way: one computes while the other writes. What a user can mend is
    returned, not raised, so that it arrives as it is.

    Args:
        assignment: The work.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._computing = threading.Lock()
        self._sessions: list[Session] = []
        self._storage: Storage | None = None

    def open(self) -> Ready | MvsaError:
        """Loads the backbones and opens the posts' storage."""
        work = self._assignment
        kind, root = work.storage
        try:
            self._storage = kind(root)
            with TemporaryDirectory() as memos:  # this machine's share of the caches' folder
                options = replace(work.options, cache=Path(memos))
                self._sessions = [Session.load(wanted, options) for wanted in work.backbones]
        except MvsaError as error:
            return error
        found = tuple(session.resolution.fingerprint for session in self._sessions)
        return Ready(platform.node(), found, package_versions())

    def compute(self, packed: bytes, places: Sequence[str]) -> Delivery | MvsaError:
        """Computes one part and writes a file for each backbone.

        Args:
            packed: The part, as ``pack`` gave it.
            places: Where each backbone's file goes: a path, or a place below ``--ray-parts``.
        """
        clock = Clock()
        cores = max(1, usable_cores() // self._assignment.sharing)
        workers = self._assignment.options.workers
        try:
            with self._computing:
                work = make_work(self._sessions, clock)
                part = unpack(packed, self._storage)
                (result,) = flow(work, [part], workers, lambda _: None, cores)
            with clock.stage(Stage.DISK):
                parts = [
                    self._put(place, session, blocks, refused) if blocks else None
                    for place, session, blocks, refused in zip(
                        places, self._sessions, result.rows, result.refused, strict=True
                    )
                ]
        except MvsaError as error:
            return error
        refusals = tuple(map(tuple, result.refused))
        return Delivery(tuple(parts), refusals, result.hidden_bytes, clock.as_record())

    def _put(
        self, place: str, session: Session, blocks: Sequence[Rows], refused: Sequence[Refusal]
    ) -> Part:
        facts = self._assignment.dataset, session.resolution.fingerprint, blocks, refused
        url = self._assignment.options.ray_parts
        if not url:
            return write_part(Path(place), *facts)
        with TemporaryDirectory() as folder:
            path = Path(folder) / Path(place).name
            part = write_part(path, *facts)
            with storage_errors(Path(place)):
                files, root = remote(url)
                files.makedirs(root, exist_ok=True)
                files.put_file(str(path), place)
            return part


def remote(url: str) -> tuple[Any, str]:
    """The file system of an fsspec URL, and the path in it.

    Raises:
        ConfigError: No file system answers to it.
    """
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError, OSError) as error:
        raise ConfigError(
            "--ray-parts cannot be used",
            expected="a URL that fsspec opens, such as s3://bucket/folder",
            found=f"{url}: {error}",
        ) from error
    return files, str(root).rstrip("/")


class _Packer(pickle.Pickler):
    """Leaves the storage out: each actor has opened it for itself."""

    def persistent_id(self, value: object) -> str | None:
        return "storage" if isinstance(value, Storage) else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, storage: Storage | None) -> None:
        super().__init__(file)
        self._storage = storage

    def persistent_load(self, _: str) -> Storage | None:
        return self._storage


def pack(part: Sequence[Batch]) -> bytes:
    """A part as bytes, small even where the storage knows a million files."""
    file = io.BytesIO()
    _Packer(file, pickle.HIGHEST_PROTOCOL).dump(list(part))
    return file.getvalue()


def unpack(packed: bytes, storage: Storage | None) -> list[Batch]:
    """The part again, its pictures read from ``storage``."""
    part: list[Batch] = _Unpacker(io.BytesIO(packed), storage).load()
    return part
