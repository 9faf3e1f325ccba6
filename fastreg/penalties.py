"""Penalties: what is added to the loss for every weight (never for a bias).

J = data loss + sum of l2/(2m) |W|^2 + sum of l1/m |W|_1 over the weights; the gradient adds (l2/m) W + (l1/m) sign(W).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fastreg import checking
from fastreg.description import Description


@dataclass(frozen=True, repr=False)
class Penalty(Description):
    """A coefficient `lam`, divided by `m`."""

    lam: float
    m: Literal["batch", "train"] | float = 1

    def __post_init__(self):
        name = type(self).__name__
        self._set(lam=checking.number(f"{name} lam", self.lam))
        if isinstance(self.m, str):
            checking.choice(f"{name} m", self.m, ("batch", "train", "a number above 0"))
        elif checking.number(f"{name} m", self.m) == 0:
            raise ValueError(f"{name} m: got 0, expected 'batch', 'train' or a number above 0")

    @property
    def per_row(self) -> bool:
        """Whether the engine divides by the rows of every batch."""
        return self.m == "batch"

    def coefficient(self, rows: int) -> float:
        """lam / m for a training set of `rows`; lam itself where m is the batch, by which the engine divides."""
        if self.m == "batch":
            return self.lam
        return self.lam / (rows if self.m == "train" else self.m)

    def value(self, rows: int) -> float:
        """lam / m where the batch and the training set are the same `rows`."""
        return self.coefficient(rows) / (rows if self.per_row else 1)


@dataclass(frozen=True, repr=False)
class L1(Penalty):
    """The penalty (lam/m) |W|_1: makes weights exactly zero.

    Parameters
    ----------
    lam
        The coefficient, at least 0.
    m
        1 (the default) or another number; "batch": the rows of the batch; "train": the rows of the training set.
    proximal
        True: after the step every weight moves towards zero by lr lam/m and stops there, so zeros are exact
        (Parikh and Boyd, Proximal Algorithms, 2014). False: the subgradient (lam/m) sign(W).

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.Dense(10, l1=fr.L1(0.5, m="batch"))
    Dense(10, l1=L1(0.5, m='batch'))
    """

    proximal: bool = field(default=True, kw_only=True)

    def __post_init__(self):
        super().__post_init__()
        checking.flag("L1 proximal", self.proximal)


@dataclass(frozen=True, repr=False)
class L2(Penalty):
    """The penalty lam/(2m) |W|^2, added through the gradient, which is (lam/m) W.

    Under plain SGD this is weight decay: W <- (1 - lr lam/m) W - lr dW.

    Parameters
    ----------
    lam
        The coefficient, at least 0.
    m
        1 (the default) or another number; "batch": the rows of the batch; "train": the rows of the training set.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.L2(0.5, m="train").coefficient(rows=100)
    0.005
    """


def l1(name: str, value) -> L1:
    """An L1 of a number or an L1."""
    return value if isinstance(value, L1) else L1(_lam(name, value, "L1"))


def l2(name: str, value) -> L2:
    """An L2 of a number or an L2."""
    return value if isinstance(value, L2) else L2(_lam(name, value, "L2"))


def _lam(name: str, value, kind: str) -> float:
    if value is None or isinstance(value, (str, Penalty)):
        raise TypeError(f"{name}: got {checking.shown(value)}, expected a number or a fastreg.{kind}")
    return checking.number(name, value)
