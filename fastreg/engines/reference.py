"""The reference engine: a program run in NumPy, one short method an op. The specification of the native engine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from fastreg import program as P
from fastreg import reference as R
from fastreg.engines import Feed, Tally
from fastreg.memory import padded

ROW_LOSSES = {
    "softmax_cross_entropy": R.softmax_cross_entropy_rows,
    "sigmoid_cross_entropy": R.sigmoid_cross_entropy_rows,
    "mse": R.mse_rows,
}
TRANSFORMS = {"linear": lambda z: z, "sigmoid": R.sigmoid, "softmax": R.softmax}


class _Stop(Exception):
    """The run ends before the rest of this batch; the tally says why."""


@dataclass
class _Batch:
    """What the ops of one batch share.

    rows      rows of the data: an array of indices, or a slice where they come in order
    position  of the first row in the epoch
    weight    of every row, in the working dtype
    bad       rows of the batch in which a gather found a value that is not finite
    """

    feed: Feed
    tally: Tally
    index: int
    position: int
    count: int
    rows: np.ndarray | slice
    weight: np.ndarray
    bad: list[int] = field(default_factory=list)

    @property
    def whole(self) -> float:
        """The sum of the weights."""
        return R.total(self.weight)

    def row_of_data(self, row: int) -> int:
        """The row of the data that is row `row` of the batch."""
        position = self.position + row
        return position if self.feed.order is None else int(self.feed.order[position])

    def key(self, mask: P.Mask) -> R.Key:
        return R.Key(self.feed.seed, (self.feed.step + self.index) & R.WORD, mask.stream)

    def dropout(self, mask: P.Mask | None) -> dict:
        """Arguments of fastreg.reference functions that drop out."""
        return {"keep_prob": mask.keep_prob, "key": self.key(mask)} if mask else {"keep_prob": 1.0, "key": None}


class ReferenceEngine:
    """Runs a program in NumPy; see `fastreg.engines.Engine`.

    Parameters
    ----------
    program
        The ops of one batch.
    params, state
        Arrays of `fastreg.memory.padded`, read and written in place; `state` holds the slots of every trained
        parameter in the order of `fastreg.program.UPDATE_SLOTS`.
    batch_size
        Rows of the buffers.
    dtype
        "float32" or "float64".
    """

    def __init__(self, program: P.Program, params: dict, state: dict, batch_size: int, dtype: str):
        self.program = program
        self.params = params
        self.state = state
        self.dtype = np.dtype(dtype)
        self.buffers = {
            name: padded((batch_size,) if name in ("row_loss", "row_hit") else (batch_size, width), dtype)
            for name, width in program.buffers.items()
        }
        self.trains = any(rule.kind != "gradient" for rule in program.rules.values())

    def run(self, feed: Feed, tally: Tally, first: int, stop: int, seconds: float | None = None) -> int:
        """Runs batches first, first + 1, ... until `stop` or until `seconds` have passed; returns the next batch.

        A run that a bad row or a loss that is not finite has stopped returns the batch it stopped in.
        """
        start = perf_counter()
        for index in range(first, stop):
            try:
                self._run_batch(self._batch(feed, tally, index))
            except _Stop:
                return index
            if seconds is not None and perf_counter() - start >= seconds:
                return index + 1
        return max(first, stop)

    def run_op(self, feed: Feed, batch: int, index: int) -> None:
        """Runs the one op `program.ops[index]` on the buffers as they stand; an update counts as the first."""
        with suppress(_Stop):
            self._run(self.program.ops[index], self._batch(feed, Tally(), batch))

    def _batch(self, feed: Feed, tally: Tally, index: int) -> _Batch:
        position = index * feed.batch_size
        stop = min(position + feed.batch_size, feed.rows)
        rows = slice(position, stop) if feed.order is None else feed.order[position:stop]
        ones = np.ones(stop - position, self.dtype)
        weight = ones if feed.weights is None else feed.weights[rows].astype(self.dtype)
        return _Batch(feed, tally, index, position, stop - position, rows, weight)

    def _run_batch(self, batch: _Batch) -> None:
        gathers = [op for op in self.program.ops if isinstance(op, P.Gather)]
        others = [op for op in self.program.ops if not isinstance(op, P.Gather)]
        for op in gathers:  # all of them first: a bad row stops the batch before anything is learned from it
            self._run(op, batch)
        if batch.bad:
            batch.tally.bad_row = batch.row_of_data(min(batch.bad))
            raise _Stop
        if batch.whole == 0:
            return
        penalty = self._penalty(batch)
        for op in others:
            self._run(op, batch)
        batch.tally.penalty += penalty
        batch.tally.batches += 1
        batch.tally.updates += self.trains

    def _run(self, op: P.Op, batch: _Batch) -> None:
        # What overflows shows up in the loss, which is looked at; NumPy's warnings would only repeat it.
        with np.errstate(all="ignore"):
            RUN[type(op)](self, op, batch)

    def _penalty(self, batch: _Batch) -> float:
        """The sum of l2/2 |W|^2 + l1 |W|_1 over the parameters that the program trains."""
        penalty = 0.0
        for name, rule in self.program.rules.items():
            l1, l2 = _coefficients(rule, batch.count)
            if l1 or l2:
                w = self.params[name].astype(np.float64)
                penalty += l2 / 2 * float((w * w).sum()) + l1 * float(np.abs(w).sum())
        return penalty

    # --- the ops -----------------------------------------------------------------------------------------------

    def _gather(self, op: P.Gather, batch: _Batch) -> None:
        source = getattr(batch.feed, op.source)
        rows = source[batch.rows].reshape(batch.count, -1).astype(self.dtype)
        batch.bad += np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
        R.dropout(rows, **batch.dropout(op.mask), out=self._rows(op.out, batch))

    def _dense(self, op: P.Dense, batch: _Batch) -> None:
        x, w = self._rows(op.x, batch), self.params[op.weight]
        b = self.params[op.bias] if op.bias else None
        if op.z:
            R.dense(x, w, b, out=self._rows(op.z, batch))
        R.dense(x, w, b, op.activation, **batch.dropout(op.mask), out=self._rows(op.out, batch))

    def _loss(self, op: P.Loss, batch: _Batch) -> None:
        logits = self._rows(op.through.y, batch)
        targets = self._rows(op.targets, batch) if op.targets else batch.feed.targets[batch.rows]
        loss, gradient, hit = ROW_LOSSES[op.kind](logits, targets)
        self._rows("row_loss", batch)[...] = batch.weight * loss
        self._rows("row_hit", batch)[...] = batch.weight * hit
        if op.dz:
            share = batch.weight / batch.whole if batch.whole else batch.weight
            self._rows(op.dz, batch)[...] = self._through(gradient * share[:, np.newaxis], op.through, batch)

    def _totals(self, op: P.Totals, batch: _Batch) -> None:
        loss = R.total(self._rows("row_loss", batch))
        batch.tally.loss += loss
        batch.tally.hits += R.total(self._rows("row_hit", batch))
        batch.tally.weight += batch.whole
        if not np.isfinite(loss):
            batch.tally.diverged = True
            raise _Stop

    def _dense_dx(self, op: P.DenseDx, batch: _Batch) -> None:
        dy = self._rows(op.dz, batch) @ self.params[op.weight].T
        self._rows(op.out, batch)[...] = self._through(dy, op.through, batch)

    def _dense_dw(self, op: P.DenseDw, batch: _Batch) -> None:
        x, dz = self._rows(op.x, batch), self._rows(op.dz, batch)
        self._step(op.weight, x.T @ dz, op.weight_rule, batch)
        if op.bias:
            self._step(op.bias, dz.sum(axis=0), op.bias_rule, batch)

    def _update(self, op: P.Update, batch: _Batch) -> None:
        gradient = self.buffers[op.grad].reshape(self.params[op.param].shape)
        self._step(op.param, gradient, op.rule, batch)

    def _elementwise(self, op: P.Elementwise, batch: _Batch) -> None:
        y = R.dropout(self._rows(op.x, batch), **batch.dropout(op.mask))
        self._rows(op.out, batch)[...] = self._through(y, op.through, batch) if op.through else y

    def _emit(self, op: P.Emit, batch: _Batch) -> None:
        out = batch.feed.out[batch.position : batch.position + batch.count]
        out[...] = TRANSFORMS[op.transform](self._rows(op.x, batch))

    # --- what they are made of ---------------------------------------------------------------------------------

    def _rows(self, buffer: str, batch: _Batch) -> np.ndarray:
        return self.buffers[buffer][: batch.count]

    def _through(self, dy: np.ndarray, through: P.Through, batch: _Batch) -> np.ndarray:
        z = self._rows(through.z, batch) if through.z else None
        return R.through(dy, self._rows(through.y, batch), through.activation, **batch.dropout(through.mask), z=z)

    def _step(self, name: str, gradient: np.ndarray, rule: P.Rule, batch: _Batch) -> None:
        w, slots = self.params[name], self.state.get(name, ())
        l1, l2 = _coefficients(rule, batch.count)
        if rule.kind == "gradient":
            slots[0][...] = R.penalized(w, gradient, l1, l2)
            return
        rate = float(batch.feed.rates[batch.index]) * rule.lr_scale
        penalties = {"l1": l1, "l2": l2, "weight_decay": rule.weight_decay, "proximal": rule.proximal}
        if rule.kind == "sgd":
            R.sgd_update(w, gradient, rate, **penalties)
        elif rule.kind in ("momentum", "nesterov"):
            R.momentum_update(w, gradient, *slots, rate, rule.momentum, rule.kind == "nesterov", **penalties)
        elif rule.kind == "adam":
            step = batch.tally.updates + 1
            R.adam_update(w, gradient, *slots, rate, step, rule.beta1, rule.beta2, rule.eps, **penalties)
        else:
            raise ValueError(f"rule.kind: got {rule.kind!r}, expected one of {', '.join(P.UPDATE_SLOTS)}")


def _coefficients(rule: P.Rule, rows: int) -> tuple[float, float]:
    return rule.l1 / (rows if rule.l1_per_row else 1), rule.l2 / (rows if rule.l2_per_row else 1)


RUN = {
    P.Gather: ReferenceEngine._gather,
    P.Dense: ReferenceEngine._dense,
    P.Loss: ReferenceEngine._loss,
    P.Totals: ReferenceEngine._totals,
    P.DenseDx: ReferenceEngine._dense_dx,
    P.DenseDw: ReferenceEngine._dense_dw,
    P.Update: ReferenceEngine._update,
    P.Elementwise: ReferenceEngine._elementwise,
    P.Emit: ReferenceEngine._emit,
}
