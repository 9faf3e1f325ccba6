"""Layers: descriptions of what a model computes. A model draws and keeps the parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import numpy as np

from fastreg import calls, checking, initializers, penalties
from fastreg.description import Description
from fastreg.initializers import Initializer

ACTIVATIONS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh", "gelu", "gelu_tanh")
RELU_FAMILY = ("relu", "leaky_relu", "gelu", "gelu_tanh")


Self = TypeVar("Self", bound="Layer")


class Start(Protocol):
    """Where a parameter starts: an Initializer, or values that are known."""

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, seed: int, stream: int) -> np.ndarray: ...


class Parameter(NamedTuple):
    """The shape of a parameter and where it starts."""

    shape: tuple[int, ...]
    initializer: Start
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
        """What the layer has to learn or to keep, for samples of `shape`."""
        return {}

    def named(self: Self, name: str | None) -> Self:
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
        After every update a column of W (the weights into a unit) whose norm is over this limit is scaled down to it
        (Srivastava et al., JMLR 15, 2014); None for no limit.
    lr_scale
        Factor on the learning rate for this layer, at least 0.
    trainable
        False freezes W and b: they are not updated, and their penalties are left out of everything.
    name
        Letters, digits, "_" and "-"; by default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(64, activation="relu", l2=1e-4, max_norm=3)
    Dense(64, activation='relu', l2=L2(0.0001), max_norm=3.0)
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
    lr_scale: float = 1.0
    trainable: bool = True
    name: str | None = None

    def __post_init__(self):
        super().__post_init__()
        activation = "linear" if self.activation is None else self.activation
        if activation == "softmax":
            raise ValueError(
                "activation: got 'softmax', expected none: the loss 'softmax_cross_entropy' takes logits, "
                "and predict gives probabilities"
            )
        default = "he_normal" if activation in RELU_FAMILY else "glorot_normal"
        self._set(
            units=checking.integer("units", self.units),
            activation=checking.choice("activation", activation, ACTIVATIONS),
            use_bias=checking.flag("use_bias", self.use_bias),
            weight_init=initializers.get("weight_init", default if self.weight_init is None else self.weight_init),
            bias_init=initializers.get("bias_init", self.bias_init),
            l1=None if self.l1 is None else penalties.l1("l1", self.l1),
            l2=None if self.l2 is None else penalties.l2("l2", self.l2),
            max_norm=None if self.max_norm is None else checking.positive("max_norm", self.max_norm),
            lr_scale=checking.number("lr_scale", self.lr_scale),
            trainable=checking.flag("trainable", self.trainable),
        )

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        _one_dimension(self, shape)
        return (self.units,)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        inputs = _one_dimension(self, shape)
        sizes = inputs, self.units
        weight = Parameter(sizes, cast(Initializer, self.weight_init), *sizes)
        bias = Parameter((self.units,), cast(Initializer, self.bias_init), *sizes)
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
        for field in ("l1", "l2", "max_norm", "lr_scale", "trainable", "name"):
            if getattr(self, field) != getattr(Dense, field):
                parts.append(f"{field}={getattr(self, field)!r}")
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


@dataclass(frozen=True, repr=False)
class GaussianNoise(Layer):
    """Adds normal noise in training: y = x + std n, with n of mean 0 and variance 1, drawn afresh for every element.

    At prediction the layer does nothing. On the inputs it is a regularizer: for small noise under the squared error
    it adds std^2 |dy/dx|^2 to the loss (Bishop, Training with Noise is Equivalent to Tikhonov Regularization, 1995).

    Parameters
    ----------
    std
        Standard deviation of the noise, at least 0.
    name
        Letters, digits, "_" and "-"; by default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        `std` is no number of at least 0.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Sequential([fr.GaussianNoise(0.1), fr.Dense(3)])
    Sequential([GaussianNoise(0.1), Dense(3)])
    """

    std: float

    def __post_init__(self):
        super().__post_init__()
        self._set(std=checking.number("std", self.std))


@dataclass(frozen=True, repr=False)
class Standardize(Layer):
    """y = (x - mean) scale, column by column, while the data are read: the first layer, at most behind a Flatten.

    A `fastreg.data.Standardizer` that stands first in a model becomes this layer. Mean and scale are parameters of the
    model that no optimizer touches: they are in its state_dict and its file, so that a loaded model takes raw data.

    Parameters
    ----------
    mean, scale
        Numbers, one a column. None (a layer that was read from a file): the model is going to load them.
    name
        Letters, digits, "_" and "-"; by default the index of the layer in its model.
    """

    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None

    def __post_init__(self):
        super().__post_init__()
        for name in ("mean", "scale"):
            values = getattr(self, name)
            if values is not None:
                self._set(**{name: tuple(checking.number(name, v, -math.inf) for v in values)})
        if (self.mean is None) != (self.scale is None) or len(self.mean or ()) != len(self.scale or ()):
            raise ValueError("Standardize: got mean and scale of different lengths, expected one of each a column")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.mean is not None and math.prod(shape) != len(self.mean):
            raise ValueError(f"Standardize: got samples of shape {shape}, expected {len(self.mean)} columns, as fitted")
        return shape

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        columns = math.prod(shape)
        return {name: Parameter((columns,), _Known(getattr(self, name)), 1, 1) for name in ("mean", "scale")}

    def config(self) -> dict[str, Any]:
        """Without the numbers: they are the model's parameters."""
        return {"type": "Standardize", "name": self.name}

    def __repr__(self) -> str:
        columns = "" if self.mean is None else f"{len(self.mean)} columns"
        return f"Standardize({columns})"


