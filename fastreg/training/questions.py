"""Questions to a trainer: its losses, gradients and penalties. Nothing here changes the trainer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import numpy as np

from fastreg.common import checking
from fastreg.common.transforms import TRANSFORMS
from fastreg.engines.base import Tally
from fastreg.engines.session import ROWS, Session, refuse_bad_row, run_through
from fastreg.metrics import registry
from fastreg.metrics.registry import Metric
from fastreg.model.dataset import Data
from fastreg.program.ops import Gather, Totals
from fastreg.training.epochs import DivergenceError
from fastreg.training.programs import penalty_value
from fastreg.training.settings import Settings


class Asked(Protocol):
    """What a question needs of a trainer: its arguments, and programs bound to an engine."""

    @property
    def arguments(self) -> Settings: ...

    def _session(self, mode: str, batch_size: int, rows: int, dropout: bool) -> AbstractContextManager[Session]: ...


def evaluate_data(trainer: Asked, data: Data, names: str, quiet: bool) -> dict[str, float]:
    """Loss and metrics, without dropout. `names` are the names of the data in an error. `quiet` is whether metrics that
    are not defined for these data are given without a warning."""
    settings, tally = trainer.arguments, Tally()
    settings.build(data.inputs.shape[1:])
    with trainer._session("evaluate", ROWS, 1, False) as session:
        run_through(session.engine, data.feed(ROWS), tally, names)
    if tally.diverged:
        return dict.fromkeys(("loss", *settings.metric_names), math.nan)
    results = tally.means(settings.counted_metrics)
    others = [metric for metric in settings.measured if metric.name not in results]
    if others:
        results |= _on_predictions(trainer, data, others, quiet)
    return {name: results[name] for name in ("loss", *settings.metric_names)}


def _on_predictions(trainer: Asked, data: Data, chosen: list[Metric], quiet: bool) -> dict[str, float]:
    """Metrics of the whole predictions."""
    settings, rows = trainer.arguments, slice(None) if data.rows is None else data.rows
    how = settings.loss.transform, settings.engine, settings.threads
    predictions = settings.model._forward_checked(data.inputs, ROWS, *how, data.rows)
    weights = data.given if settings.loss.missing_targets else data.weights
    weights = None if weights is None else weights[rows]
    transform = TRANSFORMS[settings.loss.transform]
    threshold = transform.threshold if transform.answers == "yes" else None
    return registry.evaluate(chosen, settings.answers, data.truth(), predictions, weights, quiet, threshold)


def gradients(trainer: Asked, X, y, sample_weight, step: int | None) -> dict[str, np.ndarray]:
    """The gradients of `objective`."""
    data = trainer.arguments.checked(X, y, sample_weight)
    with run_batch(trainer, "gradients", data, step) as (session, tally):
        if tally.diverged:
            raise DivergenceError("gradients: the loss of these rows is not finite, so there is no gradient")
        stored = session.engine.gradients
        parameters = trainer.arguments.model.parameters
        return {name: np.array(stored[name], order="C") for name in parameters if name in stored}


def objective(trainer: Asked, X, y, sample_weight, step: int | None) -> float:
    """Data loss plus penalties of X as one batch."""
    data = trainer.arguments.checked(X, y, sample_weight)
    rows = _row_losses(trainer, data, step, activity=True)
    weights = np.ones(len(rows)) if data.weights is None else data.weights.astype(np.float64)
    return float(np.dot(weights, rows) / weights.sum()) + penalty(trainer, len(rows))


def row_losses(trainer: Asked, X, y, sample_weight, step: int | None, activity: bool) -> np.ndarray:
    """The loss of each row, not weighted. With `activity` it includes the activity penalties of the row."""
    return _row_losses(trainer, trainer.arguments.checked(X, y, sample_weight), step, activity)


def _row_losses(trainer: Asked, data: Data, step: int | None, activity: bool) -> np.ndarray:
    mode = "gradients" if trainer.arguments.adversarial else "losses"
    with run_batch(trainer, mode, data._replace(weights=None), step) as (session, _):
        buffers, program = session.engine.buffers, session.engine.program
        losses = buffers["row_loss"].astype(np.float64)
        parts = np.repeat([program.clean, 1 - program.clean], data.size)[: len(losses)]
        for op in program.ops:
            for buffer, coefficient in op.activity if activity and isinstance(op, Totals) else ():
                losses += coefficient * parts * buffers[buffer].sum(axis=1, dtype=np.float64)
        return losses.reshape(-1, data.size).sum(axis=0)  # of a row and its perturbed copy


def input_gradient(trainer: Asked, X, y, rows) -> np.ndarray:
    """The gradient of the data loss of each row at its inputs."""
    settings = trainer.arguments
    data = settings.checked(X, y, None, rows)
    settings.build(data.inputs.shape[1:])
    found = np.empty((data.size, *data.inputs.shape[1:]), settings.dtype)
    flat, feed, tally = found.reshape(data.size, -1), data.feed(ROWS), Tally()
    with trainer._session("input_gradient", ROWS, 1, False) as session:
        for batch in range(feed.batches):
            session.engine.run(feed, tally, batch, batch + 1)
            refuse_bad_row(tally)
            if tally.diverged:
                raise DivergenceError("input_gradient: a loss is not finite, so there is no gradient")
            part = flat[batch * ROWS : (batch + 1) * ROWS]
            part[...] = _at_inputs(settings, session, len(part))
    return found


def perturbed(trainer: Asked, data: Data, step: int | None) -> np.ndarray:
    """These rows as the attack perturbs them at the current parameters."""
    settings = trainer.arguments
    assert settings.adversarial is not None
    with run_batch(trainer, "gradients", data, step) as (session, _):
        gradient = _at_inputs(settings, session, data.size)
    return settings.adversarial.moved(data.inputs.astype(settings.dtype), gradient.reshape(data.inputs.shape))


def _at_inputs(settings: Settings, session: Session, rows: int) -> np.ndarray:
    """The gradient at x that a batch has left in the session: that at the gathered rows, times the scale of the
    standardization."""
    gather = next(op for op in session.engine.program.ops if isinstance(op, Gather) and op.source == "inputs")
    scale = settings.model.parameters[gather.standardize[1]] if gather.standardize else 1
    return session.engine.buffers["d:inputs"][:rows] * scale


def penalty(trainer: Asked, rows: int) -> float:
    """The value of the penalties at the current parameters."""
    return penalty_value(trainer.arguments, checking.integer("rows", rows))


@contextmanager
def run_batch(trainer: Asked, mode: str, data: Data, step: int | None) -> Iterator[tuple[Session, Tally]]:
    """Runs all rows as one batch, with dropout if there is a step."""
    rows = data.size
    dropout = step is not None
    step = checking.integer("step", step, 0) if dropout else 0
    settings = trainer.arguments
    settings.build(data.inputs.shape[1:])
    tally, rates = Tally(), np.zeros(1)  # nothing is updated
    with trainer._session(mode, rows, rows, dropout) as session:
        session.engine.run(data.feed(rows, seed=settings.seed, step=step, rates=rates), tally, 0, 1)
        refuse_bad_row(tally)
        yield session, tally
