"""What both engines have in common: the interface, what an epoch reads and what a run adds up.

    engine = make_engine(name, program, params, state, batch_size, dtype, threads)
    engine.run(feed, tally, first, stop, seconds)   # batches first .. stop - 1, or fewer when time is up
    engine.run_op(feed, batch, index)               # one op of one batch, for comparisons and profiles
    engine.buffers[name]                            # what the ops wrote
    engine.gradients[name]                          # of parameters whose rule stores the gradient

The engines read and write `params` and `state` in place. These are arrays of `fastreg.engines.memory.padded`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from fastreg.common.sparse import SparseRows
from fastreg.engines.memory import padded
from fastreg.program.ops import Perturb
from fastreg.program.program import Program


@dataclass
class Feed:
    """What an epoch reads.

    inputs    (n, ...), of any numeric dtype and strides. A row is flattened in C order. Or sparse rows
    targets   for softmax_cross_entropy int64 labels (n,) or shares (n, outputs), else (n, outputs); all but labels are
              of any numeric dtype. None to predict
    weights   sample weights (n,) in the working dtype, or None
    order     int64 (rows,): the row of the data at each position of the epoch. A row may come any number of times.
              None for all rows in their own order
    epoch     the number of the epoch, a coordinate of the draws of the augmentation
    step      the global step of the epoch's first batch, a coordinate of the dropout masks
    by_position   draws follow the position of a row in the epoch instead of its position in the batch, and all batches
              have the same `step`. Then nothing depends on the batch size
    rates     float64, the learning rate of each batch of the epoch
    out       (n, outputs) in the working dtype: Emit writes the row at `position` there
    """

    inputs: np.ndarray | SparseRows
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
        """The number of rows of an epoch."""
        return len(self.inputs) if self.order is None else len(self.order)

    @property
    def batches(self) -> int:
        return -(-self.rows // self.batch_size)

    def need(self, name: Literal["targets", "order", "rates", "out"]) -> np.ndarray:
        """The array of that name, for ops that cannot run without it."""
        array: np.ndarray | None = getattr(self, name)
        if array is None:
            raise ValueError(f"feed.{name}: got None, expected an array")
        return array


@dataclass
class Tally:
    """What a run adds up. `updates` counts all steps that the optimizer has taken so far (Adam's t)."""

    loss: float = 0.0  # sum of w_i * l_i
    weight: float = 0.0  # sum of w_i
    hits: float = 0.0  # sum of w_i over correct predictions
    penalty: float = 0.0  # sum over steps of the penalty before the update
    batches: int = 0  # steps of a weight above zero: batches, or groups of batches if gradients are accumulated
    updates: int = 0
    diverged: bool = field(default=False)  # a batch loss was not finite: the run stopped there
    bad_row: int = -1  # a row of the data with a value that is not finite: the run stopped before using it

    def means(self, metrics: Iterable[str]) -> dict[str, float]:
        """The mean loss, and the mean of each of the `metrics`."""
        return {"loss": self.loss / self.weight, **dict.fromkeys(metrics, self.hits / self.weight)}

    @property
    def ended(self) -> bool:
        """Whether the run stopped early."""
        return self.diverged or self.bad_row >= 0


def nothing() -> None:
    """The `look` of a run that nothing interrupts."""


def noisy_copies(program: Program, params: dict[str, np.ndarray], dtype) -> dict[str, np.ndarray]:
    """Arrays for the noisy copies of the weights that the program perturbs."""
    return {op.out: padded(params[op.weight].shape, dtype) for op in program.ops if isinstance(op, Perturb)}


class Engine(Protocol):
    program: Program
    params: dict[str, np.ndarray]  # with the noisy copies
    buffers: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]  # of the parameters whose rule stores the gradient
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
        """Runs batches first to stop - 1, or fewer if `seconds` have passed. Returns the next batch.

        During a long batch it calls `look` now and then. If `look` raises, the run ends with the parameters half
        updated.
        """
        ...

    def run_op(self, feed: Feed, batch: int, index: int) -> None:
        """Runs only the op `program.ops[index]`, on the buffers as they are."""
        ...
