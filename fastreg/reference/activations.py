"""The activations: formula, derivative, and what else is to be known of each; csrc/fastreg.h has the same for C."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Activation:
    """a = value(z), and da/dz = slope(a, z).

    needs_z      whether the slope looks at z; it looks at a otherwise, and z need not be kept for the way back
    initializer  where the weights of a layer with this activation start, unless that is asked for
    """

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray, np.ndarray], np.ndarray]
    needs_z: bool = False
    initializer: str = "glorot_normal"


LEAK = 0.01


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), without an overflow on either side."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def _normal_cdf(z: np.ndarray) -> np.ndarray:
    """(1 + erf(z / sqrt 2)) / 2, by erfc, which keeps its digits far below zero."""
    halves = [0.5 * math.erfc(-x / math.sqrt(2)) for x in z.ravel().tolist()]
    return np.array(halves, z.dtype).reshape(z.shape)


def _gelu_slope(z: np.ndarray) -> np.ndarray:
    return _normal_cdf(z) + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


# gelu_tanh(z) = z/2 (1 + tanh(u)) = z sigmoid(2u) with 2u = z (A + B z^2)
A = 2 * math.sqrt(2 / math.pi)
B = A * 0.044715


def _gelu_tanh(z: np.ndarray) -> np.ndarray:
    return z * sigmoid(z * (A + B * z * z))


def _gelu_tanh_slope(z: np.ndarray) -> np.ndarray:
    u = z * (A + B * z * z)
    s = sigmoid(u)
    return s + z * s * sigmoid(-u) * (A + 3 * B * z * z)  # sigmoid(-u) is 1 - s, with all its digits


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda z: z, lambda a, z: np.ones_like(a)),
    "relu": Activation(lambda z: np.maximum(z, 0), lambda a, z: (a > 0).astype(a.dtype), initializer="he_normal"),
    "leaky_relu": Activation(
        lambda z: np.where(z > 0, z, LEAK * z),
        lambda a, z: np.where(a > 0, 1, LEAK).astype(a.dtype),
        initializer="he_normal",
    ),
    "sigmoid": Activation(sigmoid, lambda a, z: a * (1 - a)),
    "tanh": Activation(np.tanh, lambda a, z: 1 - a * a),
    "gelu": Activation(
        lambda z: z * _normal_cdf(z), lambda a, z: _gelu_slope(z), needs_z=True, initializer="he_normal"
    ),
    "gelu_tanh": Activation(_gelu_tanh, lambda a, z: _gelu_tanh_slope(z), needs_z=True, initializer="he_normal"),
}
