"""Engines run programs. Both have the same face:

    engine = make_engine(name, program, params, state, batch_size, dtype, threads)
    engine.run(feed, tally, first, stop, seconds)   # batches first .. stop - 1, or fewer when time is up
    engine.run_op(feed, batch, index)               # one op of one batch, for comparisons and profiles
    engine.buffers[name]                            # what the ops wrote
    engine.gradients[name]                          # of parameters, under rules that store them

`params` and `state` are read and written in place; they are arrays of `fastreg.engines.memory.padded`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from fastreg.engines.memory import padded
from fastreg.program.ops import Perturb
from fastreg.program.program import Program


@dataclass
class Feed:
    """What an epoch reads.

    inputs    (n, ...) any numeric dtype and strides; a row is flattened in C order
    targets   int64 labels (n,) for softmax_cross_entropy, else (n, outputs) of any numeric dtype; None to predict
    weights   sample weights (n,) in the working dtype, or None
    order     int64 (rows,): position in the epoch -> row of the data, which may come any number of times; None for all
              rows as they come
    epoch     a coordinate of the augmentation
    step      global step of the epoch's first batch: a coordinate of the dropout masks
    by_position   draws follow the position of a row in the epoch instead of that in its batch, and `step` is that of
              all batches: nothing depends on the batch size
    rates     float64, the learning rate of every batch of the epoch
    out       (n, outputs) working dtype: where Emit puts row `position`
    """

    inputs: np.ndarray
    batch_size: int
    targets: np.ndarray | None = None
    weights: np.ndarray | None = None
    order: np.ndarray | None = None
    seed: int = 0
    epoch: int = 0
    step: int = 0
    rates: np.ndarray | None = None
    out: np.ndarray | None = None
    by_position: bool = False

    @property
    def rows(self) -> int:
        """Rows of an epoch."""
        return len(self.inputs) if self.order is None else len(self.order)

    @property
    def batches(self) -> int:
        return -(-self.rows // self.batch_size)

    def need(self, name: Literal["targets", "order", "rates", "out"]) -> np.ndarray:
        """The array of that name, for who cannot do without."""
        array: np.ndarray | None = getattr(self, name)
        if array is None:
            raise ValueError(f"feed.{name}: got None, expected an array")
        return array


@dataclass
class Tally:
    """What a run adds up. `updates` counts the steps the optimizer has taken since its start (Adam's t)."""

    loss: float = 0.0  # sum of w_i * l_i
    weight: float = 0.0  # sum of w_i
    hits: float = 0.0  # sum of w_i over right predictions
    penalty: float = 0.0  # sum over steps of the penalty before the update
    batches: int = 0  # steps (of weight above zero): batches, or groups of them where gradients are accumulated
    updates: int = 0
    diverged: bool = field(default=False)  # a batch loss was not finite; the run stopped there
    bad_row: int = -1  # a row of the data with a non-finite value; the run stopped before using it

    def means(self, metrics: Iterable[str]) -> dict[str, float]:
        """The loss, and the `metrics`, of a sample."""
        return {"loss": self.loss / self.weight, **dict.fromkeys(metrics, self.hits / self.weight)}

    @property
    def ended(self) -> bool:
        """Whether the run stopped early."""
        return self.diverged or self.bad_row >= 0


def nothing() -> None:
    """The `look` of a run that nobody interrupts."""


def noisy_copies(program: Program, params: dict[str, np.ndarray], dtype) -> dict[str, np.ndarray]:
    """Room for the weights that the program perturbs."""
    return {op.out: padded(params[op.weight].shape, dtype) for op in program.ops if isinstance(op, Perturb)}


class Engine(Protocol):
    program: Program
    params: dict[str, np.ndarray]  # noisy copies among them
    buffers: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]  # of the parameters whose rule stores them
    clip: np.ndarray  # one number: the factor of the last ClipNorm

    def run(
        self,
        feed: Feed,
        tally: Tally,
        first: int,
        stop: int,
        seconds: float | None = None,
        look: Callable[[], None] = nothing,
    ) -> int:
        """Runs batches first, first + 1, ... until `stop` or until `seconds` have passed; returns the next batch.

        In the middle of a batch that takes long it calls `look` now and then: what that raises ends the run, and the
        parameters are half updated.
        """
        ...

    def run_op(self, feed: Feed, batch: int, index: int) -> None:
        """Runs the one op `program.ops[index]` on the buffers as they stand."""
        ...
