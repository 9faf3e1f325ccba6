"""Reads the state of a callback from a checkpoint, and refuses what no fit could have written."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from fastreg.common.safetensors import brief


class State:
    """Numbers and arrays by name. Each method raises ValueError if a fit cannot have written the value.

    Examples
    --------
    >>> import numpy as np
    >>> state = State({"waited": np.array(3)}, ["waited"])
    >>> state.count("waited", 0, 5)
    3
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], names: Collection[str]):
        self.arrays = arrays
        if arrays.keys() != set(names):
            raise ValueError(f"got {brief(sorted(arrays))}, expected {brief(sorted(names))}")

    def count(self, name: str, low: int, high: int) -> int:
        """The integer `name`, from `low` to `high`."""
        result = int(self._scalar(name, "iu", "an integer"))
        self.require(low <= result <= high, name)
        return result

    def number(self, name: str) -> float:
        """The number `name`, of any value."""
        return float(self._scalar(name, "fiu", "a number"))

    def array(self, name: str, like: np.ndarray) -> np.ndarray:
        """The array `name`: finite, of the shape and dtype of `like`."""
        array = self.arrays[name]
        if (array.shape, array.dtype) != (like.shape, like.dtype):
            raise ValueError(f"{name}: got {array.dtype} {array.shape}, expected {like.dtype} {like.shape}")
        self.require(bool(np.isfinite(array).all()), name)
        return array

    def require(self, holds: bool, name: str) -> None:
        """Refuses the value of `name` if the condition does not hold."""
        if not holds:
            raise ValueError(f"{name}: got {brief(self.arrays[name].tolist())}, expected a value that a fit can write")

    def _scalar(self, name: str, kinds: str, expected: str) -> np.ndarray:
        array = self.arrays[name]
        if array.shape or array.dtype.kind not in kinds:
            raise ValueError(f"{name}: got {array.dtype} {array.shape}, expected {expected}")
        return array
