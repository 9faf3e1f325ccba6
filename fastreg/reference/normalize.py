"""Normalization by formulas: moments of columns, channels and rows, and the way back.

The `channels` of an image are its last dimension. A row of several pixels counts as one row for each pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Normal(NamedTuple):
    """What makes z of x: z = (x - mean) scale + shift, with scale = gamma rstd."""

    mean: np.ndarray
    rstd: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each column, and the sum of the squares around it."""
    mean = x.mean(axis=0)
    return mean, np.square(x - mean).sum(axis=0)


def joined_moments(mean: np.ndarray, squares: np.ndarray, rows: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the biased variance of each channel, from the moments of the columns over `rows` rows (Chan, Golub
    and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances, 1979)."""
    means, squares = mean.reshape(-1, channels), squares.reshape(-1, channels)
    whole = means.mean(axis=0)
    apart = rows * np.square(means - whole).sum(axis=0)
    return whole, (squares.sum(axis=0) + apart) / (rows * len(means))


def moved(running: np.ndarray, batch: np.ndarray, momentum: float) -> np.ndarray:
    """The running moment after a batch."""
    return ((1 - momentum) * running + momentum * batch).astype(running.dtype)


def unbiased(variance: np.ndarray, values: int) -> np.ndarray:
    """The variance of a population of which there are so many values."""
    return variance * variance.dtype.type(values / max(values - 1, 1))


def normal(mean: np.ndarray, variance: np.ndarray, gamma, beta, eps: float) -> Normal:
    """What makes z, from moments. gamma and beta may be None."""
    rstd = 1 / np.sqrt(variance + variance.dtype.type(eps))
    scale = rstd if gamma is None else gamma * rstd
    return Normal(mean, rstd, scale, np.zeros_like(mean) if beta is None else beta)


def folded(n: Normal, bias: np.ndarray | None) -> Normal:
    """The same for what comes without its bias, which the shift then holds: z = x scale + shift."""
    return n._replace(shift=((0 if bias is None else bias) - n.mean) * n.scale + n.shift)


def affine(x: np.ndarray, n: Normal, channels: int) -> np.ndarray:
    """z, pixel by pixel."""
    pixels = x.reshape(-1, channels)
    return ((pixels - n.mean) * n.scale + n.shift).reshape(x.shape)


def gradient_sums(dz: np.ndarray, x: np.ndarray, mean: np.ndarray, rstd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sums over the rows of dz and of dz xhat. These are the gradients of beta and gamma."""
    return dz.sum(axis=0), (dz * ((x - mean) * rstd)).sum(axis=0)


def affine_dx(dz, x, mean, rstd, scale, k1, k2) -> np.ndarray:
    """The gradient at x, with the means k1 of dz and k2 of dz xhat over what shares a mean."""
    return scale * (dz - k1 - (x - mean) * rstd * k2)


def row_moments(x: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean and 1 / sqrt(variance + eps) of each row, as columns."""
    mean = x.mean(axis=1, keepdims=True)
    return mean, 1 / np.sqrt(np.square(x - mean).mean(axis=1, keepdims=True) + x.dtype.type(eps))
