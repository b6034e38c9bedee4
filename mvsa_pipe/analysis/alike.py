"""Groups of posts that are alike: by equal or near texts and pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.analysis.leaks import MOST_NEAR_PAIRS, NEAR_PICTURE, LeakFinder, not_told_apart
from mvsa_pipe.posts.duplicates import joined, members
from mvsa_pipe.posts.picture_hashes import MOST_BITS

# Rows that are compared with all others at a time.
_BLOCK = 512

Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class Alike:
    """Posts that are alike in some ways.

    Attributes:
        pairs: Places of the posts of each pair ``[K, 2]``, by the way; of posts with equal keys
            each with the first of them.
        unchecked: Ways that could not be compared, and why.
    """

    pairs: dict[str, Pairs]
    unchecked: dict[str, str]

    def groups(self, posts: int, ways: Sequence[str] | None = None) -> list[list[int]]:
        """Places of the posts of each group, largest first; chains of pairs are one group."""
        chosen = self.pairs if ways is None else ways
        every = np.concatenate([np.zeros((0, 2), np.int64), *(self.pairs[way] for way in chosen)])
        return members(_components(posts, every))


def alike(finder: LeakFinder, ids: Sequence[str]) -> Alike:
    """Compares all posts with each other, in every way that the finder could read."""
    unchecked = dict(finder.unchecked)
    pairs: dict[str, Pairs] = {}
    for way, keys in finder.keys.items():
        found = [
            (g[0], other) for g in members(joined([keys.get(i) for i in ids])) for other in g[1:]
        ]
        pairs[way] = _pairs(found)
    hashed = [(place, finder.hashes[i]) for place, i in enumerate(ids) if i in finder.hashes]
    if hashed:
        pairs[NEAR_PICTURE] = _near_hashes(hashed)
    for way, caches in finder.directions.items():
        every = []
        for rows, directions in caches:
            places = [place for place, i in enumerate(ids) if i in rows]
            vectors = directions[[rows[ids[place]] for place in places]]
            near = _near_vectors(vectors, finder.near_cosine)
            possible = max(len(places) * (len(places) - 1) / 2, 1)
            if len(near) > max(len(places), MOST_NEAR_PAIRS * possible):
                unchecked[way] = not_told_apart(len(near) / possible, finder.near_cosine)
            else:
                every.append(np.array(places, np.int64)[near])
        if every:
            pairs[way] = np.unique(np.concatenate(every), axis=0)
    return Alike(pairs, unchecked)


def _pairs(found: Sequence[tuple[int, int]]) -> Pairs:
    return np.array(found, np.int64).reshape(-1, 2)


def _near_hashes(hashed: Sequence[tuple[int, int]]) -> Pairs:
    places = np.array([place for place, _ in hashed], np.int64)
    hashes = np.array([own for _, own in hashed], np.uint64)
    found = []
    for row, own in enumerate(hashes[:-1]):
        near = np.flatnonzero(np.bitwise_count(hashes[row + 1 :] ^ own) <= MOST_BITS) + row + 1
        found += [(int(places[row]), int(places[other])) for other in near]
    return _pairs(found)


def _near_vectors(vectors: NDArray[np.float32], least: float) -> Pairs:
    return np.concatenate([np.zeros((0, 2), np.int64), *_near_blocks(vectors, least)])


def _near_blocks(vectors: NDArray[np.float32], least: float) -> Iterator[Pairs]:
    for start in range(0, len(vectors), _BLOCK):
        close = vectors[start : start + _BLOCK] @ vectors[start:].T >= least
        rows, columns = np.nonzero(np.triu(close, 1))
        yield np.stack([rows, columns], axis=1) + start


def _components(posts: int, pairs: Pairs) -> list[int]:
    """The number of each post's group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), np.bool_)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(posts, posts))
    _, numbers = connected_components(graph, directed=False)
    found: list[int] = numbers.tolist()
    return found
