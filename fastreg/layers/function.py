"""Function: a layer that the user writes in Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastreg.common import calls, checking
from fastreg.layers.base import Layer, live, one_dimension


@live
@dataclass(frozen=True, repr=False)
class Function(Layer, saved=False):
    """A layer written in Python: y = forward(x), and dJ/dx = backward(dJ/dy, x, y).

    Both take and return arrays (rows, columns) in the working dtype. They must not write to what they get. Rows must be
    independent of each other, because their number varies: that of a batch, or that which predict takes at a time. One
    thread calls the functions while the others wait. If no trained Dense comes before the layer, backward is never
    called.

    Parameters
    ----------
    forward
        x (rows, inputs) -> y (rows, units).
    backward
        dy (rows, units), x, y -> dx (rows, inputs).
    units
        Number of columns of y. None for as many as x has.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    TypeError
        `forward` or `backward` is no function of these arguments. While running: one of them did not return real
        numbers.
    ValueError
        While running: one of them returned a wrong shape.

    Notes
    -----
    A model file has only the name of this layer and its width. `fastreg.load(path, custom={name: layer})` takes the
    layer itself.

    If a function raises an exception, the fit ends with that exception, and the parameters are those from the start of
    the epoch. `fastreg.check_gradients` checks whether backward is right.

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
        calls.takes("forward", self.forward, "x")
        calls.takes("backward", self.backward, "dy, x, y")
        if self.units is not None:
            self._set(units=checking.integer("units", self.units, high=checking.MAX_WIDTH))

    def width(self, inputs: int) -> int:
        """The number of columns of y for `inputs` columns of x."""
        return inputs if self.units is None else self.units

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.width(one_dimension(self, shape)),)

    def config(self) -> dict[str, Any]:
        """All but the functions, which no file can hold."""
        return {"type": "Function", "units": self.units, "name": self.name}

    def run_forward(self, x: np.ndarray, out: np.ndarray) -> None:
        """Computes y into `out`. The engines call this."""
        calls.fill(f"layer {self.name!r}: forward", self.forward(calls.read_only(x)), out)

    def run_backward(self, dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
        """Computes dx into `dx`. The engines call this."""
        given = map(calls.read_only, (dy, x, y))
        calls.fill(f"layer {self.name!r}: backward", self.backward(*given), dx)
