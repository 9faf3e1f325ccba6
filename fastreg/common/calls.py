"""Calls of a user's Python functions (layers, losses): what they may see, and checks of what they return. And what
stands for a function that a file only names."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np

from fastreg.common.showing import function_name, shown


class Absent:
    """Stands for the Python function of a loss that a model file only names."""

    def __init__(self, name: str):
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Absent) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Absent({self.name!r})"

    def __call__(self, *_):
        raise self.refusal()

    def refusal(self) -> ValueError:
        """The error of whoever needs the function."""
        return ValueError(
            f"loss: the file only names the loss {self.name!r}, which is written in Python; "
            f"give it: fr.load(path, custom={{{self.name!r}: function}}), or loss= of the trainer"
        )


def takes(argument: str, function: Callable, given: str) -> None:
    """Refuses what is not a function, and one that does not take so many arguments. `given` names them: "dy, x, y"."""
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"{argument}: got {shown(function)}, expected a function of ({given})")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a C function without one
        return
    try:
        signature.bind(*given.split(", "))
    except TypeError:
        own = f"{function_name(function).rpartition('.')[2]}{signature}"
        raise TypeError(f"{argument}: got {own}, expected a function of ({given})") from None


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that a user's function cannot write to, since the array belongs to the engine."""
    view = array.view()
    view.flags.writeable = False
    return view


def fill(what: str, value, out: np.ndarray) -> None:
    """Copies the result of a user's function into `out`, if it fits. Errors call the function `what`."""
    result = np.asarray(value)
    if result.dtype.kind not in "biuf":
        kind = f"an array of {result.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"{what} returned {kind}, expected real numbers of shape {out.shape}")
    if result.shape != out.shape:
        raise ValueError(f"{what} returned an array of shape {result.shape}, expected {out.shape}")
    with np.errstate(over="ignore"):  # what overflows shows up in the loss, which is checked
        out[...] = result
