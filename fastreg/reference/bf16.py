"""bf16: rounding to 8 bits, and products of such numbers in the order of AMX. They are kept as float32.

csrc/kernels/bf16_tiles.h does the same. Small numbers are zero, as everywhere (csrc/flush.h).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastreg.common.pieces import listen
from fastreg.machine import _core

GROUP = _core.BF16_GROUP  # terms
UPPER, QUIET, HALF = np.uint32(0xFFFF0000), np.uint32(0x00400000), np.uint32(0x7FFF)
# Up to here a result is rounded to a small number. What is larger is rounded up to the smallest normal one, 2^-126.
SMALL = 2.0**-126 - 2.0**-151


def rounded(x: np.ndarray) -> np.ndarray:
    """x in bf16: to the nearest, of two the even one; beyond the largest, infinity. NaN stays NaN."""
    x = np.ascontiguousarray(x, np.float32)
    bits = x.view(np.uint32)
    nearest = (bits + HALF + ((bits >> np.uint32(16)) & np.uint32(1))) & UPPER
    chosen = np.where(np.isnan(x), (bits | QUIET) & UPPER, nearest).astype(np.uint32).view(np.float32)
    return _flushed(chosen, np.abs(x) < np.finfo(np.float32).tiny)


def product(a: np.ndarray, b: np.ndarray, look: Callable[[], None] = listen) -> np.ndarray:
    """a @ b in float32, both operands rounded first. `look` is called after each group.

    In each group of 32 terms, the even ones and the odd ones are a chain of fused multiply-adds each, from 0; then
    c = c + (even + odd), group by group. What is missing of the last group are zeros, which make 0 of -0.
    """
    missing = -a.shape[1] % GROUP
    a, b = np.pad(rounded(a), ((0, 0), (0, missing))), np.pad(rounded(b), ((0, missing), (0, 0)))
    a, b = a.astype(np.float64), b.astype(np.float64)
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for first in range(0, a.shape[1], GROUP):
        even, odd = (_chain(a[:, k : first + GROUP : 2], b[k : first + GROUP : 2]) for k in (first, first + 1))
        total = _sum(total, _sum(even, odd))
        look()
    return total


def _sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    total = a + b
    return _flushed(total, np.abs(total) < np.finfo(np.float32).tiny)


def _flushed(x: np.ndarray, small: np.ndarray) -> np.ndarray:
    """x, with zeros of the same sign where it is small."""
    return np.where(small, np.copysign(x.dtype.type(0), x), x)


def _chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """One chain of fused multiply-adds.

    In float64 a product of two such operands is exact. So is its sum with a float32, or else one of the two is too
    small to change the other. Rounded to float32, the sum is that of a fused multiply-add.
    """
    sums = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        exact = np.multiply.outer(a[:, k], b[k]) + sums
        sums = _flushed(exact, np.abs(exact) < SMALL).astype(np.float32)
    return sums
