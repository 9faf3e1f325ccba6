"""Layers: descriptions of what a model computes. They hold no numbers; a model draws and keeps the parameters."""

from __future__ import annotations

import copy
import math
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from fastreg import checking, initializers, penalties
from fastreg.description import Description
from fastreg.initializers import Initializer

ACTIVATIONS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh", "gelu", "gelu_tanh")
RELU_FAMILY = ("relu", "leaky_relu", "gelu", "gelu_tanh")


class Parameter(NamedTuple):
    """The shape of a parameter and how it is drawn."""

    shape: tuple[int, ...]
    initializer: Initializer
    fan_in: int
    fan_out: int


@dataclass(frozen=True, repr=False)
class Layer(Description):
    """Base of the layers.

    Parameters
    ----------
    name
        Letters, digits, "_" and "-"; by default the index of the layer in its model.
    """

    _: KW_ONLY
    name: str | None = None

    def __post_init__(self):
        if self.name is not None and not (
            isinstance(self.name, str) and self.name.isascii() and self.name.replace("_", "").replace("-", "").isalnum()
        ):
            raise ValueError(f"name: got {self.name!r}, expected letters, digits, '_' and '-'")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a sample behind this layer from the one before it."""
        return shape

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        """What the layer has to learn, for samples of `shape`."""
        return {}

    def named(self, name: str | None) -> Layer:
        """A copy with another name."""
        layer = copy.copy(self)
        layer._set(name=name)
        return layer


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """A fully connected layer: activation(x W + b), for rows x.

    Parameters
    ----------
    units
        Outputs of the layer.
    activation
        "linear" (or None), "relu", "leaky_relu" (slope 0.01), "sigmoid", "tanh", "gelu" (exact, by erf) or
        "gelu_tanh" (its approximation).
    use_bias
        Whether b is there.
    weight_init, bias_init
        Where W, of shape (inputs, units), and b, of shape (units,), start: a name or an object of
        `fastreg.initializers`. W by default: "he_normal" for the ReLU family, else "glorot_normal".
    l1, l2
        Penalties on W: a number, `fastreg.L1`, `fastreg.L2`; None for those of the trainer, 0 for none.
    max_norm
        Not yet available; None.
    name
        Letters, digits, "_" and "-"; by default the index of the layer in its model.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(64, activation="relu", l2=1e-4)
    Dense(64, activation='relu', l2=L2(0.0001))
    """

    units: int
    activation: str | None = None
    _: KW_ONLY
    use_bias: bool = True
    weight_init: str | Initializer | None = None
    bias_init: str | Initializer = "zeros"
    l1: float | penalties.L1 | None = None
    l2: float | penalties.L2 | None = None
    max_norm: float | None = None
    name: str | None = None

    def __post_init__(self):
        super().__post_init__()
        activation = "linear" if self.activation is None else self.activation
        if activation == "softmax":
            raise ValueError(
                "activation: got 'softmax', expected none: the loss 'softmax_cross_entropy' takes logits, "
                "and predict gives probabilities"
            )
        checking.not_yet("max_norm", self.max_norm, None)
        default = "he_normal" if activation in RELU_FAMILY else "glorot_normal"
        self._set(
            units=checking.integer("units", self.units),
            activation=checking.choice("activation", activation, ACTIVATIONS),
            use_bias=checking.flag("use_bias", self.use_bias),
            weight_init=initializers.get("weight_init", default if self.weight_init is None else self.weight_init),
            bias_init=initializers.get("bias_init", self.bias_init),
            l1=None if self.l1 is None else penalties.l1("l1", self.l1),
            l2=None if self.l2 is None else penalties.l2("l2", self.l2),
        )

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 1:
            raise ValueError(f"Dense: got samples of shape {shape}, expected one dimension; put a Flatten() before it")
        return (self.units,)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        (inputs,) = shape
        weight = Parameter((inputs, self.units), self.weight_init, inputs, self.units)
        bias = Parameter((self.units,), self.bias_init, inputs, self.units)
        return {"weight": weight, "bias": bias} if self.use_bias else {"weight": weight}

    def __repr__(self) -> str:
        parts = [str(self.units)]
        if self.activation != "linear":
            parts.append(f"activation={self.activation!r}")
        if not self.use_bias:
            parts.append("use_bias=False")
        default = "he_normal" if self.activation in RELU_FAMILY else "glorot_normal"
        for field, usual in (("weight_init", default), ("bias_init", "zeros")):
            if getattr(self, field).name != usual:
                parts.append(f"{field}={getattr(self, field)}")
        parts += [f"{f}={getattr(self, f)!r}" for f in ("l1", "l2", "name") if getattr(self, f) is not None]
        return f"Dense({', '.join(parts)})"


@dataclass(frozen=True, repr=False, init=False)
class Dropout(Layer):
    """Inverted dropout: in training an element is kept with `keep_prob` and divided by it, else it becomes 0.

    At prediction the layer does nothing, and the expectation of its output is the same (Srivastava et al., 2014).
    In front of the first Dense it drops inputs.

    Parameters
    ----------
    keep_prob
        Probability to keep an element, from 0 to 1, honoured to 2**-16.
    rate
        1 - keep_prob: the probability to drop. Give one of the two, by name.
    name
        Letters, digits, "_" and "-"; by default the index of the layer in its model.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dropout(rate=0.2)
    Dropout(keep_prob=0.8)
    """

    keep_prob: float

    def __init__(self, *, keep_prob: float | None = None, rate: float | None = None, name: str | None = None):
        if (keep_prob is None) == (rate is None):
            raise ValueError(f"Dropout: got keep_prob={keep_prob!r} and rate={rate!r}, expected one of the two")
        if rate is not None:
            keep_prob = 1.0 - checking.number("rate", rate, 0, 1)
        self._set(keep_prob=checking.number("keep_prob", keep_prob, 0, 1), name=name)
        super().__post_init__()

    @property
    def rate(self) -> float:
        """The probability to drop an element."""
        return 1.0 - self.keep_prob

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Dropout(keep_prob={self.keep_prob:.12g}{name})"


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """Makes one dimension of a sample of any shape, in C order. It costs nothing: the data are read so.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Flatten().output_shape((28, 28))
    (784,)
    """

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(shape),)
