"""Adversarial training: each row of a batch gets a copy that is moved against the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fastreg.common import checking, specs
from fastreg.common.description import Description
from fastreg.program.riders import Attack


class Attacked(Protocol):
    """What an attack needs of a trainer."""

    @property
    def dtype(self) -> str: ...

    def input_gradient(self, X, y, *, rows=None) -> np.ndarray: ...


@dataclass(frozen=True, repr=False)
class FGSM(Description):
    """Trains on the rows of a batch and on copies perturbed by the fast gradient sign method.

    J~ = weight J(x) + (1 - weight) J(x'), with x' = clip(x + epsilon sign(dJ(x)/dx)): the adversarial objective of
    Goodfellow et al., Explaining and Harnessing Adversarial Examples, 2015, sec. 6, whose alpha is `weight`. J is the
    data loss. Penalties are added to J~ once. The gradient treats x' as a constant, since sign is flat.

    Both halves form one batch with twice the rows and one update. If row i has sample weight w_i, it counts
    weight w_i, and its perturbed copy (1 - weight) w_i. A step costs about 2.1 normal steps: the rows go forward and
    back to the inputs, their copies forward and back, and then come the gradients of the parameters from both. With an
    `activity_l1` or a `weight` of 0 it costs about 2.7, since the rows then go forward and back twice.

    With dropout or noise, dJ/dx uses the draws of the batch's own rows. The perturbed rows have their own draws. Loss
    and accuracy in the history are those of J~, with the same weights. Evaluation and validation are not perturbed.

    Parameters
    ----------
    epsilon
        The step in each column of x, at least 0. It is in the units of the data given to fit, before any
        standardization in the model.
    weight
        The share of the unperturbed rows, from 0 to 1.
    clip
        (low, high): limits on the values of x', such as (0, 1) for pixels. None for no limits.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

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
        """The rider for the lowering."""
        return Attack(self.epsilon, *(self.clip or (-np.inf, np.inf)), clean=self.weight)

    def attack(self, trainer: Attacked, X, y, *, rows=None) -> np.ndarray:
        """The rows of X, perturbed against a trained model: clip(x + epsilon sign(dl/dx)), without dropout.

        Parameters
        ----------
        trainer
            The trainer whose model and loss are attacked.
        X, y, rows
            As in `trainer.input_gradient`.

        Returns
        -------
        ndarray of the shape of X
            In the dtype of the trainer.
        """
        if isinstance(trainer, type) or not all(hasattr(trainer, name) for name in ("input_gradient", "dtype")):
            raise TypeError(f"trainer: got {checking.shown(trainer)}, expected a fastreg.Trainer")
        self.check_dtype("attack", trainer.dtype)
        gradient = trainer.input_gradient(X, y, rows=rows)
        X = np.asarray(X) if rows is None else np.asarray(X)[np.asarray(rows)]
        return self.moved(X.astype(trainer.dtype), gradient)

    def check_dtype(self, name: str, dtype: str) -> None:
        """Refuses numbers that are not finite in the working dtype. The error names the argument `name`."""
        if max(map(abs, (self.epsilon, *(self.clip or ())))) > float(np.finfo(dtype).max):
            raise ValueError(f"{name}: got {self!r}, expected numbers finite in {dtype}")

    def moved(self, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """clip(x + epsilon sign(gradient)), in the dtype of x."""
        x = x + x.dtype.type(self.epsilon) * np.sign(gradient)
        return x if self.clip is None else np.clip(x, *self.clip)


BY_NAME = {"fgsm": FGSM}


def get(value) -> FGSM | None:
    """The argument `adversarial`: a FGSM, a spec of one, or None."""
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
