"""What became of leased parts: how their files are called, and which are committed."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mvsa_pipe.cache.layout import Refusal, parts_folder
from mvsa_pipe.cache.manifest import Manifest, part_name
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.durable import leftovers, replacing
from mvsa_pipe.errors import CacheError, StorageError
from mvsa_pipe.extraction.job import Job
from mvsa_pipe.extraction.ray_actor import Delivery, remote


@dataclass(eq=False)
class Lease:
    """One part: its posts, what its files will be called, and where they are written first."""

    number: int
    packed: bytes
    posts: int
    names: list[str]
    places: list[str] = field(default_factory=list)
    losses: int = 0


class Ledger:
    """Names the files of each part, takes them over and commits them.

    A part's name follows from its number alone, so that caches which stay in parts have their rows
    in the same order whichever actor was faster.
    """

    def __init__(self, jobs: Sequence[Job], uploads: str) -> None:
        self._jobs = jobs
        self._files: Any = None
        self._root = ""
        if uploads:
            self._files, self._root = remote(uploads)
        self._folders = [parts_folder(job.writer.path) for job in jobs]
        self._taken = [{part.name for part in Manifest(f).parts} for f in self._folders]
        self._first = [_first_number(job.writer.path) for job in jobs]
        self._refused: dict[int, tuple[tuple[Refusal, ...], ...]] = {}

    def names(self, number: int) -> list[str]:
        """What the files of a part will be called, one a backbone."""
        names = []
        for taken, first in zip(self._taken, self._first, strict=True):
            at = first + number
            while part_name(at) in taken:
                at += 1
            taken.add(part_name(at))
            names.append(part_name(at))
        return names

    def places(self, names: Sequence[str]) -> list[str]:
        """Where an actor writes them: nowhere that another writes, and swept if left there."""
        token = secrets.token_hex(4)
        unique = [f"{name.removesuffix('.h5')}-{token}.h5" for name in names]
        if self._files is not None:
            stems = [folder.stem for folder in self._folders]
            return [f"{self._root}/{s}-{u}" for s, u in zip(stems, unique, strict=True)]
        return [str(f.resolve() / u) for f, u in zip(self._folders, unique, strict=True)]

    def commit(self, lease: Lease, done: Delivery) -> None:
        """Puts the files of a part in their place and enters them in the manifests.

        Raises:
            CacheError: A file was damaged on its way.
            StorageError: It is not there, or the disk refuses.
        """
        ways = zip(self._jobs, self._folders, lease.names, lease.places, done.parts, strict=True)
        for job, folder, name, place, part in ways:
            if part is None:
                continue
            with replacing(folder / name) as temporary:
                self._fetch(place, temporary)
            job.writer.adopt(replace(part, name=name))
            job.extracted += part.posts
        self.discard(lease)
        self._refused[lease.number] = done.refused

    def _fetch(self, place: str, into: Path) -> None:
        if self._files is not None:
            self._files.get_file(place, str(into))
            if FeatureFile(into).damaged_posts():
                raise CacheError("A part was damaged on its way", where=place, hint="run it again")
        elif Path(place).is_file():
            Path(place).replace(into)
        else:
            raise StorageError(
                "An actor wrote a part that cannot be seen here",
                where=place,
                hint="keep --cache in a folder that all machines share, or have parts sent: "
                "--ray-parts URL",
            )

    def discard(self, lease: Lease) -> None:
        """Deletes whatever an attempt at a lease has left."""
        for place in lease.places:
            with suppress(OSError):
                if self._files is not None:
                    self._files.rm_file(place)
                    continue
                for file in (Path(place), *leftovers(Path(place))):
                    file.unlink(missing_ok=True)

    def close(self) -> None:
        """Notes all refused posts, in the order of the parts."""
        for _, refused in sorted(self._refused.items()):
            for job, refusals in zip(self._jobs, refused, strict=True):
                job.refused |= {refusal.id: refusal for refusal in refusals}


def _first_number(path: Path) -> int:
    """The number after those that the finished cache refers to."""
    segments = FeatureFile(path).header.segments if path.exists() else ()
    return 1 + max((int(segment.name[5:-3]) for segment in segments), default=-1)
