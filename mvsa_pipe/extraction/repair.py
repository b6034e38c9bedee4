"""Mends a damaged cache: its structure from its own copy, its features by extracting them again."""

from pathlib import Path

from mvsa_pipe.backbones.options import BackboneOptions
from mvsa_pipe.cache import mending
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import SHARDS, CacheFolder
from mvsa_pipe.cache.layout import parts_folder
from mvsa_pipe.cache.lock import exclusive
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.serving import mark_of
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError, name_some
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.extraction.origin import backbone_of, fingerprint_of, recorded_backbone
from mvsa_pipe.extraction.resolution import recall
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.progress import Progress


def repair(
    path: Path, posts: PostSet, folder: CacheFolder, device: str, progress: Progress
) -> list[str]:
    """Makes a cache whole again; returns the posts that were extracted again for it.

    Structure comes back from the copy that each file holds. Where that is damaged too, a part is
    left out, or the whole file set aside, and their posts are extracted again; what is set aside
    stays beside the cache. No feature is given up before the backbone is found to be the one that
    made the cache. Stopped halfway, the cache lacks the damaged posts, and ``mvsa extract`` adds
    them.

    Args:
        path: The cache.
        posts: The posts that it was made of.
        folder: The folder of all caches.
        device: Where to compute.
        progress: Listens: to which files were mended, and which set aside.

    Raises:
        CacheError: Nothing tells how it was made, it is of other posts, its backbone has changed,
            or it lies elsewhere than an extraction would put it.
        MvsaError: As ``extract``.
    """
    if path.resolve().parent.name == SHARDS:
        raise CacheError(
            "Shards are extracted again rather than mended",
            where=path,
            hint=f"mvsa cache remove {path}, then the same mvsa extract --shard i/n",
        )
    if not path.is_file() and not parts_folder(path).is_dir():
        FeatureFile(path)  # which says what is there instead
    restored: list[Path] = []
    if not mending.has_whole_structure(path):
        with exclusive(path):
            restored = mending.restore(path)
    for changed in restored:
        progress.say(f"{changed}: its structure was damaged, and is whole again")
    lost = set(mending.unreadable_parts(path))
    try:
        file = FeatureFile(path)
    except CacheError:
        if not path.is_file() and not (restored or lost or _damaged_parts(path)):
            raise
        return _anew(path, posts, folder, device, progress)
    return _mended(file, posts, folder, device, lost, progress)


def _mended(
    file: FeatureFile,
    posts: PostSet,
    folder: CacheFolder,
    device: str,
    lost: set[str],
    progress: Progress,
) -> list[str]:
    """Extracts the damaged posts of a cache again; its file can be read."""
    header, path = file.header, file.path
    in_lost = mending.posts_in(file, lost)
    damaged = mending.damaged_beside(file, lost)
    hit = {*in_lost, *damaged}
    apart = lost or _damaged_parts(path)  # parts that wait to be joined
    if not hit and not apart:
        return []
    _require_same_posts(path, header.dataset, posts)
    _require_possible(path, header.fingerprint, posts, list(hit), folder)
    mark = mark_of(path, header.fingerprint)
    options = _options(folder, device, header.fingerprint, 0.0 if header.segments else float("inf"))
    header.fingerprint.require_makeable(path)
    backbone = recorded_backbone(file)
    _require_same(file, backbone, options)
    with exclusive(path):
        lost = set(mending.unreadable_parts(path))  # another may have mended it in between
        damaged = mending.damaged_beside(FeatureFile(path), lost)
        _leave_out(path, lost, progress)
        hit |= set(mending.keep_whole_rows(path))
    if path.is_file():
        with open_writer(folder, header.dataset, header.fingerprint, mark=mark) as writer:
            writer.forget(damaged)
            if writer.committed:
                writer.finish(header.ids, {}, header.quarantine, options.join_below_bytes)
            else:
                path.unlink()
    extract(posts, backbone, options, progress, mark)
    return [*(i for i in header.ids if i in hit), *sorted(hit - set(header.ids))]


def _anew(
    path: Path, posts: PostSet, folder: CacheFolder, device: str, progress: Progress
) -> list[str]:
    """Ends an extraction whose parts are damaged, or makes a file anew that cannot be read."""
    _require_same_posts(path, path.resolve().parent.name, posts)
    fingerprint = fingerprint_of(path, folder.root)
    _require_possible(path, fingerprint, posts, [], folder)
    options = _options(folder, device, fingerprint, ExtractOptions.join_gib)
    backbone = backbone_of(path, folder.root, fingerprint, options)
    with exclusive(path):
        lost = set(mending.unreadable_parts(path))  # another may have mended it in between
        if path.is_file() and not _opens(path):
            progress.say(f"{path}: cannot be read, and was kept as {mending.set_aside(path).name}")
        _leave_out(path, lost, progress)
        mending.keep_whole_rows(path)
    mark = mark_of(path, fingerprint)
    with open_writer(folder, posts.name, fingerprint, mark=mark) as writer:
        held = set(writer.committed)
    file = extract(posts, backbone, options, progress, mark).file
    return [post_id for post_id in file.header.ids if post_id not in held]


def _opens(path: Path) -> bool:
    try:
        FeatureFile(path)
    except CacheError:
        return False
    return True


def _leave_out(path: Path, lost: set[str], progress: Progress) -> None:
    for name in sorted(lost):
        progress.say(f"{parts_folder(path) / name}: cannot be read, and is left out")
    mending.leave_out(path, lost)


def _damaged_parts(path: Path) -> bool:
    """Whether parts that wait to be joined have damaged rows."""
    return any(FeatureFile(part).damaged_posts() for part in mending.waiting_parts(path))


def _options(
    folder: CacheFolder, device: str, fingerprint: Fingerprint, join_gib: float
) -> ExtractOptions:
    return ExtractOptions(
        cache=folder.root,
        device=device,
        precision=fingerprint.arithmetic,
        dtype=fingerprint.dtype,
        on_bad_post=BadPostPolicy.SKIP,
        join_gib=join_gib,
    )


def _require_same_posts(path: Path, dataset: str, posts: PostSet) -> None:
    if posts.name != dataset:
        raise CacheError(
            "This cache is of another data set",
            where=path,
            expected=f"the posts of {dataset}",
            found=posts.name,
            hint="name them with --data PATH",
        )


def _require_possible(
    path: Path,
    fingerprint: Fingerprint,
    posts: PostSet,
    damaged: list[str],
    folder: CacheFolder,
) -> None:
    """Refuses what would end with fewer posts than before."""
    own = folder.path_of(posts.name, fingerprint, mark=mark_of(path, fingerprint))
    if path.resolve() != own.resolve():
        raise CacheError(
            "This cache does not lie where an extraction would put it, so none can mend it",
            where=path,
            expected=str(own),
            hint=f"move it there, or remove it and extract again: {fingerprint.command}",
        )
    here = {post.id for post in posts.posts}
    gone = [post_id for post_id in damaged if post_id not in here]
    if gone:
        raise CacheError(
            f"{len(gone):,} damaged posts cannot be extracted again: the data set lacks them",
            where=path,
            found=f"no {name_some(gone)} in {posts.storage.root}",
            hint="name the posts that the cache was made of: --data PATH",
        )


def _require_same(file: FeatureFile, backbone: BackboneOptions, options: ExtractOptions) -> None:
    resolution = recall(backbone, options)
    if resolution is None:
        from mvsa_pipe.extraction.session import Session  # torch comes with it

        resolution = Session.load(backbone, options).resolution
    resolution.fingerprint.require(file.header.fingerprint, file.path)
