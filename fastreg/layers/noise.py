"""GaussianNoise: the layer that adds random numbers in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fastreg.common import checking
from fastreg.layers.base import Layer, live


@live
@dataclass(frozen=True, repr=False)
class GaussianNoise(Layer):
    """Adds normal noise in training: y = x + std n, with a new n of mean 0 and variance 1 for every element.

    In prediction the layer does nothing. On the inputs it is a regularizer: for small noise and the squared error, it
    adds std^2 |dy/dx|^2 to the loss (Bishop, Training with Noise is Equivalent to Tikhonov Regularization, 1995).

    Parameters
    ----------
    std
        Standard deviation of the noise, at least 0.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        `std` is not a number of at least 0.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Sequential([fr.GaussianNoise(0.1), fr.Dense(3)])
    Sequential([GaussianNoise(0.1), Dense(3)])
    """

    std: float

    passes: ClassVar[bool] = True

    def __post_init__(self):
        super().__post_init__()
        self._set(std=checking.number("std", self.std))
