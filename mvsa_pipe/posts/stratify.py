"""Divides groups of labelled things so that each class is cut in the same ratios."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_Counts = NDArray[np.int64]


def stratified(
    labels: Sequence[int], groups: Sequence[int], ratios: Sequence[float], seed: int
) -> list[int]:
    """A part's index for each thing; a group is never cut.

    Groups are dealt first, large ones before small ones, each to a part drawn by how much room is
    left there; things on their own then fill every part to its size.

    Args:
        labels: Class index of each thing.
        groups: Group number of each thing.
        ratios: One per part.
        seed: Seeds the generator that all draws come from.
    """
    generator = np.random.default_rng(seed)
    n_classes = max(labels, default=-1) + 1
    room = _sizes(np.bincount(labels, minlength=n_classes), ratios)
    parts = [0] * len(labels)
    positions: dict[int, list[int]] = {}
    for position, group in enumerate(groups):
        positions.setdefault(group, []).append(position)
    grouped = [group for group in positions.values() if len(group) > 1]
    order = [grouped[index] for index in generator.permutation(len(grouped))]
    for together in sorted(order, key=len, reverse=True):
        counts = np.bincount([labels[at] for at in together], minlength=n_classes)
        part = _part_for(counts, room, ratios, generator)
        room[part] -= counts
        for at in together:
            parts[at] = part
    alone = [group[0] for group in positions.values() if len(group) == 1]
    for label in range(n_classes):
        ours = [at for at in alone if labels[at] == label]
        filled = np.repeat(np.arange(len(ratios)), _fill(room[:, label], len(ours)))
        for at, part in zip(ours, generator.permutation(filled), strict=True):
            parts[at] = int(part)
    return parts


def _sizes(class_counts: _Counts, ratios: Sequence[float]) -> _Counts:
    """Whole posts per part (rows) and class (columns), rounded by largest remainder."""
    shares = np.asarray(ratios, dtype=np.float64)
    exact = np.outer(shares / shares.sum(), class_counts)
    sizes = np.floor(exact).astype(np.int64)
    for label, count in enumerate(class_counts):
        left = int(count - sizes[:, label].sum())
        # A part that is asked for but has nothing of the class yet goes first.
        keys = np.lexsort((-(exact - sizes)[:, label], (sizes[:, label] > 0) | (shares == 0)))
        sizes[keys[:left], label] += 1
    return sizes


def _part_for(
    counts: _Counts, room: _Counts, ratios: Sequence[float], generator: np.random.Generator
) -> int:
    fits = ((counts <= room) | (counts == 0)).all(axis=1)
    weights = np.where(fits, np.maximum(room, 0).sum(axis=1), 0).astype(np.float64)
    if weights.sum() > 0:
        return int(generator.choice(len(weights), p=weights / weights.sum()))
    # No part can take it whole: the one that it overfills least, then the one with most room.
    # A part that was not asked for stays empty.
    overfill = np.maximum(counts - np.maximum(room, 0), 0).sum(axis=1)
    unwanted = np.asarray(ratios) == 0
    return int(np.lexsort((-room.sum(axis=1), overfill, unwanted))[0])


def _fill(room: _Counts, n_posts: int) -> _Counts:
    """How many of ``n_posts`` go to each part: its room, less where groups overfilled another."""
    free = np.maximum(room, 0)
    # Rooms add up to the posts that are left; whatever one part has too many of, others lack.
    while free.sum() > n_posts:
        free[np.argmax(free)] -= 1
    return free
