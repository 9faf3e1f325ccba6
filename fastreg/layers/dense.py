"""Dense: the fully connected layer, with its activation, penalties, constraints and noise."""

from __future__ import annotations

from dataclasses import KW_ONLY, InitVar, dataclass
from typing import ClassVar, TypeVar, cast

from fastreg.common import checking
from fastreg.common.description import later
from fastreg.layers import initializers
from fastreg.layers.base import Layer, Parameter, live, one_dimension
from fastreg.layers.initializers import Initializer
from fastreg.losses import penalties
from fastreg.reference.activations import ACTIVATIONS

Start = TypeVar("Start", bound=Layer)


def with_usual_start(layer: Start) -> Start:
    """The layer, or if its weight starts as usual for its activation, a copy whose start follows a new activation."""
    usual = initializers.get("weight_init", ACTIVATIONS[layer.option("activation") or "linear"].initializer)
    if layer.option("weight_init") != usual:
        return layer
    free = layer.named(layer.name)
    free._set(weight_init=None)
    return free


@live
@dataclass(frozen=True, repr=False)
class Dense(Layer):
    """A fully connected layer: activation(x W + b), for rows x.

    Parameters
    ----------
    units
        Number of outputs of the layer.
    activation
        "linear" (or None), "relu", "leaky_relu" (slope 0.01), "sigmoid", "tanh", "gelu" (exact, by erf), "gelu_tanh"
        (its approximation) or another name in `fastreg.layers.ACTIVATIONS`.
    use_bias
        Whether the layer has the bias b.
    weight_init, bias_init
        Initial values of W (inputs, units) and b (units,): a name, or an object of `fastreg.initializers`. The default
        for W suits the activation, such as "he_normal" for those like ReLU.
    l1, l2
        Penalties on W: a number, a `fastreg.L1`, a `fastreg.L2`. None takes those of the trainer, 0 means none.
    penalty
        Both penalties in one argument: a `fastreg.ElasticNet`, or an L1 or L2 alone; the other is then 0.
    activity_l1
        A penalty on the outputs y of the layer: activity_l1 * sum_i w_i sum_j |y_ij| / sum_i w_i, the mean over the
        rows i of the batch. If a `Dropout` follows, in training y are the outputs after it. Except for
        kind="standard", these have the same mean. The penalty makes representations sparse, above all with "relu"
        (Glorot, Bordes and Bengio, Deep sparse rectifier neural networks, 2011). It counts in history["penalty"],
        `objective` and `gradients`, but not in `evaluate`, nor in `Trainer.penalty`, which has no data. It also applies
        to a frozen layer.
    max_norm
        After every update, each column of W (the weights into one unit) whose norm is above this limit is scaled down
        to it (Srivastava et al., JMLR 15, 2014). None for no limit.
    max_frobenius
        After every update, and after max_norm: W <- W k / |W| if the Frobenius norm |W| is above this limit k. This
        projection onto a ball is the norm penalty as a constraint (Goodfellow, Bengio and Courville, Deep Learning,
        2016, 7.2). None for no limit. Neither limit changes the momentum.
    non_negative
        Whether every update sets W <- max(0, W), the projection onto weights of at least 0. This comes after the step
        of L1, and before the norms are limited. Until the first update, W is as it was drawn.
    preactivation_noise
        In training, z = x W + b + std n, with this std of at least 0 and a new normal draw n for every element. It
        pushes the outputs of a sigmoid towards 0 and 1, where noise does not show (Salakhutdinov and Hinton, Semantic
        Hashing, 2009).
    weight_noise
        In training, every batch is multiplied by W + std n instead of W, forward and back. The std is at least 0, and n
        are normal draws, one per element and batch. The update changes W itself, by the gradient at W + std n. For
        small noise and the squared error, this adds std^2 |dy/dW|^2 to the loss, so W moves to where its changes matter
        little (Graves, Practical Variational Inference for Neural Networks, 2011; Goodfellow, Bengio and Courville,
        Deep Learning, 2016, 7.5). The bias b gets no noise.
    lr_scale
        Factor on the learning rate of this layer, at least 0.
    trainable
        False freezes W and b: they are not updated, and their penalties count nowhere.
    tied_to
        The name of another Dense of the model, whose weight this layer uses as its own. Its gradient is the sum over
        all uses. Penalties, constraints, lr_scale and trainable of the weight are those of that layer. This one has
        lr_scale and trainable for its bias, and no penalties and constraints.
    transposed
        With `tied_to`: z = x W.T + b. A decoder may so share the weight of its encoder.
    name
        Letters, digits, "_" and "-". By default the index of the layer in its model.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

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
    penalty: InitVar[penalties.L1 | penalties.L2 | penalties.ElasticNet | None] = None
    activity_l1: float = 0.0
    max_norm: float | None = None
    max_frobenius: float | None = None
    non_negative: bool = False
    preactivation_noise: float = 0.0
    weight_noise: float = 0.0
    lr_scale: float = 1.0
    trainable: bool = True
    tied_to: str | None = later(None)
    transposed: bool = later(False)
    name: str | None = None

    instead: ClassVar[dict[str, tuple[str, ...]]] = {"penalty": ("l1", "l2")}

    def __post_init__(self, penalty):
        super().__post_init__()
        if penalty is not None:
            penalties.alone("penalty", penalty, self.l1, self.l2)
            l1, l2 = penalties.pair("penalty", penalty)
            self._set(l1=l1, l2=l2)
        activation = "linear" if self.activation is None else self.activation
        if isinstance(activation, str) and activation == "softmax":
            raise ValueError(
                "activation: got 'softmax', expected none: the loss 'softmax_cross_entropy' takes logits, "
                "and predict gives probabilities"
            )
        if callable(activation):
            raise TypeError(
                f"activation: got {checking.shown(activation)}, expected a name such as 'relu'; a layer "
                f"fr.Function(forward, backward) after this one takes functions"
            )
        activation = checking.choice("activation", activation, ACTIVATIONS)
        default = ACTIVATIONS[activation].initializer
        self._set(
            units=checking.integer("units", self.units, high=checking.MAX_WIDTH),
            activation=activation,
            use_bias=checking.flag("use_bias", self.use_bias),
            weight_init=initializers.get("weight_init", default if self.weight_init is None else self.weight_init),
            bias_init=initializers.get("bias_init", self.bias_init),
            l1=None if self.l1 is None else penalties.l1("l1", self.l1),
            l2=None if self.l2 is None else penalties.l2("l2", self.l2),
            activity_l1=checking.number("activity_l1", self.activity_l1),
            max_norm=None if self.max_norm is None else checking.positive("max_norm", self.max_norm),
            max_frobenius=(
                None if self.max_frobenius is None else checking.positive("max_frobenius", self.max_frobenius)
            ),
            non_negative=checking.flag("non_negative", self.non_negative),
            preactivation_noise=checking.number("preactivation_noise", self.preactivation_noise),
            weight_noise=checking.number("weight_noise", self.weight_noise),
            lr_scale=checking.number("lr_scale", self.lr_scale),
            trainable=checking.flag("trainable", self.trainable),
            transposed=checking.flag("transposed", self.transposed),
        )
        if self.tied_to is not None and not isinstance(self.tied_to, str):
            raise TypeError(f"tied_to: got {checking.shown(self.tied_to)}, expected the name of a layer")
        if self.transposed and self.tied_to is None:
            raise ValueError("transposed: got True without tied_to, expected the name of a layer whose weight it uses")
        for option in ("l1", "l2", "max_norm", "max_frobenius", "non_negative", "weight_noise"):
            if self.tied_to is not None and getattr(self, option):
                raise ValueError(f"{option}: got it with tied_to, expected it in the layer that has the weight")

    def changed(self, name: str, value) -> Dense:
        return Layer.changed(with_usual_start(self) if name == "activation" else self, name, value)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        one_dimension(self, shape)
        return (self.units,)

    def parameters(self, shape: tuple[int, ...]) -> dict[str, Parameter]:
        inputs = one_dimension(self, shape)
        sizes = inputs, self.units
        weight = Parameter(sizes, cast(Initializer, self.weight_init), *sizes)
        bias = Parameter((self.units,), cast(Initializer, self.bias_init), *sizes, "bias")
        own = {} if self.tied_to else {"weight": weight}
        return own | ({"bias": bias} if self.use_bias else {})

    def weight_shape(self, inputs: int) -> tuple[int, int]:
        """The shape of its weight, or of that of the layer that it is tied to."""
        return (self.units, inputs) if self.transposed else (inputs, self.units)

    @property
    def weight_name(self) -> str:
        """The name of the parameter that it multiplies by."""
        return f"{self.tied_to or self.name}.weight"

    def __repr__(self) -> str:
        parts = [str(self.units)]
        if self.activation != "linear":
            parts.append(f"activation={self.activation!r}")
        if not self.use_bias:
            parts.append("use_bias=False")
        default = ACTIVATIONS[self.activation or "linear"].initializer
        for field, usual in (("weight_init", default), ("bias_init", "zeros")):
            if getattr(self, field).name != usual:
                parts.append(f"{field}={getattr(self, field)}")
        for field in (
            "l1",
            "l2",
            "activity_l1",
            "max_norm",
            "max_frobenius",
            "non_negative",
            "preactivation_noise",
            "weight_noise",
            "lr_scale",
            "trainable",
            "tied_to",
            "transposed",
            "name",
        ):
            if getattr(self, field) != getattr(Dense, field):
                parts.append(f"{field}={getattr(self, field)!r}")
        return f"Dense({', '.join(parts)})"
