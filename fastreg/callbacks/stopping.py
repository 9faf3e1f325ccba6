"""Early stopping: rules that end a fit. Each of them restores the best weights. Add a new rule here.

`EarlyStopping` waits for an improvement with patience. `GL`, `PQ` and `UP` are the three classes of criteria of
Prechelt, Early Stopping - But When? (in Neural Networks: Tricks of the Trade, 1998). With E the monitored value of an
epoch:

    GL(t) = 100 (E(t) - E_opt) / |E_opt|,  E_opt the smallest E so far        generalization loss, in percent
    P(t)  = 1000 (mean of L over the strip / smallest L of the strip - 1)     training progress, in per mille

Here L is the training loss of an epoch. A strip is a fixed number of epochs in a row; the first strip begins with the
fit. For a positive E, as errors are, GL(t) is 100 (E(t) / E_opt - 1), as Prechelt writes it.

A value that is not finite counts as infinitely large. It is no improvement, and worse than any finite value.

Each fit starts afresh: the rules keep nothing from one fit to the next, but a resumed fit goes on with what the
checkpoint holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from fastreg.callbacks.base import MODES, Callback, Plan, check_monitor, direction, watched
from fastreg.callbacks.states import State
from fastreg.callbacks.training import Best, Training
from fastreg.common import checking
from fastreg.common.names import missing as _missing

__all__ = ["GL", "PQ", "UP"]


class BestWeights(Callback):
    """Base of the stopping rules. It keeps the weights of the best epoch and restores them, however training ends.

    Attributes
    ----------
    best : float
        The best value. A value that is not finite is never the best.
    best_epoch : int or None
        The epoch with the best value, counted from 0: `history.epochs` has it.
    """

    mode = "min"
    watched: ClassVar[dict[str, type]] = {}  # attributes that a checkpoint also keeps: int or float

    def __init__(self, monitor: str):
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: got {checking.shown(monitor)}, expected a name in the history")
        self.monitor = monitor
        self.best_epoch: int | None = None
        self._weights: dict[str, np.ndarray] | None = None

    def check_fit(self, trainer: Training, plan: Plan) -> None:
        check_monitor(self, self.monitor, plan, self.mode)

    def on_train_begin(self) -> None:
        self._sign = direction(self.monitor, self.mode)
        self.best, self.best_epoch, self._weights = self._sign * math.inf, None, None
        self._best_updates, self._best_loss = 0, math.inf
        self.trainer.best = None  # the best epoch of an earlier fit does not count for this one

    def keep_best(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Keeps the weights of the epoch if they are the best so far."""
        value = watched(self, self.monitor, logs)
        if math.isfinite(value) and self._sign * value < self._sign * self.best:
            found = {"best": value, "best_epoch": epoch, "_weights": self.model.state_dict()}
            found |= {"_best_updates": self.trainer.updates, "_best_loss": logs["loss"]}
            vars(self).update(found)  # at once: should memory or time run out, the weights are still those of the best

    def on_train_end(self) -> None:
        if self._weights is None or self.best_epoch is None:
            return
        self.model.load_state_dict(self._weights)
        self._weights = None
        data = self.plan.data
        counts = self.best_epoch, self._best_updates, self._best_loss
        self.trainer.best = Best(*counts, data["batch_size"], data["shuffle"])

    def state_dict(self) -> dict[str, Any]:
        best_epoch = -1 if self.best_epoch is None else self.best_epoch
        state = {"best": self.best, "best_epoch": best_epoch}
        state |= {"best_updates": self._best_updates, "best_loss": self._best_loss}
        state |= {name.lstrip("_"): getattr(self, name) for name in self.watched}
        return state | {f"weights/{name}": value for name, value in (self._weights or {}).items()}

    def check_state_dict(self, state: Mapping[str, np.ndarray], trainer: Training, plan: Plan) -> None:
        parameters, epochs = trainer.model.parameters, plan.history.epochs
        names = {"best", "best_epoch", "best_updates", "best_loss", *(name.lstrip("_") for name in self.watched)}
        known = any(name.startswith("weights/") for name in state)  # whether there is a best epoch
        told = State(state, names | {f"weights/{name}" for name in parameters if known})
        first, last = (epochs[0], epochs[-1]) if known else (-1, -1)
        told.count("best_epoch", first, last)
        told.count("best_updates", 0, trainer.updates if known else 0)
        worst = direction(self.monitor, self.mode) * math.inf
        for name, initial in (("best", worst), ("best_loss", math.inf)):
            value = told.number(name)
            told.require(math.isfinite(value) if known else value == initial, name)
        if known:
            for name, parameter in parameters.items():
                told.array(f"weights/{name}", parameter)
        self.check_watched(told, len(epochs))

    def check_watched(self, told: State, epochs: int) -> None:
        """Refuses values of what is `watched` that are impossible after this many epochs."""

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self.best, best_epoch = float(state["best"]), int(state["best_epoch"])
        self._best_updates, self._best_loss = int(state["best_updates"]), float(state["best_loss"])
        self.best_epoch = None if best_epoch < 0 else best_epoch
        for name, kind in self.watched.items():
            setattr(self, name, kind(state[name.lstrip("_")]))
        if self.best_epoch is not None:
            self._weights = {name: state[f"weights/{name}"] for name in self.model.parameters}


