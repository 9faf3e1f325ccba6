"""The protocol `Training`: what callbacks and the epoch loop may know of a training. It is not the trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from fastreg.callbacks.history import History
    from fastreg.engines.base import Tally, Total
    from fastreg.engines.session import Session
    from fastreg.model.dataset import Data
    from fastreg.model.model import Model
    from fastreg.optimizers.averaging import Averaging
    from fastreg.optimizers.optimizers import Optimizer


@dataclass(frozen=True)
class Best:
    """The best epoch of a fit that a stopping rule has watched: `trainer.best`.

    epoch       its number
    updates     the optimizer steps at its end, since the start of the trainer
    loss        its training loss, as in the history
    batch_size, shuffle   arguments of the fit
    """

    epoch: int
    updates: int
    loss: float
    batch_size: int
    shuffle: bool


class Training(Protocol):
    """A trainer as callbacks and the epoch loop see it: a `fastreg.Trainer`, or a simple stand-in in a test.

    epoch, batches, updates   epochs and batches seen, and optimizer steps taken, since the start
    stop_training             set to end training after the current epoch
    best                      the best epoch of the fit, if a stopping rule watches it
    history                   the results of all fits since the start
    """

    epoch: int
    batches: int
    updates: int
    stop_training: bool
    best: Best | None
    history: History
    model: Model
    _taken: np.ndarray | None  # whether each step of the epoch is taken; None if all are

    @property
    def loss(self) -> Any: ...

    @property
    def optimizer(self) -> Optimizer: ...

    @property
    def accumulate(self) -> int: ...

    @property
    def averaging(self) -> Averaging | None: ...

    @property
    def dtype(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of held-back data in the logs."""
        ...

    @property
    def _counted_metrics(self) -> tuple[str, ...]:
        """Those of them that an engine counts as it trains."""
        ...

    _tally: Tally | None  # of the last epoch

    @property
    def optimizer_state(self) -> Mapping[str, np.ndarray]: ...

    def settings(self) -> Mapping[str, Any]:
        """The settings that a resumed fit must have, too."""
        ...

    def _means(self, tally: Tally) -> dict[str, float]:
        """Loss and counted metrics of what a run has added up."""
        ...

    def _loss_since(self, tally: Tally, before: Sequence[Total] | None = None) -> float:
        """The mean loss of the rows since the totals were `before`."""
        ...

    def _checked(self, *given, names: tuple[str, str, str], shape: Any) -> Data:
        """X, y and maybe sample weights, checked. `names` are theirs in an error, `shape` that of a sample."""
        ...

    def _evaluate_data(self, data: Data, names: str = "X, y") -> dict[str, float]:
        """Loss and metrics of data that are already checked. `names` are their names in an error."""
        ...

    def _run_batch(self, mode: str, data: Data, step: int | None) -> AbstractContextManager[tuple[Session, Tally]]:
        """Runs all rows of the data as one batch, without learning from it."""
        ...
