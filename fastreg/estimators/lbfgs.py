"""L-BFGS over all rows: the engine gives loss and gradient, and L-BFGS-B of SciPy, which scikit-learn needs, steps.

A linear model of sparse rows is an exception. The engine makes the rows of a batch dense, and nearly all of its work
would be on zeros. So SciPy multiplies them, and the engine gives the loss of the outputs alone.

With an L1 penalty each weight is the difference of two parts of at least 0. Then the objective is smooth within these
bounds, which L-BFGS-B keeps, and weights become exactly zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastreg.common.sparse import SparseRows, rows_at_once
from fastreg.engines.arena import Arena
from fastreg.engines.base import Feed, Tally
from fastreg.engines.session import Session, refuse_bad_row
from fastreg.kernels import one_op
from fastreg.layers import Dense
from fastreg.losses.losses import Loss
from fastreg.machine import _core
from fastreg.machine.threads import one_blas_thread
from fastreg.model.dataset import Data
from fastreg.program.ops import OF_CLASSES
from fastreg.training.trainer import Trainer

ROWS = 4096  # of a batch: enough for all threads, few enough for the memory

ABNORMAL = 2  # SciPy's status where no step along the line goes down
FAILED = "parameters that are not finite"
INTERRUPTED = "Training interrupted by user."


class Found(NamedTuple):
    """Where the minimization has ended. `ended` says why, if it did not converge."""

    loss: float
    curve: list[float]
    iterations: int
    ended: str


class Objective:
    """J(theta) and its gradient, for all parameters in a row: weights first.

    l1, l2   coefficients of |W|_1 and of |W|^2 / 2
    """

    def __init__(self, parameters: Arena, l1: float, l2: float):
        self.parameters, self.l1, self.l2 = parameters, l1, l2
        self.arrays = arrays = parameters.arrays
        self.names = sorted(arrays, key=lambda name: arrays[name].ndim == 1)  # stable: weights come first
        self.weights = sum(arrays[name].size for name in self.names if arrays[name].ndim == 2)

    @property
    def smallest_slope(self) -> float:
        """A gradient that is as good as zero: the loss has too few digits to show a step along it."""
        return float(np.sqrt(np.finfo(self.arrays[self.names[0]].dtype).eps))

    def data_loss(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean loss and its gradient, without penalties."""
        raise NotImplementedError

    @property
    def start(self) -> np.ndarray:
        """The parameters as they are."""
        return self._row(self.arrays)

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient."""
        loss, gradient = self.data_loss(theta)
        weights = theta[: self.weights]
        gradient[: self.weights] += self.l2 * weights
        return loss + self.l2 * float(weights @ weights) / 2, gradient

    def split(self, parts: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient for weights that are the difference of two parts, of at least 0 each."""
        value, gradient = self(self.joined(parts))
        n = self.weights
        value += self.l1 * float(parts[: 2 * n].sum())
        return value, np.concatenate([gradient[:n] + self.l1, -gradient[:n] + self.l1, gradient[n:]])

    def joined(self, parts: np.ndarray) -> np.ndarray:
        """The parameters, of two parts of the weights."""
        n = self.weights
        return np.concatenate([parts[:n] - parts[n : 2 * n], parts[2 * n :]])

    def parts(self, theta: np.ndarray) -> np.ndarray:
        """The parameters with both parts of the weights, one of which is 0."""
        weights, rest = np.split(theta, [self.weights])
        return np.concatenate([np.maximum(weights, 0), np.maximum(-weights, 0), rest])

    def slope(self, parts: np.ndarray, gradient: np.ndarray) -> float:
        """The largest element of the gradient that bounds do not hold."""
        n = 2 * self.weights
        free = np.concatenate([np.where(parts[:n] > 0, np.abs(gradient[:n]), -gradient[:n]), np.abs(gradient[n:])])
        return float(free.max(initial=0))

    def put(self, theta: np.ndarray) -> None:
        """Sets the parameters."""
        start = 0
        for name in self.names:
            own = self.arrays[name]
            own[...] = theta[start : start + own.size].reshape(own.shape)
            start += own.size

    def _row(self, arrays: Any) -> np.ndarray:
        return np.concatenate([np.ravel(arrays[name]) for name in self.names]).astype(np.float64)


