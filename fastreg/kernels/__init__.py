"""The C kernels as functions on arrays. `fastreg.reference` has the same functions in NumPy."""

from fastreg.common.names import missing as _missing
from fastreg.kernels import updates
from fastreg.kernels.functions import (
    Key,
    dense,
    dense_backward,
    dropout,
    dropout_backward,
    huber,
    mae,
    mse,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from fastreg.kernels.updates import *  # noqa: F403  its __all__ is static

__all__ = [
    "Key",
    "dense",
    "dense_backward",
    "dropout",
    "dropout_backward",
    "huber",
    "mae",
    "mse",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]
__all__ += updates.__all__

__getattr__ = _missing(__name__, __all__)