class EarlyStopping(BestWeights):
    """Stops training when a value no longer improves. It always restores the best weights, however training ends.

    Each fit starts afresh: the best value, the best weights and the patience are those of one fit. It begins at the
    best weights of the fit before, with the optimizer as that left it. Only a resumed fit goes on with the values of
    the checkpoint.

    Parameters
    ----------
    monitor
        The value to watch: a name in the history.
    patience
        Training stops after this many epochs in a row without an improvement. 0 is the same as 1.
    min_delta
        A value must be better by more than this to count as an improvement. The best weights follow
        every improvement, however small.
    mode
        "min", "max" or "auto": the direction that the name of the monitor says, such as "max" for val_accuracy, val_f1
        and val_r2, and "min" for losses and errors. A name that says nothing needs "min" or "max".
    start_from_epoch
        Epochs before this one, counted from 0, are ignored.

    Attributes
    ----------
    best : float
        The best value. NaN is never the best.
    best_epoch : int or None
        The epoch with the best value, counted from 0: `history.epochs` has it.

    Examples
    --------
    >>> import fastreg as fr
    >>> stopping = fr.EarlyStopping(monitor="val_accuracy", patience=4)
    """

    watched: ClassVar[dict[str, type]] = {"_to_beat": float, "_waited": int}

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor)
        self.patience = checking.integer("patience", patience, 0)
        self.min_delta = checking.number("min_delta", min_delta)
        self.mode = checking.choice("mode", mode, MODES)
        self.start_from_epoch = checking.integer("start_from_epoch", start_from_epoch, 0)

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self._to_beat, self._waited = math.inf, 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if epoch < self.start_from_epoch:
            return
        self.keep_best(epoch, logs)
        value = self._sign * watched(self, self.monitor, logs)
        if math.isfinite(value) and value < self._to_beat - self.min_delta:
            self._to_beat, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.trainer.stop_training = True

    def check_watched(self, told: State, epochs: int) -> None:
        told.count("waited", 0, epochs)
        best, to_beat = direction(self.monitor, self.mode) * told.number("best"), told.number("to_beat")
        told.require(best <= to_beat < math.inf if math.isfinite(best) else to_beat == math.inf, "to_beat")

    def settings(self) -> Mapping[str, Any]:
        names = ("monitor", "patience", "min_delta", "mode", "start_from_epoch")
        return {name: getattr(self, name) for name in names}


class Prechelt(BestWeights):
    """Base of Prechelt's rules. Subclasses say whether an epoch is the last one. The monitor must be an error."""

    def __init__(self, monitor: str):
        super().__init__(monitor)
        if direction(monitor, "auto") < 0:
            raise ValueError(f"monitor: got {monitor!r}, expected an error such as 'val_loss'")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.keep_best(epoch, logs)
        value = watched(self, self.monitor, logs)
        if self.is_last(value if math.isfinite(value) else math.inf, logs["loss"]):
            self.trainer.stop_training = True

    def is_last(self, value: float, loss: float) -> bool:
        """Whether training stops after an epoch with this error and training loss. Errors that are not finite are
        passed as infinite."""
        raise NotImplementedError

    def generalization_loss(self, value: float) -> float:
        """GL(t) in percent: how far `value` is above the best value."""
        if value == math.inf:
            return math.inf
        above = value - self.best
        return 100 * above / abs(self.best) if self.best else math.inf * above if above else 0.0


class GL(Prechelt):
    """Stops after the first epoch with GL(t) = 100 (E(t) / E_opt - 1) > alpha: the generalization loss in percent.

    Parameters
    ----------
    alpha
        The limit in percent, at least 0. Prechelt tried 1 to 5.
    monitor
        A name in the history, of an error that falls during training.

    Attributes
    ----------
    best, best_epoch
        As in `EarlyStopping`. The weights of that epoch are restored, however training ends.

    Raises
    ------
    ValueError, TypeError
        `alpha` is not a number of at least 0. The monitor should grow, or fit finds that it is not in the history.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.stopping.GL(2)
    GL(alpha=2.0, monitor='val_loss')
    """

    def __init__(self, alpha: float, monitor: str = "val_loss"):
        super().__init__(monitor)
        self.alpha = checking.number("alpha", alpha)

    def is_last(self, value: float, loss: float) -> bool:
        return self.generalization_loss(value) > self.alpha

    def settings(self) -> Mapping[str, Any]:
        return {"alpha": self.alpha, "monitor": self.monitor}


