"""Callbacks that set the learning rate: by a schedule, or by lowering it when training no longer improves.

The schedules themselves are in `optimizers/schedules.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import accumulate, repeat
from operator import mul
from typing import Any

import numpy as np

from fastreg.callbacks.base import MODES, Callback, Plan, check_monitor, direction, watched
from fastreg.callbacks.states import State
from fastreg.callbacks.training import Training
from fastreg.common import checking
from fastreg.optimizers import schedules
from fastreg.optimizers.schedules import Schedule


class LRScheduler(Callback):
    """Trains with the rates of a schedule instead of the optimizer's.

    It remembers nothing from one fit to the next: its time is that of the trainer.

    Parameters
    ----------
    schedule
        An object of `fastreg.schedules`, a number, or a function of the epoch. Its time counts from the start
        of the trainer, not of the fit.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X, y = np.eye(3), np.arange(3)
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.SGD(0.1))
    >>> scheduler = fr.LRScheduler(fr.schedules.Step(1.0, every=5))
    >>> history = trainer.fit(X, y, epochs=10, callbacks=[scheduler])
    """

    def __init__(self, schedule: Schedule | float | Callable[[int], float]):
        self.schedule = schedules.rate("schedule", schedule)

    def on_rates(self, epoch: int, rates: np.ndarray) -> None:
        trainer = self.trainer
        schedules.fill(rates, self.schedule, epoch, trainer.updates, trainer.accumulate, trainer._taken)

    def settings(self) -> Mapping[str, Any]:
        return {"schedule": self.schedule}


class ReduceOnPlateau(Callback):
    """Lowers the learning rate when the exponential mean of a value no longer improves.

    Let v be the value of an epoch (its negative if large is good). The mean is m <- smoothing m + (1 - smoothing) v,
    with m = v in the first epoch. An epoch improves if m < best - threshold |best|; then best <- m. So one lucky value
    decides neither `best` nor the patience: it moves m by only 1 - smoothing of its luck.

    After more than `patience` epochs in a row without an improvement, the rates of all later epochs are multiplied by
    `factor`, and the count restarts. The rate is max(rate scale, min_lr), with scale = factor^reductions and the rate
    of the optimizer or of an `LRScheduler` before this callback. smoothing=0 makes it torch's ReduceLROnPlateau. A
    value that is not finite is no improvement and does not enter the mean.

    Further fits of the same trainer go on with the scale, the means and the counts, as one long fit would.
    `trainer.reset()` and another trainer start afresh.

    Parameters
    ----------
    monitor
        The value to watch: a name in the history.
    factor
        At least 0 and below 1.
    patience
        Number of epochs without an improvement that do not lower the rate. The next one does, as in torch.
    smoothing
        At least 0 (no smoothing) and below 1. The mean reaches back about 1 / (1 - smoothing) epochs.
    threshold
        How much counts as an improvement, relative to the best mean.
    cooldown
        Number of epochs after a reduction that are not counted.
    min_lr
        Rates are not lowered below it.
    mode
        "min", "max" or "auto": the direction that the name of the monitor says, as in `EarlyStopping`.

    Attributes
    ----------
    scale : float
        The factor on the rates of the next epoch. It is 1 at the start of a training.
    mean, best : float
        The exponential mean and the best one so far, in the units of the monitor. NaN before the first epoch.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X, y = np.eye(3), np.arange(3)
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.SGD(0.0))  # which gets nowhere
    >>> plateau = fr.ReduceOnPlateau("loss", factor=0.5, patience=3)
    >>> history = trainer.fit(X, y, epochs=9, callbacks=[plateau])
    >>> plateau.scale
    0.25
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        *,
        smoothing: float = 0.8,
        threshold: float = 1e-3,
        cooldown: int = 0,
        min_lr: float = 0.0,
        mode: str = "auto",
    ):
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: got {checking.shown(monitor)}, expected a name in the history")
        self.monitor = monitor
        self.factor = checking.number("factor", factor, 0, 1, below=True)
        self.patience = checking.integer("patience", patience, 0)
        self.smoothing = checking.number("smoothing", smoothing, 0, 1, below=True)
        self.threshold = checking.number("threshold", threshold, 0, 1, below=True)
        self.cooldown = checking.integer("cooldown", cooldown, 0)
        self.min_lr = checking.number("min_lr", min_lr)
        self.mode = checking.choice("mode", mode, MODES)

    def check_fit(self, trainer: Training, plan: Plan) -> None:
        check_monitor(self, self.monitor, plan, self.mode)

    def on_train_begin(self) -> None:
        self._sign = direction(self.monitor, self.mode)
        if self.continues():
            return
        self.scale, self.mean, self.best = 1.0, math.nan, math.nan
        self._waited = self._cooling = 0

    def on_rates(self, epoch: int, rates: np.ndarray) -> None:
        if self.scale < 1:
            np.maximum(rates * self.scale, np.minimum(rates, self.min_lr), out=rates)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if self._improves(watched(self, self.monitor, logs)):
            self.best, self._waited = self.mean, 0
        else:
            self._waited += 1
        if self._cooling:
            self._cooling -= 1
            self._waited = 0
        if self._waited > self.patience:
            self.scale *= self.factor
            self._cooling, self._waited = self.cooldown, 0

    def _improves(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if math.isnan(self.mean):
            self.mean = value
            return True
        self.mean = self.smoothing * self.mean + (1 - self.smoothing) * value
        return self._sign * self.mean < self._sign * self.best - self.threshold * abs(self.best)

    def settings(self) -> Mapping[str, Any]:
        names = ("monitor", "factor", "patience", "smoothing", "threshold", "cooldown", "min_lr", "mode")
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        return {
            "scale": self.scale,
            "mean": self.mean,
            "best": self.best,
            "waited": self._waited,
            "cooling": self._cooling,
        }

    def check_state_dict(self, state: Mapping[str, np.ndarray], trainer: Training, plan: Plan) -> None:
        told, epochs = State(state, ("scale", "mean", "best", "waited", "cooling")), _epochs(trainer, plan)
        told.count("waited", 0, min(self.patience, epochs))
        told.count("cooling", 0, self.cooldown)
        scales = accumulate(repeat(self.factor, epochs), mul, initial=1.0)
        told.require(told.number("scale") in scales, "scale")
        mean, best = told.number("mean"), told.number("best")
        told.require(math.isfinite(mean) or math.isnan(mean), "mean")
        told.require(math.isfinite(best) if math.isfinite(mean) else math.isnan(best), "best")

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self.scale, self.mean, self.best = (float(state[name]) for name in ("scale", "mean", "best"))
        self._waited, self._cooling = int(state["waited"]), int(state["cooling"])


def _epochs(trainer: Training, plan: Plan) -> int:
    """The most epochs that a callback can have seen."""
    return max(trainer.epoch, len(plan.history.epochs))
