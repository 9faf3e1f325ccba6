"""Adversarial training: beside every row of a batch one that is moved against the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fastreg.common import checking, specs
from fastreg.common.description import Description
from fastreg.program.riders import Attack


class Attacked(Protocol):
    """What an attack asks of a trainer."""

    @property
    def dtype(self) -> str: ...

    def input_gradient(self, X, y, *, rows=None) -> np.ndarray: ...


@dataclass(frozen=True, repr=False)
class FGSM(Description):
    """Training on rows and on rows perturbed by the fast gradient sign method.

    J~ = weight J(x) + (1 - weight) J(x'), with x' = clip(x + epsilon sign(dJ(x)/dx)): the adversarial objective of
    Goodfellow et al., Explaining and Harnessing Adversarial Examples, 2015, sec. 6, whose alpha is `weight`. J is the
    data loss; penalties are added to J~ once. The gradient takes x' as given, for sign is flat.

    Both halves are one batch of twice the rows, so that there is one backward pass and one update: row i has the weight
    weight w_i, its perturbed one (1 - weight) w_i, with its sample weight w_i. A step costs about two and a half of the
    usual ones: a pass forward and back to the inputs, then that of twice the rows.

    Where dropout and noise are live, dJ/dx is taken with the draws of the rows of the batch, the perturbed rows have
    draws of their own. The loss and accuracy in the history are those of J~, weighted alike; evaluation and validation
    know nothing of it.

    Parameters
    ----------
    epsilon
        The step in every column of x, at least 0, in the units of the data as they are given to fit: before a
        standardization that is part of the model.
    weight
        The share of the rows as they are, from 0 to 1.
    clip
        (low, high): where the values of x' have to lie, such as (0, 1) for pixels; None for no limits.

    Raises
    ------
    ValueError, TypeError
        An argument is not what it says above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=fr.SGD(0.5), adversarial=fr.FGSM(0.1))
    >>> history = trainer.fit(X, y, epochs=10, batch_size=20)
    >>> attacked = fr.FGSM(0.1).attack(trainer, X, y)
    >>> trainer.evaluate(attacked, y)["accuracy"] < trainer.evaluate(X, y)["accuracy"]
    True
    """

    epsilon: float
    weight: float = 0.5
    clip: tuple[float, float] | None = None

    def __post_init__(self):
        self._set(
            epsilon=checking.number("epsilon", self.epsilon),
            weight=checking.number("weight", self.weight, 0, 1),
            clip=_limits(self.clip),
        )

    @property
    def rider(self) -> Attack:
        """What the lowering puts into a program."""
        return Attack(self.epsilon, *(self.clip or (-np.inf, np.inf)), clean=self.weight)

    def attack(self, trainer: Attacked, X, y, *, rows=None) -> np.ndarray:
        """The rows of X perturbed against a trained model: clip(x + epsilon sign(dl/dx)), dropout off.

        Parameters
        ----------
        trainer
            Its model and its loss are attacked.
        X, y, rows
            As in `trainer.input_gradient`.

        Returns
        -------
        ndarray of the shape of X
            In the dtype of the trainer.
        """
        if not hasattr(trainer, "input_gradient") or not hasattr(trainer, "dtype"):
            raise TypeError(f"trainer: got {checking.shown(trainer)}, expected a fastreg.Trainer")
        self.check_dtype("attack", trainer.dtype)
        gradient = trainer.input_gradient(X, y, rows=rows)
        X = np.asarray(X) if rows is None else np.asarray(X)[np.asarray(rows)]
        return self.moved(X.astype(trainer.dtype), gradient)

    def check_dtype(self, name: str, dtype: str) -> None:
        """Whether all its numbers are finite in the working dtype; errors name the argument `name`."""
        if max(map(abs, (self.epsilon, *(self.clip or ())))) > float(np.finfo(dtype).max):
            raise ValueError(f"{name}: got {self!r}, expected numbers finite in {dtype}")

    def moved(self, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """clip(x + epsilon sign(gradient)), in the dtype of x."""
        x = x + x.dtype.type(self.epsilon) * np.sign(gradient)
        return x if self.clip is None else np.clip(x, *self.clip)


BY_NAME = {"fgsm": FGSM}


def get(value) -> FGSM | None:
    """The argument `adversarial`, as it is or a spec of it."""
    value = specs.make("adversarial", value, BY_NAME) if isinstance(value, str) else value
    if value is None or isinstance(value, FGSM):
        return value
    raise TypeError(f"adversarial: got {checking.shown(value)}, expected a fastreg.FGSM or None")


def _limits(clip) -> tuple[float, float] | None:
    if clip is None:
        return None
    if not isinstance(clip, (tuple, list)) or len(clip) != 2:
        raise TypeError(f"clip: got {checking.shown(clip)}, expected (low, high) or None")
    low, high = (checking.number("clip", limit, -np.inf) for limit in clip)
    if not low < high:
        raise ValueError(f"clip: got {checking.shown(clip)}, expected (low, high) with low below high")
    return low, high
