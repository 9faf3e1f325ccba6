"""The base class of the callbacks, whose methods have Keras's names, with the plan of a fit and a small callback."""

from __future__ import annotations

import inspect
import math
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastreg.callbacks.history import History, number
from fastreg.callbacks.training import Training
from fastreg.common import checking, names
from fastreg.common.attributes import Suggesting
from fastreg.common.understood import understood
from fastreg.metrics.registry import largest_is_best, meaning_of, same_meaning

if TYPE_CHECKING:
    from fastreg.model.dataset import Data

MODES = ("auto", "min", "max")


@dataclass(frozen=True)
class Plan:
    """What a fit is going to do.

    first_epoch, last_epoch   the number of its first epoch, and its last epoch's number plus 1
    batches                   the number of batches per epoch
    names                     the names of the values in the logs of an epoch
    history                   the results so far. A resumed fit begins with those of the checkpoint
    resumed                   the path of the checkpoint from which the fit continues, or None
    data                      facts about data and batches that must be the same in a resumed fit
    callbacks                 the callbacks of the fit
    training                  the training set
    whole                     `trainer.history`: the results of all fits since the trainer was made or reset. A reset
                              makes another object
    fitting                   the names of the metrics that a trainer with this loss can have
    """

    first_epoch: int
    last_epoch: int
    batches: int
    names: tuple[str, ...]
    history: History = field(default_factory=History)
    resumed: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    callbacks: tuple[Callback, ...] = ()
    training: Data | None = None
    whole: History = field(default_factory=History)
    fitting: tuple[str, ...] = ()


