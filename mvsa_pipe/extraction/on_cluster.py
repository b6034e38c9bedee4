"""Spreads an extraction over a cluster: workers compute parts, and this process commits them.

This process alone opens the caches, cuts the parts and writes the manifests. A file that a lost
worker left is not committed; it is deleted with its part, or when the cache is next opened.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvsa_pipe.backbones.decoding import settled
from mvsa_pipe.cache.content import Refusal, parts_folder
from mvsa_pipe.cache.manifest import Manifest, part_name
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cluster.connection import connected
from mvsa_pipe.cluster.pool import Pool
from mvsa_pipe.durable import leftovers, replacing
from mvsa_pipe.errors import CacheError, MvsaError, StorageError
from mvsa_pipe.extraction.cluster_worker import (
    ExtractionWorker,
    PartDone,
    PartUnit,
    remote,
    with_storage,
)
from mvsa_pipe.extraction.job import BackboneJob, PassContext
from mvsa_pipe.provenance import package_versions

if TYPE_CHECKING:
    from mvsa_pipe.extraction.batches import Batch

# A worker computes one part while the one before is written.
_LEASES = 2


def compute_on_cluster(
    jobs: Sequence[BackboneJob], parts: Iterator[tuple[int, list["Batch"]]], context: PassContext
) -> Iterator[int]:
    """Computes parts on a cluster and commits them; yields the bytes of each.

    Args:
        jobs: The backbones, loaded.
        parts: The parts with their numbers among all parts.
        context: What the backbones share.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
        CacheError: A worker has other weights, or the file of a part is damaged.
        MvsaError: A worker raised it, or workers were lost repeatedly.
    """
    options = context.options
    pictures = len(set().union(*(job.missing for job in jobs))) // options.share[1]
    with connected(options.ray) as cluster:
        files = _PartFiles(jobs, options.ray_parts)
        plan = cluster.plan(options.device, options.ray_actors)
        make = partial(
            ExtractionWorker,
            [job.backbone.located() for job in jobs],
            [job.resolved.fingerprint for job in jobs],
            package_versions(),
            replace(options, decode=settled(options.decode, pictures)),
            context.posts.name,
            context.posts.storage,
            plan.sharing,
        )
        doing = "part {0.number} was computed".format
        pool = Pool(cluster, plan, make, context.progress.say, doing, _LEASES)
        refused: dict[int, list[list[Refusal]]] = {}
        for unit, done, attempts in pool.run(files.unit(n, part) for n, part in parts):
            try:
                if isinstance(done, MvsaError):
                    raise done
                files.commit(unit, done, unit.places(attempts - 1))
            finally:
                for attempt in range(attempts):
                    files.discard(unit.places(attempt))
            refused[unit.number] = done.refused
            context.clock.absorb(done.profile, plan.count)
            context.progress.advance(unit.posts)
            yield done.payload_bytes
        for _, of_part in sorted(refused.items()):  # as if the parts had been computed in order
            for job, refusals in zip(jobs, of_part, strict=True):
                job.refused |= {refusal.id: refusal for refusal in refusals}


class _PartFiles:
    """Names, moves and commits the files of parts.

    The name of a part follows from its number alone, so that a cache that stays in parts has its
    rows in the same order whichever worker was faster.
    """

    def __init__(self, jobs: Sequence[BackboneJob], uploads: str) -> None:
        self._jobs = jobs
        self._uploads: Any = None
        self._folders = [parts_folder(job.writer.path) for job in jobs]
        self._stems = [str(folder.resolve()) + "/" for folder in self._folders]
        if uploads:
            self._uploads, root = remote(uploads)
            self._stems = [f"{root}/{folder.stem}-" for folder in self._folders]
        self._taken = [{part.name for part in Manifest(f).parts} for f in self._folders]
        self._first = [_first_number(job.writer.path) for job in jobs]

    def unit(self, number: int, part: Sequence["Batch"]) -> PartUnit:
        """A part, ready to be sent to a worker."""
        names = []
        for taken, first in zip(self._taken, self._first, strict=True):
            at = first + number
            while part_name(at) in taken:
                at += 1
            taken.add(part_name(at))
            names.append(part_name(at))
        token = secrets.token_hex(4)
        ways = zip(self._stems, names, strict=True)
        stems = [f"{stem}{name.removesuffix('.h5')}-{token}" for stem, name in ways]
        return PartUnit(number, with_storage(part, None), names, stems)

    def commit(self, unit: PartUnit, done: PartDone, places: Sequence[str]) -> None:
        """Moves the files of a part to their final names and enters them in the manifests.

        Raises:
            CacheError: A file was damaged in transfer.
            StorageError: A file is missing, or writing fails.
        """
        columns = zip(self._jobs, self._folders, unit.names, places, done.parts, strict=True)
        for job, folder, name, place, part in columns:
            if part is None:
                continue
            with replacing(folder / name) as temporary:
                self._fetch(place, temporary)
            job.writer.adopt(replace(part, name=name))
            job.extracted += part.posts

    def _fetch(self, place: str, into: Path) -> None:
        if self._uploads is not None:
            self._uploads.get_file(place, str(into))
            if FeatureFile(into).damaged_posts():
                raise CacheError(
                    "A part was damaged in transfer", where=place, hint="run the same again"
                )
        elif Path(place).is_file():
            Path(place).replace(into)
        else:
            raise StorageError(
                "A worker wrote a part that this machine cannot see",
                where=place,
                hint="put --cache in a folder that all machines share, or send parts: "
                "--ray-parts URL",
            )

    def discard(self, places: Sequence[str]) -> None:
        """Deletes the files that one attempt at a part has left."""
        for place in places:
            with suppress(OSError):
                if self._uploads is not None:
                    self._uploads.rm_file(place)
                    continue
                for file in (Path(place), *leftovers(Path(place))):
                    file.unlink(missing_ok=True)


def _first_number(path: Path) -> int:
    """The first part number that the finished cache does not use."""
    segments = FeatureFile(path).header.segments if path.exists() else ()
    return 1 + max((int(segment.name[5:-3]) for segment in segments), default=-1)
