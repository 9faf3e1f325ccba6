"""Optimizers: how a parameter follows its gradient g, in PyTorch's form. `rule` is all that the engines see of them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from fastreg import checking
from fastreg.description import Description
from fastreg.program import Rule


@dataclass(frozen=True, repr=False)
class Optimizer(Description):
    """Base of the optimizers: a learning rate `lr` and a rule."""

    lr: float

    def rule(self) -> Rule:
        """The update of a weight; a bias follows the same one without weight decay and penalties."""
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent: w <- w - lr g.

    With momentum v <- momentum v + g and w <- w - lr v; with Nesterov's, w <- w - lr (g + momentum v)
    (Sutskever et al., 2013, as PyTorch writes it). Weight decay, for weights only and before the step:
    w <- w - lr weight_decay w.

    Parameters
    ----------
    lr
        Learning rate, at least 0.
    momentum
        From 0 to below 1.
    nesterov
        Nesterov's form of momentum.
    weight_decay
        Decoupled from the gradient (Loshchilov and Hutter, 2019); the penalty is `l2=` of the trainer.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.SGD(0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9)
    """

    lr: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self):
        self._set(
            lr=checking.number("lr", self.lr),
            momentum=checking.number("momentum", self.momentum, 0, 1, below=True),
            nesterov=checking.flag("nesterov", self.nesterov),
            weight_decay=checking.number("weight_decay", self.weight_decay),
        )
        if self.nesterov and not self.momentum:
            raise ValueError("momentum: got 0 with nesterov=True, expected a momentum above 0")

    def rule(self) -> Rule:
        kind = "nesterov" if self.nesterov else "momentum" if self.momentum else "sgd"
        return Rule(kind, momentum=self.momentum, weight_decay=self.weight_decay)


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): w <- w - lr m' / (sqrt(v') + eps).

    m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2; m' = m / (1 - beta1^t), v' = v / (1 - beta2^t)
    in step t = 1, 2, ...

    Parameters
    ----------
    lr
        Learning rate, at least 0.
    beta1, beta2
        How much of the moments is kept, from 0 to below 1.
    eps
        Added to the root, at least 0.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Adam(3e-4)
    Adam(lr=0.0003)
    """

    lr: float = 1e-3
    _: KW_ONLY
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self):
        self._set(
            lr=checking.number("lr", self.lr),
            beta1=checking.number("beta1", self.beta1, 0, 1, below=True),
            beta2=checking.number("beta2", self.beta2, 0, 1, below=True),
            eps=checking.number("eps", self.eps),
        )

    def rule(self) -> Rule:
        return Rule("adam", beta1=self.beta1, beta2=self.beta2, eps=self.eps)


BY_NAME = {"sgd": SGD, "adam": Adam}


def get(value: str | Optimizer) -> Optimizer:
    """The optimizer given by its name, with the usual settings, or as it is."""
    if isinstance(value, Optimizer):
        return value
    if isinstance(value, str) and value in BY_NAME:
        return BY_NAME[value]()
    raise ValueError(f"optimizer: got {value!r}, expected {', '.join(map(repr, BY_NAME))} or an object like SGD(0.1)")
