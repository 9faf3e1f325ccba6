"""Layers that join values: Add, Concatenate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastreg.common import checking
from fastreg.layers.base import Layer, live
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
