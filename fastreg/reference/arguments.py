"""Checks the arguments of the functions on arrays. `fastreg.kernels` and `fastreg.reference` share these checks.

Values in arrays are not checked: NaN passes through as in NumPy. Any other bad argument is refused before anything is
written.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np

from fastreg.common import checking
from fastreg.program.riders import Mask

REAL = (np.dtype(np.float32), np.dtype(np.float64))
WORD = 2**32 - 1


class Key(NamedTuple):
    """Coordinates of the draws of an array. Functions that take a key also take an int, its seed.

    seed     64 bits: the key of Philox
    step     the global step
    stream   what the draws are for: purpose and layer, as `fastreg.program.riders.stream` packs them
    row      the coordinate of the first row

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> y = fr.reference.dropout(np.ones((2, 100)), 0.5, key=fr.reference.Key(seed=7, step=3))
    >>> last = fr.reference.dropout(np.ones((1, 100)), 0.5, key=fr.reference.Key(seed=7, step=3, row=1))
    >>> bool((y[1:] == last).all())
    True
    """

    seed: int
    step: int = 0
    stream: int = 0
    row: int = 0


# --- Draws -----------------------------------------------------------------------------------------------------


def key(value) -> Key:
    """A Key, from a Key, a tuple of its numbers or a seed."""
    parts = value if isinstance(value, tuple) else (value,)
    if not 1 <= len(parts) <= len(Key._fields):
        raise ValueError(f"key: got {checking.shown(value)}, expected a Key or a seed")
    highest = (2**64 - 1, checking.MAX_INT, WORD, WORD)
    return Key(*(checking.integer("key", part, 0, high) for part, high in zip(parts, highest, strict=False)))


def mask(keep_prob, value) -> Mask:
    """The mask of keep_prob and a key. Keep 1 and keep 0 draw nothing and need no key."""
    found = Mask(checking.number("keep_prob", keep_prob, 0, 1), 0 if value is None else key(value).stream)
    if value is None and 0 < found.threshold < 65536:
        raise ValueError(f"key: got None, expected a Key or a seed, because keep_prob is {keep_prob}")
    return found


# --- Arrays ----------------------------------------------------------------------------------------------------


def arrays(**named) -> list:
    """The arrays, all float32 or all float64. None stays None."""
    found = [None if array is None else checking.as_array(name, array) for name, array in named.items()]
    dtypes = {array.dtype for array in found if array is not None}
    if len(dtypes) != 1 or not dtypes <= set(REAL):
        got = ", ".join(f"{name} {a.dtype}" for name, a in zip(named, found, strict=True) if a is not None)
        raise TypeError(f"dtype: got {got or 'no array'}, expected all float32 or all float64")
    return found


def given(name: str, value) -> None:
    """Refuses None if an array is required."""
    if value is None:
        raise TypeError(f"{name}: got None, expected an array of float32 or float64")


def samples(name: str, value) -> np.ndarray:
    """An array (..., columns)."""
    given(name, value)
    (value,) = arrays(**{name: value})
    if not value.ndim:
        raise ValueError(f"{name}: got shape (), expected at least one dimension")
    return value


def dense(x, w, b=None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """x (M, K), w (K, N), b (N,) or None."""
    given("x", x)
    given("w", w)
    x, w, b = arrays(x=x, w=w, b=b)
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != len(w):
        raise ValueError(f"w: got shape {w.shape} for x of shape {x.shape}, expected (M, K) @ (K, N)")
    if b is not None and b.shape != w.shape[1:]:
        raise ValueError(f"b: got shape {b.shape}, expected ({w.shape[1]},)")
    return x, w, b


def dense_backward(dy, x, w, y, z) -> list:
    """dy, y (M, N), x (M, K), w (K, N), z (M, N) or None."""
    for name, array in (("dy", dy), ("x", x), ("w", w), ("y", y)):
        given(name, array)
    dy, x, w, y, z = arrays(dy=dy, x=x, w=w, y=y, z=z)
    dense(x, w)
    expected = len(x), w.shape[1]
    for name, array in (("dy", dy), ("y", y), ("z", z)):
        if array is not None and array.shape != expected:
            raise ValueError(f"{name}: got shape {array.shape}, expected {expected}")
    return [dy, x, w, y, z]


def out(value, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuses an array that cannot hold the result."""
    if value is None:
        return
    if not isinstance(value, np.ndarray):
        raise TypeError(f"out: got {checking.shown(value)}, expected an array of {dtype} of shape {shape}")
    if value.shape != shape or value.dtype != dtype or not value.flags.writeable:
        got = f"{'' if value.flags.writeable else 'read-only '}{value.dtype} of shape {value.shape}"
        raise ValueError(f"out: got {got}, expected {dtype} of shape {shape}")
    _apart("out", value)


