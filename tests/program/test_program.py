"""Programs: where workers wait for each other."""

import numpy as np
import pytest
from networks import MORE, PLAIN, YOUNGER, Case

import fastreg as fr
from fastreg.program.ops import DenseDw, Totals


def program_of(layers, loss, X, y):
    trainer = fr.Trainer(fr.Sequential(layers), loss, fr.Adam(0.01))
    trainer.fit(X, y)
    return trainer.program("train")


def test_small_layers_wait_once_a_step():
    """Rows go from the data to the gradients without a barrier. Then updates share the weights and need all rows."""
    hidden = [fr.Dense(64, "leaky_relu"), fr.Dropout(rate=0.1)]
    ops = program_of([*hidden * 3, fr.Dense(1)], "mse", np.ones((4, 1)), np.ones(4)).ops
    waits = [op for op in ops if op.wait]
    assert waits == [next(op for op in ops if isinstance(op, DenseDw))]


def test_large_layers_wait_for_each_other():
    ops = program_of(
        [fr.Dense(200, "relu"), fr.Dense(200), fr.Dense(10)], "mse", np.ones((4, 300)), np.ones((4, 10))
    ).ops
    assert [type(op).__name__ for op in ops if op.wait] == ["Dense", "Dense", "Dense", "DenseDw", "DenseDw"]


@pytest.mark.parametrize("small", [0, 2000, 10**9])
@pytest.mark.parametrize("network", PLAIN | MORE | YOUNGER)
def test_a_barrier_stands_between_ops_that_need_it(network, small):
    """There is a barrier before an op that touches what another wrote, or writes what another touched. The exception
    are buffers between ops whose workers keep to their own rows."""
    program = Case((PLAIN | MORE | YOUNGER)[network], "float32", small=small).engine().program
    since = []
    for op in program.ops:
        since = [] if op.wait else since
        for other in since:
            common = (op.reads | op.writes) & other.writes | op.writes & other.reads
            if op.rowwise and other.rowwise:
                common -= program.buffers.keys()
            assert not common, (op, other)
        since.append(op)
    assert isinstance(program.ops[-1], Totals)
