"""Normalization: BatchNorm of columns and channels by the moments of a batch, LayerNorm of rows by their own."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, fields
from typing import Literal, NamedTuple

import numpy as np

from fastreg.common import checking
from fastreg.layers.base import Layer, Parameter, live
from fastreg.reference.activations import ACTIVATIONS


class Constant(NamedTuple):
    """A parameter that starts with one value everywhere."""

    value: float

    def draw(self, shape: tuple[int, ...], fan_in: int, fan_out: int, seed: int, stream: int) -> np.ndarray:
        return np.full(shape, self.value)


def constant(size: int, value: float, kind: Literal["bias", "kept"]) -> Parameter:
    """A vector that starts with one value everywhere."""
    return Parameter((size,), Constant(value), 1, 1, kind)


@live
@dataclass(frozen=True, repr=False)
class Norm(Layer):
    """Base class of the normalizations: activation(xhat gamma + beta), with xhat of mean 0 and variance 1."""

    activation: str | None = None
    _: KW_ONLY
    eps: float = 1e-5
    scale: bool = True
    shift: bool = True
    lr_scale: float = 1.0
    trainable: bool = True
    name: str | None = None

    def __post_init__(self):
        super().__post_init__()
        activation = "linear" if self.activation is None else self.activation
        if not isinstance(activation, str):  # often the width, which other libraries take first
            raise TypeError(
                f"activation: got {checking.shown(activation)}, expected a name such as 'relu'; the width of a "
                f"{type(self).__name__} is found in the data"
            )
        self._set(
            activation=checking.choice("activation", activation, ACTIVATIONS),
            eps=checking.positive("eps", self.eps),
            scale=checking.flag("scale", self.scale),
            shift=checking.flag("shift", self.shift),
            lr_scale=checking.number("lr_scale", self.lr_scale),
            trainable=checking.flag("trainable", self.trainable),
        )

    def size(self, shape: tuple[int, ...]) -> int:
        """The number of values of gamma for samples of `shape`."""
        raise NotImplementedError

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        size = self.size(shape)
        starts = {"gamma": 1.0, "beta": 0.0}
        return {key: constant(size, starts[key], "bias") for key in self.trained}

    @property
    def trained(self) -> tuple[str, ...]:
        """The parameters that a fit changes, if the layer is trainable."""
        return tuple(key for key, has in (("gamma", self.scale), ("beta", self.shift)) if has)

    def __repr__(self) -> str:
        parts = [] if self.activation == "linear" else [repr(self.activation)]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "activation" and value != field.default:
                parts.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


@live
@dataclass(frozen=True, repr=False)
class BatchNorm(Norm):
    """Batch normalization: activation((x - mean) / sqrt(variance + eps) gamma + beta), column by column.

    In training, mean and variance are those of the column over all rows of the batch. For images they are those of the
    channel, the last dimension, over all rows and pixels. Prediction and evaluation use the running moments, so a
    prediction does not depend on the other rows. Normalized columns let training take larger steps (Ioffe and Szegedy,
    Batch Normalization, 2015).

    Parameters
    ----------
    activation
        As for `Dense`; by default none. To normalize before the activation, give it here, and none to the layer before.
    momentum
        The share of the batch in the running moments after each step, in PyTorch's meaning: r <- (1 - momentum) r +
        momentum b. Keras's momentum is 1 - this one: its default of 0.99 is 0.01 here.
    eps
        Is added to the variance, above 0. Keras's default is 1e-3.
    scale, shift
        Whether there are gamma, which starts at 1, and beta, which starts at 0.
    lr_scale
        Factor on the learning rate of gamma and beta, at least 0.
    trainable
        False freezes gamma and beta, and the running moments too. Training then normalizes by these, as in Keras.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above. In training: a batch of one value per column, also as the last one of an
        epoch; `accumulate` above 1, since the moments are of one batch; adversarial training.

    Notes
    -----
    Parameters: "gamma" and "beta", which are trained without penalties and weight decay, like biases; "mean" and "var",
    the running moments, which only training steps move. All are in `state_dict` and in the file. Variances are biased
    (divided by n) where they normalize, unbiased in "var", as in PyTorch.

    Sample weights do not change the moments: each row of the batch counts once. `Trainer.gradients`, `objective`,
    `row_losses` and `check_gradients` use the moments of the rows that they are given, and change nothing.

    In prediction, a `Dense` or `Conv2D` without activation right before the layer takes it over, and it costs nothing.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> model = fr.Sequential([fr.Dense(64), fr.BatchNorm("relu"), fr.Dense(10)])
    >>> model.build(20)
    >>> sorted(model.parameters)
    ['0.bias', '0.weight', '1.beta', '1.gamma', '1.mean', '1.var', '2.bias', '2.weight']
    """

    activation: str | None = None
    _: KW_ONLY
    momentum: float = 0.1
    eps: float = 1e-5
    scale: bool = True
    shift: bool = True
    lr_scale: float = 1.0
    trainable: bool = True
    name: str | None = None

    def __post_init__(self):
        super().__post_init__()
        self._set(momentum=checking.number("momentum", self.momentum, 0, 1))

    def size(self, shape: tuple[int, ...]) -> int:
        return shape[-1]

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        size = self.size(shape)
        kept = {"mean": constant(size, 0.0, "kept"), "var": constant(size, 1.0, "kept")}
        return super().parameters(shape) | kept


@live
@dataclass(frozen=True, repr=False)
class LayerNorm(Norm):
    """Layer normalization: activation((x - mean) / sqrt(variance + eps) gamma + beta), sample by sample.

    Mean and the biased variance are those of all elements of the sample, in training and prediction alike. gamma and
    beta have a value for each element (Ba, Kiros and Hinton, Layer Normalization, 2016). PyTorch's
    LayerNorm(sample_shape) is the same, and so is Keras's LayerNormalization for samples of one dimension.

    Parameters
    ----------
    activation
        As for `Dense`; by default none.
    eps
        Is added to the variance, above 0. Keras's default is 1e-3.
    scale, shift
        Whether there are gamma, which starts at 1, and beta, which starts at 0.
    lr_scale
        Factor on the learning rate of gamma and beta, at least 0.
    trainable
        False freezes gamma and beta.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Notes
    -----
    gamma and beta are trained without penalties and weight decay, like biases.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.LayerNorm("gelu", eps=1e-6)
    LayerNorm('gelu', eps=1e-06)
    """

    def size(self, shape: tuple[int, ...]) -> int:
        return math.prod(shape)
