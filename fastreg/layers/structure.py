"""Layers that join values: Add, Concatenate. Residual, a row of layers with a way around them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fastreg.common import checking
from fastreg.layers.base import Layer, live
from fastreg.layers.values import Value
from fastreg.reference.activations import ACTIVATIONS


@live
@dataclass(frozen=True, repr=False)
class Merge(Layer):
    """Base class of layers that take several values."""

    def merged_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        if len(shapes) < 2:
            raise ValueError(f"{type(self).__name__}: got {len(shapes)} values, expected at least two, as in ([a, b])")
        return self._joined(shapes)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.merged_shape([shape])

    def _joined(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        raise NotImplementedError


@live
@dataclass(frozen=True, repr=False)
class Add(Merge):
    """The sum of values of one shape: activation(a + b + ...).

    Parameters
    ----------
    activation
        The name of an activation, as for `fastreg.Dense`. None for none.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Examples
    --------
    >>> import fastreg as fr
    >>> x = fr.Input(8)
    >>> h = fr.Dense(8, "relu")(x)
    >>> fr.Add()([x, h]).shape
    (8,)
    """

    activation: str | None = None

    def __post_init__(self):
        super().__post_init__()
        activation = "linear" if self.activation is None else self.activation
        self._set(activation=checking.choice("activation", activation, ACTIVATIONS))

    def _joined(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"Add: got the shapes {', '.join(map(str, shapes))}, expected the same for all")
        return shapes[0]

    def __repr__(self) -> str:
        return "Add()" if self.activation == "linear" else f"Add({self.activation!r})"


@live
@dataclass(frozen=True, repr=False)
class Concatenate(Merge):
    """The columns of several values side by side, in this order.

    Parameters
    ----------
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Examples
    --------
    >>> import fastreg as fr
    >>> a, b = fr.Input(3, name="a"), fr.Input(5, name="b")
    >>> fr.Concatenate()([a, b]).shape
    (8,)
    """

    def _joined(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        for shape in shapes:
            if len(shape) != 1:
                raise ValueError(
                    f"Concatenate: got samples of shape {shape}, expected one dimension; put a Flatten() before it"
                )
        return (sum(math.prod(shape) for shape in shapes),)


class Residual:
    """A row of layers with a way around them: y = x + layers(x) (He et al., Deep Residual Learning, 2016).

    It is no layer of its own. Its layers and an `Add` become layers of the model.

    Parameters
    ----------
    layers
        The layers of the row, or specs of them.
    shortcut
        A layer on the way around, such as `fr.Dense(64)`, for a row that changes the width. Then
        y = shortcut(x) + layers(x).
    activation
        The activation after the sum.

    Examples
    --------
    >>> import fastreg as fr
    >>> block = fr.Residual([fr.Dense(32, "relu"), fr.Dense(16)])
    >>> model = fr.Sequential([fr.Dense(16), block, fr.Dense(1)])
    >>> len(model.layers)
    5
    >>> block(fr.Input(16)).shape
    (16,)
    """

    def __init__(self, layers: Iterable[Layer], *, shortcut: Layer | None = None, activation: str | None = None):
        self.layers = list(checking.iterate("layers", layers, "a list of layers"))
        if not self.layers:
            raise ValueError("layers: got none, expected at least one layer")
        self.shortcut, self.add = shortcut, Add(activation)

    def __call__(self, value: Value) -> Value:
        """The value after the row, in the functional style."""
        end = value
        for layer in self.layers:
            end = layer(end)
        return self.add(value if self.shortcut is None else self.shortcut(value), end)

    def __repr__(self) -> str:
        more = [] if self.shortcut is None else [f"shortcut={self.shortcut!r}"]
        more += [] if self.add.activation == "linear" else [f"activation={self.add.activation!r}"]
        return f"Residual({', '.join([repr(self.layers), *more])})"
