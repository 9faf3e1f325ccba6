"""Optimizers: how a parameter follows its gradient g, in PyTorch's form. Engines see only the `rule` of an optimizer.

There are two ways to make weights smaller. Only for plain SGD are they the same (l2 = weight_decay):

- The penalty `l2=` of the trainer or of a layer is in the objective and goes through the gradient: g <- g + l2 w. So it
  also goes through momentum and through the divisors of RMSprop and Adam.
- `weight_decay=` of an optimizer is decoupled (Loshchilov and Hutter, 2019): w <- w - lr weight_decay w before the
  step, for weights and not for biases. It is in neither the objective nor the gradient. (PyTorch's AdamW does the same.
  `weight_decay` of PyTorch's SGD, RMSprop and Adam is called l2 here.)

A number is multiplied by the learning rate, so both shrink together under a schedule. A schedule of the weight decay,
such as `AdamW(3e-4, weight_decay=schedules.Cosine(1e-4, 50))`, is what it says: w <- w - d w, with the d of the epoch
or step, whatever lr is. (In Loshchilov and Hutter's paper d is eta_t lambda, and lr is eta_t alpha.) A constant one is
`schedules.Constant(1e-4)`. Both are multiplied by a layer's `lr_scale`.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, FrozenInstanceError, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fastreg.common import checking, specs
from fastreg.common.description import Description
from fastreg.optimizers import schedules
from fastreg.optimizers.schedules import Schedule
from fastreg.program.rules import Rule
from fastreg.reference.updates import growth

__all__ = ["BY_NAME", "SGD", "Adam", "AdamW", "Lion", "NAdam", "Optimizer", "RMSprop", "get"]


@dataclass(frozen=True, repr=False)
class Optimizer(Description):
    """Base of the optimizers: a learning rate `lr`, or a schedule of rates, and a rule."""

    lr: float | Schedule

    @property
    def decay(self) -> Schedule | None:
        """The schedule of the weight decay. None for a number, which goes with the rate."""
        value = getattr(self, "weight_decay", None)
        return value if isinstance(value, Schedule) else None

    def rule(self) -> Rule:
        """The update of a weight. A bias has the same update without weight decay and penalties."""
        raise NotImplementedError(f"{type(self).__name__}: the engines have the rules of {', '.join(BY_NAME)} alone")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:  # only for what does not exist
            if name == "learning_rate":
                raise AttributeError(f"{type(self).__name__}.{name}: there is no such attribute; the rate is lr")
            return super().__getattr__(name)


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: w <- w - lr g.

    With momentum: v <- momentum v + g and w <- w - lr v. With Nesterov's: w <- w - lr (g + momentum v)
    (Sutskever et al., 2013, as PyTorch writes it). Weight decay, for weights only and before the step:
    w <- w - lr weight_decay w.

    Parameters
    ----------
    lr
        Learning rate, at least 0, a schedule of `fastreg.schedules`, or a function of the epoch.
    momentum
        At least 0 and below 1.
    nesterov
        Whether to use Nesterov's form of momentum.
    weight_decay
        At least 0, or a schedule of it, which lr does not multiply: w <- w - d w. It is decoupled from the gradient
        (Loshchilov and Hutter, 2019), and for weights only. The penalty `l2=` of the trainer goes through the gradient
        instead: g <- g + l2 w.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.SGD(0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9)
    """

    lr: float | Schedule = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float | Schedule = 0.0

    def __post_init__(self):
        self._set(
            lr=schedules.rate("lr", self.lr),
            momentum=checking.number("momentum", self.momentum, 0, 1, below=True),
            nesterov=checking.flag("nesterov", self.nesterov),
            weight_decay=schedules.rate("weight_decay", self.weight_decay),
        )
        if self.nesterov and not self.momentum:
            raise ValueError("momentum: got 0 with nesterov=True, expected a momentum above 0")

    def rule(self) -> Rule:
        kind = "nesterov" if self.nesterov else "momentum" if self.momentum else "sgd"
        return Rule(kind, momentum=self.momentum, **_decay(self.weight_decay))


