"""Aligned, padded arrays: the memory that both engines work on and Python can see.

Rows start on cache lines and are a whole number of 16 elements apart, so kernels use full vectors without
looking at edges. What lies behind the last column is zero for parameters and their state, and of no meaning
in activations.
"""

from __future__ import annotations

import numpy as np

LANES = 16  # FR_LANES of csrc/fastreg.h: every SIMD width of either dtype divides it
CACHE_LINE = 64


def padded_width(columns: int, itemsize: int) -> int:
    """Elements from one row to the next: a multiple of LANES, and never a multiple of 512 bytes,
    which would put the rows of a tile into the same few sets of the first-level cache."""
    width = -(-columns // LANES) * LANES
    if width * itemsize % 512 == 0:
        width += LANES
    return width


def padded(shape: tuple[int, ...], dtype: np.dtype | type | str) -> np.ndarray:
    """Zeros of `shape` (one or two dimensions) as a view of aligned memory with padded rows."""
    dtype = np.dtype(dtype)
    *rows, columns = shape
    count = rows[0] if rows else 1
    width = padded_width(columns, dtype.itemsize)
    size = max(count, 1) * width * dtype.itemsize
    memory = np.zeros(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    whole = memory[start : start + size].view(dtype).reshape(max(count, 1), width)
    view = whole[:count, :columns]
    return view if rows else view[0]
