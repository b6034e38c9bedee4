"""Makes splits: at random, as published with the posts, or as an option names one."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.errors import SplitError, name_some
from mvsa_pipe.posts.duplicates import duplicate_groups
from mvsa_pipe.posts.post import PostSet
from mvsa_pipe.posts.split import PARTS, TRAIN, VAL, Split
from mvsa_pipe.posts.split_files import read_split

_Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Unit:
    """Things that stay together, to be dealt with the class that most of them have.

    Attributes:
        key: Its place in the order of its class.
        positions: Where its things stand in the input.
        counts: Things per class.
    """

    key: bytes
    positions: Sequence[int]
    counts: Mapping[int, int]

    def place(self, parts: list[int], part: int) -> None:
        """Writes a part to all positions."""
        for position in self.positions:
            parts[position] = part


def stratified(
    labels: Sequence[int],
    groups: Sequence[int],
    ids: Sequence[str],
    ratios: Sequence[float],
    seed: int,
) -> list[int]:
    """Returns a part's index for each thing; a group is never cut.

    The units of a class (a group, or a thing on its own) are ordered by a hash of the seed and
    their smallest id. Groups are dealt first: one that is larger than the class's share of a part
    goes to the largest part, and the others are dealt by the ratios, as far as parts have room.
    The order of the things on their own is then cut so that every part reaches its size. A group
    of several classes is dealt with the class that most of its things have.

    Args:
        labels: Class index of each thing.
        groups: Group number of each thing.
        ids: A unique id for each thing.
        ratios: One per part.
        seed: Another seed gives another order.
    """
    n_classes = max(labels, default=-1) + 1
    class_counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=n_classes)
    sizes = np.stack([class_sizes(int(n), ratios) for n in class_counts], axis=1)
    grouped, alone = _units(labels, groups, ids, seed)
    parts = [0] * len(labels)
    _deal_groups(grouped, parts, sizes, ratios)
    room = sizes.copy()
    for unit in (unit for ours in grouped for unit in ours):
        for label, count in unit.counts.items():
            room[parts[unit.positions[0]], label] -= count
    for label, row in enumerate(alone):
        shares = _fill(room[:, label], len(row))
        filled = np.repeat(np.arange(len(ratios)), shares).tolist()
        for (_, position), part in zip(row, filled, strict=True):
            parts[position] = part
    asked = [part for part, ratio in enumerate(ratios) if ratio > 0]
    present = set(zip(labels, parts, strict=True))
    for label in range(n_classes):
        missing = [part for part in asked if (label, part) not in present]
        if missing:
            _fill_missing_parts(missing, grouped[label], alone[label], parts)
    return parts


def class_sizes(count: int, ratios: Sequence[float]) -> _Counts:
    """Things of one class per part: largest remainder, with none empty where that can be.

    A part with a ratio above 0 gets at least one as long as there are enough; the first parts
    take precedence where there are not.
    """
    shares = np.asarray(ratios, dtype=np.float64)
    exact = shares * count / shares.sum()
    sizes: _Counts = np.floor(exact).astype(np.int64)
    remainders = np.where(shares > 0, exact - sizes, -1.0)
    sizes[np.argsort(-remainders, kind="stable")[: count - int(sizes.sum())]] += 1
    asked = np.flatnonzero(shares > 0)
    for part in asked[:count]:
        if sizes[part] == 0:
            # not from a part with a single one, unless that one is out of turn
            donors = np.where(np.isin(np.arange(len(sizes)), asked[:count]), sizes - 1, sizes)
            sizes[np.argmax(donors)] -= 1
            sizes[part] = 1
    return sizes


def _units(
    labels: Sequence[int], groups: Sequence[int], ids: Sequence[str], seed: int
) -> tuple[list[list[_Unit]], list[list[tuple[bytes, int]]]]:
    """Each class's groups, and the keys and positions of its things on their own, by their keys."""
    n_classes = max(labels, default=-1) + 1
    grouped: list[list[_Unit]] = [[] for _ in range(n_classes)]
    alone: list[list[tuple[bytes, int]]] = [[] for _ in range(n_classes)]
    positions: dict[int, list[int]] = {}
    for position, group in enumerate(groups):
        positions.setdefault(group, []).append(position)
    for together in positions.values():
        if len(together) == 1:
            alone[labels[together[0]]].append((_key(seed, ids[together[0]]), together[0]))
            continue
        counts = Counter(sorted(labels[at] for at in together))
        key = _key(seed, min(ids[at] for at in together))
        grouped[counts.most_common(1)[0][0]].append(_Unit(key, together, counts))
    for ours in grouped:
        ours.sort(key=lambda unit: unit.key)
    for row in alone:
        row.sort()
    return grouped, alone


