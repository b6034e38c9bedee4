"""Divides groups of labelled things so that each class is cut in the same ratios.

The division barely changes when a thing is added, removed or relabelled: each class is put into
an order by a hash that depends on nothing but the seed and an id, and only the places where that
order is cut move.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Unit:
    """Things that stay together.

    Attributes:
        key: Its place in the order of its class.
        positions: Where its things stand in the input.
        label: The class that most of them have; of several, the first.
        counts: Things per class.
    """

    key: bytes
    positions: Sequence[int]
    label: int
    counts: Mapping[int, int]


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
    goes to the largest part, and the order of the others is cut in proportion to the room that is
    left. The order of the things on their own is then cut so that every part reaches its size. A
    group of several classes is dealt with the class that most of its things have.

    Args:
        labels: Class index of each thing.
        groups: Group number of each thing.
        ids: A unique id for each thing.
        ratios: One per part.
        seed: Another seed gives another order.
    """
    units = _units(labels, groups, ids, seed)
    n_classes = max(labels, default=-1) + 1
    class_counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=n_classes)
    sizes = np.stack([class_sizes(int(n), ratios) for n in class_counts], axis=1)
    of_class: list[list[_Unit]] = [[] for _ in range(n_classes)]
    for unit in units:
        of_class[unit.label].append(unit)
    part_of = _deal_groups(of_class, sizes, ratios, seed)
    room = sizes.copy()
    for unit in units:
        if unit.key in part_of:
            for label, count in unit.counts.items():
                room[part_of[unit.key], label] -= count
    for label, ours in enumerate(of_class):
        alone = [unit.key for unit in ours if len(unit.positions) == 1]
        shares = _fill(room[:, label], len(alone))
        filled = np.repeat(np.arange(len(ratios)), shares).tolist()
        part_of.update(zip(alone, filled, strict=True))
    for label, ours in enumerate(of_class):
        _fill_missing_parts(label, ours, units, part_of, ratios)
    parts = [0] * len(labels)
    for unit in units:
        for position in unit.positions:
            parts[position] = part_of[unit.key]
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
) -> list[_Unit]:
    """All units, in the order of their keys."""
    positions: dict[int, list[int]] = {}
    for position, group in enumerate(groups):
        positions.setdefault(group, []).append(position)
    units = []
    for together in positions.values():
        counts = Counter(sorted(labels[at] for at in together))
        key = _key(seed, min(ids[at] for at in together))
        units.append(_Unit(key, together, counts.most_common(1)[0][0], counts))
    units.sort(key=lambda unit: unit.key)
    return units


def _key(seed: int, name: str) -> bytes:
    """Digest of a seed and an id; long enough that no two ids share one."""
    text = f"{seed}\0{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def _deal_groups(
    of_class: Sequence[Sequence[_Unit]], sizes: _Counts, ratios: Sequence[float], seed: int
) -> dict[bytes, int]:
    """The part of every unit of several things, by its key."""
    asked = np.flatnonzero(np.asarray(ratios) > 0)
    largest = int(np.argmax(ratios))
    part_of: dict[bytes, int] = {}
    taken = np.zeros_like(sizes)
    fitting: list[list[_Unit]] = []
    for ours in of_class:
        fitting.append([])
        for unit in ours:
            if len(unit.positions) == 1:
                continue
            if all(sizes[asked, label].min() >= count for label, count in unit.counts.items()):
                fitting[-1].append(unit)
                continue
            part_of[unit.key] = largest
            for label, count in unit.counts.items():
                taken[largest, label] += count
    for label, ours in enumerate(fitting):
        room = np.maximum(sizes[:, label] - taken[:, label], 0)
        weights = np.array([unit.counts[label] for unit in ours], dtype=np.float64)
        if not len(ours):
            continue
        total = weights.sum()
        # The order is a circle that starts at a point of the seed's: were it cut from its first
        # group on, a group without others would always be in the first part.
        start = int.from_bytes(_key(seed, f"class {label}")[:6]) / 2**48 * total
        middles = (np.cumsum(weights) - weights / 2 + start) % total
        cuts = np.cumsum(room) * (total / room.sum())
        cuts[np.flatnonzero(room)[-1] :] = np.inf  # whatever rounding made of the total
        chosen = np.searchsorted(cuts, middles, side="right").tolist()
        part_of.update(zip((unit.key for unit in ours), chosen, strict=True))
    return part_of


def _fill(room: _Counts, n_things: int) -> list[int]:
    """How many go to each part: its room, less where groups overfilled another."""
    free = np.maximum(room, 0)
    # Rooms add up to the things that are left; whatever one part has too many of, others lack.
    while free.sum() > n_things:
        free[np.argmax(free)] -= 1
    return [int(count) for count in free]


def _fill_missing_parts(
    label: int,
    ours: Sequence[_Unit],
    units: Sequence[_Unit],
    part_of: dict[bytes, int],
    ratios: Sequence[float],
) -> None:
    """Moves a small unit of a class into each part that has nothing of the class."""
    asked = [part for part, ratio in enumerate(ratios) if ratio > 0]
    present = {part_of[unit.key] for unit in ours}
    if present.issuperset(asked):
        return
    present |= {part_of[unit.key] for unit in units if label in unit.counts}
    for part in asked:
        held = Counter(part_of[unit.key] for unit in ours)
        movable = [unit for unit in ours if held[part_of[unit.key]] > 1]
        if part not in present and movable:
            smallest = min(movable, key=lambda unit: (len(unit.positions), unit.key))
            part_of[smallest.key] = part
