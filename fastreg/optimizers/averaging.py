"""Weight averaging: what the model keeps of the weights that training goes through.

`fastreg.Trainer(..., averaging=EMA())` trains as without it, on weights of its own, the raw ones. The model holds the
averages of them: validation, callbacks, `evaluate`, `predict` and files see the averages. The raw weights are part of
the optimizer's state ("<parameter>/raw" of `trainer.optimizer_state`), and the next fit goes on from them. If somebody
changes the model's parameters between two epochs, as `load_state_dict` or a restored best epoch does, then training
goes on from these, and the averages begin anew.

Everything that training changes is averaged, so also the running moments of a normalization.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastreg.common import checking, specs
from fastreg.common.description import Description


@dataclass(frozen=True, repr=False)
class Averaging(Description, saved=False):
    """Base class of the ways to average."""

    @property
    def count(self) -> str:
        """The name of the number of averaged steps or epochs in the optimizer's state."""
        return f"{type(self).__name__.lower()}/count"

    @property
    def per_step(self) -> float | None:
        """The decay of an exponential mean over the steps. None if only weights at the ends of epochs count."""
        return None

    def due(self, epoch: int) -> bool:
        """Whether the weights at the end of this epoch enter the average there."""
        return False


@dataclass(frozen=True, repr=False)
class EMA(Averaging):
    """The exponential mean of the weights over the steps: a <- a + rate (w - a) after each step of the optimizer.

    In step t = 1, 2, ... the rate is (1 - decay) / (1 - decay^t), with t counted from the first averaged step. So a is
    the mean of w_1 ... w_t with the weights decay^(t - i), divided by their sum. (Polyak and Juditsky, Acceleration of
    Stochastic Approximation by Averaging, 1992, average over steps; Adam corrects its moments in the same way, Kingma
    and Ba, 2015. PyTorch's AveragedModel with get_ema_avg_fn has the rate 1 in step 1 and then 1 - decay, which gives
    the first step a large weight for long; after 5 / (1 - decay) steps there is little difference.)

    Parameters
    ----------
    decay
        From 0, which gives the raw weights, to 0.999999. The mean reaches back about 1 / (1 - decay) steps.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=fr.SGD(1.0), averaging=fr.EMA(0.9))
    >>> history = trainer.fit(X, y, epochs=5, batch_size=20)
    >>> raw = trainer.optimizer_state["0.weight/raw"]  # what training goes on from
    >>> bool((raw == trainer.model.parameters["0.weight"]).any())
    False
    """

    decay: float = 0.999

    def __post_init__(self):
        self._set(decay=checking.number("decay", self.decay, 0, 0.999999))

    @property
    def per_step(self) -> float:
        return self.decay


@dataclass(frozen=True, repr=False)
class SWA(Averaging):
    """Stochastic weight averaging: the mean of the weights at the ends of epochs, from one epoch on.

    See Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018. It needs a learning
    rate that stays high, or one that rises in each cycle. The model holds the raw weights until the first epoch counts.
    The running moments of a normalization are averaged like the weights, and not computed anew from the data.

    Parameters
    ----------
    start
        The first epoch that counts, from 0, as `trainer.epoch` counts them. Usually three quarters of the training.
    every
        Number of epochs between two that count: the length of a cycle of the learning rate, or 1.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=fr.SGD(1.0), averaging=fr.SWA(start=3))
    >>> history = trainer.fit(X, y, epochs=5, batch_size=20)
    >>> float(trainer.optimizer_state["swa/count"][0])  # epochs 3 and 4
    2.0
    """

    start: int
    every: int = 1

    def __post_init__(self):
        self._set(start=checking.integer("start", self.start, 0), every=checking.integer("every", self.every))

    def due(self, epoch: int) -> bool:
        return epoch >= self.start and (epoch - self.start) % self.every == 0


BY_NAME = {"ema": EMA, "swa": SWA}


def get(value) -> Averaging | None:
    """The argument `averaging`: an EMA, a SWA, a spec of one, or None."""
    value = specs.make("averaging", value, BY_NAME) if isinstance(value, str) else value
    if value is None or isinstance(value, Averaging):
        return value
    checking.made("averaging", value)
    raise TypeError(f"averaging: got {checking.shown(value)}, expected an object such as EMA(0.999) or SWA(start=10)")
