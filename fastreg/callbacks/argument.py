"""The argument `callbacks` of a fit: objects, or specs of them. A new callback that specs can name is listed here."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastreg.callbacks.base import Callback, check_hooks
from fastreg.callbacks.progress import Progress
from fastreg.common import checking, specs

# The names that a spec may use, and where each callback is.
BY_NAME = {
    "early_stopping": "callbacks.stopping.EarlyStopping",
    "gl": "callbacks.stopping.GL",
    "pq": "callbacks.stopping.PQ",
    "up": "callbacks.stopping.UP",
    "reduce_on_plateau": "callbacks.rates.ReduceOnPlateau",
    "lr_scheduler": "callbacks.rates.LRScheduler",
    "terminate_on_nan": "callbacks.base.TerminateOnNaN",
    "checkpoint": "callbacks.checkpoint.Checkpoint",
    "csv_logger": "callbacks.csvlogger.CSVLogger",
    "tensorboard": "callbacks.tensorboard.TensorBoard",
    "layer_statistics": "callbacks.statistics.LayerStatistics",
}


def listed(callbacks: Callback | str | Iterable[Callback | str]) -> list[Callback]:
    """The argument `callbacks` as a list of objects. Specs become objects. One callback needs no list."""
    if isinstance(callbacks, (str, Callback)):
        callbacks = (callbacks,)
    given = checking.iterate("callbacks", callbacks, "a list of callbacks")
    made = [specs.make("callbacks", c, BY_NAME) if isinstance(c, str) else c for c in given]
    for callback in made:
        checking.made("callbacks", callback)
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks: got {checking.shown(callback)}, expected objects of fastreg.Callback")
        check_hooks(type(callback).__name__, vars(callback))
    return made


def gather(callbacks: Callback | str | Iterable[Callback | str] | None, verbose: int | str) -> list[Callback]:
    """The callbacks of a fit, checked, in the order in which they are called. If verbose, a Progress comes first. None
    is no callback."""
    made = [] if callbacks is None else listed(callbacks)
    if isinstance(verbose, str) and verbose == "auto":  # Keras's name of 1
        verbose = 1
    if not isinstance(verbose, (int, np.integer, np.bool_)) or verbose not in (0, 1, 2):
        raise ValueError(f"verbose: got {checking.shown(verbose)}, expected 0, 1 (a bar) or 2 (a line per epoch)")
    made.sort(key=lambda callback: callback.goes_last)
    return [Progress(lines=bool(verbose == 2)), *made] if verbose else made
