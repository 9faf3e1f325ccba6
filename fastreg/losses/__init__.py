"""What is minimized: losses (`losses`), penalties (`penalties`) and adversarial training (`adversarial`)."""

from fastreg.losses.losses import (
    BY_NAME,
    MSE,
    TRANSFORMS,
    Custom,
    Loss,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    get,
    mse,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)

__all__ = [
    "BY_NAME",
    "MSE",
    "TRANSFORMS",
    "Custom",
    "Loss",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "get",
    "mse",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
]
