"""Function: a layer that the user writes in Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastreg.common import calls, checking
from fastreg.layers.base import Layer, one_dimension


@dataclass(frozen=True, repr=False)
class Function(Layer, saved=False):
    """A layer written in Python: y = forward(x), and dJ/dx = backward(dJ/dy, x, y).

    Both take and give arrays (rows, columns) in the working dtype; what they are given must not be written to. Rows
    are independent of each other: there are as many as the batch has, or as predict takes at a time. One thread calls
    the functions while the others wait, and where the layer stands above no trained Dense, backward is not called.

    Parameters
    ----------
    forward
        x (rows, inputs) -> y (rows, units).
    backward
        dy (rows, units), x, y -> dx (rows, inputs).
    units
        Columns of y; None for as many as x has.
    name
        Letters, digits, "_" and "-"; by default the index of the layer in its model.

    Raises
    ------
    TypeError
        `forward` or `backward` cannot be called. While running: one of them returned no real numbers.
    ValueError
        While running: one of them returned another shape. Saving: files hold no Python functions.

    Notes
    -----
    An exception of a function ends a fit unchanged, and the parameters are those of the start of the epoch.
    `fastreg.check_gradients` tells whether backward is right.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> square = fr.Function(lambda x: x**2, lambda dy, x, y: 2 * x * dy)
    >>> model = fr.Sequential([fr.Dense(4), square, fr.Dense(1)])
    >>> x = np.linspace(-1, 1, 64)[:, np.newaxis]
    >>> trainer = fr.Trainer(model, loss="mse", optimizer=fr.Adam(0.01), seed=1)
    >>> history = trainer.fit(x, x**2, epochs=200, batch_size=16)
    >>> history["loss"][-1] < 1e-6
    True
    >>> fr.check_gradients(trainer, x, x**2).ok
    True
    """

    forward: Callable[[np.ndarray], np.ndarray]
    backward: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    units: int | None = None

    def __post_init__(self):
        super().__post_init__()
        for name in ("forward", "backward"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name}: got {checking.shown(getattr(self, name))}, expected a function")
        if self.units is not None:
            self._set(units=checking.integer("units", self.units, high=checking.MAX_WIDTH))

    def width(self, inputs: int) -> int:
        """Columns of y for `inputs` columns of x."""
        return inputs if self.units is None else self.units

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.width(one_dimension(self, shape)),)

    def run_forward(self, x: np.ndarray, out: np.ndarray) -> None:
        """Fills `out`: what the engines call."""
        calls.fill(f"layer {self.name!r}: forward", self.forward(calls.read_only(x)), out)

    def run_backward(self, dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
        """Fills `dx`: what the engines call."""
        given = map(calls.read_only, (dy, x, y))
        calls.fill(f"layer {self.name!r}: backward", self.backward(*given), dx)
