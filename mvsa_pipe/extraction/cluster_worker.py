"""The worker of an extraction on a cluster: computes parts and writes their files.

It holds no lock and writes no manifest; the process that started the extraction commits parts.
"""

import platform
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mvsa_pipe.backbones.decoding import FEWEST_FAST, Decoding, choose_decoding
from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.content import Refusal, Rows
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.manifest import CachePart
from mvsa_pipe.cache.part_files import write_part
from mvsa_pipe.cluster.pool import Worker
from mvsa_pipe.devices import usable_cores
from mvsa_pipe.disk import storage_errors
from mvsa_pipe.errors import CacheError, ConfigError
from mvsa_pipe.extraction.batches import Batch
from mvsa_pipe.extraction.clock import Clock, Stage
from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone, make_work
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.pipeline import run_pipeline
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.storage.base import Storage
from mvsa_pipe.provenance import package_versions


@dataclass(frozen=True)
class PartUnit:
    """One part of a pass, as it is sent to a worker.

    Attributes:
        number: Its number among all parts.
        batches: Its batches, see ``with_storage``.
        names: The final names of its files, one a backbone.
        stems: Where its files are first written, without attempt and suffix.
    """

    number: int
    batches: list[Batch]
    names: list[str]
    stems: list[str]

    @property
    def posts(self) -> int:
        """How many posts it has."""
        return len({item.id for batch in self.batches for items in batch for item in items})

    def places(self, attempt: int) -> list[str]:
        """Paths, or places below ``--ray-parts``, that no other attempt writes to."""
        return [f"{stem}-{attempt}.h5" for stem in self.stems]


@dataclass(frozen=True)
class PartDone:
    """The result of one part, one entry per backbone.

    Attributes:
        parts: The files that were written; ``None`` where no post could be read.
        refused: Posts that could not be read.
        payload_bytes: Bytes of features in all files.
        profile: Times, as ``Clock.as_record`` returns them.
    """

    parts: list[CachePart | None]
    refused: list[list[Refusal]]
    payload_bytes: int
    profile: dict[str, Any]


@dataclass
class ExtractionWorker(Worker[PartUnit, PartDone]):
    """Loads the backbones once; computes one part while the one before is written.

    Attributes:
        backbones: The backbones, with absolute paths.
        fingerprints: The fingerprints that their features must have.
        versions: Versions of packages in the process that started the extraction.
        options: Options of the extraction; the folder ``cache`` is not used.
        dataset: The data set's name.
        storage: Where pictures are read.
        sharing: How many workers share a machine.

    Raises:
        CacheError: Its features would differ from those of the process that started the extraction.
        MvsaError: A backbone cannot be loaded, or fast decoding was requested and cannot be used.
    """

    backbones: Sequence[BackboneOptions]
    fingerprints: Sequence[Fingerprint]
    versions: Mapping[str, str]
    options: ExtractOptions
    dataset: str
    storage: Storage
    sharing: int

    def __post_init__(self) -> None:
        self._computing = threading.Lock()
        with TemporaryDirectory() as memos:  # in place of the caches' folder
            options = replace(self.options, cache=Path(memos))
            self._loaded = [LoadedBackbone.load(wanted, options) for wanted in self.backbones]
        self._require_same_features()
        here, own = self.versions, package_versions()
        others = [
            f"{name} {own[name]} (here {here[name]})" for name in own if own[name] != here[name]
        ]
        packages = [f"has other packages: {', '.join(others)}"] if others else []
        self._decoding, found = self._choose_decoding()
        self.remarks = [f"{platform.node()} {remark}" for remark in packages + found]

    def _require_same_features(self) -> None:
        for wanted, loaded in zip(self.fingerprints, self._loaded, strict=True):
            rows = wanted.differences(loaded.resolved.fingerprint)
            if rows:
                named = "; ".join(f"{k} is {b!r}, here {a!r}" for k, (a, b) in rows.items())
                raise CacheError(
                    f"A Ray worker would compute other features of {wanted.backbone}",
                    where=platform.node(),
                    expected=f"fingerprint {wanted.digest}",
                    found=named,
                    hint="give all machines the same weights, and name --precision",
                )

    def _choose_decoding(self) -> tuple[Decoding[Any] | None, list[str]]:
        """Tests fast decoding on this machine; the process that started all counted the posts."""
        if self.backbones[0].modality is Modality.TEXT:
            return None, []
        images = [one.forward.backbone for one in self._loaded]
        found: list[str] = []
        chosen = choose_decoding(self.options.decode, images, FEWEST_FAST, found.append)
        return chosen, [f"says: {remark}" for remark in found]

    def do(self, unit: PartUnit, attempt: int) -> PartDone:
        """Computes a part and writes one file a backbone."""
        clock = Clock()
        cores = max(1, usable_cores() // self.sharing)
        with self._computing:
            forwards = [one.forward for one in self._loaded]
            work = make_work(forwards, clock, self.options.batch_size, self._decoding)
            part = with_storage(unit.batches, self.storage)
            (result,) = run_pipeline(work, [part], self.options.workers, lambda _: None, cores)
        with clock.stage(Stage.DISK):
            parts = [
                self._write(place, loaded, blocks, refused) if blocks else None
                for place, loaded, blocks, refused in zip(
                    unit.places(attempt), self._loaded, result.rows, result.refused, strict=True
                )
            ]
        return PartDone(parts, result.refused, result.payload_bytes, clock.as_record())

    def _write(
        self,
        place: str,
        loaded: LoadedBackbone,
        blocks: Sequence[Rows],
        refused: Sequence[Refusal],
    ) -> CachePart:
        facts = self.dataset, loaded.resolved.fingerprint, blocks, refused
        url = self.options.ray_parts
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
        ConfigError: fsspec cannot open the URL.
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


def with_storage(part: Iterable[Batch], storage: Storage | None) -> list[Batch]:
    """A part whose pictures are in ``storage``; parts are sent without it."""
    return [
        tuple(tuple(replace(item, storage=storage) for item in items) for items in batch)
        for batch in part
    ]