class Callback(Suggesting):
    """Base of the callbacks. Override the methods that you need.

    `trainer`, `model` and `plan` are set before on_train_begin. To end training after the current epoch, set
    `trainer.stop_training = True`. Epochs and batches count from 0. `check_fit` can refuse a fit.

    A callback with a batch hook makes each slice one batch, which costs speed. on_slice_end comes about every 0.1 s and
    costs nothing. All hooks may read and change parameters.

    A callback that remembers something from one epoch to the next defines `state_dict` and `load_state_dict`. Then a
    resumed fit continues as if it had never stopped. `continues` tells it whether to keep what it knows from an earlier
    fit.

    Numbers that a callback puts into the logs of an epoch are kept in the history. Callbacks after it in the list can
    watch them: `EarlyStopping("val_gain", mode="max")`.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> class StopAt(fr.Callback):
    ...     def on_epoch_end(self, epoch, logs):
    ...         self.trainer.stop_training = logs["loss"] < 0.5
    >>> X, y = np.eye(3), np.arange(3)
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.SGD(1.0))
    >>> history = trainer.fit(X, y, epochs=100, callbacks=[StopAt()])
    >>> history["loss"][-1] < 0.5 <= history["loss"][-2]
    True
    """

    trainer: Training
    plan: Plan
    last_update: int | None = None  # training ends after this step of the optimizer, even in the middle of an epoch
    goes_last: ClassVar[bool] = False  # whether its hooks come after those of all other callbacks

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        check_hooks(cls.__name__, dir(cls))
        if "__init__" in cls.__dict__:
            cls.__init__ = understood(cls.__init__)  # type: ignore[method-assign]

    @property
    def model(self):
        """The model in training."""
        return self.trainer.model

    def check_fit(self, trainer: Training, plan: Plan) -> None:
        """Called before anything changes, and before `trainer` and `plan` are set. An error here refuses the fit."""

    def on_train_begin(self) -> None:
        """Called before the first epoch, and before a checkpoint is restored. The model has its parameters."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Called before each epoch."""

    def on_rates(self, epoch: int, rates: np.ndarray) -> None:
        """Called before each epoch with the learning rates of its batches, float64 (batches,), to change in place.

        They come from the optimizer and from the callbacks before this one. With `accumulate=`, all batches of a step
        have the same rate. The first rate is that of step number `trainer.updates`. A step of zero weight is not taken,
        so the next one has its number and its rate.
        """

    def on_batch_begin(self, batch: int) -> None:
        """Called before each batch."""

    def on_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Called after each batch, with its `loss`."""

    def on_slice_end(self, batches: int, logs: Mapping[str, float]) -> None:
        """Called about every 0.1 s, with the number of `batches` done in this epoch and their mean `loss`."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Called after each epoch and its validation, with the values for the history. More can be added to them."""

    def on_train_end(self) -> None:
        """Called at the end, be it the last epoch, Ctrl-C or an error."""

    def settings(self) -> Mapping[str, Any]:
        """The arguments that influence training. A resumed fit must have the same."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback: numbers and arrays by name."""
        return {}

    def check_state_dict(self, state: Mapping[str, np.ndarray], trainer: Training, plan: Plan) -> None:
        """Called before anything changes, next to check_fit. An error here says what is wrong with the state.

        `trainer` is a copy with the counters of the checkpoint, and `plan.history` is that of the checkpoint.
        """

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores what state_dict returned, after on_train_begin. Numbers are arrays of shape ()."""

    def __repr__(self) -> str:
        known = vars(self) | dict(self.settings())
        own = [name for name in inspect.signature(type(self)).parameters if name in known]
        return f"{type(self).__name__}({', '.join(f'{name}={_told(known[name])}' for name in own)})"

    def continues(self) -> bool:
        """Whether this fit goes on where an earlier one with this callback ended: of the same trainer, not reset since.

        For on_train_begin, which asks once. A fit that resumes a checkpoint does not go on with the callback's own
        memory, but with that of the file.
        """
        before, self._served = self.__dict__.get("_served"), self.plan.whole
        return before is self._served and self.plan.resumed is None

    @property
    def wants_batches(self) -> bool:
        """Whether this callback defines a batch hook."""
        own = type(self)
        return own.on_batch_begin is not Callback.on_batch_begin or own.on_batch_end is not Callback.on_batch_end


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


def check_hooks(kind: str, own: Iterable[str]) -> None:
    """Refuses attributes that look like hooks of a callback and are none, since nothing would ever call them."""
    for name in own:
        if name.startswith("on_") and name not in HOOKS:
            told = names.advice("hook", name, HOOKS)
            raise TypeError(f"{kind}.{name}: there is no such hook, expected one of {', '.join(HOOKS)}{told}")


class TerminateOnNaN(Callback):
    """Stops training, with a warning, after an epoch with a value that is not finite, such as `val_loss`.

    If the training loss or a parameter is not finite, training ends with a DivergenceError even without this callback.
    It remembers nothing from one fit to the next.

    Parameters
    ----------
    monitor
        A name in the history. None for all of them.

    Examples
    --------
    >>> import fastreg as fr
    >>> fr.TerminateOnNaN()
    TerminateOnNaN(monitor=None)
    """

    def __init__(self, monitor: str | None = None):
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor: got {checking.shown(monitor)}, expected a name in the history or None")
        self.monitor = monitor

    def check_fit(self, trainer: Training, plan: Plan) -> None:
        if self.monitor is not None:
            check_monitor(self, self.monitor, plan)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        values = logs if self.monitor is None else {self.monitor: watched(self, self.monitor, logs)}
        for name, value in values.items():
            told = number(value)
            if told is not None and not math.isfinite(told):
                self.trainer.stop_training = True
                text = f"training stops after epoch {epoch + 1}: {name} is {value}"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
                return

    def settings(self) -> Mapping[str, Any]:
        return {"monitor": self.monitor}


def _told(value: Any) -> str:
    """A value as a spec writes it, always on one line."""
    text = repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
    return checking.shown(value) if "\n" in text else text  # of an array


def check_monitor(callback: Callback, monitor: str, plan: Plan, mode: str = "min") -> None:
    """Refuses the fit if the value that a callback watches will not be in the history, or if `mode` is "auto" and its
    name does not say which direction is good.

    A value that a user's callback before this one may add is not refused. `watched` then finds out.
    """
    kind = type(callback).__name__
    if monitor not in plan.names and not _may_be_added(callback, plan):
        raise ValueError(f"{kind} monitor: got {checking.shown(monitor)}, {_expected(monitor, plan)}")
    if mode == "auto" and largest_is_best(monitor) is None:
        expected = "expected 'min' or 'max': the name does not say whether small or large values are good"
        raise ValueError(f"{kind} mode: got 'auto' for the monitor {checking.shown(monitor)}, {expected}")


def watched(callback: Callback, monitor: str, logs: Mapping[str, float]) -> float:
    """The value that a callback watches."""
    if monitor not in logs:
        got = f"{type(callback).__name__} monitor: got {checking.shown(monitor)}"
        raise ValueError(f"{got}, expected one of {', '.join(logs)}: no callback before it has added it to the logs")
    return float(logs[monitor])


def _may_be_added(callback: Callback, plan: Plan) -> bool:
    """Whether a callback of the user's comes before this one and could add a value to the logs."""
    for before in plan.callbacks:
        if before is callback:
            return False
        own = type(before).on_epoch_end is not Callback.on_epoch_end or "on_epoch_end" in vars(before)
        if own and not type(before).__module__.startswith("fastreg."):
            return True
    return False


def _expected(monitor: str, plan: Plan) -> str:
    """The end of the refusal of a monitor: what there is, and what helps."""
    expected = f"expected one of {', '.join(plan.names)}"
    data, metric = meaning_of(monitor) or ("", "")
    watches = any(name.endswith("_loss") for name in plan.names)  # held-back data
    here = [meaning[1] for name in plan.names if (meaning := meaning_of(name))]
    if metric in here and (watches or data != "val"):
        return f"{expected}; the nearest is {same_meaning(monitor, plan.names)!r}"
    if metric not in here and metric not in plan.fitting:
        return expected if metric else expected + checking.nearest(monitor, plan.names)
    advice = [] if watches else ["give validation_data, or an estimator X_val and y_val"]
    if metric not in here:
        advice.append(f"give the trainer metrics=({metric!r},)")
        advice += [] if data else [f"watch 'val_{metric}'"]
    return f"{expected} ({', and '.join(advice)})"


def direction(monitor: str, mode: str) -> float:
    """The sign by which to multiply values so that small ones are good."""
    return -1.0 if mode == "max" or (mode == "auto" and largest_is_best(monitor)) else 1.0
