"""The activations of PyTorch: the class in `torch.nn`, and the options that have an effect."""

from __future__ import annotations

from typing import Any

MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("Identity", {}),
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "gelu": ("GELU", {"approximate": "none"}),
    "gelu_tanh": ("GELU", {"approximate": "tanh"}),
    "silu": ("SiLU", {}),
    "elu": ("ELU", {"alpha": 1.0}),
    "selu": ("SELU", {}),
    "softplus": ("Softplus", {"beta": 1.0}),
    "mish": ("Mish", {}),
    "hard_swish": ("Hardswish", {}),
}
CLASSES = {kind for kind, _ in MODULES.values()}


def name_of(kind: str, options: dict[str, Any]) -> str | None:
    """The activation that a class of `torch.nn` with these options is. None if there is no such activation."""
    if kind == "LeakyReLU" and options["negative_slope"] in (0.0, 1.0):
        return ("relu", "linear")[int(options["negative_slope"])]
    found = (name for name, module in MODULES.items() if module == (kind, options))
    return next(found, None)


def options_of(kind: str) -> tuple[str, ...]:
    """The options of a class that have an effect."""
    return next(tuple(options) for own, options in MODULES.values() if own == kind)
