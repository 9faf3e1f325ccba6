"""Questions to a trainer: its losses, gradients and penalties. Nothing here changes the trainer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np

from fastreg.common import checking
from fastreg.common.named import ByName, Scores
from fastreg.engines.base import Tally
from fastreg.engines.session import ROWS, Session, refuse_bad_row, run_through
from fastreg.metrics import registry
from fastreg.metrics.registry import Metric
from fastreg.model.dataset import Data
from fastreg.model.tasks import Task, means, unwrapped
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
    settings.build(data.sample_shape)
    with trainer._session("evaluate", ROWS, 1, False) as session:
        run_through(session.engine, data.feed(ROWS), tally, names)
    if tally.diverged:
        return Scores.fromkeys(("loss", *settings.metric_names), math.nan)
    results = means(settings.tasks, tally)
    others = [[metric for metric in task.measured if metric.name not in task.counted] for task in settings.tasks]
    if any(others):
        how = settings.transforms, settings.engine, settings.threads
        values = settings.model._forward_checked(data.inputs, ROWS, *how, data.rows, precision=settings.precision)
        predictions = settings.model._by_head(values)
        for task, chosen in zip(settings.tasks, others, strict=True):
            found = _on_predictions(settings, task, chosen, data, predictions[task.head], quiet)
            results |= {task.column(name): value for name, value in found.items()}
    return Scores((name, results[name]) for name in ("loss", *settings.metric_names))


def _on_predictions(
    settings: Settings, task: Task, chosen: list[Metric], data: Data, predictions: np.ndarray, quiet: bool
) -> dict[str, float]:
    """Metrics of the whole predictions of a head."""
    rows, labels = slice(None) if data.rows is None else data.rows, data.heads[task.head]
    weights = labels.given if task.loss.missing_targets else labels.weights
    weights = None if weights is None else weights[rows]
    if weights is not None and not weights.any():
        return {metric.name: math.nan for metric in chosen}
    truth = data.truth(task.head)
    return registry.evaluate(chosen, task.answers(settings.model), truth, predictions, weights, quiet, task.threshold)


def gradients(trainer: Asked, X, y, sample_weight, step: int | None) -> dict[str, np.ndarray]:
    """The gradients of `objective`."""
    data = trainer.arguments.checked(X, y, sample_weight)
    with run_batch(trainer, "gradients", data, step) as (session, tally):
        if tally.diverged:
            raise DivergenceError("gradients: the loss of these rows is not finite, so there is no gradient")
        stored = session.engine.gradients
        parameters = trainer.arguments.model.parameters
        return ByName((name, np.array(stored[name], order="C")) for name in parameters if name in stored)


def objective(trainer: Asked, X, y, sample_weight, step: int | None) -> float:
    """Data loss plus penalties of X as one batch."""
    data = trainer.arguments.checked(X, y, sample_weight)
    rows = row_parts(trainer, data, step)
    return float(rows.mean()) + penalty_value(trainer.arguments, len(rows), data.total_weight)


def row_parts(trainer: Asked, data: Data, step: int | None) -> np.ndarray:
    """The part of each row in the data loss and the activity penalties, times the number of rows: the mean is both."""
    tasks = trainer.arguments.tasks
    losses, activity = _row_losses(trainer, data, step)
    total = np.zeros(data.size)
    for task, own in zip(tasks, losses, strict=True):
        weights = data.heads[task.head].weights
        share = np.ones(data.size) if weights is None else weights.astype(np.float64)
        if not share.any():
            continue
        share = share / share.mean()
        total += task.weight * share * own + (share * activity if task.alone else 0)
    return total if tasks[0].alone else total + activity


def row_losses(trainer: Asked, X, y, sample_weight, step: int | None, activity: bool) -> Any:
    """The loss of each row, not weighted, of several heads by name. With `activity` it includes the activity penalties
    of the row."""
    tasks = trainer.arguments.tasks
    if checking.flag("activity", activity) and not tasks[0].alone:
        raise ValueError("activity: got True for a model of several heads, expected False: it belongs to none of them")
    losses, more = _row_losses(trainer, trainer.arguments.checked(X, y, sample_weight), step)
    if activity:
        losses[0] += more
    return unwrapped({task.head: own for task, own in zip(tasks, losses, strict=True)})


def _row_losses(trainer: Asked, data: Data, step: int | None) -> tuple[list[np.ndarray], np.ndarray]:
    """The loss of each row in each head, and the activity penalties of each row."""
    mode = "gradients" if trainer.arguments.adversarial else "losses"

    def both(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, data.size).sum(axis=0)  # of a row and its perturbed copy

    with run_batch(trainer, mode, data.without_weights(), step) as (session, _):
        buffers, program = session.engine.buffers, session.engine.program
        totals = [op for op in program.ops if isinstance(op, Totals)]
        losses = [both(buffers[op.rows[0]].astype(np.float64)) for op in totals]
        activity = np.zeros(data.size)
        for op in totals:
            for buffer, coefficient in op.activity:
                sizes = buffers[buffer].sum(axis=1, dtype=np.float64)
                parts = np.repeat([program.clean, 1 - program.clean], data.size)[: len(sizes)]
                activity += both(coefficient * parts * sizes)
        return losses, activity


def input_gradient(trainer: Asked, X, y, rows) -> Any:
    """The gradient of the data loss of each row at its inputs, by name if there are several."""
    settings = trainer.arguments
    if settings.model.embeddings:
        raise ValueError("input_gradient: got a model with an Embedding, whose codes have no gradient")
    data = settings.checked(X, y, None, rows)
    settings.build(data.sample_shape)
    inputs = data.inputs if isinstance(data.inputs, dict) else {"": data.inputs}
    found = {name: np.zeros((data.size, *part.shape[1:]), settings.dtype) for name, part in inputs.items()}
    feed, tally = data.feed(ROWS), Tally()
    with trainer._session("input_gradient", ROWS, 1, False) as session:
        for batch in range(feed.batches):
            session.engine.run(feed, tally, batch, batch + 1)
            refuse_bad_row(tally, session.engine, feed)
            if tally.diverged:
                raise DivergenceError("input_gradient: a loss is not finite, so there is no gradient")
            here = slice(batch * ROWS, (batch + 1) * ROWS)
            for op in _inputs_of(session):
                part = found[op.source.partition(":")[2]][here]
                part = part.reshape(len(part), -1)
                gradient = _at_input(settings, session, op, len(part))
                if op.columns is None:
                    part += gradient
                else:
                    np.add.at(part.T, list(op.columns), gradient.T)
    return found.get("", found)


def perturbed(trainer: Asked, data: Data, step: int | None) -> np.ndarray:
    """These rows as the attack perturbs them at the current parameters."""
    settings = trainer.arguments
    assert settings.adversarial is not None
    with run_batch(trainer, "gradients", data, step) as (session, _):
        gradient = _at_input(settings, session, _inputs_of(session)[0], data.size)
    return settings.adversarial.moved(data.inputs.astype(settings.dtype), gradient.reshape(data.inputs.shape))


def _inputs_of(session: Session) -> list[Gather]:
    """The ops that gather the inputs."""
    ops = session.engine.program.ops
    return [op for op in ops if isinstance(op, Gather) and op.source.partition(":")[0] == "inputs"]


def _at_input(settings: Settings, session: Session, gather: Gather, rows: int) -> np.ndarray:
    """The gradient at an input that a batch has left in the session: that at the gathered rows, times the scale of the
    standardization."""
    scale = settings.model.parameters[gather.standardize[1]] if gather.standardize else 1
    return session.engine.buffers[f"d:{gather.out}"][:rows] * scale


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
    settings.build(data.sample_shape)
    settings.check_batches(rows, rows)
    tally, rates = Tally(), np.zeros(1)  # nothing is updated
    with trainer._session(mode, rows, rows, dropout) as session:
        feed = data.feed(rows, seed=settings.seed, step=step, rates=rates)
        session.engine.run(feed, tally, 0, 1)
        refuse_bad_row(tally, session.engine, feed)
        yield session, tally
