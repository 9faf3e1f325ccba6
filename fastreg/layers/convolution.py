"""Conv2D: the layer that multiplies every window of an image by the same weights."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import cast

from fastreg.common import checking
from fastreg.layers import images, initializers
from fastreg.layers.base import Layer, Parameter, live
from fastreg.layers.dense import with_usual_start
from fastreg.layers.initializers import Initializer
from fastreg.losses import penalties
from fastreg.program.images import Window
from fastreg.reference.activations import ACTIVATIONS


@live
@dataclass(frozen=True, repr=False)
class Conv2D(Layer):
    """A convolution: each pixel of the output is activation(v W + b), with the values v of a window of the image.

    Images are (height, width, channels), with the channels last, or (height, width) for one channel. The output is
    (height, width, filters).

    Parameters
    ----------
    filters
        Number of channels of the output.
    kernel_size
        Height and width of the windows; one number for both.
    activation
        As for `Dense`.
    strides
        How far windows are apart, down and to the right; one number for both.
    padding
        "valid": only windows within the image. "same": a border of zeros, so that with strides of 1 the output is as
        large as the image, else its sides divided by the strides, rounded up. As in Keras and TensorFlow, of an uneven
        border the larger part comes after the image. For odd windows and strides of 1 this is PyTorch's
        padding=kernel_size // 2.
    use_bias
        Whether the layer has the bias b (filters,).
    weight_init, bias_init
        Initial values of W and b, as for `Dense`. The inputs of a unit are the values of a window.
    l1, l2
        Penalties on W, as for `Dense`.
    max_norm
        After every update, each filter (a column of W) whose norm is above this limit is scaled down to it. None for
        no limit.
    lr_scale
        Factor on the learning rate of this layer, at least 0.
    trainable
        False freezes W and b: they are not updated, and their penalties count nowhere.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Notes
    -----
    W has two dimensions, (height * width * channels, filters): its rows are the values of a window in the order of the
    image. W.reshape(height, width, channels, filters) is the weight as Keras has it;
    W.reshape(height, width, channels, filters).transpose(3, 2, 0, 1) is PyTorch's.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> model = fr.Sequential([fr.Conv2D(8, 3, "relu"), fr.MaxPool2D(2), fr.Flatten(), fr.Dense(10)])
    >>> model.build((28, 28))
    >>> model.parameters["0.weight"].shape
    (9, 8)
    >>> model.predict(np.zeros((5, 28, 28))).shape
    (5, 10)
    """

    filters: int
    kernel_size: int | tuple[int, int]
    activation: str | None = None
    _: KW_ONLY
    strides: int | tuple[int, int] = 1
    padding: images.Padding = "valid"
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
        activation = checking.choice("activation", activation, ACTIVATIONS)
        default = ACTIVATIONS[activation].initializer
        self._set(
            filters=checking.integer("filters", self.filters, high=checking.MAX_WIDTH),
            kernel_size=images.pair("kernel_size", self.kernel_size),
            activation=activation,
            strides=images.pair("strides", self.strides),
            padding=images.padding(self.padding),
            use_bias=checking.flag("use_bias", self.use_bias),
            weight_init=initializers.get("weight_init", default if self.weight_init is None else self.weight_init),
            bias_init=initializers.get("bias_init", self.bias_init),
            l1=None if self.l1 is None else penalties.l1("l1", self.l1),
            l2=None if self.l2 is None else penalties.l2("l2", self.l2),
            max_norm=None if self.max_norm is None else checking.positive("max_norm", self.max_norm),
            lr_scale=checking.number("lr_scale", self.lr_scale),
            trainable=checking.flag("trainable", self.trainable),
        )

    def changed(self, name: str, value) -> Conv2D:
        return Layer.changed(with_usual_start(self) if name == "activation" else self, name, value)

    def window(self, shape: tuple[int, ...]) -> Window:
        """The windows on images of `shape`."""
        sizes = cast(images.Pair, self.kernel_size), cast(images.Pair, self.strides)
        return images.window_of(self, shape, *sizes, self.padding)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*self.window(shape).places, self.filters)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        window = self.window(shape)
        fans = window.values, window.values // window.image[2] * self.filters
        weight = Parameter((window.values, self.filters), cast(Initializer, self.weight_init), *fans)
        bias = Parameter((self.filters,), cast(Initializer, self.bias_init), *fans, "bias")
        return {"weight": weight, "bias": bias} if self.use_bias else {"weight": weight}

    @property
    def options(self) -> str:
        """What is not as usual, as in the call that makes the layer."""
        parts = [] if self.activation == "linear" else [f"activation={self.activation!r}"]
        if self.strides != (1, 1):
            parts.append(f"strides={self.strides}")
        for field in ("padding", "use_bias"):
            if getattr(self, field) != getattr(Conv2D, field):
                parts.append(f"{field}={getattr(self, field)!r}")
        default = ACTIVATIONS[self.activation or "linear"].initializer
        for field, usual in (("weight_init", default), ("bias_init", "zeros")):
            if getattr(self, field).name != usual:
                parts.append(f"{field}={getattr(self, field)}")
        for field in ("l1", "l2", "max_norm", "lr_scale", "trainable", "name"):
            if getattr(self, field) != getattr(Conv2D, field):
                parts.append(f"{field}={getattr(self, field)!r}")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return ", ".join(filter(None, (f"Conv2D({self.filters}, {self.kernel_size}", self.options))) + ")"
