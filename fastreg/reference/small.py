"""Small numbers are zero: the rule of both engines, which csrc/flush.h states."""

from __future__ import annotations

import numpy as np


def small_to_zero(array: np.ndarray) -> np.ndarray:
    """Sets, in place, what is smaller in size than the smallest normal number of its dtype to 0; returns the array."""
    np.copyto(array, 0, where=np.abs(array) < np.finfo(array.dtype).tiny)
    return array


def without_small(array: np.ndarray) -> np.ndarray:
    """A copy in which they are 0."""
    return small_to_zero(np.array(array))
