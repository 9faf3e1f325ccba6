"""Random draws outside of steps: normal and uniform values, and the order of the samples.

They come from one C routine (csrc/random.c). So with either engine, a model starts from the same bits and sees its
samples in the same order. Draws are a pure function of (seed, stream, index).
"""

from __future__ import annotations

import math

import numpy as np

from fastreg.machine import _core


def normal(shape: tuple[int, ...], seed: int, stream: int) -> np.ndarray:
    """Standard normal float64 values."""
    out = np.empty(math.prod(shape))
    _core.fill_normal(out, seed, stream)
    return out.reshape(shape)


def uniform(shape: tuple[int, ...], seed: int, stream: int) -> np.ndarray:
    """Uniform float64 values in (0, 1)."""
    out = np.empty(math.prod(shape))
    _core.fill_uniform(out, seed, stream)
    return out.reshape(shape)


def integers(count: int, high: int, seed: int, stream: int) -> np.ndarray:
    """Integers from 0 to high - 1, int64, with replacement. Their probabilities differ by a share below high / 2^52."""
    draws = (uniform((count,), seed, stream) * high).astype(np.int64)
    return np.minimum(draws, high - 1)  # in case the product was rounded up


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of n samples in an epoch, int64."""
    out = np.empty(n, np.int64)
    _core.fill_permutation(out, seed, epoch & 0xFFFFFFFF)  # the counter of the draws has 32 bits, as in the engines
    return out
