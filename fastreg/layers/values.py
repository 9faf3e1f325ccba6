"""Values of the functional style: the inputs of a model, and what layers make of them.

    x = Input(4)
    h = Dense(8, "relu")(x)     # a layer, called on a value, gives the next value

`fastreg.Model(x, h)` makes a model of them. Values hold no numbers, only shapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING, Protocol

from fastreg.common import checking, html
from fastreg.common.attributes import Suggesting
from fastreg.common.understood import understood


class Caller(Protocol):
    """A layer, as values see it."""

    @property
    def name(self) -> str | None:
        """The name, None until a model gives it one."""
        ...

    @property
    def passes(self) -> bool:
        """Whether it only passes a value on."""
        ...

    def merged_shape(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
        """The shape of a sample after it."""
        ...


_numbers = count()


def plain_shape(shape: tuple[int, ...]) -> int | tuple[int, ...]:
    """A shape as a user writes it: a number for columns."""
    return shape[0] if len(shape) == 1 else shape


class Value(Suggesting):
    """What a layer makes of other values.

    Attributes
    ----------
    shape : tuple of int
        The shape of a sample.
    layer : Layer or None
        The layer that made it. None for an input.
    inputs : tuple of Value
        What the layer was called on.
    """

    def __init__(self, layer: Caller | None, inputs: tuple[Value, ...], shape: tuple[int, ...]):
        self.layer, self.inputs, self.shape = layer, inputs, shape
        self.number = next(_numbers)  # the order in which values were made

    def __repr__(self) -> str:
        return f"<value of {self.layer!r}, of shape {plain_shape(self.shape)}>"

    def _repr_html_(self) -> str:
        """One line, for a notebook."""
        return html.page("", repr(self))

    def __iter__(self):
        raise TypeError(f"{self!r}: got a loop over a value, which has no numbers; model.predict(X) computes")

    if not TYPE_CHECKING:

        def _refuse(self, *_, **__):
            raise TypeError(
                f"{self!r}: got arithmetic with a value, which has no numbers; fr.Add()([a, b]), "
                "fr.Concatenate()([a, b]) and fr.Function(forward, backward) compute in a model"
            )

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
        __matmul__ = __pow__ = __neg__ = __getitem__ = __array_ufunc__ = _refuse


class Input(Value):
    """An input of a model in the functional style, where `fastreg.Model` begins.

    Parameters
    ----------
    shape
        The shape of a sample: a number of columns, or a tuple such as (28, 28). Not needed with `columns`.
    name
        The name by which data are given, as in `fit({"image": X1, "table": X2}, y)`. Needed if there are several inputs
        without `columns`. Letters, digits, "_" and "-".
    columns
        The columns of one table X that this input reads, in this order. Then all inputs of the model have `columns`,
        and X is given as one array.

    Examples
    --------
    >>> import fastreg as fr
    >>> numbers, codes = fr.Input(columns=[0, 1, 2]), fr.Input(columns=[3, 4])
    >>> numbers.shape, codes.shape
    ((3,), (2,))
    """

    @understood
    def __init__(self, shape: int | Iterable[int] | None = None, *, name: str | None = None, columns=None):
        if (shape is None) == (columns is None):
            got = f"shape={checking.shown(shape)} and columns={checking.shown(columns)}"
            raise ValueError(f"Input: got {got}, expected one of the two")
        if name is not None and not (isinstance(name, str) and name.replace("_", "").replace("-", "").isalnum()):
            raise ValueError(f"name: got {checking.shown(name)}, expected letters, digits, '_' and '-'")
        self.name = name
        self.columns = None if columns is None else _columns(columns)
        own = checking.sample_shape(shape) if self.columns is None else (len(self.columns),)
        super().__init__(None, (), own)

    def __repr__(self) -> str:
        what = f"{plain_shape(self.shape)}" if self.columns is None else f"columns={list(self.columns)}"
        return f"Input({what}{'' if self.name is None else f', name={self.name!r}'})"


def _columns(columns) -> tuple[int, ...]:
    chosen = checking.iterate("columns", columns, "a list of column numbers")
    numbers = tuple(checking.integer("columns", column, 0, checking.MAX_WIDTH) for column in chosen)
    if not numbers:
        raise ValueError("columns: got none, expected at least one column number")
    return numbers


def called(layer: Caller, given: tuple) -> Value:
    """The value of a layer that is called on others."""
    values = tuple(given[0]) if len(given) == 1 and isinstance(given[0], (list, tuple)) else given
    kind = type(layer).__name__
    for value in values:
        if not isinstance(value, Value):
            raise TypeError(
                f"{_where(layer.name)}{kind}: got {checking.shown(value)}, expected a value such as fr.Input(784), or "
                f"what a layer made of one; models compute: model.predict(X)"
            )
    return Value(layer, values, shape_after(layer, [value.shape for value in values]))


def shape_after(layer: Caller, shapes: list[tuple[int, ...]], name: str | None = None) -> tuple[int, ...]:
    """The shape of a sample after a layer. An error names the layer."""
    try:
        return layer.merged_shape(shapes)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{_where(layer.name if name is None else name)}{error}") from None


def _where(name: str | None) -> str:
    """The beginning of a message about a layer, if it has a name already."""
    return "" if name is None else f"layer {name!r}: "
