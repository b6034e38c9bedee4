"""Test posts of which the training part has the text or the picture, exactly or nearly.

A split that was published may have them on both sides; scores without them show how much that
lifts a result.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.reading import FeatureFile
from mvsa_pipe.errors import CacheError, MvsaError, name_some
from mvsa_pipe.modality import Modality
from mvsa_pipe.posts.duplicates import image_keys, text_keys, without_stand_ins
from mvsa_pipe.posts.picture_hashes import MOST_BITS, near, picture_hashes
from mvsa_pipe.progress import Progress
from mvsa_pipe.runs import Run
from mvsa_pipe.runs.own_posts import own_posts

# Cosine of two cached vectors from which posts count as near: the same sentence with another word,
# or one picture with another caption. Of MVSA-Single's posts, unrelated ones stay below 0.9.
NEAR_COSINE = 0.95

# Of pairs of a test and a training post, those with such a cosine are no more than this share where
# vectors tell posts apart: those of untrained backbones, for example, do not.
MOST_NEAR_PAIRS = 1e-3

# The ways in which a post can stand in train too.
EXACT = {Modality.TEXT: "same text", Modality.IMAGE: "same picture"}
SAME_TEXT = "same text but for case, links and names"
NEAR_PICTURE = "picture near by its perceptual hash"
NEAR_VECTOR = {
    Modality.TEXT: "text near by its cached vector",
    Modality.IMAGE: "picture near by its cached vector",
}


@dataclass(frozen=True)
class Leaks:
    """Posts of a part that duplicate training posts.

    Attributes:
        posts: Posts of the part.
        reasons: Each of the leaked posts, and in which ways a training post is like it.
        counts: Posts by the way; a post may count in several.
        unchecked: Ways that could not be checked, and why.
        most_bits: Bits of 64 in which perceptual hashes of near pictures differ at most.
        near_cosine: Cosine from which cached vectors are near.
    """

    posts: int
    reasons: dict[str, tuple[str, ...]]
    counts: dict[str, int]
    unchecked: dict[str, str]
    most_bits: int
    near_cosine: float

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"leaked": len(self.reasons), **asdict(self)}


class LeakFinder:
    """Compares posts of a run's data set with training posts.

    What the run recorded is compared in any case; texts, pictures and cached vectors where they
    still are. What could not be compared is named in ``Leaks.unchecked``.

    Args:
        run: A run; its list of posts, its posts and its caches are read.
        progress: Listens to the hashing of pictures.
        near_cosine: Cosine from which cached vectors are near.

    Attributes:
        keys: What posts are alike by, of every exact way: posts of equal keys are alike.
        hashes: Perceptual hash of every picture that has one.
        directions: Of every way of near vectors, and every cache: the row of each post, and unit
            vectors ``[N, D]``.
        unchecked: Ways that could not be read, and why.

    Raises:
        RunError: The run's list of posts is missing or damaged.
    """

    def __init__(self, run: Run, progress: Progress, near_cosine: float = NEAR_COSINE) -> None:
        self.near_cosine = near_cosine
        self.unchecked: dict[str, str] = {}
        self.keys: dict[str, dict[str, Hashable]] = {}
        self.hashes: dict[str, int] = {}
        self.directions: dict[str, list[tuple[dict[str, int], NDArray[np.float32]]]] = {}
        members = run.members()
        ids = [member.post_id for member in members]
        for modality, way in EXACT.items():
            contents = {m.post_id: m.contents[modality] for m in members if modality in m.contents}
            self.keys[way] = _without_common(contents)
        self._try((SAME_TEXT, NEAR_PICTURE), partial(self._read_posts, run, ids, progress))
        for modality, way in NEAR_VECTOR.items():
            for path in _cache_paths(run, modality):
                self._try((way,), partial(self._read_vectors, way, path, ids))

    def _try(self, ways: Sequence[str], read: Callable[[], None]) -> None:
        """Reads something; where it is not there any more, notes why it is not compared."""
        try:
            read()
        except MvsaError as error:
            self.unchecked.update(dict.fromkeys(ways, error.paragraph()))

    def _read_posts(self, run: Run, ids: Sequence[str], progress: Progress) -> None:
        posts = own_posts(run)
        texts = text_keys(posts)
        pictures = without_stand_ins(texts, image_keys(posts))
        every = [post.id for post in posts.posts]
        for keys, way in ((texts, SAME_TEXT), (pictures, EXACT[Modality.IMAGE])):
            self.keys[way] = {i: k for i, k in zip(every, keys, strict=True) if k is not None}
        self.hashes = picture_hashes(posts, ids, progress, cache_folder_of(run))

    def _read_vectors(self, way: str, path: Path, ids: Sequence[str]) -> None:
        file = FeatureFile(path)
        own = [i for i in ids if i in file.rows]
        if not own:
            raise CacheError("The cache has no post of the run", where=path)
        vectors = file.pooled(np.array([file.rows[i] for i in own], np.int64)).astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        places = {post_id: place for place, post_id in enumerate(own)}
        directions = vectors / np.maximum(norms, np.float32(1e-12))
        self.directions.setdefault(way, []).append((places, directions))

    def leaks(self, held: Sequence[str], train: Sequence[str]) -> Leaks:
        """The held-out posts that duplicate training posts, both by id."""
        reasons: dict[str, list[str]] = {}
        unchecked = dict(self.unchecked)
        for way, keys in self.keys.items():
            known = {keys[i] for i in train if i in keys}
            _note(reasons, way, (i for i in held if i in keys and keys[i] in known))
        hashed = [i for i in held if i in self.hashes]
        alike = near(
            [self.hashes[i] for i in hashed], [self.hashes[i] for i in train if i in self.hashes]
        )
        _note(reasons, NEAR_PICTURE, (i for i, hit in zip(hashed, alike, strict=True) if hit))
        for way, caches in self.directions.items():
            for places, directions in caches:
                theirs = directions[[places[i] for i in train if i in places]]
                own = [i for i in held if i in places]
                cosines = directions[[places[i] for i in own]] @ theirs.T
                close = cosines >= self.near_cosine
                if close.sum() > max(len(own), MOST_NEAR_PAIRS * close.size):
                    unchecked[way] = not_told_apart(float(close.mean()), self.near_cosine)
                    continue
                _note(reasons, way, (own[place] for place in np.flatnonzero(close.any(axis=1))))
        found = {i: tuple(dict.fromkeys(reasons[i])) for i in held if i in reasons}
        return Leaks(
            posts=len(held),
            reasons=found,
            counts=dict(Counter(way for ways in found.values() for way in ways).most_common()),
            unchecked=unchecked,
            most_bits=MOST_BITS,
            near_cosine=self.near_cosine,
        )


def not_told_apart(share: float, near_cosine: float) -> str:
    """Why near vectors are not compared, of which too many pairs are near."""
    return (
        f"{share:.1%} of all pairs have a cosine of {near_cosine:g} or more: these vectors do not "
        "tell posts apart"
    )


def _note(reasons: dict[str, list[str]], way: str, ids: Iterable[str]) -> None:
    for post_id in ids:
        reasons.setdefault(post_id, []).append(way)


def _without_common(contents: Mapping[str, str]) -> dict[str, Hashable]:
    """Contents without those of many posts: empty texts, and pictures in place of missing ones."""
    most = max(10, len(contents) // 1000)
    counts = Counter(contents.values())
    return {i: digest for i, digest in contents.items() if counts[digest] <= most}


def _cache_paths(run: Run, modality: Modality) -> list[Path]:
    records = run.config["caches"].get(modality.value, [])
    listed = records if isinstance(records, list) else [records]
    return [Path(record["path"]) for record in listed if record.get("path")]


def cache_folder_of(run: Run) -> Path | None:
    """The folder of all caches that the run was trained over, if it is still there."""
    paths = [path for modality in Modality for path in _cache_paths(run, modality)]
    return next((path.parents[1] for path in paths if path.is_file()), None)


def describe(leaks: Leaks) -> str:
    """How many posts leak in which way, in one line."""
    ways = name_some(f"{count:,} {way}" for way, count in leaks.counts.items())
    share = 100 * len(leaks.reasons) / max(leaks.posts, 1)
    return f"{len(leaks.reasons):,} of {leaks.posts:,} posts ({share:.1f} %): {ways or 'none'}"
