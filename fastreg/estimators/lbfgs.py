"""L-BFGS over all rows: the engine gives loss and gradient, and L-BFGS-B of SciPy, which scikit-learn needs, steps.

With an L1 penalty each weight is the difference of two parts of at least 0. Then the objective is smooth within these
bounds, which L-BFGS-B keeps, and weights become exactly zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastreg.engines.base import Tally
from fastreg.engines.session import Session, refuse_bad_row
from fastreg.machine import _core
from fastreg.machine.threads import one_blas_thread
from fastreg.model.dataset import Data
from fastreg.training.trainer import Trainer

ROWS = 4096  # of a batch: enough for all threads, few enough for the memory


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

    def __init__(self, session: Session, data: Data, l1: float, l2: float):
        self.session, self.l1, self.l2 = session, l1, l2
        self.feed = data.feed(min(ROWS, data.size), rates=np.zeros(-(-data.size // min(ROWS, data.size))))
        arrays = session.parameters.arrays
        self.names = sorted(arrays, key=lambda name: arrays[name].ndim == 1)  # stable: weights come first
        self.weights = sum(arrays[name].size for name in self.names if arrays[name].ndim == 2)

    @property
    def start(self) -> np.ndarray:
        """The parameters as they are."""
        return self._row(self.session.parameters.arrays)

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

    def data_loss(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean loss and its gradient, without penalties."""
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

    def put(self, theta: np.ndarray) -> None:
        """Sets the parameters."""
        arrays, start = self.session.parameters.arrays, 0
        for name in self.names:
            own = arrays[name]
            own[...] = theta[start : start + own.size].reshape(own.shape)
            start += own.size

    def _row(self, arrays: Any) -> np.ndarray:
        return np.concatenate([np.ravel(arrays[name]) for name in self.names]).astype(np.float64)


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

    def move(session: Session) -> Found:
        objective = Objective(session, data, l1, l2)
        first = objective.start
        found, theta = _descend(objective, first, tol, iterations, evaluations, precision, say)
        finite = (found.ended == INTERRUPTED or np.isfinite(found.loss)) and np.isfinite(theta).all()
        objective.put(theta if finite else first)
        return found if finite else found._replace(ended=FAILED)

    def run() -> Found:
        # SciPy's own products are too small for the threads of a BLAS.
        with one_blas_thread(), _session(trainer, data) as session:
            flat = session.parameters.flat
            return _core.all_or_nothing(partial(move, session), [(flat, flat.copy())])

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
    return Found(loss, curve, len(curve), "" if ended.status == 0 else str(ended.message)), reached


def _session(trainer: Trainer, data: Data):
    return trainer._session("gradients", min(ROWS, data.size), data.size, False, data.losses)
