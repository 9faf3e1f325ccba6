"""The batch of the reference engine: the state that its ops share."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fastreg.engines.base import Feed, Tally, named
from fastreg.program.riders import Mask, Noise
from fastreg.reference import functions as R


class Stop(Exception):
    """The run ends before the rest of this batch; the tally says why."""


@dataclass
class Batch:
    """What the ops of one batch share.

    rows      rows of the data: an array of indices, or a slice if they come in order
    position  the position of the first row in the epoch
    weights   of each head: the weight of each row, in the working dtype
    opens, closes             whether it is the first and whether it is the last batch of its step
    step_rows, step_weights   the number of rows of the whole step, and of each head the sum of their weights
    penalty   value of the penalties, before the update
    span      the rows of the buffers that the current op works on
    bad       rows of the batch in which a gather found a value that is not finite
    """

    feed: Feed
    tally: Tally
    index: int
    position: int
    count: int
    rows: np.ndarray | slice
    weights: list[np.ndarray]
    opens: bool
    closes: bool
    step_rows: int
    step_weights: list[float]
    penalty: float = 0.0
    span: slice = field(default_factory=lambda: slice(0))
    bad: list[int] = field(default_factory=list)

    def row_of_data(self, row: int) -> int:
        """The index in the data of row `row` of the batch."""
        position = self.position + row
        return position if self.feed.order is None else int(self.feed.order[position])

    def key(self, drawing: Mask | Noise) -> R.Key:
        """Coordinates of the draws for the rows of the current op."""
        late, line = (0, self.position) if self.feed.by_position else (self.index, 0)
        return R.Key(self.feed.seed, (self.feed.step + late) & R.WORD, drawing.stream, line + self.span.start)


def batch_at(
    index: int, feed: Feed, tally: Tally, accumulate: int, dtype: np.dtype, heads: tuple[str, ...] = ("",)
) -> Batch:
    """The batch with this number, with its place in its step. `heads` are the names of the heads."""
    size = feed.batch_size
    start, step_start = index * size, index // accumulate * accumulate * size
    stop, step_stop = min(start + size, feed.rows), min(step_start + accumulate * size, feed.rows)
    return Batch(
        feed,
        tally,
        index,
        position=start,
        count=stop - start,
        rows=_rows_of_data(feed, start, stop),
        weights=[_weights(feed, head, dtype, start, stop) for head in heads],
        opens=start == step_start,
        closes=stop == step_stop,
        step_rows=step_stop - step_start,
        step_weights=[R.total(_weights(feed, head, dtype, step_start, step_stop)) for head in heads],
    )


def _weights(feed: Feed, head: str, dtype: np.dtype, start: int, stop: int) -> np.ndarray:
    """A head's weights of the rows at these positions of the epoch."""
    weights = feed.find(named("weights", head))
    if weights is None:
        return np.ones(stop - start, dtype)
    return weights[_rows_of_data(feed, start, stop)].astype(dtype)


def _rows_of_data(feed: Feed, start: int, stop: int) -> np.ndarray | slice:
    """The rows of the data at these positions of the epoch."""
    return slice(start, stop) if feed.order is None else feed.order[start:stop]
