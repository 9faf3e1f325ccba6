"""The activations: formula, derivative and properties of each.

A new one also gets a row in csrc/fastreg.h and its formula in csrc/kernels/vmath.h.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Activation:
    """a = value(z), and da/dz = slope(a, z).

    needs_z      whether the slope needs z. Otherwise it needs only a, and z is not kept for the backward pass
    initializer  the default initializer of the weights of a layer with this activation
    """

    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray, np.ndarray], np.ndarray]
    needs_z: bool = False
    initializer: str = "glorot_normal"


LEAK = 0.01


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), without overflow for large z of either sign."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def _normal_cdf(z: np.ndarray) -> np.ndarray:
    """(1 + erf(z / sqrt 2)) / 2, computed by erfc, which stays precise far below zero."""
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
    z = np.clip(z, -30, 30)  # beyond, it is 0 or 1, and squares may overflow
    u = z * (A + B * z * z)
    s = sigmoid(u)
    return s + z * s * sigmoid(-u) * (A + 3 * B * z * z)  # sigmoid(-u) is 1 - s, to full precision


def _expm1_below(z: np.ndarray) -> np.ndarray:
    """exp(z) - 1 below zero, 0 above."""
    return np.expm1(np.minimum(z, 0))


SCALE, ALPHA = 1.0507009873554804934, 1.6732632423543772848  # of selu


def _softplus(z: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _silu_slope(z: np.ndarray) -> np.ndarray:
    return sigmoid(z) * (1 + z * sigmoid(-z))  # sigmoid(-z) is 1 - sigmoid(z), to full precision


def _mish_slope(z: np.ndarray) -> np.ndarray:
    s = sigmoid(-z)  # exp(-softplus(z)): 1 - tanh(softplus(z))^2 is the square below, to full precision
    return np.tanh(_softplus(z)) + z * sigmoid(z) * np.square(2 * s / (1 + s * s))


def _hard_swish_slope(z: np.ndarray) -> np.ndarray:
    return np.select([z <= -3, z >= 3], [np.zeros_like(z), np.ones_like(z)], z / 3 + z.dtype.type(0.5))


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
    # x sigmoid(x): Elfwing, Uchibe and Doya, 2018; swish of Ramachandran, Zoph and Le, 2017
    "silu": Activation(lambda z: z * sigmoid(z), lambda a, z: _silu_slope(z), needs_z=True, initializer="he_normal"),
    # x above zero, e^x - 1 below: Clevert, Unterthiner and Hochreiter, 2016, with alpha = 1
    "elu": Activation(
        lambda z: np.where(z > 0, z, _expm1_below(z)),
        lambda a, z: np.where(a > 0, 1, a + 1).astype(a.dtype),
        initializer="he_normal",
    ),
    # scale x above zero, scale alpha (e^x - 1) below: Klambauer, Unterthiner, Mayr and Hochreiter, 2017. It keeps the
    # mean 0 and the variance 1 from layer to layer if weights start with variance 1 / inputs. Dropout does not.
    "selu": Activation(
        lambda z: np.where(z > 0, SCALE * z, SCALE * ALPHA * _expm1_below(z)).astype(z.dtype),
        lambda a, z: np.where(a > 0, SCALE, a + SCALE * ALPHA).astype(a.dtype),
        initializer="lecun_normal",
    ),
    # log(1 + e^x): Dugas, Bengio, Belisle, Nadeau and Garcia, 2001
    "softplus": Activation(_softplus, lambda a, z: -np.expm1(-a), initializer="he_normal"),
    # x tanh(softplus(x)): Misra, 2020
    "mish": Activation(
        lambda z: z * np.tanh(_softplus(z)), lambda a, z: _mish_slope(z), needs_z=True, initializer="he_normal"
    ),
    # x min(max(x + 3, 0), 6) / 6: Howard et al., Searching for MobileNetV3, 2019
    "hard_swish": Activation(
        lambda z: z * (np.clip(z + 3, 0, 6) / 6),
        lambda a, z: _hard_swish_slope(z),
        needs_z=True,
        initializer="he_normal",
    ),
}