def _key(seed: int, name: str) -> bytes:
    """Digest of a seed and an id; long enough that no two ids share one."""
    text = f"{seed}\0{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def _deal_groups(
    grouped: Sequence[Sequence[_Unit]], parts: list[int], sizes: _Counts, ratios: Sequence[float]
) -> None:
    """Writes the part of every group to its positions in ``parts``."""
    asked = np.flatnonzero(np.asarray(ratios) > 0)
    largest = int(np.argmax(ratios))
    taken = np.zeros_like(sizes)
    fitting: list[list[_Unit]] = []
    for ours in grouped:
        fitting.append([])
        for unit in ours:
            if all(sizes[asked, label].min() >= count for label, count in unit.counts.items()):
                fitting[-1].append(unit)
                continue
            unit.place(parts, largest)
            for label, count in unit.counts.items():
                taken[largest, label] += count
    for label, ours in enumerate(fitting):
        if not ours:
            continue
        room = np.maximum(sizes[:, label] - taken[:, label], 0)
        weights = np.array([unit.counts[label] for unit in ours], dtype=np.int64)
        points = np.array([int.from_bytes(unit.key[:6]) / 2**48 for unit in ours])
        cuts = _cuts(weights, points, room, ratios)
        middles = np.cumsum(weights) - weights / 2
        for unit, part in zip(ours, np.searchsorted(cuts, middles, side="right"), strict=True):
            unit.place(parts, int(part))


def _cuts(
    weights: _Counts, points: NDArray[np.float64], room: _Counts, ratios: Sequence[float]
) -> NDArray[np.float64]:
    """Where each part ends in a row of groups, counted in things.

    Every group has a point between 0 and 1, and parts end where the ratios divide that line: so no
    group's part depends on the others. Ends move only as far as the parts' room demands.
    """
    shares = np.cumsum(ratios) / np.sum(ratios)
    shares[np.flatnonzero(ratios)[-1] :] = 1.0  # whatever rounding made of the sum
    total, end, ends = int(weights.sum()), 0, []
    for part, share in enumerate(shares):
        wanted = int(weights[points < share].sum())
        end = min(max(wanted, total - int(room[part + 1 :].sum())), end + int(room[part]))
        ends.append(end)
    ends[-1] = total + 1
    return np.array(ends, dtype=np.float64)


def _fill(room: _Counts, n_things: int) -> list[int]:
    """How many go to each part: its room, less where groups overfilled another."""
    free = np.maximum(room, 0)
    # Rooms add up to the things that are left; whatever one part has too many of, others lack.
    while free.sum() > n_things:
        free[np.argmax(free)] -= 1
    return [int(count) for count in free]


def _fill_missing_parts(
    missing: Sequence[int],
    grouped: Sequence[_Unit],
    alone: Sequence[tuple[bytes, int]],
    parts: list[int],
) -> None:
    """Moves a small unit of a class, not the only one of its part, into each part without any."""
    units = [*grouped, *(_Unit(key, [position], {}) for key, position in alone)]
    for part in missing:
        held = Counter(parts[unit.positions[0]] for unit in units)
        movable = [unit for unit in units if held[parts[unit.positions[0]]] > 1]
        if movable:
            min(movable, key=lambda unit: (len(unit.positions), unit.key)).place(parts, part)


DEFAULT_RATIOS = (8.0, 1.0, 1.0)
# What a validation part is carved from a published train part by, where there is none.
CARVING_RATIOS = (9.0, 1.0, 0.0)

