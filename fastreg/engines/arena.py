"""Several padded arrays in one piece of memory: one copy saves all of them, another puts them back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from fastreg.common.named import ByName
from fastreg.common.names import advice
from fastreg.common.pieces import copied, copy
from fastreg.engines.memory import padded, padded_width
from fastreg.machine import _core


class Named(ByName):
    """The arrays of an arena by name. The engines hold their memory, so setting one copies its values in."""

    def __setitem__(self, name: str, value) -> None:
        if name not in self:
            raise KeyError(f"{name!r}: got a new name, expected one of {', '.join(self)}{advice('', str(name), self)}")
        own = self[name]
        if np.shape(value) != own.shape:
            raise ValueError(f"{name!r}: got shape {np.shape(value)}, expected {own.shape}")
        own[...] = value

    def update(self, *given, **named) -> None:
        """Copies values in."""
        for name, value in dict(*given, **named).items():
            self[name] = value

    def __ior__(self, other):  # type: ignore[misc]
        self.update(other)
        return self

    def _refused(self, *_):
        raise TypeError("parameters: their names are fixed; copies of them are in state_dict()")

    __delitem__ = pop = popitem = clear = setdefault = _refused


class Arena(Mapping):
    """Arrays by name. They start at zero, and their rows are padded as by `fastreg.engines.memory.padded`.

    Parameters
    ----------
    shapes
        The shape of each array, of one or two dimensions, by name.
    dtype
        "float32" or "float64".
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: str):
        itemsize = np.dtype(dtype).itemsize
        layout = {name: (math.prod(shape[:-1]), padded_width(shape[-1], itemsize)) for name, shape in shapes.items()}
        self.flat = padded((sum(rows * width for rows, width in layout.values()) or 1,), dtype)
        arrays: dict[str, np.ndarray] = {}
        start = 0
        for name, (rows, width) in layout.items():
            whole = self.flat[start : start + rows * width].reshape(rows, width)
            view = whole[:, : shapes[name][-1]]
            arrays[name] = view if len(shapes[name]) == 2 else view[0]
            start += rows * width
        self.arrays: dict[str, np.ndarray] = Named(arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def copies(self) -> dict[str, np.ndarray]:
        """Plain copies, without padding."""
        return {name: copied(values) for name, values in self.arrays.items()}

    def fill(self, values: Mapping[str, np.ndarray]) -> None:
        """Copies values in, by name, where nobody sees that they come one by one."""
        for name, own in self.arrays.items():
            copy(own, np.asarray(values[name]))

    def take(self, values: Mapping[str, np.ndarray]) -> None:
        """Copies values in, by name: all of them, or none."""
        _core.replace(self.pairs(values))

    def pairs(self, values: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """What `_core.replace` needs to copy these values in."""
        return [(own, np.asarray(values[name], own.dtype)) for name, own in self.arrays.items()]

    def __reduce__(self):
        return _arena, (self.copies(), self.flat.dtype.name)


def _arena(values: dict[str, np.ndarray], dtype: str) -> Arena:
    arena = Arena({name: v.shape for name, v in values.items()}, dtype)
    arena.fill(values)
    return arena