class _Known(NamedTuple):
    """Values that a parameter starts with."""

    values: tuple[float, ...] | None

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, seed: int, stream: int) -> np.ndarray:
        if self.values is None:
            raise ValueError("Standardize: got no mean and scale, expected those of a fitted fastreg.data.Standardizer")
        return np.array(self.values)


@dataclass(frozen=True, repr=False)
class Function(Layer, saved=False):
    """A layer written in Python: y = forward(x), and dJ/dx = backward(dJ/dy, x, y).

    Both take and give arrays (rows, columns) in the working dtype; what they are given must not be written to. Rows
    are independent of each other: there are as many as the batch has, or as predict takes at a time. One thread calls
    the functions while the others wait, and where the layer stands above no trained Dense, backward is not called.

    Parameters
    ----------
    forward
        x (rows, inputs) -> y (rows, units).
    backward
        dy (rows, units), x, y -> dx (rows, inputs).
    units
        Columns of y; None for as many as x has.
    name
        Letters, digits, "_" and "-"; by default the index of the layer in its model.

    Raises
    ------
    TypeError
        `forward` or `backward` cannot be called. While running: one of them returned no real numbers.
    ValueError
        While running: one of them returned another shape. Saving: files hold no Python functions.

    Notes
    -----
    An exception of a function ends a fit unchanged, and the parameters are those of the start of the epoch.
    `fastreg.check_gradients` tells whether backward is right.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> square = fr.Function(lambda x: x**2, lambda dy, x, y: 2 * x * dy)
    >>> model = fr.Sequential([fr.Dense(4), square, fr.Dense(1)])
    >>> x = np.linspace(-1, 1, 64)[:, np.newaxis]
    >>> trainer = fr.Trainer(model, loss="mse", optimizer=fr.Adam(0.01), seed=1)
    >>> history = trainer.fit(x, x**2, epochs=200, batch_size=16)
    >>> history["loss"][-1] < 1e-6
    True
    >>> fr.check_gradients(trainer, x, x**2).ok
    True
    """

    forward: Callable[[np.ndarray], np.ndarray]
    backward: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    units: int | None = None

    def __post_init__(self):
        super().__post_init__()
        for name in ("forward", "backward"):
            if not callable(getattr(self, name)):
                raise TypeError(f"{name}: got {getattr(self, name)!r}, expected a function")
        self._set(units=None if self.units is None else checking.integer("units", self.units))

    def width(self, inputs: int) -> int:
        """Columns of y for `inputs` columns of x."""
        return inputs if self.units is None else self.units

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.width(_one_dimension(self, shape)),)

    def run_forward(self, x: np.ndarray, out: np.ndarray) -> None:
        """Fills `out`: what the engines call."""
        calls.fill(f"layer {self.name!r}: forward", self.forward(calls.read_only(x)), out)

    def run_backward(self, dy: np.ndarray, x: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
        """Fills `dx`: what the engines call."""
        given = map(calls.read_only, (dy, x, y))
        calls.fill(f"layer {self.name!r}: backward", self.backward(*given), dx)


def _one_dimension(layer: Layer, shape: tuple[int, ...]) -> int:
    """The columns of samples of `shape`."""
    if len(shape) != 1:
        kind = type(layer).__name__
        raise ValueError(f"{kind}: got samples of shape {shape}, expected one dimension; put a Flatten() before it")
    return shape[0]
