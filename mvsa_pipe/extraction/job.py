"""Passes of an extraction, and each backbone in one: its cache and its missing posts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache.content import SOURCE, Refusal
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.matching import mark_for
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.repair_writer import open_repair
from mvsa_pipe.cache.writer import CacheWriter, open_writer
from mvsa_pipe.errors import CacheError, ConfigError
from mvsa_pipe.extraction.clock import Clock, Phase
from mvsa_pipe.extraction.fingerprint_memo import ResolvedFingerprint, recall
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.extraction.result import Extraction
from mvsa_pipe.layers import Keep
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import Content, UnreadablePostsError
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.progress import Progress
from mvsa_pipe.provenance import now, package_versions

if TYPE_CHECKING:
    from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone

T = TypeVar("T")


def in_passes(backbones: Iterable[T], modality_of: Callable[[T], Modality]) -> list[list[T]]:
    """Groups backbones that share a pass: each text backbone alone, all image backbones together.

    Text backbones have different tokens; image backbones share decoded pictures.
    """
    some = list(backbones)
    images = [one for one in some if modality_of(one) is Modality.IMAGE]
    texts = [[one] for one in some if modality_of(one) is Modality.TEXT]
    return [*texts, images] if images else texts


@dataclass(frozen=True)
class PassContext:
    """What the backbones of one pass share.

    Attributes:
        posts: The posts.
        options: Options of the extraction.
        progress: Receives progress.
        clock: Measures the time.
        contents: The text or picture of every readable post.
        faults: Reasons why the others cannot be read, by post id.
        mark: The mark of the cache to extract into; ``None`` finds it by the posts.
        repair: Whether damaged features count as not extracted, and are replaced.
    """

    posts: PostSet
    options: ExtractOptions
    progress: Progress
    clock: Clock
    contents: Sequence[Content]
    faults: Mapping[str, str]
    mark: str | None = None
    repair: bool = False

    @property
    def source(self) -> str:
        """The path of the posts."""
        return str(self.posts.storage.root.resolve())


@dataclass
class BackboneJob:
    """One backbone in a pass; it is loaded when first needed.

    Attributes:
        backbone: The backbone.
        context: What all backbones of the pass share.
        writer: Its cache.
        resolved: Its fingerprint.
        mark: Distinguishes its cache from caches of other posts.
        loaded: The loaded backbone.
        missing: Posts that must be computed now.
        lacking: Posts that determine the batches: those that the finished cache lacks; in a share,
            all.
        refused: Posts that could not be read, now or in an earlier extraction.
        reused: Number of posts whose features were cached.
        extracted: Number of posts that were computed.
    """

    backbone: BackboneOptions
    context: PassContext
    writer: CacheWriter
    resolved: ResolvedFingerprint
    mark: str
    loaded: "LoadedBackbone | None" = None
    missing: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    refused: dict[str, Refusal] = field(default_factory=dict)
    reused: int = 0
    extracted: int = 0

    @classmethod
    def opened(
        cls, backbone: BackboneOptions, context: PassContext, stack: ExitStack
    ) -> "BackboneJob":
        """Resolves the backbone, opens its cache on the stack, and finds the missing posts.

        Raises:
            BackboneError: The weights cannot be loaded.
            CacheError: Another process writes the cache, or it is damaged.
            StorageError: Posts are missing, and the cache cannot be written.
        """
        options = context.options
        loaded = None
        resolved = recall(backbone, options)
        if resolved is None:
            with context.clock.phase(Phase.LOAD):
                loaded = _loaded(backbone, context)
            resolved = loaded.resolved
        with context.clock.phase(Phase.LIST):
            folder, name = CacheFolder(options.cache), context.posts.name
            digests = {item.id: item.digest for item in context.contents}
            mark = context.mark
            if mark is None:
                mark = mark_for(folder, name, resolved.fingerprint, digests, context.source)
            opened: AbstractContextManager[CacheWriter]
            if context.repair:
                path = folder.path_of(name, resolved.fingerprint, mark=mark)
                opened = open_repair(path, name, resolved.fingerprint, context.progress)
            else:
                opened = open_writer(folder, name, resolved.fingerprint, options.shard_name, mark)
            job = cls(backbone, context, stack.enter_context(opened), resolved, mark, loaded)
            job.divide()
            if job.missing:
                job.writer.require_writable()
                if options.keep is Keep.POOLED and not context.repair and not options.shard_name:
                    from mvsa_pipe.extraction.vector_copies import copy_vectors  # torch, too

                    own = {post_id: digests[post_id] for post_id in job.missing}
                    made_by = job.resolved.fingerprint
                    copy_vectors(job.writer, folder, name, made_by, own, context.progress)
                    job.divide()
        return job

    def load(self) -> "LoadedBackbone":
        """The loaded backbone.

        Raises:
            BackboneError: The weights cannot be loaded.
            CacheError: The remembered fingerprint is no longer valid.
        """
        if self.loaded is None:
            with self.context.clock.phase(Phase.LOAD):
                self.loaded = _loaded(self.backbone, self.context)
        # The memo may come from another machine; loading the backbone has updated it.
        if self.loaded.resolved.fingerprint != self.resolved.fingerprint:
            raise CacheError(
                f"The remembered fingerprint of backbone {self.backbone.name!r} is no longer valid",
                where=self.context.options.cache,
                hint="run the same again",
            )
        return self.loaded

    def divide(self) -> None:
        """Divides posts into cached, known as unreadable, and missing."""
        contents, options = self.context.contents, self.context.options
        committed, finished = self.writer.committed, self._finished()
        if options.on_bad_post is BadPostPolicy.SKIP and not options.retry_failed:
            known = self.writer.quarantine
            self.refused = {
                item.id: known[item.id]
                for item in contents
                if item.id in known
                and known[item.id].digest == item.digest != committed.get(item.id)
            }
        lacking = {item.id for item in contents if finished.get(item.id) != item.digest}
        held = {item.id for item in contents if committed.get(item.id) == item.digest}
        self.missing = lacking - held - self.refused.keys()
        # Shares must not change when some of them were already merged.
        self.lacking = {item.id for item in contents} if options.shard_name else lacking
        self.reused = len(held)

    def _finished(self) -> dict[str, str]:
        """Digests in the finished cache; for a shard, in the cache that shards are merged to."""
        options = self.context.options
        if not options.shard_name:
            return self.writer.finished
        folder = CacheFolder(options.cache)
        fingerprint = self.resolved.fingerprint
        path = folder.path_of(self.context.posts.name, fingerprint, mark=self.mark)
        if not path.exists():
            return {}
        return FeatureFile(path).header.content_digests

    @property
    def quarantine(self) -> dict[str, Refusal]:
        """All unreadable posts, including those that are no longer in the data set."""
        here = {post.id for post in self.context.posts.posts}
        others = {i: r for i, r in self.writer.quarantine.items() if i not in here}
        unreadable = {i: Refusal(i, "", reason) for i, reason in self.context.faults.items()}
        return others | unreadable | self.refused

    @property
    def skipped(self) -> dict[str, str]:
        """Reasons why posts of this data set cannot be read."""
        refused = {i: refusal.reason for i, refusal in self.refused.items()}
        return {**self.context.faults, **refused}

    def finished(self) -> Extraction:
        """Joins committed parts to the finished cache.

        Raises:
            UnreadablePostsError: Posts cannot be read and the policy is ``error``.
            ConfigError: This share of the posts is empty.
            CacheError: A committed part is damaged.
            StorageError: Writing fails.
        """
        options, skipped = self.context.options, self.skipped
        if options.shard_name and not self.writer.committed and not skipped:
            raise ConfigError(
                f"Share {options.shard} is empty: its posts are already cached, or there are fewer "
                "batches of posts than shares",
                where=self.backbone.name,
                hint="see mvsa cache list, or cut the posts into fewer shares",
            )
        if not self.writer.committed or (skipped and options.on_bad_post is BadPostPolicy.ERROR):
            raise UnreadablePostsError(skipped, self.context.posts.storage.root)
        quarantine = self.quarantine
        if self.writer.unfinished or quarantine != self.writer.quarantine:
            notes = self._notes()
            with self.context.clock.phase(Phase.FINISH):
                order = [post.id for post in self.context.posts.posts]
                limit = options.join_below_bytes
                file = self.writer.finish(
                    order, notes, quarantine.values(), limit, self.context.progress
                )
        else:
            file = self.writer.file or FeatureFile(self.writer.path)
        for kept in self.writer.set_aside:
            self.context.progress.say(
                f"{kept}: unreadable, kept aside; its features are extracted again"
            )
        return Extraction(
            file=file,
            extracted=self.extracted,
            reused=self.reused,
            skipped=skipped,
            device=self.resolved.device,
            profile=self.context.clock.as_record(),
            computed=frozenset(self.missing - self.refused.keys()),
        )

    def _notes(self) -> dict[str, Any]:
        """Notes for ``mvsa cache info``; they do not depend on interruptions."""
        loaded = self.load()
        skipped = self.skipped
        contents = [item for item in self.context.contents if item.id not in skipped]
        with self.context.clock.phase(Phase.MEASURE):
            notes: dict[str, Any] = {
                "written": now(),
                SOURCE: self.context.source,
                "device": self.resolved.device,
                "versions": package_versions(),
                "backbone": self.backbone.located().as_record(),
                "deviation_from_float32": loaded.deviation(contents),
            }
            if self.backbone.modality is Modality.TEXT:
                notes |= self._cut(contents, loaded)
        return notes

    def _cut(self, contents: Sequence[Content], loaded: "LoadedBackbone") -> dict[str, int]:
        """Number of texts that ``max_tokens`` cuts, and of the tokens cut off."""
        longest = self.backbone.max_tokens
        some = contents
        if self.context.options.keep is Keep.ALL:
            full = self.writer.posts_with_tokens(longest)  # only those can have been cut
            some = [item for item in contents if item.id in full]
        tokens = loaded.tokens_of(some)
        over = [count - longest for count in tokens if count > longest]
        return {"texts_cut": len(over), "tokens_cut": sum(over)}


def _loaded(backbone: BackboneOptions, context: PassContext) -> "LoadedBackbone":
    from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone  # imports torch

    context.progress.say(f"loading {backbone.name}")
    return LoadedBackbone.load(backbone, context.options)
