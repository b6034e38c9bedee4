"""Pillow's resizing of the part of a picture that a crop keeps, compiled by numba.

Pillow resizes whole pictures, one multiplication at a time. This computes the same fixed-point
arithmetic, with the same rounding after columns and after rows, but only for the pixels of the
crop, and vectorised: columns are resized for 64 rows at a time. Importing this module compiles it,
or loads machine code that was compiled before.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, no_type_check

import numba
import numba.extending
import numpy as np
from jaxtyping import Int32, UInt8
from numpy.typing import NDArray

from mvsa_pipe.backbones.machine_code import kept

_Bytes: TypeAlias = NDArray[np.uint8]
_Eights: TypeAlias = NDArray[np.uint64]
_Numbers: TypeAlias = NDArray[np.int32]

# numba's types of the same: input pictures, which may be views and read-only; arrays made here; and
# lists and tables of integers.
_SEEN = numba.types.Array(numba.uint8, 2, "A", readonly=True)
_MADE = numba.uint8[:, ::1]
_LIST, _TABLE = numba.int32[::1], numba.int32[:, ::1]

# Weights are multiples of 2⁻²², so that weighted sums of pixels fit into 32 bits, as in Pillow.
_BITS = 22
_HALF = 1 << (_BITS - 1)

# Rows whose columns are resized together; a multiple of eight.
_LANES = 64

# Radius of each interpolation in source pixels, without shrinking.
_REACH = {"bilinear": 1.0, "bicubic": 2.0}

# Pillow's coefficient a of bicubic interpolation.
_CUBIC = -0.5


class Taps(NamedTuple):
    """Source pixels of each pixel of a resized side, and their weights.

    Attributes:
        first: Number of the first one.
        counts: How many.
        weights: Their weights, in units of 2⁻²².
    """

    first: Int32[np.ndarray, " N"]
    counts: Int32[np.ndarray, " N"]
    weights: Int32[np.ndarray, "N K"]

    @property
    def end(self) -> int:
        """One past the last source pixel."""
        return int(self.first[-1] + self.counts[-1])


def resized_crop(
    picture: UInt8[np.ndarray, "H W 3"],
    size: tuple[int, int],
    corner: tuple[int, int],
    crop_px: int,
    interpolation: str,
) -> UInt8[np.ndarray, "crop crop 3"]:
    """A square crop of a resized picture, equal to Pillow's.

    Args:
        picture: The picture, contiguous.
        size: Width and height to which Pillow would resize it, columns first.
        corner: Left and upper edge of the square, which is inside the resized picture.
        crop_px: The square's side.
        interpolation: ``bilinear`` or ``bicubic``, both antialiased.
    """
    height, width, _ = picture.shape
    columns = taps(width, size[0], corner[0], crop_px, interpolation)
    rows = taps(height, size[1], corner[1], crop_px, interpolation)
    left, right = int(columns.first[0]), columns.end
    top, bottom = int(rows.first[0]), rows.end
    source = picture.reshape(height, width * 3)[top:bottom, left * 3 : right * 3]
    narrow = np.empty((_rounded_up(bottom - top, _LANES), _rounded_up(crop_px * 3, 8)), np.uint8)
    _columns(source, columns.first - left, columns.counts, columns.weights, narrow)
    square = np.empty((crop_px, crop_px * 3), np.uint8)
    _rows(narrow, rows.first - top, rows.counts, rows.weights, square)
    return square.reshape(crop_px, crop_px, 3)


@lru_cache(maxsize=64)
def taps(length: int, resized: int, first: int, count: int, interpolation: str) -> Taps:
    """Source pixels and weights of ``count`` pixels of a side, from ``first`` on.

    Args:
        length: Pixels of the source's side.
        resized: Pixels that the whole side is resized to.
        first: Number of the first pixel wanted.
        count: How many are wanted.
        interpolation: ``bilinear`` or ``bicubic``.
    """
    scale = length / resized
    shrunk = max(scale, 1.0)
    reach = _REACH[interpolation] * shrunk
    centre = (np.arange(first, first + count) + 0.5) * scale
    low = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    high = np.minimum((centre + reach + 0.5).astype(np.int64), length)
    place = np.arange(math.ceil(reach) * 2 + 1)
    distance = np.abs((place + low[:, None] - centre[:, None] + 0.5) * (1.0 / shrunk))
    weights = _bilinear(distance) if interpolation == "bilinear" else _bicubic(distance)
    weights[place >= (high - low)[:, None]] = 0.0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # summed one by one, as Pillow does
    whole = np.trunc(weights * (1 << _BITS) + np.copysign(0.5, weights))
    return Taps(*(v.astype(np.int32) for v in (low, high - low, whole)))


def _bilinear(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - distance, 0.0)


def _bicubic(d: NDArray[np.float64]) -> NDArray[np.float64]:
    near = ((_CUBIC + 2.0) * d - (_CUBIC + 3.0)) * d * d + 1
    far = (((d - 5) * d + 8) * d - 4) * _CUBIC
    return np.where(d < 1.0, near, np.where(d < 2.0, far, 0.0))


def _rounded_up(count: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-count // step) * step


@numba.extending.register_jitable
@no_type_check  # numba wants the function itself
def _transpose(rows: _Eights, columns: _Eights) -> None:
    """Transposes bytes in 8 × 8 blocks; each number contains eight bytes, the first lowest."""
    x = np.empty(8, np.uint64)
    for across in range(rows.shape[1]):
        for down in range(columns.shape[1]):
            for i in range(8):
                x[i] = rows[down * 8 + i, across]
            for i in range(4):
                swap = ((x[i] >> np.uint64(32)) ^ x[i + 4]) & np.uint64(0x00000000FFFFFFFF)
                x[i + 4] ^= swap
                x[i] ^= swap << np.uint64(32)
            for i in (0, 1, 4, 5):
                swap = ((x[i] >> np.uint64(16)) ^ x[i + 2]) & np.uint64(0x0000FFFF0000FFFF)
                x[i + 2] ^= swap
                x[i] ^= swap << np.uint64(16)
            for i in (0, 2, 4, 6):
                swap = ((x[i] >> np.uint64(8)) ^ x[i + 1]) & np.uint64(0x00FF00FF00FF00FF)
                x[i + 1] ^= swap
                x[i] ^= swap << np.uint64(8)
            for i in range(8):
                columns[across * 8 + i, down] = x[i]


@no_type_check  # numba wants the function itself
def _resize_columns(
    source: _Bytes, first: _Numbers, counts: _Numbers, weights: _Numbers, narrow: _Bytes
) -> None:
    """Resizes each row ``[W·3]`` to the crop's width; ``narrow`` has whole blocks of rows."""
    height, width = source.shape
    block = np.zeros((_LANES, (width + 7) // 8 * 8), np.uint8)
    lanes = np.empty((block.shape[1], _LANES), np.uint8)
    short = np.zeros((narrow.shape[1], _LANES), np.uint8)
    sums = np.empty(_LANES, np.int32)
    for top in range(0, height, _LANES):
        rows = min(_LANES, height - top)
        block[:rows, :width] = source[top : top + rows]
        _transpose(block.view(np.uint64), lanes.view(np.uint64))
        for x in range(first.shape[0]):
            for channel in range(3):
                sums[:] = _HALF
                at = first[x] * 3 + channel
                for tap in range(counts[x]):
                    weight, pixels = weights[x, tap], lanes[at + tap * 3]
                    for row in range(_LANES):
                        sums[row] += np.int32(pixels[row]) * weight
                for row in range(_LANES):
                    short[x * 3 + channel, row] = min(max(sums[row] >> _BITS, 0), 255)
        _transpose(short.view(np.uint64), narrow[top : top + _LANES].view(np.uint64))


@no_type_check  # numba wants the function itself
def _resize_rows(
    narrow: _Bytes, first: _Numbers, counts: _Numbers, weights: _Numbers, square: _Bytes
) -> None:
    """Resizes columns to the crop's height."""
    width = square.shape[1]
    sums = np.empty(width, np.int32)
    for y in range(square.shape[0]):
        sums[:] = _HALF
        for tap in range(counts[y]):
            weight, pixels = weights[y, tap], narrow[first[y] + tap]
            for x in range(width):
                sums[x] += np.int32(pixels[x]) * weight
        for x in range(width):
            square[y, x] = min(max(sums[x] >> _BITS, 0), 255)


def _compile(cache: bool) -> tuple[Any, Any]:
    """Both functions as machine code that runs without the GIL."""
    columns = [(_SEEN, _LIST, _LIST, _TABLE, _MADE)]
    rows = [(_MADE, _LIST, _LIST, _TABLE, _MADE)]
    return (
        numba.njit(columns, nogil=True, cache=cache)(_resize_columns),
        numba.njit(rows, nogil=True, cache=cache)(_resize_rows),
    )


# During import, so that other threads that import the module wait for the compiling one.
_columns, _rows = kept(_compile, Path(__file__))