# The data set's published split where it has one, else a random one.
AUTO, PUBLISHED, RANDOM = "auto", "published", "random-8:1:1"

# The largest seed that every generator in use takes.
_MAX_SEED = 2**32 - 1
_RANDOM = re.compile(r"random(?:-(?P<ratios>[\d.]+(?::[\d.]+){1,2}))?")
_PATH_AND_FOLD = re.compile(r"(?P<path>.+):(?P<fold>\d{1,9})")


def random_split(
    posts: PostSet,
    ratios: Sequence[float] = DEFAULT_RATIOS,
    seed: int = 0,
    groups: Sequence[int] | None = None,
) -> Split:
    """Divides the labelled posts at random, each class in the same ratios.

    Duplicates stay on one side. Each class's sizes are those asked for, rounded, unless groups of
    duplicates are so large or many that they leave no such division; a part has at least one post
    of every class that has enough. One post more, less or with another label moves few others.

    Args:
        posts: What to divide; posts without a label are left out.
        ratios: Train, val and test, in any unit; a test of 0 makes no test part.
        seed: The same seed, posts and groups give the same split, whatever the posts' order.
        groups: A number per post, equal for posts that stay together; by default those of
            ``duplicate_groups``.

    Raises:
        SplitError: Ratios that divide nothing, a seed below 0 or above 2**32 - 1, a class with
            fewer than two posts, or too few posts for every part to have one.
    """
    wanted = _checked_ratios(ratios)
    tag = f"{_random_name(wanted)}/seed-{_checked_seed(seed)}"
    if groups is None:
        groups = duplicate_groups(posts)
    if len(groups) != len(posts):
        raise SplitError(
            "The duplicate groups do not fit the posts",
            where=tag,
            expected=f"{len(posts):,} numbers, one a post",
            found=f"{len(groups):,}",
        )
    labelled = [at for at, post in enumerate(posts.posts) if post.label is not None]
    _refuse_small_classes(posts, tag)
    return Split(_divided(posts, labelled, groups, wanted, seed, tag), tag)


def _divided(
    posts: PostSet,
    chosen: Sequence[int],
    groups: Sequence[int],
    ratios: tuple[float, float, float],
    seed: int,
    tag: str,
) -> dict[str, str]:
    """The part of each of the chosen posts, by id."""
    class_of = {name: number for number, name in enumerate(posts.classes)}
    labels = [class_of[posts.posts[at].label or ""] for at in chosen]
    ids = [posts.posts[at].id for at in chosen]
    numbers = stratified(labels, [groups[at] for at in chosen], ids, ratios, seed)
    empty = [PARTS[at] for at, ratio in enumerate(ratios) if ratio and at not in numbers]
    if empty:
        n_groups = len({groups[at] for at in chosen})
        three = ratios[2] > 0
        raise SplitError(
            f"There are too few posts for the part {' and '.join(empty)}",
            where=f"{posts.protocol}/{tag}",
            expected=f"a class with {'three' if three else 'two'} posts that are not duplicates of "
            "each other",
            found=f"{len(chosen):,} labelled posts in {n_groups:,} groups of duplicates, which "
            "stay together",
            hint="add posts"
            + (", or name a split without a test part: --split random-8:2:0" if three else ""),
        )
    return {post_id: PARTS[number] for post_id, number in zip(ids, numbers, strict=True)}


def published_split(posts: PostSet, seed: int = 0, groups: Sequence[int] | None = None) -> Split:
    """The split that a data set comes with.

    Where it has no val part, a tenth of its train part becomes one, divided as ``random_split``
    does, and the tag says so (``published+val-random-9:1:0/seed-0``). A published test part is
    never touched.

    Args:
        posts: The posts.
        seed: Seed of the val part, where one has to be made.
        groups: As in ``random_split``.

    Raises:
        SplitError: The data set comes without a split, or train cannot be divided.
    """
    if posts.published is None:
        raise SplitError(
            "This data set comes without a split",
            where=posts.protocol,
            expected="train and test (or val) tables or folders beside each other",
            hint=f"--split {RANDOM} makes one; or give the path of one",
        )
    parts = {p.id: posts.published[p.id] for p in posts.posts if p.id in posts.published}
    if VAL in parts.values():
        return Split(parts, PUBLISHED)
    tag = f"{PUBLISHED}+val-{_random_name(CARVING_RATIOS)}/seed-{_checked_seed(seed)}"
    train = [at for at, post in enumerate(posts.posts) if parts.get(post.id) == TRAIN]
    if groups is None:
        groups = duplicate_groups(posts)
    return Split(parts | _divided(posts, train, groups, CARVING_RATIOS, seed, tag), tag)


