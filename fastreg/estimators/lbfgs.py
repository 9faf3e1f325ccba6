"""L-BFGS over all rows: the engine gives loss and gradient, and L-BFGS-B of SciPy, which scikit-learn needs, steps.

With an L1 penalty each weight is the difference of two parts of at least 0. Then the objective is smooth within these
bounds, which L-BFGS-B keeps, and weights become exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastreg.engines.base import Tally
from fastreg.engines.session import Session, refuse_bad_row
from fastreg.machine.threads import one_blas_thread
from fastreg.model.dataset import Data
from fastreg.training.trainer import Trainer

ROWS = 4096  # of a batch: enough for all threads, few enough for the memory


class Found(NamedTuple):
    """Where the minimization has ended. `message` is SciPy's, if it did not converge."""

    loss: float
    curve: list[float]
    iterations: int
    message: str


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
    from scipy.optimize import minimize as scipys

    # SciPy's own products are too small for the threads of a BLAS.
    with one_blas_thread(), trainer.model._claim.held("fit"), _session(trainer, data) as session:
        objective = Objective(session, data, l1, l2)
        function: Callable[[np.ndarray], tuple[float, np.ndarray]] = objective
        theta, bounds = objective.start, None
        n = objective.weights
        if l1:
            function = objective.split
            theta = np.concatenate([np.maximum(theta[:n], 0), np.maximum(-theta[:n], 0), theta[n:]])
            bounds = [(0, None)] * (2 * n) + [(None, None)] * (len(theta) - 2 * n)
        curve: list[float] = []

        def note(intermediate_result) -> None:
            curve.append(float(intermediate_result.fun))
            say(f"Iteration {len(curve)}, loss = {curve[-1]:.8f}")

        limits = {"maxiter": iterations, "maxfun": evaluations, "gtol": tol, "ftol": precision}
        ended = scipys(function, theta, method="L-BFGS-B", jac=True, bounds=bounds, options=limits, callback=note)
        objective.put(objective.joined(ended.x) if l1 else ended.x)
    return Found(float(ended.fun), curve, min(ended.nit, iterations), "" if ended.status == 0 else str(ended.message))


def _session(trainer: Trainer, data: Data):
    return trainer._session("gradients", min(ROWS, data.size), data.size, False, data.losses)
