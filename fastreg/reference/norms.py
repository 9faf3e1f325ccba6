"""Norms and the factors that bring them down to a limit, over the whole range of a dtype.

Squares overflow or underflow long before numbers do. So the numbers are divided by a power of two near the largest of
them before they are squared, which changes no bit otherwise. A norm is a root m and an exponent e: it is m 2^e. And a
factor is a product of two, since one alone may underflow although what it makes of a large number would not.
csrc/kernels/exact_norm.h has the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

Norm = tuple[np.ndarray, np.ndarray]  # m, e
Factors = tuple[np.ndarray, np.ndarray]  # the product of both, in the dtype of the numbers


def norm(arrays: Iterable[np.ndarray], axis: int | None = None) -> Norm:
    """The norm of all numbers of some arrays together, or along an axis."""
    arrays = [array.astype(np.float64) for array in arrays]
    largest = np.max([np.abs(array).max(axis=axis, initial=0.0) for array in arrays], axis=0)
    exponent = np.clip(np.frexp(np.where(np.isfinite(largest), largest, 0.0))[1], -1022, 1022)
    at = exponent if axis is None else np.expand_dims(exponent, axis)
    squares = sum(np.square(np.ldexp(array, -at)).sum(axis=axis) for array in arrays)
    return np.sqrt(squares), exponent


def ratio(limit: float, norm: Norm, dtype: np.dtype, plus: float = 0.0) -> Factors:
    """limit / (norm + plus), 1 where that is more."""
    root, exponent = norm
    with np.errstate(divide="ignore"):
        share = np.divide(limit, root + np.ldexp(plus, -exponent))
    plain, down = np.ldexp(share, -exponent), -np.finfo(dtype).minexp
    is_small = plain < np.finfo(dtype).tiny
    first = np.where(is_small, np.ldexp(1.0, -down), np.fmin(plain, 1.0))
    second = np.where(is_small, np.ldexp(np.where(is_small, share, 0.0), down - exponent), 1.0)
    return first, second


def scaled(x: np.ndarray, factors: Iterable[ArrayLike]) -> np.ndarray:
    """x times both factors."""
    first, second = (np.asarray(factor, x.dtype) for factor in factors)
    return x * first if (second == 1).all() else x * first * second


def limited(w: np.ndarray, limit: float, whole: float) -> np.ndarray:
    """w, whose columns are scaled down to a norm of `limit`, then all of it to one of `whole`; 0 for no limit."""
    root, exponent = norm([w], axis=0)
    columns = ratio(limit, (root, exponent), w.dtype) if limit else (np.ones_like(root), np.ones_like(root))
    if not whole:
        return scaled(w, columns)
    spare = 30 * int(exponent.max(initial=0) > 0)  # so that the norm of all columns does not overflow
    root, exponent = norm([np.ldexp(root, exponent - spare) * columns[0] * columns[1]])
    rest = ratio(whole, (root, exponent + spare), w.dtype)
    if rest[1] == 1 and (columns[1] == 1).all():
        return scaled(w, (columns[0] * rest[0], rest[1]))
    return scaled(scaled(w, columns), rest)
