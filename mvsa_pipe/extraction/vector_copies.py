"""Copies pooled vectors from caches that keep hidden states too, which costs no backbone."""

from collections.abc import Mapping

import numpy as np

from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.fingerprint import Fingerprint
from mvsa_pipe.cache.folder import CacheFolder
from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.cache.writer import CacheWriter
from mvsa_pipe.errors import CacheError
from mvsa_pipe.extraction.batches import MOST_POSTS_A_PART
from mvsa_pipe.progress import Progress


def copy_vectors(
    writer: CacheWriter,
    folder: CacheFolder,
    dataset: str,
    fingerprint: Fingerprint,
    missing: Mapping[str, str],
    progress: Progress,
) -> None:
    """Commits the pooled vectors of missing posts that another cache has.

    Args:
        writer: The cache of pooled vectors alone.
        folder: The folder of all caches.
        dataset: The data set's name.
        fingerprint: The fingerprint of the vectors.
        missing: Content digest of every missing post by id.
        progress: Is told where vectors come from, and which cache cannot be read.

    Raises:
        StorageError: Writing fails.
    """
    wanted = dict(missing)
    for other in fingerprint.with_same_vectors:
        for path in folder.of_fingerprint(dataset, other) if other != fingerprint else ():
            if not wanted or not path.is_file():
                continue
            try:
                count = _copy_from(FeatureFile(path), other, writer, wanted)
            except CacheError as error:
                progress.say(f"no pooled vectors are copied from {path}: {error.what}")
                continue
            if count:
                progress.say(f"pooled vectors of {count:,} posts are copied from {path}")


def _copy_from(
    file: FeatureFile, fingerprint: Fingerprint, writer: CacheWriter, wanted: dict[str, str]
) -> int:
    """Commits what a cache has of the wanted posts, and takes them out of these."""
    fingerprint.require(file.header.fingerprint, file.path)
    ids, digests = file.header.ids, file.header.digests
    rows = [row for row, post_id in enumerate(ids) if wanted.get(post_id) == digests[row]]
    for start in range(0, len(rows), MOST_POSTS_A_PART):
        some = np.array(rows[start : start + MOST_POSTS_A_PART], np.int64)
        posts = [ids[row] for row in some]
        vectors = file.pooled(some)
        own = [digests[row] for row in some]
        writer.commit(Rows.of_vectors(posts, own, vectors, fingerprint.modality))
        for post_id in posts:
            del wanted[post_id]
    return len(rows)
