"""What both engines have in common: the interface, what an epoch reads and what a run adds up.

    engine = make_engine(name, program, params, state, batch_size, dtype, threads)
    engine.run(feed, tally, first, stop, seconds)   # batches first .. stop - 1, or fewer when time is up
    engine.run_op(feed, batch, index)               # one op of one batch, for comparisons and profiles
    engine.buffers[name]                            # what the ops wrote
    engine.gradients[name]                          # of parameters whose rule stores the gradient

The engines read and write `params` and `state` in place. These are arrays of `fastreg.engines.memory.padded`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from fastreg.common.pieces import listen
from fastreg.common.sparse import SparseRows
from fastreg.engines.memory import padded, padded_bytes
from fastreg.machine import _core
from fastreg.program.images import Flip
from fastreg.program.normalize import ROWS, WITH_TABLE
from fastreg.program.ops import Average, Count, Perturb
from fastreg.program.program import Program

Rows = np.ndarray | SparseRows
Array = np.ndarray | dict[str, np.ndarray]  # or one by the name of each head

Total = tuple[float, float, float]  # the sums of w_i * l_i, of w_i, and of w_i over correct predictions


def count_rows(inputs) -> int:
    """The number of rows of one input or of several."""
    return len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)


@dataclass
class Feed:
    """What an epoch reads.

    inputs    (n, ...), of any numeric dtype and strides. A row is flattened in C order. Or sparse rows
    targets   for softmax_cross_entropy int64 labels (n,) or shares (n, outputs), else (n, outputs); all but labels are
              of any numeric dtype. None to predict
    weights   sample weights (n,) in the working dtype, or None. A step of zero weight is not taken
    order     int64 (rows,): the row of the data at each position of the epoch. A row may come any number of times.
              None for all rows in their own order
    epoch     the number of the epoch, a coordinate of the draws of the augmentation
    step      the global step of the epoch's first batch, a coordinate of the dropout masks
    by_position   draws follow the position of a row in the epoch instead of its position in the batch, and all batches
              have the same `step`. Then nothing depends on the batch size
    rates     float64, the learning rate of each batch of the epoch
    decays    float64, the weight decay of each batch where the rules have a schedule of it. None for 0
    out       (n, outputs) in the working dtype: Emit writes the row at `position` there

    With several inputs, `inputs` has each by its name. With several heads, so have `targets`, `weights` and `out`. A
    step is not taken if it has zero weight in all heads.
    """

    inputs: Rows | dict[str, Rows]
    batch_size: int
    targets: Array | None = None
    weights: Array | None = None
    order: np.ndarray | None = None
    seed: int = 0
    epoch: int = 0
    step: int = 0
    rates: np.ndarray | None = None
    decays: np.ndarray | None = None
    out: Array | None = None
    by_position: bool = False

    @property
    def rows(self) -> int:
        """The number of rows of an epoch."""
        if self.order is not None:
            return len(self.order)
        return count_rows(self.inputs)

    @property
    def batches(self) -> int:
        return -(-self.rows // self.batch_size)

    def find(self, name: str) -> Any:
        """The array of that name, such as "targets", or "targets:HEAD" of several. None if there is none."""
        field, _, part = name.partition(":")
        found = getattr(self, field)
        if isinstance(found, dict) != bool(part) and found is not None:
            raise ValueError(f"feed.{field}: got {type(found).__name__}, expected what holds {name!r}")
        return found.get(part) if part and found is not None else found

    def need(self, name: str) -> Any:
        """The array of that name, for ops that cannot run without it."""
        array = self.find(name)
        if array is None:
            raise ValueError(f"feed.{name}: got None, expected an array")
        return array


@dataclass
class Tally:
    """What a run adds up. `updates` counts all steps that the optimizer has taken so far (Adam's t)."""

    totals: list[Total] = field(default_factory=lambda: [(0.0, 0.0, 0.0)] * _core.MAX_HEADS)  # of each head
    penalty: float = 0.0  # sum over steps of the penalty before the update
    row_penalty: float = 0.0  # the same, each as often as the step has rows
    rows: float = 0.0  # of batches with a weight above zero in the first head
    row_loss: float = 0.0  # sum over batches of the mean loss of the first head, each as often as the batch has rows
    batches: int = 0  # steps of a weight above zero: batches, or groups of batches if gradients are accumulated
    updates: int = 0
    diverged: bool = field(default=False)  # a batch loss was not finite: the run stopped there
    bad_row: int = -1  # a row of the data with a value that is not finite: the run stopped before using it

    @property
    def loss(self) -> float:
        """The sum of w_i * l_i, of the first head."""
        return self.totals[0][0]

    @property
    def weight(self) -> float:
        """The sum of w_i."""
        return self.totals[0][1]

    @property
    def hits(self) -> float:
        """The sum of w_i over correct predictions."""
        return self.totals[0][2]

    def add(self, head: int, loss: float, weight: float, hits: float) -> None:
        """Adds the totals of a batch to those of a head."""
        before = self.totals[head]
        self.totals[head] = before[0] + loss, before[1] + weight, before[2] + hits

    def means(self, metrics: Iterable[str], head: int = 0) -> dict[str, float]:
        """The mean loss of a head, and the mean of each of the `metrics`. NaN if no row had a weight."""
        loss, weight, hits = self.totals[head]
        loss, hits = (loss / weight, hits / weight) if weight else (math.nan, math.nan)
        return {"loss": loss, **dict.fromkeys(metrics, hits)}

    @property
    def ended(self) -> bool:
        """Whether the run stopped early."""
        return self.diverged or self.bad_row >= 0


def named(field: str, head: str) -> str:
    """The name of a head's array in a field of the feed. The only head has the name ""."""
    return f"{field}:{head}" if head else field


def new_buffers(program: Program, batch_size: int, dtype) -> dict[str, np.ndarray]:
    """The buffers of a program, for batches of this many rows."""
    return {name: padded(shape, dtype) for name, shape in _shapes_of_buffers(program, batch_size).items()}


def buffer_bytes(program: Program, batch_size: int, dtype) -> int:
    """The memory of these buffers, without making them."""
    itemsize = np.dtype(dtype).itemsize
    return sum(padded_bytes(shape, itemsize) for shape in _shapes_of_buffers(program, batch_size).values())


def _shapes_of_buffers(program: Program, batch_size: int) -> dict[str, tuple[int, ...]]:
    rows, single = batch_size * program.copies, program.values_of_rows
    return {name: (rows,) if name in single else (rows, width) for name, width in program.buffers.items()}


def beside_params(program: Program, params: dict[str, np.ndarray], dtype) -> dict[str, np.ndarray]:
    """Arrays that ops make: the noisy or flipped copies of weights, the tables of normalizations, and the averages and
    counts that are not among the parameters."""
    shapes: dict[str, tuple[int, ...]] = {
        table.name: (ROWS, table.width) for table in (op.table for op in program.ops if isinstance(op, WITH_TABLE))
    }
    for op in program.ops:
        if isinstance(op, Perturb):
            shapes[op.out] = params[op.weight].shape
        elif isinstance(op, Flip):
            (height, width), channels = op.window.size, op.window.image[2]
            shapes[op.out] = height * width * params[op.weight].shape[1], channels
        elif isinstance(op, Count):
            shapes[op.count] = (1,)
        elif isinstance(op, Average):
            shapes[op.out] = params[op.param].shape
    return {name: padded(shape, dtype) for name, shape in shapes.items() if name not in params}


class Engine(Protocol):
    program: Program
    params: dict[str, np.ndarray]  # with what ops make beside them
    buffers: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]  # of the parameters whose rule stores the gradient
    clip: np.ndarray  # two numbers, whose product is the factor of the last ClipNorm

    def run(
        self,
        feed: Feed,
        tally: Tally,
        first: int,
        stop: int,
        seconds: float | None = None,
        look: Callable[[], None] = listen,
    ) -> int:
        """Runs batches first to stop - 1, or fewer if `seconds` have passed. Returns the next batch.

        During a long batch it calls `look` now and then. If `look` raises, the run ends with the parameters half
        updated.
        """
        ...

    def run_op(self, feed: Feed, batch: int, index: int) -> None:
        """Runs only the op `program.ops[index]`, on the buffers as they are."""
        ...
