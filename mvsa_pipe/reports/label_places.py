"""Places for the names of points, so that they cover neither points nor each other."""

from collections.abc import Sequence
from dataclasses import dataclass

_NEAR, _FAR = 8.0, 24.0
# Right and left first, as names are read from the point onward.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    low: float
    right: float
    high: float

    def meets(self, other: "Box") -> bool:
        """Whether they overlap."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.low < other.high
            and other.low < self.high
        )

    def contains(self, other: "Box") -> bool:
        """Whether the other box lies within."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.low <= other.low
            and other.high <= self.high
        )


@dataclass(frozen=True)
class Spot:
    """Where a name stands.

    Attributes:
        anchor: Its anchor in pixels, at half of its height.
        side: Which end of the text is at the anchor.
        far: Whether a line must lead to it.
    """

    anchor: tuple[float, float]
    side: str
    far: bool


def place_labels(
    dots: Sequence[tuple[float, ...]], sizes: Sequence[tuple[float, float]], inside: Box
) -> list[Spot | None]:
    """A place for each name, or ``None`` where every place near the point is taken.

    Args:
        dots: Points in pixels.
        sizes: Width and height of their names.
        inside: Where names may stand.
    """
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    return [_spot(dot, size, inside, taken) for dot, size in zip(dots, sizes, strict=True)]


def _spot(
    dot: tuple[float, ...], size: tuple[float, float], inside: Box, taken: list[Box]
) -> Spot | None:
    for gap in (_NEAR, _FAR):
        for across, up in _DIRECTIONS:
            spot, box = _candidate(dot, size, across, up, gap)
            if inside.contains(box) and not any(box.meets(other) for other in taken):
                taken.append(box)
                return spot
    return None


def _candidate(
    dot: tuple[float, ...], size: tuple[float, float], across: int, up: int, gap: float
) -> tuple[Spot, Box]:
    wide, high = size
    x = dot[0] + across * gap
    y = dot[1] + up * (gap + high / 2 - 2)
    side = ("right", "center", "left")[across + 1]
    left = x - wide * (1 - across) / 2
    return Spot((x, y), side, gap == _FAR), Box(left, y - high / 2, left + wide, y + high / 2)
