"""Aligned, padded arrays: the memory that both engines work on and Python can see.

Each row starts on a cache line, and the distance between rows is a multiple of 16 elements. So kernels use full
vectors and need no special case at the edges. The padding after the last column is zero in parameters and their state.
In activations it has no meaning.
"""

from __future__ import annotations

import numpy as np

LANES = 16  # FR_LANES of csrc/fastreg.h: every SIMD width of either dtype divides it
CACHE_LINE = 64


def padded_width(columns: int, itemsize: int) -> int:
    """Elements from one row to the next: a multiple of LANES, but never a multiple of 512 bytes.

    That would put the rows of a tile into the same few sets of the first-level cache.
    """
    width = -(-columns // LANES) * LANES
    if width * itemsize % 512 == 0:
        width += LANES
    return width


def padded_bytes(shape: tuple[int, ...], itemsize: int) -> int:
    """The memory of an array as `padded` makes it."""
    *rows, columns = shape
    return max(rows[0] if rows else 1, 1) * padded_width(columns, itemsize) * itemsize


def padded(shape: tuple[int, ...], dtype: np.dtype | type | str) -> np.ndarray:
    """Zeros of `shape` (one or two dimensions) as a view of aligned memory with padded rows."""
    dtype = np.dtype(dtype)
    *rows, columns = shape
    count = rows[0] if rows else 1
    width = padded_width(columns, dtype.itemsize)
    size = padded_bytes(shape, dtype.itemsize)
    memory = np.zeros(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    whole = memory[start : start + size].view(dtype).reshape(max(count, 1), width)
    view = whole[:count, :columns]
    return view if rows else view[0]
