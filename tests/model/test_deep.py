"""Models of very many layers: they are lowered in linear time, and too many are refused before anything is built."""

import sys
from dataclasses import replace

import numpy as np
import pytest

import fastreg as fr
from fastreg.model.graph import MAX_NODES
from fastreg.program.ops import Elementwise, Update
from fastreg.program.program import with_waits
from fastreg.program.rules import Rule

X, Y = np.random.default_rng(0).standard_normal((8, 4)), np.arange(8) % 3


def row(count):
    return fr.Sequential([fr.Dense(4, "tanh") for _ in range(count)] + [fr.Dense(3)])


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_more_ops_than_a_thousand(clip_norm):
    """Against the reference engine, which knows no limit."""
    trainers = [fr.Trainer(row(420), clip_norm=clip_norm, engine=engine) for engine in ("native", "reference")]
    for trainer in trainers:
        trainer.fit(X, Y, epochs=2, batch_size=8)
    assert len(trainers[0].program("train", 8).ops) > 1024
    one, other = (trainer.model.state_dict() for trainer in trainers)
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-4, atol=1e-6)


def lines_run(work) -> int:
    """How many lines of Python `work()` runs, each turn of a loop counted: the same on a busy machine."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def ties(count):
    x = fr.Input(4)
    value = fr.Dense(4, "tanh", name="first")(x)
    for _ in range(count):
        value = fr.Dense(4, "tanh", tied_to="first", transposed=True)(value)
    return fr.Model(x, fr.Dense(3)(value))


@pytest.mark.parametrize("model", [row, ties])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_the_work_is_linear_in_the_layers(model, clip_norm):
    def work(count):
        trainer = fr.Trainer(model(count), clip_norm=clip_norm, threads=1)
        trainer.fit(X, Y, batch_size=8)
        trainer.model.predict(X)

    few, many = (lines_run(lambda count=count: work(count)) for count in (100, 1000))
    assert many < 11 * few  # 10 if it is linear, 100 if it is quadratic


def test_too_many_are_refused_before_anything_is_built():
    layers = [fr.Dense(1)] * (MAX_NODES + 1)
    with pytest.raises(ValueError, match="layers: got 32769, expected at most 32768"):
        fr.Sequential(layers)
    start = value = fr.Input(1)
    layer = fr.Dense(1)
    for _ in range(MAX_NODES + 1):
        value = layer(value)
    with pytest.raises(ValueError, match="layers: got 32769 uses of layers, expected at most 32768"):
        fr.Model(start, value)


def plain_waits(ops, buffers):
    """Each op is compared with each one since the last barrier."""

    def conflict(op, before):
        names = (op.reads | op.writes) & before.writes | op.writes & before.reads
        alike = op.rowwise and before.rowwise and (op.span == "both") == (before.span == "both")
        return bool(names.difference(buffers) if alike else names)

    waits, since = [], []
    for op in ops:
        waits.append(any(conflict(op, before) for before in since))
        since = [op] if waits[-1] else [*since, op]
    return waits


def test_barriers_are_where_a_comparison_of_all_pairs_puts_them():
    random = np.random.default_rng(0)
    names = [f"v{i}" for i in range(6)]
    for _ in range(200):
        ops = []
        for _ in range(30):
            out, x, plus = random.choice(names, 3, replace=False)
            op = Elementwise(str(out), str(x), plus=str(plus) if random.random() < 0.3 else None)
            if random.random() < 0.2:
                op = Update(str(out), Rule())
            ops.append(replace(op, span=str(random.choice(("own", "own", "copies", "both")))))
        buffers = set(names[: random.integers(7)])
        assert [op.wait for op in with_waits(ops, buffers)] == plain_waits(ops, buffers)
