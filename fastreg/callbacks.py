"""Callbacks: what happens around epochs. The methods have Keras's names."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, TextIO

from fastreg import checking

if TYPE_CHECKING:
    from fastreg.trainer import Trainer


@dataclass(frozen=True)
class Plan:
    """What a fit is going to do.

    first_epoch, last_epoch   the number of its first epoch, and the one behind its last
    batches                   an epoch
    names                     of the values in the logs of an epoch
    """

    first_epoch: int
    last_epoch: int
    batches: int
    names: tuple[str, ...]


class Callback:
    """Base of the callbacks; override what is needed.

    `trainer`, `model` and `plan` are set before on_train_begin. Setting `trainer.stop_training = True` ends the
    training behind the epoch. Epochs and batches count from 0.

    A callback that defines a batch hook makes slices of one step, which costs speed; on_slice_end comes about every
    0.1 s and costs nothing. Parameters may be read and changed in every hook.
    """

    trainer: Trainer
    plan: Plan

    @property
    def model(self):
        """The model in training."""
        return self.trainer.model

    def on_train_begin(self) -> None:
        """Before the first epoch; a ValueError here refuses the fit."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Before every epoch."""

    def on_batch_begin(self, batch: int) -> None:
        """Before every batch."""

    def on_batch_end(self, batch: int, logs: Mapping[str, float]) -> None:
        """Behind every batch, with its `loss`."""

    def on_slice_end(self, batches: int, logs: Mapping[str, float]) -> None:
        """About every 0.1 s, with the number of `batches` done in this epoch and the mean `loss` so far."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Behind every epoch, validation included, with what goes into the history."""

    def on_train_end(self) -> None:
        """At the end, whatever it was: the last epoch, Ctrl-C or an error."""

    @property
    def wants_batches(self) -> bool:
        """Whether this callback defines a batch hook."""
        own = type(self)
        return own.on_batch_begin is not Callback.on_batch_begin or own.on_batch_end is not Callback.on_batch_end


class EarlyStopping(Callback):
    """Stops when a value no longer improves, and always puts the best weights back, however training ends.

    Parameters
    ----------
    monitor
        A name in the history.
    patience
        Training stops after so many epochs in a row without improvement.
    min_delta
        What counts as improvement is better by more than this. The weights kept are the best ones in any case.
    mode
        "min", "max" or "auto": "max" where the monitor ends in "accuracy".
    start_from_epoch
        Epochs before this one are not looked at.

    Attributes
    ----------
    best : float
        The best value; NaN never is.
    best_epoch : int or None
        Its epoch.

    Examples
    --------
    >>> import fastreg as fr
    >>> stopping = fr.EarlyStopping(monitor="val_accuracy", patience=4)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        min_delta: float = 0.0,
        mode: str = "auto",
        start_from_epoch: int = 0,
    ):
        if not isinstance(monitor, str):
            raise TypeError(f"monitor: got {monitor!r}, expected a name in the history")
        self.monitor = monitor
        self.patience = checking.integer("patience", patience, 0)
        self.min_delta = checking.number("min_delta", min_delta)
        self.mode = checking.choice("mode", mode, ("auto", "min", "max"))
        self.start_from_epoch = checking.integer("start_from_epoch", start_from_epoch, 0)
        self._weights = None

    def on_train_begin(self) -> None:
        if self.monitor not in self.plan.names:
            advice = " (give validation_data)" if self.monitor.startswith("val_") else ""
            expected = f"one of {', '.join(self.plan.names)}{advice}"
            raise ValueError(f"EarlyStopping monitor: got {self.monitor!r}, expected {expected}")
        largest = self.mode == "max" or (self.mode == "auto" and self.monitor.endswith("accuracy"))
        self._sign = -1.0 if largest else 1.0
        self.best, self.best_epoch = self._sign * math.inf, None
        self._to_beat, self._waited, self._weights = math.inf, 0, None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if epoch < self.start_from_epoch:
            return
        value = self._sign * logs[self.monitor]
        if value < self._sign * self.best:  # false for NaN
            self.best, self.best_epoch = logs[self.monitor], epoch
            self._weights = self.model.state_dict()
        if value < self._to_beat - self.min_delta:
            self._to_beat, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.trainer.stop_training = True

    def on_train_end(self) -> None:
        if self._weights is not None:
            self.model.load_state_dict(self._weights)
            self._weights = None


class Progress(Callback):
    """Shows how training goes: a bar on a terminal, a plain line an epoch elsewhere. `fit(verbose=1)` adds it.

    Parameters
    ----------
    file
        Where to write; standard output by default.
    """

    INTERVAL = 0.1  # seconds between two updates of the bar, at least
    WIDTH = 24  # characters of the bar

    def __init__(self, file: TextIO | None = None):
        self.file = file

    def on_train_begin(self) -> None:
        self._out = sys.stdout if self.file is None else self.file
        self._live = bool(getattr(self._out, "isatty", bool)())
        self._shown, self._length = 0.0, 0

    def on_epoch_begin(self, epoch: int) -> None:
        self._label = f"epoch {epoch + 1}/{self.plan.last_epoch}"

    def on_slice_end(self, batches: int, logs: Mapping[str, float]) -> None:
        now = perf_counter()
        if self._live and now - self._shown >= self.INTERVAL:
            self._shown = now
            done = self.WIDTH * batches // self.plan.batches
            bar = "=" * done + " " * (self.WIDTH - done)
            self._show(f"{self._label} [{bar}] {self._values(logs)}")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._show(f"{self._label}  {self._values(logs)}")
        self._end_line()

    def on_train_end(self) -> None:
        if self._length:  # an epoch was cut short
            self._end_line()

    def _show(self, text: str) -> None:
        if self._live:  # over the line before, and over what is left of it
            self._out.write("\r" + text + " " * (self._length - len(text)))
        else:
            self._out.write(text)
        self._length = len(text)
        self._out.flush()

    def _end_line(self) -> None:
        self._out.write("\n")
        self._out.flush()
        self._length = 0

    @staticmethod
    def _values(logs: Mapping[str, float]) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in logs.items() if name != "penalty" or value)


def gather(callbacks: Iterable[Callback], verbose: int) -> list[Callback]:
    """The callbacks of a fit, checked; with a Progress before them where it is verbose."""
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks: got {callbacks!r}, expected a list of callbacks")
    callbacks = list(callbacks)
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks: got {callback!r}, expected objects of fastreg.Callback")
    if verbose not in (0, 1):
        raise ValueError(f"verbose: got {verbose!r}, expected 0 or 1")
    return [Progress(), *callbacks] if verbose else callbacks
