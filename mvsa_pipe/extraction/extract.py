"""Brings one cache up to date with a data set: only what is missing is computed."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.layout import Rows
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import CacheWriter, open_writer
from mvsa_pipe.errors import CacheError, DataError
from mvsa_pipe.extraction.contents import Content, UnreadablePostsError, contents_of
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.extraction.resolution import Resolution, recall
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.progress import Progress
from mvsa_pipe.provenance import now, package_versions, peak_memory_bytes

if TYPE_CHECKING:
    from mvsa_pipe.extraction.session import Session


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes:
        file: The cache, up to date.
        extracted: Posts that went through the backbone now.
        reused: Posts whose features were there.
        skipped: Posts left out, by id, and why.
        device: Where it computed.
        seconds: Wall time.
    """

    file: FeatureFile
    extracted: int
    reused: int
    skipped: dict[str, str]
    device: str
    seconds: float

    def as_record(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        header = self.file.header
        return {
            "cache": str(self.file.path),
            "dataset": header.dataset,
            "backbone": header.fingerprint.backbone,
            "fingerprint": header.fingerprint.digest,
            "precision": header.fingerprint.precision,
            "dtype": header.fingerprint.dtype.value,
            "device": self.device,
            "extracted": self.extracted,
            "reused": self.reused,
            "skipped": self.skipped,
            "payload_bytes": header.payload_bytes,
            "seconds": round(self.seconds, 3),
            "peak_memory_bytes": peak_memory_bytes(),
            "notes": header.notes,
        }


def extract(
    posts: PostSet, backbone: BackboneOptions, options: ExtractOptions, progress: Progress
) -> Extraction:
    """Makes the cache of one backbone hold every readable post of a data set.

    Only posts that are new, or whose content changed, go through the backbone; when there are
    none, neither torch nor the backbone is loaded.

    Raises:
        UnreadablePostsError: Posts cannot be read and the policy is ``error``; what is readable
            was committed.
        BackboneError: The weights cannot be had.
        CacheError: Another process writes the cache, what is there is damaged, or what was
            remembered of the backbone no longer holds.
        StorageError: The disk refuses; what was committed stays.
    """
    started = time.perf_counter()
    job = _Job(posts, backbone, options, progress)
    contents, job.faults = contents_of(posts, backbone.modality)
    resolution = recall(backbone, options) or job.load().resolution
    folder = CacheFolder(options.cache)
    with open_writer(folder, posts.name, resolution.fingerprint) as writer:
        reused, missing = job.divide(contents, writer)
        for rows in job.stream(missing, resolution) if missing else ():
            writer.commit(rows, job.refusals())
            job.extracted += len(rows.ids)
        job.require_readable(writer)
        if job.extracted or writer.unfinished or job.refusals_beside(writer) != _noted(writer):
            notes = job.notes(contents, resolution) | job.refusals_beside(writer)
            file = writer.finish([post.id for post in posts.posts], notes)
        else:
            file = FeatureFile(writer.path)
    return Extraction(
        file=file,
        extracted=job.extracted,
        reused=reused,
        skipped=job.faults,
        device=resolution.device,
        seconds=time.perf_counter() - started,
    )


@dataclass
class _Job:
    """One extraction under way; the backbone is loaded when first needed.

    ``faults`` says what is wrong with posts, ``refused`` which bytes were found so: they need not
    be decoded again to know.
    """

    posts: PostSet
    backbone: BackboneOptions
    options: ExtractOptions
    progress: Progress
    faults: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    extracted: int = 0
    session: "Session | None" = None

    def load(self) -> "Session":
        if self.session is None:
            from mvsa_pipe.extraction.session import Session  # torch comes with it

            self.progress.say(f"loading {self.backbone.name}")
            self.session = Session.load(self.backbone, self.options)
        return self.session

    def divide(self, contents: Sequence[Content], writer: CacheWriter) -> tuple[int, list[Content]]:
        """How many posts the cache holds as they are, and which others must be tried."""
        committed, noted = writer.committed, _noted(writer)
        missing = [item for item in contents if committed.get(item.id) != item.digest]
        reused = len(contents) - len(missing)
        if self.options.on_bad_post is BadPostPolicy.SKIP:
            bad = {i.id: i.digest for i in missing if noted["refused"].get(i.id) == i.digest}
            self.refused |= bad
            self.faults |= {post_id: noted["skipped"][post_id] for post_id in bad}
            missing = [item for item in missing if item.id not in bad]
        return reused, missing

    def stream(self, missing: Sequence[Content], resolution: Resolution) -> Iterator[Rows]:
        session = self.load()
        # What was remembered of the backbone may have been true of another machine; loading it
        # has set the memory right.
        if session.resolution.fingerprint != resolution.fingerprint:
            raise CacheError(
                f"What was remembered of backbone {self.backbone.name!r} no longer holds",
                where=self.options.cache,
                hint="run the same again",
            )
        name = resolution.fingerprint.backbone
        self.progress.say(f"{name} on {session.device_name}, {session.precision.value}")
        self.progress.start(f"extract {name}", len(missing))
        yield from session.stream(missing, self.progress.advance, self._refuse)

    def _refuse(self, item: Content, error: DataError) -> None:
        self.faults[item.id] = error.what
        self.refused[item.id] = item.digest

    def refusals(self) -> dict[str, dict[str, str]]:
        """What is noted of unreadable posts."""
        return {"skipped": self.faults, "refused": self.refused}

    def refusals_beside(self, writer: CacheWriter) -> dict[str, dict[str, str]]:
        """The same, with what the cache notes of posts that this data set does not list now."""
        here, found = {post.id for post in self.posts.posts}, self.refusals()
        return {
            name: {i: text for i, text in old.items() if i not in here} | found[name]
            for name, old in _noted(writer).items()
        }

    def require_readable(self, writer: CacheWriter) -> None:
        nothing_kept = not writer.committed
        if nothing_kept or (self.faults and self.options.on_bad_post is BadPostPolicy.ERROR):
            raise UnreadablePostsError(self.faults, self.posts.storage.root)

    def notes(self, contents: Sequence[Content], resolution: Resolution) -> dict[str, Any]:
        return {
            "written": now(),
            "device": resolution.device,
            "versions": package_versions(),
            "backbone": self.backbone.located().as_record(),
            **self.load().notes([item for item in contents if item.id not in self.faults]),
        }


def _noted(writer: CacheWriter) -> dict[str, dict[str, str]]:
    return {name: writer.noted(name) for name in ("skipped", "refused")}
