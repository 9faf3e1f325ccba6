"""The native kernels as functions on arrays, in C."""

from fastreg.kernels.functions import (
    Key,
    adam_update,
    dense,
    dense_backward,
    dropout,
    dropout_backward,
    momentum_update,
    mse,
    rmsprop_update,
    sgd_update,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

__all__ = [
    "Key",
    "adam_update",
    "dense",
    "dense_backward",
    "dropout",
    "dropout_backward",
    "momentum_update",
    "mse",
    "rmsprop_update",
    "sgd_update",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]
