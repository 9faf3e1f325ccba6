"""Long work in pieces. Between them Python hears Ctrl-C, and a thread hears that it should end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import DTypeLike

AT_ONCE = 1 << 20  # elements of a piece: a few milliseconds
BYTES_AT_ONCE = 1 << 24  # of a file

_heard = threading.local()


class Stopped(Exception):
    """Another thread has asked this one to end."""


@contextmanager
def ending_with(stop: list) -> Iterator[None]:
    """Work of this thread in the block ends soon after `stop` gets an element. Only the main thread hears Ctrl-C by
    itself."""
    _heard.stop = stop
    try:
        yield
    finally:
        _heard.stop = None


def listen() -> None:
    """Raises if this thread should end."""
    if getattr(_heard, "stop", None):
        raise Stopped


def pieces(count: int, at_once: int = AT_ONCE) -> Iterator[slice]:
    """The pieces of so many elements."""
    for start in range(0, count, at_once):
        listen()
        yield slice(start, min(start + at_once, count))


def copy(into: np.ndarray, values: np.ndarray) -> None:
    """Copies an array into another of its shape, some rows at a time."""
    rows = len(into)
    for part in pieces(rows, max(1, AT_ONCE * rows // max(into.size, 1))):
        into[part] = values[part]


def copied(values: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """A copy of an array, in C order, in its own dtype or another."""
    out = np.empty(values.shape, values.dtype if dtype is None else dtype)
    copy(out, values)
    return out


def taken(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`values[rows]`, some rows at a time."""
    out = np.empty((len(rows), *values.shape[1:]), values.dtype)
    for part in pieces(len(rows), max(1, AT_ONCE * len(values) // max(values.size, 1))):
        out[part] = values[rows[part]]
    return out


def counted(codes: np.ndarray, count: int) -> np.ndarray:
    """How often each of the codes 0 to `count` - 1 comes. Negative ones do not count."""
    found = np.zeros(count, np.int64)
    for part in pieces(len(codes)):
        some = codes[part]
        found += np.bincount(some[some >= 0], minlength=count)
    return found
