"""Orders of very many rows, in pieces, between which Ctrl-C is heard. The results are those of NumPy, to the bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastreg.common.pieces import AT_ONCE, copy, counted, pieces, taken
from fastreg.machine import _core


def permutation(random: np.random.Generator, count: int) -> np.ndarray:
    """`random.permutation(count)`: from the last place down, each is exchanged with a random one up to itself."""
    if count <= AT_ONCE:
        return random.permutation(count)
    order = np.empty(count, np.int64)
    for part in pieces(count):
        order[part] = np.arange(part.start, part.stop)
    draw = np.random.RandomState(random.bit_generator).randint  # takes from the stream as `shuffle` of `random` does
    for part in pieces(count - 1):
        last, end = count - 1 - part.start, count - 1 - part.stop
        _core.exchange(order, last, draw(0, np.arange(last + 1, end + 1, -1), dtype=np.int64))
    return order


def shuffled(random: np.random.Generator, rows: np.ndarray) -> np.ndarray:
    """`random.permutation(rows)`."""
    return taken(rows, permutation(random, len(rows)))


def coded(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`np.unique(values, return_inverse=True)`: the different values in order, and the number of each element's."""
    at_once = max(1, AT_ONCE // max(1, values.dtype.itemsize // 4))
    found = values[:0]
    if len(values) > at_once and values.dtype.kind in "biuUS":
        for part in pieces(len(values), at_once):
            found = np.unique(np.concatenate([found, np.unique(values[part])]))
            if len(found) > AT_ONCE:
                break
        else:
            codes = np.empty(len(values), np.int64)
            for part in pieces(len(values), at_once):
                codes[part] = np.searchsorted(found, values[part])
            return found, codes
    return np.unique(values, return_inverse=True)


def by_code(codes: np.ndarray, count: int) -> np.ndarray:
    """`np.argsort(codes, kind="stable")` of codes from 0 to `count` - 1."""
    if max(len(codes), count) <= AT_ONCE or count > AT_ONCE:
        return np.argsort(codes, kind="stable")
    order = np.empty(len(codes), np.int64)
    totals = counted(codes, count)
    free = totals.cumsum() - totals  # where the next row of each code goes
    for part in pieces(len(codes)):
        some = codes[part]
        own = np.argsort(some.astype(np.uint16) if count <= 1 << 16 else some, kind="stable")
        ordered, counts = some[own], np.bincount(some, minlength=count)
        order[(free - (counts.cumsum() - counts))[ordered] + np.arange(len(own))] = own + part.start
        free += counts
    return order


def apart(count: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows from 0 to `count` - 1 that are not in `rows`, and those that are, each in increasing order."""
    chosen = np.zeros(count, bool)
    for part in pieces(len(rows)):
        chosen[rows[part]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """`np.concatenate(parts)` of numbers of rows."""
    out = np.empty(sum(map(len, parts)), np.int64)
    start = 0
    for part in parts:
        copy(out[start : start + len(part)], part)
        start += len(part)
    return out
