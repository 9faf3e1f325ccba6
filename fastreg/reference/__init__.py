"""The functions of `fastreg.kernels` in NumPy: the specification."""

from fastreg.common.names import missing as _missing
from fastreg.reference import updates
from fastreg.reference.activations import ACTIVATIONS, Activation, sigmoid
from fastreg.reference.arguments import Key
from fastreg.reference.functions import (
    ROUNDS,
    WORD,
    dense,
    dense_backward,
    draws,
    dropout,
    dropout_backward,
    huber,
    mae,
    mask,
    mse,
    mse_rows,
    output_rows,
    philox,
    sigmoid_cross_entropy,
    sigmoid_cross_entropy_rows,
    softmax,
    softmax_cross_entropy,
    softmax_cross_entropy_rows,
    through,
    total,
)
from fastreg.reference.updates import *  # noqa: F403  its __all__ is static
from fastreg.reference.updates import soft_threshold

__all__ = [
    "ACTIVATIONS",
    "ROUNDS",
    "WORD",
    "Activation",
    "Key",
    "dense",
    "dense_backward",
    "draws",
    "dropout",
    "dropout_backward",
    "huber",
    "mae",
    "mask",
    "mse",
    "mse_rows",
    "output_rows",
    "philox",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_rows",
    "soft_threshold",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_rows",
    "through",
    "total",
]
__all__ += updates.__all__

__getattr__ = _missing(__name__, __all__)
