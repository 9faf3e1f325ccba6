"""What is minimized: losses (`losses`), penalties (`penalties`) and adversarial training (`adversarial`)."""

from fastreg.common.names import missing as _missing
from fastreg.losses.losses import (
    BY_NAME,
    MAE,
    MSE,
    TRANSFORMS,
    Custom,
    Huber,
    LogCosh,
    Loss,
    Quantile,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    get,
    huber,
    log_cosh,
    mae,
    mse,
    quantile,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

__all__ = [
    "BY_NAME",
    "MAE",
    "MSE",
    "TRANSFORMS",
    "Custom",
    "Huber",
    "LogCosh",
    "Loss",
    "Quantile",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "get",
    "huber",
    "log_cosh",
    "mae",
    "mse",
    "quantile",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]

__getattr__ = _missing(__name__, __all__)
