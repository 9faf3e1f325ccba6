"""Random draws outside the step: normal and uniform values, and the order of the samples.

They come from one C routine (csrc/random.c) that both engines use, so a model starts from the same bits
and sees its samples in the same order whichever engine runs it. Draws are a pure function of (seed, stream, index).
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
    """Integers from 0 to high - 1, int64, any of them more than once; none is likelier than another by high / 2^52."""
    draws = (uniform((count,), seed, stream) * high).astype(np.int64)
    return np.minimum(draws, high - 1)  # where the product was rounded up


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of n samples in an epoch, int64."""
    out = np.empty(n, np.int64)
    _core.fill_permutation(out, seed, epoch & 0xFFFFFFFF)  # 32 bits in the counter of the draws, as for the engines
    return out
