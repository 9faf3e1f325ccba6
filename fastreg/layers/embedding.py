"""Embedding: a vector for each category, which training finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import ClassVar, cast

from fastreg.common import checking
from fastreg.layers import initializers
from fastreg.layers.base import Layer, Parameter, live, one_dimension
from fastreg.layers.initializers import Initializer
from fastreg.losses import penalties
from fastreg.program.embedding import Codes

MAX_ROWS = 1 << 31
USUAL = initializers.normal(1.0)


@live
@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """Replaces codes of categories by vectors: columns of whole numbers from 0 on, each by a row of a table W.

    It reads an input, of one code or several in each row of the data: (n, columns) becomes (n, columns * width), the
    vectors side by side. Beside numbers in the same table, `fastreg.Input(columns=...)` says which columns are codes.

    Codes are checked: one that is not whole or out of range is refused, with its row and column. No gradient goes to
    them.

    Parameters
    ----------
    categories
        The number of categories; codes are below it. One number for all columns, which then share the table W
        (categories, width). Or a list with a number for each column: then each has its own part of W, one below the
        other. In float32 at most 2^24, since codes pass through the working dtype.
    width
        The length of a vector.
    weight_init
        Initial values of W: a name, or an object of `fastreg.initializers`. The default is normal draws of standard
        deviation 1, as in torch.nn.Embedding: of the size of standardized numbers.
    l1, l2
        Penalties on W: a number, a `fastreg.L1`, a `fastreg.L2`. None takes those of the trainer, 0 means none.
    penalty
        Both penalties in one argument, as in `Dense`.
    max_norm
        After every update, each vector whose norm is above this limit is scaled down to it. None for no limit.
    lr_scale
        Factor on the learning rate of this layer, at least 0.
    trainable
        False freezes W.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Notes
    -----
    Under `SGD` without momentum, without penalties and weight decay, only the rows of W that a batch names are touched,
    so a step takes no longer for a large table. The bits are those of an update of all rows. All other rules change
    rows without a gradient, too: Adam's moments decay.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.array([[0.5, 2], [-1.0, 0], [0.1, 2], [2.0, 1]])
    >>> numbers, town = fr.Input(columns=[0]), fr.Input(columns=[1])
    >>> h = fr.Concatenate()([numbers, fr.Embedding(3, 2)(town)])
    >>> model = fr.Model([numbers, town], fr.Dense(1)(h))
    >>> history = fr.Trainer(model, "mse", fr.SGD(0.1)).fit(X, [1.0, 0.0, 0.5, 2.0], epochs=5)
    >>> model.predict(X).shape
    (4, 1)
    """

    categories: int | tuple[int, ...]
    width: int
    _: KW_ONLY
    weight_init: str | Initializer | None = None
    l1: float | penalties.L1 | None = None
    l2: float | penalties.L2 | None = None
    penalty: InitVar[penalties.L1 | penalties.L2 | penalties.ElasticNet | None] = None
    max_norm: float | None = None
    lr_scale: float = 1.0
    trainable: bool = True
    name: str | None = None

    instead: ClassVar[dict[str, tuple[str, ...]]] = {"penalty": ("l1", "l2")}

    def __post_init__(self, penalty):
        super().__post_init__()
        if penalty is not None:
            penalties.alone("penalty", penalty, self.l1, self.l2)
            l1, l2 = penalties.pair("penalty", penalty)
            self._set(l1=l1, l2=l2)
        self._set(
            categories=_counts(self.categories),
            width=checking.integer("width", self.width, high=checking.MAX_WIDTH),
            weight_init=USUAL if self.weight_init is None else initializers.get("weight_init", self.weight_init),
            l1=None if self.l1 is None else penalties.l1("l1", self.l1),
            l2=None if self.l2 is None else penalties.l2("l2", self.l2),
            max_norm=None if self.max_norm is None else checking.positive("max_norm", self.max_norm),
            lr_scale=checking.number("lr_scale", self.lr_scale),
            trainable=checking.flag("trainable", self.trainable),
        )

    def codes(self, columns: int) -> Codes:
        """Which rows of the table the codes in so many columns name."""
        if isinstance(self.categories, int):
            return Codes((self.categories,) * columns, shared=True)
        if len(self.categories) != columns:
            raise ValueError(
                f"Embedding: got {columns} columns, expected {len(self.categories)}: one for each of the categories"
            )
        return Codes(self.categories, shared=False)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        columns = one_dimension(self, shape)
        self.codes(columns)
        return (columns * self.width,)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        rows = self.codes(one_dimension(self, shape)).rows
        return {"weight": Parameter((rows, self.width), cast(Initializer, self.weight_init), rows, self.width)}

    def check_dtype(self, dtype: str) -> None:
        """Refuses more categories than the dtype can tell apart."""
        counts = (self.categories,) if isinstance(self.categories, int) else self.categories
        if dtype == "float32" and max(counts) > 1 << 24:
            raise ValueError(
                f"layer {self.name!r}: got {max(counts)} categories in float32, expected at most {1 << 24}, since "
                f"float32 rounds larger codes; dtype='float64' takes them"
            )

    def __repr__(self) -> str:
        many = self.categories if isinstance(self.categories, int) else list(self.categories)
        parts = [str(many), str(self.width)]
        if self.weight_init != USUAL:
            parts.append(f"weight_init={self.weight_init}")
        for field in ("l1", "l2", "max_norm", "lr_scale", "trainable", "name"):
            if getattr(self, field) != getattr(Embedding, field):
                parts.append(f"{field}={getattr(self, field)!r}")
        return f"Embedding({', '.join(parts)})"


def _counts(value) -> int | tuple[int, ...]:
    if isinstance(value, (list, tuple)) or (isinstance(value, Iterable) and not isinstance(value, str)):
        given = checking.iterate("categories", value, "a number, or one for each column")
        counts = tuple(checking.integer("categories", count, high=MAX_ROWS) for count in given)
        if not counts or sum(counts) > MAX_ROWS:
            raise ValueError(
                f"categories: got {checking.shown(value)}, expected 1 to {MAX_ROWS} in all columns together"
            )
        return counts
    return checking.integer("categories", value, high=MAX_ROWS)
