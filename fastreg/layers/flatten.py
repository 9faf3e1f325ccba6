"""Flatten: the layer that turns samples of any shape into one dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from fastreg.layers.base import Layer, live


@live
@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """Turns a sample of any shape into one dimension, in C order. It costs nothing: the data are read this way.

    Parameters
    ----------
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Flatten().output_shape((28, 28))
    (784,)
    """

    passes: ClassVar[bool] = True

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(shape),)
