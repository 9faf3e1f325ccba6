"""Flatten: from samples of any shape to one dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastreg.layers.base import Layer


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """Makes one dimension of a sample of any shape, in C order. It costs nothing: the data are read so.

    Parameters
    ----------
    name
        Of the layer, in the state_dict and in files.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Flatten().output_shape((28, 28))
    (784,)
    """

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(shape),)
