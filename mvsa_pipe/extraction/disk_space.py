"""Checks the free disk space for features of several layers, before anything is written."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mvsa_pipe.disk import storage_errors
from mvsa_pipe.errors import StorageError
from mvsa_pipe.extraction.job import BackboneJob, PassContext
from mvsa_pipe.layers import Layers


def require_disk_space(jobs: Sequence[BackboneJob], context: PassContext) -> None:
    """Reports the size of the requested layers and checks the free space.

    Parts and the joined cache exist side by side for a moment.

    Raises:
        StorageError: The disk has too little free space.
    """
    layered = [job for job in jobs if job.backbone.layers is not Layers.LAST]
    if not layered:
        return
    new = [_bytes_of(job, context) for job in layered]
    for job, size in zip(layered, new, strict=True):
        loaded = job.load()
        count = loaded.forward.backbone.layers
        context.progress.say(
            f"{job.resolved.fingerprint.backbone}: {count} layers of {len(job.missing):,} posts "
            f"will take {_shown(size)}"
        )
    joined = [size + job.writer.payload_bytes for job, size in zip(layered, new, strict=True)]
    limit = context.options.join_below_bytes
    needed = sum(new) + max((size for size in joined if size <= limit), default=0)
    with storage_errors(context.options.cache):
        free = shutil.disk_usage(_existing(context.options.cache)).free
    if needed > free:
        raise StorageError(
            "The disk has too little free space for these layers",
            where=context.options.cache,
            expected=f"{_shown(needed)} free for parts and the cache joined from them",
            found=_shown(free),
            hint="--layers last4 takes less than all; --join-gib 0 keeps parts unjoined",
        )


def _bytes_of(job: BackboneJob, context: PassContext) -> int:
    """Bytes of the missing features of this share."""
    loaded = job.load()
    forward = loaded.forward
    items = [item for item in context.contents if item.id in job.missing]
    lengths = loaded.tokens_of(items)
    if lengths:
        tokens = sum(min(length, job.backbone.max_tokens) for length in lengths)
    else:
        tokens = len(items) * int(getattr(forward.backbone, "tokens", 0))
    return (tokens * forward.token_bytes + len(items) * forward.vector_bytes) // (
        context.options.share[1]
    )


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())


def _shown(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
