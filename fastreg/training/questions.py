"""What a trainer can be asked: predictions, losses, gradients. Nothing here changes it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from fastreg.common import checking
from fastreg.engines.base import Tally
from fastreg.engines.session import ROWS, Session, refuse_bad_row, run_through
from fastreg.model.dataset import Data
from fastreg.program.ops import Gather, Totals
from fastreg.training.epochs import DivergenceError
from fastreg.training.recipe import Recipe
from fastreg.training.settings import Settings


class Questions(Settings):
    """Base of the trainer, which has the recipe and the sessions that this asks for."""

    @property
    def recipe(self) -> Recipe:
        raise NotImplementedError

    def session(self, mode: str, batch_size: int, rows: int, dropout: bool) -> AbstractContextManager[Session]:
        raise NotImplementedError

    def _data(self, X, y, sample_weight, rows=None) -> Data:
        raise NotImplementedError

    def _build(self, X: np.ndarray) -> None:
        raise NotImplementedError

    def evaluate(self, X, y, sample_weight=None, *, rows=None) -> dict[str, float]:
        """Loss and metrics, dropout off, the penalty not in it; of some `rows` only, as in fit.

        Returns
        -------
        dict
            "loss" and, under a cross-entropy, "accuracy": means over the samples, weighted if need be. The accuracy
            of "sigmoid_cross_entropy" is the share of outputs on the right side of one half.
        """
        data = self._data(X, y, sample_weight, rows)
        self._build(data.inputs)
        return self.evaluate_data(data)

    def predict(self, X, batch_size: int = ROWS, *, rows=None, samples: int | None = None, seed: int = 0):
        """`model.predict` on the engine of this trainer; of some `rows` only, as in fit. With `samples` (mean, std) of
        so many passes with dropout and noise live."""
        how = self.loss.transform, self.engine, self.threads
        return self.model.run_forward(X, batch_size, *how, rows, samples, seed)

    def gradients(self, X, y, sample_weight=None, step: int | None = None) -> dict[str, np.ndarray]:
        """The gradients of `objective`, (l1) sign(W) for L1; nothing is updated.

        Parameters
        ----------
        X, y, sample_weight
            One batch.
        step
            None: without dropout. A number: with the masks of that global step.

        Returns
        -------
        dict
            An array for every parameter that is trained, under its name. Nothing is clipped.
        """
        data = self._data(X, y, sample_weight)
        with self.run_batch("gradients", data, step) as (session, tally):
            if tally.diverged:
                raise DivergenceError("gradients: the loss of these rows is not finite, so there is no gradient")
            stored = session.engine.gradients
            return {name: np.array(stored[name], order="C") for name in self.model.parameters if name in stored}

    def objective(self, X, y, sample_weight=None, step: int | None = None) -> float:
        """Data loss and penalties of X as one batch: what a step of the optimizer goes down. `step` as in gradients."""
        rows = self.row_losses(X, y, sample_weight, step, activity=True)
        weights = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        return float(np.dot(weights, rows) / weights.sum()) + self.penalty(len(rows))

    def row_losses(self, X, y, sample_weight=None, step: int | None = None, *, activity: bool = False) -> np.ndarray:
        """The loss of every row, float64 (n,), not weighted. Weights are only checked; `step` as in gradients. With
        `activity` the activity penalties of the row are in it."""
        data = self._data(X, y, sample_weight)
        mode = "gradients" if self.adversarial else "evaluate"
        with self.run_batch(mode, data._replace(weights=None), step) as (session, _):
            buffers, program = session.engine.buffers, session.engine.program
            losses = buffers["row_loss"].astype(np.float64)
            parts = np.repeat([program.clean, 1 - program.clean], data.size)[: len(losses)]
            for op in program.ops:
                for buffer, coefficient in op.activity if activity and isinstance(op, Totals) else ():
                    losses += coefficient * parts * buffers[buffer].sum(axis=1, dtype=np.float64)
            return losses.reshape(-1, data.size).sum(axis=0)  # of a row and of its perturbed one

    def input_gradient(self, X, y, *, rows=None) -> np.ndarray:
        """The gradient of the data loss of every row at its inputs, dl_i/dx_i: what the loss of a row is sensitive to.

        Dropout and noise are off, penalties not in it, rows neither weighted nor averaged; the x is that of X, before
        any standardization. Its sign is the direction of the fast gradient sign method (Goodfellow et al., Explaining
        and Harnessing Adversarial Examples, 2015; `fastreg.FGSM`).

        Parameters
        ----------
        X, y
            As in evaluate.
        rows
            Of some rows only, as in fit.

        Returns
        -------
        ndarray of the shape of X
            In the working dtype.

        Raises
        ------
        ValueError, TypeError
            Arguments that do not fit.
        DivergenceError
            A loss is not finite.

        Examples
        --------
        >>> import numpy as np, fastreg as fr
        >>> model = fr.Sequential([fr.Dense(1)])
        >>> model.build(2)
        >>> model.load_state_dict({"0.weight": [[3.0], [-1.0]], "0.bias": [0.0]})
        >>> trainer = fr.Trainer(model, "mse")
        >>> trainer.input_gradient(np.array([[1.0, 1.0]]), [0.0])  # 2 (y - t) w with y = 2
        array([[12., -4.]], dtype=float32)
        """
        data = self._data(X, y, None, rows)
        self._build(data.inputs)
        found = np.empty((data.size, *data.inputs.shape[1:]), self.dtype)
        flat, feed, tally = found.reshape(data.size, -1), data.feed(ROWS), Tally()
        with self.session("input_gradient", ROWS, 1, False) as session:
            for batch in range(feed.batches):
                session.engine.run(feed, tally, batch, batch + 1)
                refuse_bad_row(tally)
                if tally.diverged:
                    raise DivergenceError("input_gradient: a loss is not finite, so there is no gradient")
                part = flat[batch * ROWS : (batch + 1) * ROWS]
                part[...] = self._at_inputs(session, len(part))
        return found

    def perturbed(self, data: Data, step: int | None = None) -> np.ndarray:
        """The rows that the attack puts behind these at the present parameters, as data. `step` as in gradients."""
        assert self.adversarial is not None
        with self.run_batch("gradients", data, step) as (session, _):
            gradient = self._at_inputs(session, data.size)
        return self.adversarial.moved(data.inputs.astype(self.dtype), gradient.reshape(data.inputs.shape))

    def _at_inputs(self, session: Session, rows: int) -> np.ndarray:
        """The gradient at x that a batch of a session has left: at what was gathered, times the standardization's."""
        gather = next(op for op in session.engine.program.ops if isinstance(op, Gather) and op.source == "inputs")
        scale = self.model.parameters[gather.standardize[1]] if gather.standardize else 1
        return session.engine.buffers["d:inputs"][:rows] * scale

    def penalty(self, rows: int) -> float:
        """The penalties at the present parameters (frozen ones have none); `rows` stands for the m of "batch" and
        "train"."""
        return self.recipe.penalty(self.model, checking.integer("rows", rows))

    # --- Running -------------------------------------------------------------------------------------------------

    def evaluate_data(self, data: Data, names: str = "X, y") -> dict[str, float]:
        """`evaluate` of data that have passed the checks; `names` of them in an error."""
        tally = Tally()
        with self.session("evaluate", ROWS, 1, False) as session:
            run_through(session.engine, data.feed(ROWS), tally, names)
        if tally.diverged:
            return dict.fromkeys(("loss", *self.metric_names), math.nan)
        return tally.means(self.metric_names)

    @contextmanager
    def run_batch(self, mode: str, data: Data, step: int | None) -> Iterator[tuple[Session, Tally]]:
        """One batch of all rows, data that have passed the checks; with dropout if there is a step."""
        rows = data.size
        dropout = step is not None
        step = checking.integer("step", step, 0) if dropout else 0
        self._build(data.inputs)
        tally, rates = Tally(), np.zeros(1)  # nothing is updated
        with self.session(mode, rows, rows, dropout) as session:
            session.engine.run(data.feed(rows, seed=self.seed, step=step, rates=rates), tally, 0, 1)
            refuse_bad_row(tally)
            yield session, tally