def _checked_ratios(ratios: Sequence[float]) -> tuple[float, float, float]:
    padded = (*ratios, 0.0) if len(ratios) == 2 else tuple(ratios)
    finite = all(map(math.isfinite, padded))
    if len(padded) != 3 or not finite or min(padded) < 0 or min(padded[:2]) == 0:
        raise SplitError(
            "These ratios divide nothing",
            expected="three numbers for train, val and test, of which only test may be 0",
            found=":".join(map(_exactly, ratios)),
            hint="try --split random-8:1:1",
        )
    return padded[0], padded[1], padded[2]


def _random_name(ratios: Sequence[float]) -> str:
    return f"random-{':'.join(map(_exactly, ratios))}"


def _checked_seed(seed: int) -> int:
    if not 0 <= seed <= _MAX_SEED:
        raise SplitError(
            "The seed of a split cannot be used",
            where="--split-seed",
            expected=f"a whole number from 0 to {_MAX_SEED}",
            found=seed,
        )
    return seed


def _exactly(ratio: float) -> str:
    return str(int(ratio)) if float(ratio).is_integer() else repr(float(ratio))


def _refuse_small_classes(posts: PostSet, tag: str) -> None:
    small = {name: count for name, count in posts.label_counts().items() if count < 2}
    if small or not posts.classes:
        raise SplitError(
            "A class has too few posts to be divided",
            where=f"{posts.protocol}/{tag}",
            expected="at least two posts in each class",
            found=name_some(f"{name}: {count}" for name, count in small.items()) or "no labels",
            hint="add posts of the class, or remove its posts from the data set"
            if all(small.values())
            else "a table with id,text,image,label has just the classes that occur in it",
        )


def resolved_split(text: str, posts: PostSet) -> str:
    """What ``auto`` stands for: the published split where there is one, else a random one."""
    if text != AUTO:
        return text
    return RANDOM if posts.published is None else PUBLISHED


def parse_split(
    text: str, posts: PostSet, seed: int = 0, groups: Sequence[int] | None = None
) -> Split:
    """The split that an option names.

    Args:
        text: ``random-8:1:1`` (or any ratios), ``published``, ``auto`` (as ``resolved_split``
            says), the path of a split, or ``PATH:3`` for the third of the folds at a path.
        posts: What it divides.
        seed: Seed of whatever is drawn at random.
        groups: As in ``random_split``.

    Raises:
        SplitError: It is none of these, or does not fit the posts.
    """
    _checked_seed(seed)
    text = resolved_split(text, posts)
    if text == PUBLISHED:
        return published_split(posts, seed, groups)
    match = _RANDOM.fullmatch(text)
    if match is not None:
        try:
            ratios = [float(ratio) for ratio in (match["ratios"] or "8:1:1").split(":")]
        except ValueError:
            ratios = [0.0, 0.0, 0.0]
        return random_split(posts, ratios, seed, groups)
    if _exists(text):
        return read_split(Path(text), posts)
    numbered = _PATH_AND_FOLD.fullmatch(text)
    if numbered is not None and _exists(numbered["path"]):
        return read_split(Path(numbered["path"]), posts, fold=int(numbered["fold"]))
    raise SplitError(
        "This names no split",
        where=repr(text),
        expected="random-8:1:1 (train:val:test), published, the path of a split that exists, or "
        "FOLDER:3 for one of several folds",
        hint="--split takes a folder with train, val and test lists, or a table with id,split",
    )


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):  # too long a name, or one with a NUL
        return False
