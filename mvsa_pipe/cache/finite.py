"""Finds features that are NaN or infinite."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvsa_pipe.cache.content import Rows
from mvsa_pipe.cache.fingerprint import StoredDtype
from mvsa_pipe.errors import CacheError, name_some

# By bytes of a number: the integer type of that size, and the bits of the exponent, which are all
# set only in NaN and infinity.
_EXPONENTS: dict[int, tuple[type[np.unsignedinteger[Any]], int]] = {
    2: (np.uint16, 0x7C00),
    4: (np.uint32, 0x7F80_0000),
    8: (np.uint64, 0x7FF0_0000_0000_0000),
}

# Numbers tested at a time, so that intermediate results stay in the processor's cache.
_BLOCK = 1 << 18


def all_finite(values: NDArray[np.floating[Any]]) -> bool:
    """Whether every number is finite, tested by the bits of the exponent.

    A gigabyte of float16 takes a tenth of a second; ``numpy.isfinite`` converts float16 and takes
    more than a second.
    """
    bits, exponent = _EXPONENTS[values.dtype.itemsize]
    flat = np.ascontiguousarray(values).reshape(-1).view(bits)
    mask = bits(exponent)
    return all(
        (flat[start : start + _BLOCK] & mask).max() != mask for start in range(0, len(flat), _BLOCK)
    )


def not_finite(
    values: NDArray[np.floating[Any]], bounds: NDArray[np.int64] | Sequence[int]
) -> list[int]:
    """Indices of the posts with NaN or infinite entries.

    Args:
        values: Entries of all posts, concatenated along the first axis.
        bounds: Where each post's entries begin and end: ``[N + 1]``.
    """
    if all_finite(values):
        return []
    posts = range(len(bounds) - 1)
    return [post for post in posts if not all_finite(values[bounds[post] : bounds[post + 1]])]


def require_finite_rows(rows: Rows, backbone: str, dtype: StoredDtype, where: object) -> None:
    """Refuses features that are NaN or infinite.

    Args:
        rows: The features.
        backbone: The backbone's name, for the message.
        dtype: The type that they are stored in.
        where: Where they would be stored, for the message.

    Raises:
        CacheError: Names the posts.
    """
    hit = {*not_finite(rows.hidden, rows.bounds()), *not_finite(rows.pooled, rows.places())}
    if not hit:
        return
    is_float16 = dtype is StoredDtype.FLOAT16
    raise CacheError(
        f"Features of {backbone} are not finite in {dtype}: some are NaN or infinite",
        where=where,
        found=f"{len(hit):,} posts: {name_some(rows.ids[place] for place in sorted(hit))}",
        hint="store wider numbers: --dtype float32; float16 ends at 65,504. If that does not help, "
        "use --precision float32, and check the backbone's weights"
        if is_float16
        else "use --precision float32, and check the backbone's weights",
    )