@dataclass(frozen=True, repr=False)
class RMSprop(Optimizer):
    """RMSprop (Hinton, lecture 6e of Neural Networks for Machine Learning, 2012): w <- w - lr g / (sqrt(v) + eps).

    Here v <- alpha v + (1 - alpha) g^2. With momentum: m <- momentum m + g / (sqrt(v) + eps) and w <- w - lr m. Weight
    decay, for weights only and before the step: w <- w - lr weight_decay w.

    Parameters
    ----------
    lr
        Learning rate, at least 0, a schedule of `fastreg.schedules`, or a function of the epoch.
    alpha
        The share of the mean square that is kept, at least 0 and below 1.
    eps
        Added to the root, at least 0. With 0, an element that has had no gradient so far does not change.
    momentum
        At least 0 and below 1.
    weight_decay
        At least 0, or a schedule of it, which lr does not multiply: w <- w - d w. It is decoupled from the gradient
        (Loshchilov and Hutter, 2019), and for weights only. The penalty `l2=` of the trainer goes through the gradient
        instead, and so through v: g <- g + l2 w.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.RMSprop(1e-3, momentum=0.9)
    RMSprop(lr=0.001, momentum=0.9)
    """

    lr: float | Schedule = 0.01
    _: KW_ONLY
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float | Schedule = 0.0

    def __post_init__(self):
        self._set(
            lr=schedules.rate("lr", self.lr),
            alpha=checking.number("alpha", self.alpha, 0, 1, below=True),
            eps=checking.number("eps", self.eps),
            momentum=checking.number("momentum", self.momentum, 0, 1, below=True),
            weight_decay=schedules.rate("weight_decay", self.weight_decay),
        )

    def rule(self) -> Rule:
        kind = "rmsprop_momentum" if self.momentum else "rmsprop"
        return Rule(kind, momentum=self.momentum, beta2=self.alpha, eps=self.eps, **_decay(self.weight_decay))


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): w <- w - lr m' / (sqrt(v') + eps).

    Here m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2, and in step t = 1, 2, ... m' = m / (1 - beta1^t),
    v' = v / (1 - beta2^t). Weight decay, for weights only and before the step: w <- w - lr weight_decay w.

    Parameters
    ----------
    lr
        Learning rate, at least 0, a schedule of `fastreg.schedules`, or a function of the epoch.
    beta1, beta2
        The shares of m and v that are kept, at least 0 and below 1.
    eps
        Added to the root, at least 0. With 0, an element that has had no gradient so far does not change.
    weight_decay
        At least 0, or a schedule of it, which lr does not multiply: w <- w - d w. It is decoupled from the gradient
        (Loshchilov and Hutter, 2019), and for weights only. The penalty `l2=` of the trainer goes through the gradient
        instead, and so through m and v: g <- g + l2 w.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Adam(3e-4)
    Adam(lr=0.0003)
    """

    lr: float | Schedule = 1e-3
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float | Schedule = 0.0

    def __post_init__(self):
        self._set(
            lr=schedules.rate("lr", self.lr),
            beta1=checking.number("beta1", self.beta1, 0, 1, below=True),
            beta2=checking.number("beta2", self.beta2, 0, 1, below=True),
            eps=checking.number("eps", self.eps),
            weight_decay=schedules.rate("weight_decay", self.weight_decay),
        )

    def rule(self) -> Rule:
        return Rule("adam", beta1=self.beta1, beta2=self.beta2, eps=self.eps, **_decay(self.weight_decay))


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """AdamW (Loshchilov and Hutter, 2019): Adam with weight decay, w <- w - lr weight_decay w before the step.

    Parameters
    ----------
    lr, beta1, beta2, eps, weight_decay
        As in `Adam`. Only the default of weight_decay is different.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.AdamW(3e-4) == fr.AdamW(3e-4, weight_decay=0.01)
    True
    """

    weight_decay: float | Schedule = field(default=0.01, kw_only=True)


@dataclass(frozen=True, repr=False)
class NAdam(Adam):
    """NAdam (Dozat, Incorporating Nesterov Momentum into Adam, 2016, in PyTorch's form): Adam with Nesterov's momentum.

    In step t = 1, 2, ... let mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2) and P = mu_1 ... mu_t. With m, v and v' as
    in `Adam`, w <- w - lr (mu_(t+1) m / (1 - P mu_(t+1)) + (1 - mu_t) g / (1 - P)) / (sqrt(v') + eps).

    Parameters
    ----------
    lr, beta1, beta2, eps, weight_decay
        As in `Adam`. Only the default of lr is different. Weight decay is decoupled, like PyTorch's with
        decoupled_weight_decay=True.
    momentum_decay
        How fast mu_t grows from beta1 / 2 to beta1, at least 0.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.NAdam(1e-3)
    NAdam(lr=0.001)
    """

    lr: float | Schedule = 2e-3
    momentum_decay: float = field(default=4e-3, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        self._set(momentum_decay=checking.number("momentum_decay", self.momentum_decay))

    def rule(self) -> Rule:
        return replace(super().rule(), kind="nadam", warm_up=growth(self.momentum_decay))


@dataclass(frozen=True, repr=False)
class Lion(Optimizer):
    """Lion (Chen et al., Symbolic Discovery of Optimization Algorithms, 2023): every element of w moves by lr.

    w <- w - lr sign(beta1 m + (1 - beta1) g), then m <- beta2 m + (1 - beta2) g. Use a learning rate 3 to 10 times
    smaller than Adam's, and a weight decay 3 to 10 times larger. Weight decay, for weights only and before the step:
    w <- w - lr weight_decay w.

    Parameters
    ----------
    lr
        Learning rate, at least 0, a schedule of `fastreg.schedules`, or a function of the epoch.
    beta1, beta2
        The share of m in the direction of the step, and the share of m that is kept. Both are at least 0 and below 1.
    weight_decay
        At least 0, or a schedule of it, which lr does not multiply: w <- w - d w. It is decoupled from the gradient,
        and for weights only. The penalty `l2=` of the trainer goes through the gradient instead: g <- g + l2 w. The
        threshold of `l1=` is lr l1, so l1 is in units of a step.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Lion(3e-4, weight_decay=0.1)
    Lion(lr=0.0003, weight_decay=0.1)
    """

    lr: float | Schedule = 1e-4
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float | Schedule = 0.0

    def __post_init__(self):
        self._set(
            lr=schedules.rate("lr", self.lr),
            beta1=checking.number("beta1", self.beta1, 0, 1, below=True),
            beta2=checking.number("beta2", self.beta2, 0, 1, below=True),
            weight_decay=schedules.rate("weight_decay", self.weight_decay),
        )

    def rule(self) -> Rule:
        return Rule("lion", beta1=self.beta1, beta2=self.beta2, **_decay(self.weight_decay))


def _decay(value: float | Schedule) -> dict[str, Any]:
    """The weight decay as fields of a rule. The numbers of a schedule come with each batch."""
    return {"weight_decay": 1.0, "scheduled": True} if isinstance(value, Schedule) else {"weight_decay": value}


BY_NAME: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": NAdam,
    "lion": Lion,
}


def _refuse(self: Optimizer, name: str, value) -> None:
    """Says where to set an option instead: several trainers may share an optimizer."""
    kind = type(self).__name__
    advice = (
        f"trainer.lr = {value!r} sets the rate"
        if name in ("lr", "learning_rate")
        else f"trainer.optimizer = {kind}(...) takes another one"
    )
    raise FrozenInstanceError(f"{kind}.{name}: an optimizer cannot be changed; {advice}")


for _kind in BY_NAME.values():
    _kind.__setattr__ = _refuse  # type: ignore[assignment]


def get(value: str | Optimizer) -> Optimizer:
    """The optimizer of a name (with default settings) or of a spec such as "sgd(lr=0.01)". Objects pass unchanged."""
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, str):
        return specs.make("optimizer", value, BY_NAME)
    checking.made("optimizer", value)
    raise ValueError(
        f"optimizer: got {checking.shown(value)}, expected {', '.join(map(repr, BY_NAME))} or an object like SGD(0.1)"
    )
