"""Divides groups of labelled items so that each class is divided in the same ratios.

Adding, removing or relabelling an item changes little: each class is ordered by a hash that depends
only on the seed and an id, and only the bounds of the parts in that order move.
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
    """Items that stay together; assigned with the class that most of them have.

    Attributes:
        key: Its position in the order of its class.
        positions: Positions of its items in the input.
        counts: Items per class.
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
    """Returns the index of each item's part; groups are never divided.

    The units of a class (a group, or a single item) are ordered by a hash of the seed and their
    smallest id. Groups are assigned first: one that is larger than the class's share of a part goes
    to the largest part, and the others are assigned by the ratios, as far as parts have room. The
    ordered single items are then divided so that every part reaches its size. A group of several
    classes is assigned with the class that most of its items have.

    Args:
        labels: Class index of each item.
        groups: Group number of each item.
        ids: A unique id for each item.
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
    """Items of one class per part, by largest remainder; no part is empty if that is possible.

    A part with a ratio above 0 gets at least one item if there are enough; otherwise the first
    parts take precedence.
    """
    shares = np.asarray(ratios, dtype=np.float64)
    exact = shares * count / shares.sum()
    sizes: _Counts = np.floor(exact).astype(np.int64)
    remainders = np.where(shares > 0, exact - sizes, -1.0)
    sizes[np.argsort(-remainders, kind="stable")[: count - int(sizes.sum())]] += 1
    asked = np.flatnonzero(shares > 0)
    for part in asked[:count]:
        if sizes[part] == 0:
            # not from a part with a single one, unless an earlier part has none
            donors = np.where(np.isin(np.arange(len(sizes)), asked[:count]), sizes - 1, sizes)
            sizes[np.argmax(donors)] -= 1
            sizes[part] = 1
    return sizes


def _units(
    labels: Sequence[int], groups: Sequence[int], ids: Sequence[str], seed: int
) -> tuple[list[list[_Unit]], list[list[tuple[bytes, int]]]]:
    """Each class's groups, and the keys and positions of its single items, ordered by key."""
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
    """Digest of a seed and an id, long enough to be unique."""
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
            chosen = _with_room(unit, int(part), sizes - taken)
            unit.place(parts, chosen)
            for own, count in unit.counts.items():
                taken[chosen, own] += count


def _with_room(unit: _Unit, part: int, room: _Counts) -> int:
    """Returns the part of a group, or another if one of its several classes has no room there."""
    if len(unit.counts) == 1:
        return part
    labels, counts = list(unit.counts), np.array(list(unit.counts.values()))
    fits = np.all(room[:, labels] >= counts, axis=1)
    if fits[part] or not fits.any():
        return part
    return int(np.argmax(np.where(fits, room[:, labels].sum(axis=1), -1)))


def _cuts(
    weights: _Counts, points: NDArray[np.float64], room: _Counts, ratios: Sequence[float]
) -> NDArray[np.float64]:
    """The end of each part in a sequence of groups, counted in items.

    Every group has a point between 0 and 1, and parts end where the ratios divide that interval: so
    no group's part depends on the others. Ends move only as far as the parts' room requires.
    """
    shares = np.cumsum(ratios) / np.sum(ratios)
    shares[np.flatnonzero(ratios)[-1] :] = 1.0  # also if the sum was rounded
    total, end, ends = int(weights.sum()), 0, []
    for part, share in enumerate(shares):
        wanted = int(weights[points < share].sum())
        end = min(max(wanted, total - int(room[part + 1 :].sum())), end + int(room[part]))
        ends.append(end)
    ends[-1] = total + 1
    return np.array(ends, dtype=np.float64)


def _fill(room: _Counts, n_things: int) -> list[int]:
    """Number of items for each part: its room, or less if groups overfilled another part."""
    free = np.maximum(room, 0)
    # Rooms add up to the items that are left; an excess in one part is a lack in others.
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
