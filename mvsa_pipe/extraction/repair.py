"""Repairs a damaged cache: extracts damaged posts again, then replaces the file."""

from pathlib import Path

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache import checking
from mvsa_pipe.cache.content import parts_folder
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import SHARDS, CacheFolder
from mvsa_pipe.cache.matching import mark_of
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.repair_writer import open_repair
from mvsa_pipe.errors import CacheError, StorageError, name_some
from mvsa_pipe.extraction.damaged_identity import backbone_of, fingerprint_of
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.fingerprint_memo import recall
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.locks import exclusive
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.progress import BYTES, Progress

# A limit that no cache reaches: a repaired file stays in one piece.
_ANY_SIZE_GIB = 1e12


def repair(
    path: Path, posts: PostSet, folder: CacheFolder, device: str, progress: Progress
) -> list[str]:
    """Repairs a cache and returns the posts that were extracted again.

    The old file stays until the new one replaces it: an interrupted repair leaves a cache that is
    still found damaged, and the next repair continues. Unreadable files are kept under names that
    end with ``.damaged``. Nothing is replaced before the backbone was checked to be the one that
    made the cache.

    Args:
        path: The cache.
        posts: The posts whose features it contains.
        folder: The folder of all caches.
        device: The device that computes.
        progress: Receives messages, such as which files were set aside.

    Raises:
        CacheError: Another process writes it, its backbone is unknown or has changed, it has other
            posts, or it is not at the path that an extraction uses.
        MvsaError: As ``extract``.
    """
    if path.resolve().parent.name == SHARDS:
        raise CacheError(
            "Shards are extracted again rather than repaired",
            where=path,
            hint=f"mvsa cache remove {path}, then the same mvsa extract --shard i/n",
        )
    if path.resolve().parent.parent != folder.root.resolve():
        raise _elsewhere(path, folder.root / "DATA-SET" / path.name, "mvsa extract")
    if not path.is_file() and not parts_folder(path).is_dir():
        FeatureFile(path)  # raises an error that says what is there instead
    if not _is_damaged(path, progress):
        FeatureFile(path)
        return []
    file = _readable(path)
    dataset = path.resolve().parent.name if file is None else file.header.dataset
    _require_same_posts(path, dataset, posts)
    known = None if file is None else file.header.fingerprint
    fingerprint = known or fingerprint_of(path, folder.root)
    mark = mark_of(path, fingerprint)
    _require_place(path, folder.path_of(posts.name, fingerprint, mark=mark), fingerprint)
    limit = ExtractOptions.join_gib
    if file is not None:
        limit = 0.0 if file.header.segments else _ANY_SIZE_GIB
    options = ExtractOptions(
        cache=folder.root,
        device=device,
        precision=fingerprint.arithmetic,
        dtype=fingerprint.dtype,
        keep=fingerprint.keep,
        on_bad_post=BadPostPolicy.SKIP,
        join_gib=limit,
    )
    with open_repair(path, dataset, fingerprint, progress) as writer:
        if file is not None and writer.committed == file.header.content_digests:
            if writer.unfinished:
                refused = writer.quarantine.values()
                limit_bytes = options.join_below_bytes
                writer.finish(file.header.ids, {}, refused, limit_bytes, progress)
            return []
        damaged = writer.damaged
    fingerprint.require_makeable(path)
    _require_there(path, posts, damaged)
    if file is None:
        backbone = backbone_of(path, folder.root, fingerprint, options)
    else:
        backbone = file.backbone_options()
        _require_same(file, backbone, options)
    done = extract(posts, backbone, options, progress, mark, repair=True)
    ids = done.file.header.ids
    gone = sorted(set(damaged) - set(ids))
    if gone:
        progress.say(f"{path}: damaged and no longer readable: {name_some(gone)}")
    return [post_id for post_id in ids if post_id in done.computed]


def _is_damaged(path: Path, progress: Progress) -> bool:
    """Whether the cache is damaged.

    Raises:
        CacheError: Another process writes the cache: unfinished is not damaged.
    """
    try:
        with exclusive(path):
            return _has_faults(path, progress)
    except StorageError:  # it is read-only
        if _has_faults(path, progress):
            raise
        return False


def _has_faults(path: Path, progress: Progress) -> bool:
    progress.start(f"checking {path.name}", checking.bytes_on_disk(path), BYTES)
    try:
        return bool(checking.faults(path, progress.advance))
    except CacheError:
        return True


def _readable(path: Path) -> FeatureFile | None:
    try:
        return FeatureFile(path)
    except CacheError:
        return None


def _require_same_posts(path: Path, dataset: str, posts: PostSet) -> None:
    if posts.name != dataset:
        raise CacheError(
            "This cache is of another data set",
            where=path,
            expected=f"the posts of {dataset}",
            found=posts.name,
            hint="name them with --data PATH",
        )


def _require_place(path: Path, own: Path, fingerprint: Fingerprint) -> None:
    if path.resolve() != own.resolve():
        raise _elsewhere(path, own, fingerprint.command)


def _elsewhere(path: Path, own: Path, command: str) -> CacheError:
    return CacheError(
        "This cache is not at the path that mvsa extract uses, so it cannot be repaired",
        where=path,
        expected=str(own),
        hint=f"move it there, or remove it and extract again: {command}",
    )


def _require_there(path: Path, posts: PostSet, damaged: list[str]) -> None:
    """Refuses a repair that would lose posts."""
    here = {post.id for post in posts.posts}
    gone = [post_id for post_id in damaged if post_id not in here]
    if gone:
        raise CacheError(
            f"{len(gone):,} damaged posts cannot be extracted again: the data set lacks them",
            where=path,
            found=f"no {name_some(gone)} in {posts.storage.root}",
            hint="name the posts of the cache: --data PATH",
        )


def _require_same(file: FeatureFile, backbone: BackboneOptions, options: ExtractOptions) -> None:
    resolved = recall(backbone, options)
    if resolved is None:
        from mvsa_pipe.extraction.loaded_backbone import LoadedBackbone  # imports torch

        resolved = LoadedBackbone.load(backbone, options).resolved
    resolved.fingerprint.require(file.header.fingerprint, file.path)
