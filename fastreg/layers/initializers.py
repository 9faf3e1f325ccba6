"""Initializers: where weights and biases start.

`fan_in` and `fan_out` are the numbers of inputs and units of the layer. Draws depend only on the seed and the layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastreg.common import checking, names, specs
from fastreg.common.description import Description
from fastreg.common.names import missing as _missing
from fastreg.common.pieces import pieces
from fastreg.common.showing import exact
from fastreg.program import random

# The variance of a weight. The functions below name the sources.
VARIANCES = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
}
FIXED = ("normal", "uniform")  # these take their scale from the user
NAMES = ("he_normal", "he_uniform", "lecun_normal", "glorot_normal", "glorot_uniform", "zeros")


@dataclass(frozen=True, repr=False)
class Initializer(Description):
    """A distribution to draw from. The functions of this module make one.

    Parameters
    ----------
    name
        "he_normal", "he_uniform", "lecun_normal", "glorot_normal", "glorot_uniform", "normal", "uniform" or "zeros".
    scale
        The standard deviation of "normal" or the limit of "uniform". None for the others.

    Raises
    ------
    ValueError, TypeError
        The name is not one of these, or the scale is not a finite number of at least 0.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.initializers.Initializer("normal", 0.1)
    normal(0.1)
    """

    name: str
    scale: float | None = None

    def __post_init__(self):
        checking.choice("initializer", self.name, NAMES + FIXED)
        if self.name in FIXED:
            self._set(scale=checking.number({"normal": "std", "uniform": "limit"}[self.name], self.scale))

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, seed: int, stream: int) -> np.ndarray:
        """Draws float64 values of `shape`."""
        if self.name == "zeros":
            return np.zeros(shape)
        family, _, distribution = self.name.rpartition("_")
        if family:
            std = math.sqrt(VARIANCES[family](fan_in, fan_out))
            scale = std if distribution == "normal" else math.sqrt(3) * std
        else:
            scale = self.scale or 0.0
        is_normal = distribution == "normal"
        drawn = random.normal(shape, seed, stream) if is_normal else random.uniform(shape, seed, stream)
        flat = drawn.reshape(-1)
        for part in pieces(flat.size):
            flat[part] = scale * (flat[part] if is_normal else 2 * flat[part] - 1)
        return drawn

    def __repr__(self) -> str:
        return f"{self.name}({'' if self.scale is None else exact(self.scale)})"


def he_normal() -> Initializer:
    """Normal with variance 2/fan_in (He et al., 2015): the default for the ReLU family.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(4, weight_init=fr.initializers.he_normal()).weight_init
    he_normal()
    """
    return Initializer("he_normal")


def he_uniform() -> Initializer:
    """Uniform with variance 2/fan_in: the limit is sqrt(6/fan_in).

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(4, weight_init=fr.initializers.he_uniform()).weight_init
    he_uniform()
    """
    return Initializer("he_uniform")


def lecun_normal() -> Initializer:
    """Normal with variance 1/fan_in (LeCun et al., Efficient BackProp, 1998).

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(4, weight_init=fr.initializers.lecun_normal()).weight_init
    lecun_normal()
    """
    return Initializer("lecun_normal")


def glorot_normal() -> Initializer:
    """Normal with variance 2/(fan_in + fan_out) (Glorot and Bengio, 2010): the default outside the ReLU family.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(4, weight_init=fr.initializers.glorot_normal()).weight_init
    glorot_normal()
    """
    return Initializer("glorot_normal")


def glorot_uniform() -> Initializer:
    """Uniform with variance 2/(fan_in + fan_out): the limit is sqrt(6/(fan_in + fan_out)).

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(4, weight_init=fr.initializers.glorot_uniform()).weight_init
    glorot_uniform()
    """
    return Initializer("glorot_uniform")


def normal(std: float) -> Initializer:
    """Normal with mean 0 and standard deviation `std`.

    Parameters
    ----------
    std
        Standard deviation, at least 0.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(4, weight_init=fr.initializers.normal(0.1)).weight_init
    normal(0.1)
    """
    return Initializer("normal", std)


def uniform(limit: float) -> Initializer:
    """Uniform from -limit to limit.

    Parameters
    ----------
    limit
        The largest value, at least 0.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(4, weight_init=fr.initializers.uniform(0.1)).weight_init
    uniform(0.1)
    """
    return Initializer("uniform", limit)


def zeros() -> Initializer:
    """Zeros: the default for biases.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(4, bias_init=fr.initializers.zeros()).bias_init
    zeros()
    """
    return Initializer("zeros")


BY_NAME = {
    function.__name__: function
    for function in (he_normal, he_uniform, lecun_normal, glorot_normal, glorot_uniform, normal, uniform, zeros)
}


def get(name: str, value: str | Initializer) -> Initializer:
    """The argument `name`: an initializer, its name, or a spec such as "normal(0.01)"."""
    if isinstance(value, Initializer):
        return value
    if specs.is_call(value):
        return specs.make(name, value, BY_NAME)
    checking.made(name, value)
    fixed = names.own(name, value, FIXED) if isinstance(value, str) else None
    if fixed:
        raise ValueError(f"{name}: got {value!r}, expected its scale with it: fastreg.initializers.{fixed}(...)")
    return Initializer(checking.choice(name, value, NAMES))


__getattr__ = _missing(__name__)