class PQ(Prechelt):
    """Stops at the end of the first strip with GL(t) / P(t) > alpha: generalization loss outgrows training progress.

    P(t) = 1000 (mean of the strip's training losses / the smallest of them - 1), in per mille. It is large while the
    training loss still falls fast. Then a rise of the error may not last. Training losses are those of the history.

    Parameters
    ----------
    alpha
        The limit, at least 0. Prechelt tried 0.5 to 3.
    strip
        Epochs per strip. Prechelt used 5.
    monitor
        A name in the history, of an error that falls during training.

    Attributes
    ----------
    best, best_epoch
        As in `EarlyStopping`. The weights of that epoch are restored, however training ends.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above. The monitor should grow, or fit finds that it is not in the history.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.stopping.PQ(0.75)
    PQ(alpha=0.75, strip=5, monitor='val_loss')
    """

    watched: ClassVar[dict[str, type]] = {"_epochs": int, "_sum": float, "_least": float}

    def __init__(self, alpha: float, strip: int = 5, monitor: str = "val_loss"):
        super().__init__(monitor)
        self.alpha = checking.number("alpha", alpha)
        self.strip = checking.integer("strip", strip)

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self._begin_strip()

    def _begin_strip(self) -> None:
        self._epochs, self._sum, self._least = 0, 0.0, math.inf  # of the training losses of the strip so far

    def is_last(self, value: float, loss: float) -> bool:
        self._epochs, self._sum, self._least = self._epochs + 1, self._sum + loss, min(self._least, loss)
        if self._epochs < self.strip:
            return False
        mean, least = self._sum / self._epochs, self._least
        self._begin_strip()
        above = mean - least
        progress = 1000 * above / abs(least) if least else math.inf * above if above else 0.0
        return self.generalization_loss(value) > self.alpha * progress  # no division, since the progress may be 0

    def check_watched(self, told: State, epochs: int) -> None:
        begun = told.count("epochs", 0, min(self.strip - 1, epochs)) > 0
        for name, initial in (("sum", 0.0), ("least", math.inf)):
            value = told.number(name)
            told.require(math.isfinite(value) if begun else value == initial, name)

    def settings(self) -> Mapping[str, Any]:
        return {"alpha": self.alpha, "strip": self.strip, "monitor": self.monitor}


class UP(Prechelt):
    """Stops when the error has risen in s strips in a row, from the end of one to the end of the next.

    Parameters
    ----------
    s
        Rises in a row, at least 1. Prechelt tried 2 to 8.
    strip
        Epochs per strip. Prechelt used 5. The first strip cannot be a rise, since nothing comes before it.
    monitor
        A name in the history, of an error that falls during training.

    Attributes
    ----------
    best, best_epoch
        As in `EarlyStopping`. The weights of that epoch are restored, however training ends.

    Raises
    ------
    ValueError, TypeError
        An argument is not as described above. The monitor should grow, or fit finds that it is not in the history.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.stopping.UP(2)
    UP(s=2, strip=5, monitor='val_loss')
    """

    watched: ClassVar[dict[str, type]] = {"_epochs": int, "_rises": int, "_before": float}

    def __init__(self, s: int, strip: int = 5, monitor: str = "val_loss"):
        super().__init__(monitor)
        self.s = checking.integer("s", s)
        self.strip = checking.integer("strip", strip)

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self._epochs = self._rises = 0
        self._before = math.nan  # the error at the end of the previous strip

    def is_last(self, value: float, loss: float) -> bool:
        self._epochs += 1
        if self._epochs % self.strip:
            return False
        rises = value > self._before or value == self._before == math.inf  # false after the first strip
        self._rises, self._before = self._rises + 1 if rises else 0, value
        return self._rises >= self.s

    def check_watched(self, told: State, epochs: int) -> None:
        strips, before = told.count("epochs", 0, epochs) // self.strip, told.number("before")
        told.count("rises", 0, max(strips - 1, 0))
        told.require(before > -math.inf if strips else math.isnan(before), "before")

    def settings(self) -> Mapping[str, Any]:
        return {"s": self.s, "strip": self.strip, "monitor": self.monitor}


__getattr__ = _missing(__name__)
