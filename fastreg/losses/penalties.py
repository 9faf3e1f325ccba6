"""Penalties on weights, which are added to the loss. Biases are never penalized.

J = data loss + sum of l2/(2m) |W|^2 + sum of l1/m |W|_1 over the weights; the gradient adds (l2/m) W + (l1/m) sign(W).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fastreg.common import checking, specs
from fastreg.common.description import Description
from fastreg.common.names import missing as _missing
from fastreg.program import riders


@dataclass(frozen=True, repr=False)
class Penalty(Description):
    """Base of L1 and L2: a coefficient `lam`, divided by `m`."""

    lam: float
    m: Literal["batch", "weights", "train"] | float = 1

    def __post_init__(self):
        name = type(self).__name__
        self._set(lam=checking.number(f"{name} lam", self.lam))
        self._set(m=_checked_m(name, self.m, self.lam))

    @property
    def per_row(self) -> bool:
        """Whether the engine divides by the rows of each batch."""
        return self.m == "batch"

    @property
    def per_weight(self) -> bool:
        """Whether the engine divides by the sum of the sample weights of each batch."""
        return self.m == "weights"

    def coefficient(self, rows: float) -> float:
        """lam / m for a training set of `rows`. For m="batch" and m="weights" lam itself, since the engine divides."""
        if self.m == "batch" or self.m == "weights":
            return self.lam
        return self.lam / (rows if self.m == "train" else self.m)

    def value(self, rows: float) -> float:
        """lam / m if the batch is the whole training set of `rows`, without weights."""
        return self.coefficient(rows) / (rows if self.per_row or self.per_weight else 1)


@dataclass(frozen=True, repr=False)
class L1(Penalty):
    """The penalty (lam/m) |W|_1. It makes weights exactly zero (Tibshirani, Regression shrinkage and selection via the
    lasso, 1996).

    Parameters
    ----------
    lam
        The coefficient, at least 0.
    m
        1 (the default) or another number. "batch": the rows of the batch. "weights": the sum of their sample weights,
        of several heads those of the first. "train": the rows of the training set.
    proximal
        True: after the step each weight moves towards zero by lr lam/m and stops there, so zeros are exact (Parikh and
        Boyd, Proximal Algorithms, 2014). Under RMSprop, Adam and NAdam the move is divided by the optimizer's own
        divisor, sqrt(v) + eps. False: the subgradient (lam/m) sign(W) is added to the gradient.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(10, l1=fr.L1(0.5, m="batch"))
    Dense(10, l1=L1(0.5, m='batch'))
    """

    proximal: bool = field(default=True, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        self._set(proximal=checking.flag("L1 proximal", self.proximal))


@dataclass(frozen=True, repr=False)
class L2(Penalty):
    """The penalty lam/(2m) |W|^2. It adds (lam/m) W to the gradient (Hoerl and Kennard, Ridge regression, 1970;
    Goodfellow, Bengio and Courville, Deep Learning, 2016, 7.1.1).

    Under plain SGD this is weight decay: W <- (1 - lr lam/m) W - lr dW.

    Parameters
    ----------
    lam
        The coefficient, at least 0.
    m
        1 (the default) or another number. "batch": the rows of the batch. "weights": the sum of their sample weights,
        of several heads those of the first. "train": the rows of the training set.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.L2(0.5, m="train").coefficient(rows=100)
    0.005
    """


@dataclass(frozen=True, repr=False)
class ElasticNet(Description):
    """The penalty alpha (l1_ratio |W|_1 + (1 - l1_ratio)/2 |W|^2) / m, with scikit-learn's names: L1 and L2 in one.

    Zeros are exact, as with L1, and weights of correlated inputs stay together, as with L2 (Zou and Hastie,
    Regularization and variable selection via the elastic net, 2005). scikit-learn's own ElasticNet and Lasso minimize
    half of our mean squared error, so their alpha is half of ours.

    Parameters
    ----------
    alpha
        The coefficient of the sum, at least 0.
    l1_ratio
        The share of L1, from 0 (L2 alone) to 1 (L1 alone).
    m, proximal
        As in `L1`.

    Attributes
    ----------
    l1, l2
        The two parts: L1(alpha l1_ratio) and L2(alpha (1 - l1_ratio)).

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(10, penalty=fr.ElasticNet(0.5, l1_ratio=0.2))
    Dense(10, l1=L1(0.1), l2=L2(0.4))
    """

    alpha: float
    l1_ratio: float = 0.5
    m: Literal["batch", "weights", "train"] | float = 1
    proximal: bool = field(default=True, kw_only=True)

    def __post_init__(self):
        self._set(
            alpha=checking.number("ElasticNet alpha", self.alpha),
            l1_ratio=checking.number("ElasticNet l1_ratio", self.l1_ratio, 0, 1),
            m=_checked_m("ElasticNet", self.m, self.alpha),
            proximal=checking.flag("ElasticNet proximal", self.proximal),
        )

    @property
    def l1(self) -> L1:
        return L1(self.alpha * self.l1_ratio, self.m, proximal=self.proximal)

    @property
    def l2(self) -> L2:
        return L2(self.alpha * (1 - self.l1_ratio), self.m)


@dataclass(frozen=True, repr=False)
class Distance(Description):
    """A penalty on the distance between the weights of two layers: lam/(2m) |W_a - W_b|^2.

    It ties the weights softly: the larger lam, the closer they are (Lasserre, Bishop and Minka, Principled hybrids of
    generative and discriminative models, 2006). A `fastreg.Dense` with tied_to shares a weight for good.

    Parameters
    ----------
    a, b
        Names of layers whose weights have the same shape.
    lam
        The coefficient, at least 0.
    m
        As in `fastreg.L2`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> x = fr.Input(2)
    >>> a, b = fr.Dense(1, name="a")(x), fr.Dense(1, name="b")(x)
    >>> model = fr.Model(x, fr.Concatenate(name="both")([a, b]))
    >>> near = fr.penalties.Distance("a", "b", lam=10.0)
    >>> trainer = fr.Trainer(model, "mse", fr.SGD(0.02), distance=near)
    >>> X = np.eye(2)
    >>> history = trainer.fit(X, np.array([[0.0, 1.0], [0.0, 1.0]]), epochs=300)
    >>> difference = model.parameters["a.weight"] - model.parameters["b.weight"]
    >>> bool(np.abs(difference).max() < 0.05)
    True
    """

    a: str
    b: str
    lam: float
    m: Literal["batch", "weights", "train"] | float = 1

    def __post_init__(self):
        for name in ("a", "b"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"Distance {name}: got {checking.shown(getattr(self, name))}, expected a layer's name")
        if self.a == self.b:
            raise ValueError(f"Distance: got {self.a!r} twice, expected two layers")
        own = L2(self.lam, self.m)
        self._set(lam=own.lam, m=own.m)

    @property
    def l2(self) -> L2:
        """The penalty on the difference."""
        return L2(self.lam, self.m)


def distances(value) -> tuple[Distance, ...]:
    """The argument `distance`: none, one or several."""
    given = [] if value is None else [value] if isinstance(value, Distance) else value
    found = tuple(checking.iterate("distance", given, "a list of fr.penalties.Distance"))
    for one in found:
        if not isinstance(one, Distance):
            raise TypeError(f"distance: got {checking.shown(one)}, expected a fr.penalties.Distance")
    return found


ONLY_L1, ONLY_L2 = {"l1": L1}, {"l2": L2}
BY_NAME = {"l1": L1, "l2": L2, "elastic_net": ElasticNet}


def pair(name: str, value) -> tuple[L1, L2]:
    """The L1 and the L2 part of a penalty, given as an L1, an L2, an ElasticNet, or a spec of one."""
    value = specs.make(name, value, BY_NAME) if isinstance(value, str) else value
    if isinstance(value, ElasticNet):
        return value.l1, value.l2
    if isinstance(value, (L1, L2)):
        return (value, L2(0.0)) if isinstance(value, L1) else (L1(0.0), value)
    raise TypeError(f"{name}: got {checking.shown(value)}, expected a fastreg.L1, L2 or ElasticNet")


def alone(name: str, value, l1, l2) -> None:
    """Refuses a `penalty` together with l1 or l2."""
    if l1 or l2:
        raise ValueError(f"{name}: got {value!r} with l1={l1!r} and l2={l2!r}, expected one or the other")


def l1(name: str, value) -> L1:
    """An L1, from a number, an L1 or a spec of one."""
    value = specs.make(name, value, ONLY_L1) if specs.is_spec(value, ONLY_L1) else value
    return value if isinstance(value, L1) else L1(_lam(name, value, "L1"))


def l2(name: str, value) -> L2:
    """An L2, from a number, an L2 or a spec of one."""
    value = specs.make(name, value, ONLY_L2) if specs.is_spec(value, ONLY_L2) else value
    return value if isinstance(value, L2) else L2(_lam(name, value, "L2"))


def rider(l1: L1, l2: L2, rows: int) -> riders.Penalty:
    """Both as a program has them, for a training set of `rows`."""
    own = l1.coefficient(rows), l2.coefficient(rows)
    return riders.Penalty(*own, l1.per_row, l2.per_row, l1.proximal, l1.per_weight, l2.per_weight)


def _checked_m(name: str, m, lam: float) -> str | float:
    if isinstance(m, str):
        if m not in ("batch", "weights", "train"):
            raise ValueError(
                f"{name} m: got {checking.shown(m)}, expected 'batch', 'weights', 'train' or a number above 0"
            )
        return m
    if checking.number(f"{name} m", m) == 0:
        raise ValueError(f"{name} m: got 0, expected 'batch', 'weights', 'train' or a number above 0")
    if lam / m == math.inf:
        got = f"{checking.shown(m)} for a coefficient of {lam:g}"
        raise ValueError(f"{name} m: got {got}, expected a larger m: lam / m is not finite")
    return float(m)


def _lam(name: str, value, kind: str) -> float:
    if value is None or isinstance(value, (str, Description)):
        raise TypeError(f"{name}: got {checking.shown(value)}, expected a number or a fastreg.{kind}")
    return checking.number(name, value)


__getattr__ = _missing(__name__)
