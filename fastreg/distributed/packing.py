"""Data as bytes that every worker reads once: arrays beside the rest, so that workers of one machine share them.

Arrays of at least SMALL bytes leave the pickle as buffers (protocol 5). A worker maps them from a file, or has them in
the shared memory of a store; there they are read-only. Memory maps of files go as the path of their file.
"""

from __future__ import annotations

import io
import os
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

SMALL = 1 << 16  # bytes


@dataclass(frozen=True, eq=False)
class Packed:
    """A value as bytes: its pickle, and the large arrays in it. No tuple, since dask looks into those."""

    head: bytes
    buffers: list[np.ndarray]

    def __sizeof__(self) -> int:  # for stores that ask how large it is
        return len(self.head) + sum(buffer.nbytes for buffer in self.buffers)


class _Pickler(pickle.Pickler):
    """Pickles data. Views of memory maps become paths, and large arrays with gaps become plain ones."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            return NotImplemented
        place = _place(value)
        if place is not None:
            return _map, place
        if type(value) is np.memmap:  # of no file that a worker could open
            return np.asarray(value).__reduce_ex__(5)
        if value.nbytes >= SMALL and not (value.flags.c_contiguous or value.flags.f_contiguous):
            return np.ascontiguousarray(value).__reduce_ex__(5)
        return NotImplemented


def pack(value: Any) -> Packed:
    """The value as bytes. Large arrays are not copied."""
    buffers: list[np.ndarray] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < SMALL:
            return True  # stays in the pickle
        buffers.append(np.frombuffer(raw, np.uint8))
        return False

    stream = io.BytesIO()
    _Pickler(stream, 5, buffer_callback=keep).dump(value)
    return Packed(stream.getvalue(), buffers)


def unpack(packed: Packed) -> Any:
    """The value again. Its large arrays are those of `packed`, not copies."""
    return pickle.loads(packed.head, buffers=packed.buffers)


def code(value: Any) -> bytes:
    """Functions and what they need as bytes, those of a script or of another function too."""
    try:
        import cloudpickle
    except ImportError:  # an older joblib has its own
        from joblib.externals import cloudpickle
    return cloudpickle.dumps(value)


# --- Memory maps ------------------------------------------------------------------------------------------------------


def _place(array: np.ndarray) -> tuple[Any, ...] | None:
    """Where a view of a memory map lies in its file: the arguments of `_map`. None for any other array."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and not (type(owner) is np.memmap and not isinstance(owner.base, np.ndarray)):
        owner = owner.base
    if not isinstance(owner, np.memmap) or owner.filename is None or owner.mode == "c" or not array.size:
        return None
    path = os.path.abspath(os.fspath(owner.filename))
    if not os.path.exists(path):
        return None
    low, high = np.lib.array_utils.byte_bounds(array)
    start = np.lib.array_utils.byte_bounds(owner)[0]
    first = array.__array_interface__["data"][0] - low
    return path, array.dtype.str, array.shape, array.strides, owner.offset + low - start, high - low, first


def _map(path: str, dtype: str, shape: tuple, strides: tuple, offset: int, size: int, first: int) -> np.ndarray:
    """A view of the bytes of a file, read-only."""
    try:
        mapped = np.memmap(path, np.uint8, "r", offset, (size,))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"X, y: got a memory map of {path!r}, which this worker cannot open ({error}), expected a file that "
            f"every machine has"
        ) from None
    return np.ndarray(shape, np.dtype(dtype), mapped, first, strides)
