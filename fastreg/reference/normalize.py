"""Normalization by formulas: moments of columns, channels and rows, and the way back.

The `channels` of an image are its last dimension. A row of several pixels counts as one row for each pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Normal(NamedTuple):
    """What makes z of x: z = (x - mean) scale + shift, with scale = gamma rstd, and xhat = (x - mean) rstd + rest."""

    mean: np.ndarray
    rstd: np.ndarray
    rest: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


class Moments(NamedTuple):
    """The means of some values in two parts, mean + left, and the sums of the squares around them.

    A mean that is rounded to its dtype is wrong by up to a part of its own size. Where it is large beside the spread of
    the values, that is much of what is left when it is subtracted."""

    mean: np.ndarray
    left: np.ndarray
    squares: np.ndarray


def moments(x: np.ndarray, axis: int = 0, left: np.ndarray | float = 0) -> Moments:
    """Those of the columns of x, or of its rows, in two passes: what the distances to a first mean sum to corrects both
    (Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983). Add `left` for an x in two parts."""
    first = x.mean(axis=axis, keepdims=True)
    distances = x - first + left
    off = distances.mean(axis=axis, keepdims=True)
    squares = np.square(distances).sum(axis=axis, keepdims=True) - off * distances.sum(axis=axis, keepdims=True)
    mean = first + off
    return Moments(*(np.squeeze(a, axis) for a in (mean, off - (mean - first), np.maximum(squares, 0))))


def joined_moments(columns: Moments, rows: int, channels: int) -> Moments:
    """Those of each channel, from those of the columns over `rows` rows (Chan, Golub and LeVeque, Updating formulae and
    a pairwise algorithm for computing sample variances, 1979)."""
    means, left, squares = (each.reshape(-1, channels) for each in columns)
    whole = moments(means, left=left)
    return whole._replace(squares=squares.sum(axis=0) + rows * whole.squares)


def moved(running: np.ndarray, batch: np.ndarray, momentum: float) -> np.ndarray:
    """The running moment after a batch."""
    return ((1 - momentum) * running + momentum * batch).astype(running.dtype)


def unbiased(variance: np.ndarray, values: int) -> np.ndarray:
    """The variance of a population of which there are so many values."""
    return variance * variance.dtype.type(values / max(values - 1, 1))


def normal(mean: np.ndarray, left: np.ndarray, variance: np.ndarray, gamma, beta, eps: float) -> Normal:
    """What makes z, from moments. gamma and beta may be None."""
    rstd = 1 / np.sqrt(variance + variance.dtype.type(eps))
    scale = rstd if gamma is None else gamma * rstd
    return Normal(mean, rstd, -left * rstd, scale, (0 if beta is None else beta) - left * scale)


def folded(n: Normal, bias: np.ndarray | None) -> Normal:
    """The same for what comes without its bias, which the shift then holds: z = x scale + shift."""
    return n._replace(shift=((0 if bias is None else bias) - n.mean) * n.scale + n.shift)


def affine(x: np.ndarray, n: Normal, channels: int) -> np.ndarray:
    """z, pixel by pixel."""
    pixels = x.reshape(-1, channels)
    return ((pixels - n.mean) * n.scale + n.shift).reshape(x.shape)


def xhat(x: np.ndarray, mean: np.ndarray, rstd: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """What has mean 0 and variance 1."""
    return (x - mean) * rstd + rest


def sums(values: np.ndarray) -> np.ndarray:
    """Down the columns, in float64: they may all but cancel."""
    return values.sum(axis=0, dtype=np.float64).astype(values.dtype)


def gradient_sums(dz: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sums over the rows of dz and of dz xhat. These are the gradients of beta and gamma."""
    return sums(dz), sums(dz * normal)


def affine_dx(dz, normal, scale, k1, k2) -> np.ndarray:
    """The gradient at x, with the means k1 of dz and k2 of dz xhat over what shares a mean."""
    return scale * (dz - k1 - normal * k2)


def row_moments(x: np.ndarray, eps: float) -> np.ndarray:
    """The mean of each row, its 1 / sqrt(variance + eps) and its rest, as three columns."""
    mean, left, squares = moments(x, axis=1)
    rstd = 1 / np.sqrt(squares / x.dtype.type(x.shape[1]) + x.dtype.type(eps))
    return np.stack([mean, rstd, -left * rstd], axis=1)