def _apart(name: str, array: np.ndarray) -> None:
    """Refuses an array to write to, some of whose elements are in the same place."""
    strides = sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True) if size > 1)
    extent = array.itemsize
    for stride, size in strides:
        if stride < extent:
            break
        extent = stride * (size - 1) + extent
    else:
        return
    places = np.zeros((1,) * array.ndim, np.int64)
    for axis, (stride, size) in enumerate(zip(array.strides, array.shape, strict=True)):
        places = places + (np.arange(size) * stride).reshape([-1 if i == axis else 1 for i in range(array.ndim)])
    if array.size and (np.diff(np.sort(places, axis=None)) < array.itemsize).any():
        got = f"strides {array.strides} for shape {array.shape}"
        raise ValueError(f"{name}: got overlapping rows ({got}), expected an array whose elements have a place each")


# --- Losses ----------------------------------------------------------------------------------------------------


def outputs(name: str, value) -> np.ndarray:
    """Outputs of a network (M, N)."""
    given(name, value)
    (value,) = arrays(**{name: value})
    if value.ndim != 2 or not value.shape[1]:
        raise ValueError(f"{name}: got shape {value.shape}, expected (M, N) with at least one column")
    return value


def labels(value, rows: int, classes: int) -> np.ndarray:
    """Integers (M,) from 0 to classes - 1, int64."""
    value = checking.as_array("labels", value)
    if value.shape != (rows,) or value.dtype.kind not in "iu":
        raise ValueError(f"labels: got {value.dtype} of shape {value.shape}, expected integers of shape ({rows},)")
    if rows and not 0 <= value.min() <= value.max() < classes:
        raise ValueError(f"labels: got {value.min()} to {value.max()}, expected 0 to {classes - 1}")
    return np.ascontiguousarray(value, np.int64)


def targets(value, like: np.ndarray, name: str = "targets") -> np.ndarray:
    """Real numbers of the shape and the dtype of `like`."""
    value = checking.array(name, value, like.dtype.name)
    if value.shape != like.shape:
        raise ValueError(f"{name}: got shape {value.shape}, expected {like.shape}")
    with np.errstate(over="ignore"):  # infinities go through
        return value.astype(like.dtype, copy=False)


def smoothing(value) -> float:
    """The share of label smoothing, checked."""
    return checking.number("label_smoothing", value, 0, 1)


# --- Updates ---------------------------------------------------------------------------------------------------


def update(w, g, lr, state: dict, **settings) -> tuple[np.ndarray, float]:
    """Checks the arguments of an update in place and returns g in w's dtype, and lr. State and settings have names."""
    for name, array in {"w": w, **state}.items():
        if not isinstance(array, np.ndarray) or not array.flags.writeable or array.shape != np.shape(w):
            got = checking.shown(array)
            if isinstance(array, np.ndarray):
                got = f"shape {array.shape}" if array.flags.writeable else "a read-only array"
            raise ValueError(f"{name}: got {got}, expected a writable array of w's shape: the update is in place")
    arrays(w=w, **state)
    for name, array in {"w": w, **state}.items():
        _apart(name, array)
    for (first, one), (second, other) in combinations({"w": w, **state}.items(), 2):
        if np.shares_memory(one, other):
            raise ValueError(f"{second}: got memory of {first}, expected an array of its own: the update is in place")
    largest = float(np.finfo(w.dtype).max)
    for name, value in {"lr": lr, **settings}.items():
        SETTINGS[name](name, value)
        # lr and weight_decay may be larger: the reference engine uses this, and an overflow in training is divergence.
        if name in ("l1", "l2") and not value <= largest:
            raise ValueError(f"{name}: got {checking.shown(value)}, expected a number finite in {w.dtype}")
    g = checking.array("g", g, w.dtype.name)
    if g.shape != w.shape:
        raise ValueError(f"g: got shape {g.shape}, expected {w.shape}")
    with np.errstate(over="ignore"):  # infinities go through
        g = g.astype(w.dtype, copy=False)
    return g.copy() if any(np.may_share_memory(g, array) for array in (w, *state.values())) else g, float(lr)


def rmsprop_state(v, m, momentum) -> dict:
    """The slots of RMSprop. With momentum there must be an m."""
    if m is None and _share("momentum", momentum):
        raise ValueError(f"m: got None, expected an array like w, because momentum is {momentum}")
    return {"v": v} if m is None else {"v": v, "m": m}


def _share(name: str, value) -> float:
    return checking.number(name, value, 0, 1, below=True)


SETTINGS = {
    **dict.fromkeys(("lr", "l1", "l2", "weight_decay", "eps"), checking.number),
    **dict.fromkeys(("momentum", "alpha", "beta1", "beta2"), _share),
    **dict.fromkeys(("proximal", "nesterov"), checking.flag),
    "step": checking.integer,
}
