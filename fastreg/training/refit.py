"""Refitting: after a stopping rule has found when to stop, trains on all data, including the validation data.

Both strategies are from Goodfellow, Bengio and Courville, Deep Learning, 2016, section 7.8 (algorithms 7.2 and 7.3).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from fastreg.callbacks.argument import listed
from fastreg.callbacks.base import Callback
from fastreg.callbacks.history import History
from fastreg.callbacks.training import Best, Training
from fastreg.common import checking
from fastreg.machine import _core
from fastreg.model.dataset import Data
from fastreg.model.model import trained_layers
from fastreg.training.undo import before

STRATEGIES = ("restart", "continue")


class Refitted(Training, Protocol):
    """What refitting needs of a trainer."""

    @property
    def fit(self) -> Callable[..., History]: ...

    @property
    def evaluate(self) -> Callable[..., dict[str, float]]: ...

    def reset(self) -> None: ...

    def _training_data(self, X, y, sample_weight=None, class_weight=None) -> tuple[Data, dict[str, object]]: ...


def refit(
    self: Refitted,
    X,
    y,
    strategy: str = "restart",
    *,
    validation_data: tuple | None = None,
    max_epochs: int | None = None,
    target: float | None = None,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    sample_weight=None,
    class_weight=None,
    callbacks: Iterable[Callback] = (),
    verbose: int = 0,
) -> History:
    """Trains on all data, after a fit with a stopping rule (`fastreg.EarlyStopping` or one of `fastreg.stopping`).

    "restart" begins again and takes as many optimizer steps as the best weights had taken. These are steps, not
    epochs, so the last epoch may be cut short. Trained layers get the parameters that a first fit draws from the
    trainer's `seed`; frozen layers keep theirs. The optimizer and all counters start from 0, and so do dropout masks
    and the order of the rows. The result is that of a new trainer with this seed.

    "continue" starts from the best weights, with the optimizer as it is. It trains on all data until the loss of
    `validation_data` falls below the training loss of the best epoch. This may never happen, so it stops after
    `max_epochs`.

    Parameters
    ----------
    X, y, sample_weight, class_weight, callbacks, verbose
        As in fit, with all data.
    strategy
        "restart" or "continue".
    validation_data
        The data that were held back, as in fit. "continue" needs them. "restart" only shows their loss.
    max_epochs
        For "continue": the largest number of epochs. Warns if they were not enough.
    target
        For "continue": the loss to fall below. The default is the training loss of the best epoch
        (`trainer.best.loss`), which is larger with dropout. `trainer.evaluate(X_train, y_train)["loss"]` before refit
        gives one without dropout.
    batch_size, shuffle
        By default those of the fit with the stopping rule.

    Returns
    -------
    History
        The history of this fit. With "continue" it is empty if the loss is already below the target.

    Raises
    ------
    ValueError, TypeError
        No stopping rule has watched a fit of this trainer, or an argument is not as described above. Nothing has
        changed.
    DivergenceError, RuntimeError, KeyboardInterrupt
        As in fit.

    Examples
    --------
    >>> import numpy as np, fastreg as fr
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=fr.SGD(1.0))
    >>> held_back = X[150:], y[150:]
    >>> rule = fr.EarlyStopping(patience=2)
    >>> history = trainer.fit(X[:150], y[:150], epochs=9, batch_size=50, validation_data=held_back, callbacks=[rule])
    >>> history = trainer.refit(X, y)
    >>> trainer.updates == trainer.best.updates
    True
    """
    checking.choice("strategy", strategy, STRATEGIES)
    best = self.best
    if best is None:
        raise ValueError("refit: got a trainer without a best epoch, expected an earlier fit with a stopping rule")
    settings = {
        "batch_size": best.batch_size if batch_size is None else checking.integer("batch_size", batch_size),
        "shuffle": best.shuffle if shuffle is None else checking.flag("shuffle", shuffle),
        "validation_data": validation_data,
        "sample_weight": sample_weight,
        "class_weight": class_weight,
        "verbose": verbose,
    }
    made = listed(callbacks)
    if strategy == "restart":
        for name, value in (("max_epochs", max_epochs), ("target", target)):
            if value is not None:
                raise ValueError(f"{name}: got {checking.shown(value)}, expected None: only 'continue' uses it")
        return _restart(self, X, y, best, made, settings)
    if validation_data is None:
        raise ValueError("validation_data: got None, expected the data that were held back, to continue")
    if isinstance(validation_data, Mapping):
        raise TypeError("validation_data: got a dict of sets, expected the one that was held back, to continue")
    if max_epochs is None:
        raise ValueError("max_epochs: got None, expected a number of epochs: the loss may never fall below the target")
    target = best.loss if target is None else checking.number("target", target, -float("inf"))
    return _continue(self, X, y, checking.integer("max_epochs", max_epochs), target, made, settings)


class _Steps(Callback):
    """Ends training after a given step of the optimizer."""

    def __init__(self, updates: int):
        self.last_update = updates


class _Under(Callback):
    """Ends training when the validation loss is below a target, maybe before the first epoch."""

    def __init__(self, target: float, loss: Callable[[], float]):
        self.target, self.loss = target, loss

    def on_train_begin(self) -> None:
        if self.loss() < self.target:
            self.trainer.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if logs["val_loss"] < self.target:
            self.trainer.stop_training = True


def _restart(trainer: Refitted, X, y, best: Best, callbacks: list[Callback], settings: dict) -> History:
    data, _ = trainer._training_data(X, y, settings["sample_weight"], settings["class_weight"])
    batches = -(-data.size // settings["batch_size"])
    # at least this many per epoch: batches of zero weight take no step, but each epoch has a row with a weight
    plain = all(some.weights is None or some.weights.all() for some in data.heads.values())
    steps = -(-batches // trainer.accumulate) if plain else 1
    epochs = -(-best.updates // steps)  # at most: `_Steps` ends them
    model = trainer.model
    model._claim.check_free("refit")
    fresh = model.copy()
    fresh.build(fresh.input_shape or (), trainer.seed, trainer.dtype)
    redrawn = tuple(f"{layer.name}." for layer in trained_layers(model))
    drawn = {name: (fresh if name.startswith(redrawn) else model).parameters[name] for name in model.parameters}
    history = trainer.history

    def fit() -> History:
        model._arena.take(drawn)
        trainer.reset()
        return trainer.fit(X, y, epochs=epochs, callbacks=[*callbacks, _Steps(best.updates)], **settings)

    def has_begun(error: BaseException) -> bool:
        """Whether a step was taken. Else an argument was refused, or the end came before."""
        return trainer.batches > 0 and trainer.history is not history

    try:
        return _core.all_or_nothing(fit, **before(trainer), kept=has_begun)
    finally:
        trainer.best = best


def _continue(
    trainer: Refitted, X, y, max_epochs: int, target: float, callbacks: list[Callback], settings: dict
) -> History:
    under = _Under(target, lambda: trainer.evaluate(*settings["validation_data"])["loss"])
    best = trainer.best
    try:
        history = trainer.fit(X, y, epochs=max_epochs, callbacks=[*callbacks, under], **settings)
    finally:
        trainer.best = best
    if len(history.epochs) == max_epochs and not (loss := history["val_loss"][-1]) < target:
        text = f"refit: the validation loss is {loss:.4g} after {max_epochs} epochs, not below {target:.4g}"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
    return history
