"""Random draws outside of steps: normal and uniform values, and the order of the samples.

They come from one C routine (csrc/random.c). So with either engine, a model starts from the same bits and sees its
samples in the same order. Draws are a pure function of (seed, stream, index).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fastreg.common.pieces import listen, pieces
from fastreg.machine import _core


def normal(shape: tuple[int, ...], seed: int, stream: int) -> np.ndarray:
    """Standard normal float64 values."""
    return _filled(_core.fill_normal, math.prod(shape), seed, stream).reshape(shape)


def uniform(shape: tuple[int, ...], seed: int, stream: int) -> np.ndarray:
    """Uniform float64 values in (0, 1)."""
    return _filled(_core.fill_uniform, math.prod(shape), seed, stream).reshape(shape)


def _filled(fill: Callable[..., None], count: int, seed: int, stream: int) -> np.ndarray:
    out = np.empty(count)
    for part in pieces(count, _core.AT_ONCE):
        fill(out[part], seed, stream, part.start)
    return out


def integers(count: int, high: int, seed: int, stream: int) -> np.ndarray:
    """Integers from 0 to high - 1, int64, with replacement. Their probabilities differ by a share below high / 2^52."""
    draws, out = uniform((count,), seed, stream), np.empty(count, np.int64)
    for part in pieces(count):
        out[part] = np.minimum((draws[part] * high).astype(np.int64), high - 1)  # in case the product was rounded up
    return out


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of n samples in an epoch, int64."""
    out = np.empty(n, np.int64)
    parts = list(pieces(n, _core.AT_ONCE))
    for part in parts:
        out[part] = np.arange(part.start, part.stop)
    for piece in range(len(parts)):
        listen()
        _core.shuffle(out, seed, epoch & 0xFFFFFFFF, piece)  # the counter of the draws has 32 bits, as in the engines
    return out
