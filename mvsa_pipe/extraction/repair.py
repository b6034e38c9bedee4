"""Extracts again just those posts whose cached bytes were damaged."""

from pathlib import Path

from mvsa_pipe.backbones.options import BackboneOptions, Decode, Pooling
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import open_writer
from mvsa_pipe.errors import CacheError, name_some
from mvsa_pipe.extraction.extract import extract
from mvsa_pipe.extraction.options import BadPostPolicy, ExtractOptions
from mvsa_pipe.extraction.resolution import recall
from mvsa_pipe.layers import Layers
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.progress import Progress


def repair(
    path: Path, posts: PostSet, folder: CacheFolder, device: str, progress: Progress
) -> list[str]:
    """Makes a cache whole again; returns the posts that were damaged.

    Nothing is changed before the backbone is found to be the one that made the cache. Stopped
    halfway, the cache lacks the damaged posts, and ``mvsa extract`` adds them.

    Args:
        path: The cache.
        posts: The posts that it was made of.
        folder: The folder of all caches.
        device: Where to compute.
        progress: Listens.

    Raises:
        CacheError: Its header is damaged, it is of other posts, its backbone has changed, or it
            lies elsewhere than an extraction would put it.
        MvsaError: As ``extract``.
    """
    file = FeatureFile(path)
    header = file.header
    damaged = file.damaged_posts()
    if not damaged:
        return []
    if posts.name != header.dataset:
        raise CacheError(
            "This cache is of another data set",
            where=path,
            expected=f"the posts of {header.dataset}",
            found=posts.name,
            hint="name them with --data PATH",
        )
    _require_possible(path, file, posts, damaged, folder)
    options = ExtractOptions(
        cache=folder.root,
        device=device,
        precision=header.fingerprint.precision,
        dtype=header.fingerprint.dtype,
        on_bad_post=BadPostPolicy.SKIP,
        join_gib=0.0 if header.segments else float("inf"),
    )
    backbone = recorded_backbone(file)
    _require_same(file, backbone, options)
    with open_writer(folder, header.dataset, header.fingerprint) as writer:
        writer.forget(damaged)
        if writer.committed:
            writer.finish(header.ids, {}, header.quarantine, options.join_below_bytes)
        else:
            path.unlink()
    extract(posts, backbone, options, progress)
    return damaged


def _require_possible(
    path: Path, file: FeatureFile, posts: PostSet, damaged: list[str], folder: CacheFolder
) -> None:
    """Refuses what would end with fewer posts than before."""
    header = file.header
    own = folder.path_of(header.dataset, header.fingerprint)
    if path.resolve() != own.resolve():
        raise CacheError(
            "This cache does not lie where an extraction would put it, so none can mend it",
            where=path,
            expected=str(own),
            hint=f"move it there, or remove it and extract again: {header.fingerprint.command}",
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


def recorded_backbone(file: FeatureFile) -> BackboneOptions:
    """The backbone that made a cache, as the cache notes it.

    Raises:
        CacheError: It does not say.
    """
    return backbone_from_record(file.header.notes.get("backbone"), file.path)


def backbone_from_record(fields: object, where: object) -> BackboneOptions:
    """A backbone's options from a record of them.

    Raises:
        CacheError: There is no such record.
    """
    if not isinstance(fields, dict):
        raise CacheError("This cache does not say which backbone made it", where=where)
    pooling = Pooling(fields["pooling"]) if fields["pooling"] else None
    return BackboneOptions(
        fields["name"],
        weights=fields["weights"],
        pooling=pooling,
        max_tokens=fields["max_tokens"],
        decode=Decode(fields["decode"]),
        layers=Layers(fields.get("layers", Layers.LAST)),
        tuned=fields.get("tuned"),
    )