class Batches(Objective):
    """The engine reads the rows, a batch at a time."""

    def __init__(self, session: Session, feed: Feed, l1: float, l2: float):
        super().__init__(session.parameters, l1, l2)
        self.session, self.feed = session, feed

    def data_loss(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        self.put(theta)
        engine, tally = self.session.engine, Tally()
        total, gradient = 0.0, np.zeros(len(theta))
        for batch in range(self.feed.batches):
            engine.run(self.feed, tally, batch, batch + 1)
            refuse_bad_row(tally, engine, self.feed)
            if tally.diverged:
                return np.inf, np.zeros(len(theta))
            weight = tally.weight - total
            if weight > 0:
                gradient += weight * self._row(engine.gradients)
            total = tally.weight
        return tally.loss / total, gradient / total


class SparseProducts(Objective):
    """A linear model: the outputs and the gradient are products with sparse rows."""

    def __init__(self, trainer: Trainer, data: Data, l1: float, l2: float):
        from scipy.sparse import csr_array

        super().__init__(trainer.model._arena, l1, l2)
        rows, labels = data.inputs, data.only
        values = rows.values.astype(trainer.dtype, copy=False)
        self.X = csr_array((values, rows.places, rows.starts), shape=rows.shape)
        loss = _loss(trainer, data)
        self.kind, self.weight = loss.name, labels.weights
        self.more = {"label_smoothing": loss.label_smoothing, "terms": loss.terms(trainer.model.outputs)}
        self.more |= {"n_threads": trainer.threads}
        if loss.name in OF_CLASSES:
            self.more["labels"] = labels.targets
        else:
            self.more["targets"] = one_op.as_padded(labels.targets.astype(trainer.dtype).reshape(data.size, -1))

    def data_loss(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        self.put(theta)
        weight, *bias = (self.arrays[name] for name in self.names)
        outputs = self.X @ weight + sum(bias)
        loss, change = one_op.loss(self.kind, outputs, self.weight, **self.more)
        if not np.isfinite(loss):
            return np.inf, np.zeros(len(theta))
        gradient = [self.X.T @ change, *(change.sum(axis=0) for _ in bias)]
        return loss, np.concatenate([np.ravel(part) for part in gradient]).astype(np.float64)


def _loss(trainer: Trainer, data: Data) -> Loss:
    """The loss to train with, which class weights may have changed."""
    return data.only.loss or trainer.loss


def _is_sparse_product(trainer: Trainer, data: Data) -> bool:
    """Whether the model is linear in sparse rows, with a loss that the engine knows."""
    layers = trainer.model.layers
    linear = len(layers) == 1 and isinstance(layers[0], Dense)
    return linear and isinstance(data.inputs, SparseRows) and isinstance(_loss(trainer, data).in_program, str)


def minimize(
    trainer: Trainer,
    data: Data,
    l1: float,
    l2: float,
    *,
    tol: float,
    iterations: int,
    evaluations: int,
    precision: float,
    say: Callable[[str], None],
) -> Found:
    """Moves the parameters of the trainer's model to a minimum of J.

    tol         ends where no element of the gradient is larger
    precision   ends where J falls by less than this share of it in an iteration
    """

    def move(objective: Objective) -> Found:
        first = objective.start
        found, theta = _descend(objective, first, tol, iterations, evaluations, precision, say)
        finite = (found.ended == INTERRUPTED or np.isfinite(found.loss)) and np.isfinite(theta).all()
        objective.put(theta if finite else first)
        return found if finite else found._replace(ended=FAILED)

    def run() -> Found:
        # SciPy's own products are too small for the threads of a BLAS.
        with one_blas_thread(), _objective(trainer, data, l1, l2) as objective:
            flat = objective.parameters.flat
            return _core.all_or_nothing(partial(move, objective), [(flat, flat.copy())])

    return trainer.model._claim.during("fit", run)


def _descend(
    objective: Objective,
    theta: np.ndarray,
    tol: float,
    iterations: int,
    evaluations: int,
    precision: float,
    say: Callable[[str], None],
) -> tuple[Found, np.ndarray]:
    """The minimum from theta on. With L1 it begins again where a step has gained little and the gradient is not small:
    bounds that come and go leave a memory of curvature that no longer fits."""
    from scipy.optimize import minimize as scipys

    n, split = objective.weights, bool(objective.l1)
    bounds = [(0, None)] * (2 * n) + [(None, None)] * (len(theta) - n) if split else None
    function: Callable[[np.ndarray], tuple[float, np.ndarray]] = objective.split if split else objective
    curve: list[float] = []
    reached, loss, left = theta, math.inf, evaluations

    def note(intermediate_result) -> None:
        nonlocal reached, loss
        loss = float(intermediate_result.fun)
        reached = objective.joined(intermediate_result.x) if split else intermediate_result.x.copy()
        curve.append(loss)
        say(f"Iteration {len(curve)}, loss = {loss:.8f}")

    try:
        while True:
            before = loss
            limits = {"maxiter": iterations - len(curve), "maxfun": left, "gtol": tol, "ftol": precision}
            start = objective.parts(reached) if split else reached
            ended = scipys(function, start, method="L-BFGS-B", jac=True, bounds=bounds, options=limits, callback=note)
            loss, left = float(ended.fun), left - ended.nfev
            reached = objective.joined(ended.x) if split else ended.x
            done = len(curve) >= iterations or left <= 0 or before - loss <= precision * max(abs(loss), 1)
            if ended.status or not split or done or objective.slope(ended.x, ended.jac) <= tol:
                break
    except KeyboardInterrupt:
        return Found(loss, curve, len(curve), INTERRUPTED), reached
    steep = objective.slope(ended.x, ended.jac) if split else float(np.abs(ended.jac).max(initial=0))
    done = ended.status == 0 or (ended.status == ABNORMAL and steep <= objective.smallest_slope * max(abs(loss), 1))
    return Found(loss, curve, len(curve), "" if done else str(ended.message)), reached


@contextmanager
def _objective(trainer: Trainer, data: Data, l1: float, l2: float) -> Iterator[Objective]:
    """The objective, in the way that is faster for these data."""
    if _is_sparse_product(trainer, data):
        yield SparseProducts(trainer, data, l1, l2)
        return
    rows = min(rows_at_once(data.inputs, ROWS), data.size)
    with trainer._session("gradients", rows, data.size, False, data.losses) as session:
        yield Batches(session, data.feed(rows, rates=np.zeros(-(-data.size // rows))), l1, l2)
