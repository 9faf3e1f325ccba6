"""Residual: a row of layers with a way around them."""

from __future__ import annotations

from collections.abc import Iterable

from fastreg.common import checking, specs
from fastreg.common.understood import understood
from fastreg.layers.base import Layer
from fastreg.layers.by_name import BY_NAME
from fastreg.layers.structure import Add
from fastreg.layers.values import Value


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

    @understood
    def __init__(self, layers: Iterable[Layer], *, shortcut: Layer | None = None, activation: str | None = None):
        row = checking.iterate("layers", layers, "a list of layers")
        self.layers = [_element(f"layers[{index}]", layer) for index, layer in enumerate(row)]
        if not self.layers:
            raise ValueError("layers: got none, expected at least one layer")
        self.shortcut = None if shortcut is None else _element("shortcut", shortcut)
        self.add = Add(activation)

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


def _element(name: str, value) -> Layer | Residual:
    """A part of a residual block: a layer, another block, or a spec."""
    if isinstance(value, str):
        value = specs.make(name, value, BY_NAME)
    checking.made(name, value)
    if not isinstance(value, (Layer, Residual)):
        raise TypeError(f"{name}: got {checking.shown(value)}, expected a layer such as Dense(10)")
    return value
