"""Brings caches up to date with a data set; computes only missing features.

Every picture is read and decoded once for all image backbones.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.errors import MvsaError
from mvsa_pipe.extraction.clock import Clock, Phase
from mvsa_pipe.extraction.disk_space import require_disk_space
from mvsa_pipe.extraction.job import BackboneJob, PassContext, in_passes
from mvsa_pipe.extraction.options import ExtractOptions
from mvsa_pipe.extraction.result import Extraction
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.contents import UnreadablePostsError, contents_of
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.progress import Progress

if TYPE_CHECKING:
    from mvsa_pipe.extraction.batches import Batch, BatchWork, PartResult


def extract(
    posts: PostSet,
    backbone: BackboneOptions,
    options: ExtractOptions,
    progress: Progress,
    mark: str | None = None,
    *,
    repair: bool = False,
) -> Extraction:
    """Extracts one backbone's features of every readable post; as ``extract_all``."""
    (done,) = extract_all(posts, [backbone], options, progress, mark, repair=repair)
    return done


def extract_all(
    posts: PostSet,
    backbones: Sequence[BackboneOptions],
    options: ExtractOptions,
    progress: Progress,
    mark: str | None = None,
    *,
    repair: bool = False,
) -> list[Extraction]:
    """Extracts the features of every readable post of a data set into the backbones' caches.

    Only posts that are new, or whose content changed, go through a backbone; when there are none,
    neither torch nor the backbone is loaded.

    Args:
        posts: The posts.
        backbones: The backbones.
        options: Options of the extraction.
        progress: Receives progress.
        mark: The mark of the caches to extract into; by default found by the posts, see
            ``mark_for``.
        repair: Whether damaged features count as missing; existing features are then checked.

    Raises:
        UnreadablePostsError: Posts cannot be read and the policy is ``error``; features of the
            others were committed.
        BackboneError: The weights cannot be loaded.
        CacheError: Another process writes a cache, a cache is damaged, or a remembered fingerprint
            is no longer valid.
        StorageError: Writing fails; committed features stay. Or there is too little space for the
            requested layers, which is checked before anything is written.
        ConfigError: Layers are requested, and no hidden states; or pictures cannot be decoded as
            requested.
    """
    options.refuse_layers(backbones)
    done: dict[str, Extraction] = {}
    fault: MvsaError | None = None
    chosen = {backbone.name: backbone for backbone in backbones}.values()
    for group in in_passes(chosen, attrgetter("modality")):
        clock = Clock()
        with clock.phase(Phase.LIST):
            contents, faults = contents_of(posts, group[0].modality, options.cache)
        context = PassContext(posts, options, progress, clock, contents, faults, mark, repair)
        with ExitStack() as stack:
            jobs = [BackboneJob.opened(backbone, context, stack) for backbone in group]
            _compute([job for job in jobs if job.missing], context)
            for job in jobs:
                try:
                    done[job.backbone.name] = job.finished()
                except UnreadablePostsError as error:
                    fault = fault or error  # the others are finished first
    if fault is not None:
        raise fault
    return [done[backbone.name] for backbone in backbones]


def _compute(jobs: Sequence[BackboneJob], context: PassContext) -> None:
    """Computes missing features of all backbones in the pass."""
    if not jobs:
        return
    loaded = [job.load() for job in jobs]
    from mvsa_pipe.backbones.decoding import choose_decoding  # torch comes with both
    from mvsa_pipe.extraction.loaded_backbone import make_work

    require_disk_space(jobs, context)
    options, clock, progress = context.options, context.clock, context.progress
    names = " + ".join(job.resolved.fingerprint.backbone for job in jobs)
    precision = loaded[0].forward.precision.value
    progress.say(f"{names} on {jobs[0].resolved.device}, {precision}")
    count = len(set().union(*(job.missing for job in jobs))) // options.share[1]
    forwards, decoding = [one.forward for one in loaded], None
    if jobs[0].backbone.modality is Modality.IMAGE and not options.ray:
        images = [forward.backbone for forward in forwards]
        with clock.phase(Phase.LOAD):
            decoding = choose_decoding(options.decode, images, count, progress.say)
        progress.say(f"{decoding.name} decoding")
    progress.start(f"extract {names}", count, "posts")
    work = make_work(forwards, clock, options.batch_size, decoding)
    began, written = time.perf_counter(), 0
    with clock.phase(Phase.COMPUTE):
        for size in (_spread if options.ray else _computed)(work, jobs, context):
            written += size
            rate = written / 1e6 / max(time.perf_counter() - began, 1e-9)
            progress.note(f"{rate:,.1f} MB/s, bound by {clock.bound_by()}")


def _computed(
    work: "BatchWork", jobs: Sequence[BackboneJob], context: PassContext
) -> Iterator[int]:
    """Computes and commits all parts here; yields the bytes of each."""
    from mvsa_pipe.extraction.pipeline import Background, run_pipeline

    parts = (part for _, part in unfinished_parts(work, jobs, context))
    with Background(context.clock) as disk:
        for result in run_pipeline(work, parts, context.options.workers, context.progress.advance):
            size = result.payload_bytes
            disk.call(partial(_commit, jobs, result))
            del result  # or this name would hold a part on the disk until the next is computed
            yield size


def _spread(work: "BatchWork", jobs: Sequence[BackboneJob], context: PassContext) -> Iterator[int]:
    """Computes and commits all parts on a Ray cluster; yields the bytes of each."""
    from mvsa_pipe.extraction.on_cluster import compute_on_cluster

    return compute_on_cluster(jobs, unfinished_parts(work, jobs, context), context)


def unfinished_parts(
    work: "BatchWork", jobs: Sequence[BackboneJob], context: PassContext
) -> Iterator[tuple[int, list["Batch"]]]:
    """The parts of this share of the posts, without parts committed before an interruption.

    Each comes with its number among all parts, which an interruption does not change.
    """
    index, count = context.options.share
    every = work.parts(context.contents, [job.lacking for job in jobs], shares=count)
    for number, part in enumerate(every):
        if (number + 1 - index) % count == 0:
            left = [
                tuple(
                    tuple(item for item in items if item.id in job.missing)
                    for items, job in zip(batch, jobs, strict=True)
                )
                for batch in part
            ]
            if any(map(any, left)):
                yield number, [batch for batch in left if any(batch)]


def _commit(jobs: Sequence[BackboneJob], result: "PartResult") -> None:
    for job, blocks, refused in zip(jobs, result.rows, result.refused, strict=True):
        job.refused |= {refusal.id: refusal for refusal in refused}
        if blocks:
            job.writer.commit(*blocks, quarantine=refused)
            job.extracted += sum(len(rows.ids) for rows in blocks)
