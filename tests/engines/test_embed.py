"""The ops of embeddings: torch.nn.Embedding and the rule of a dense gradient are the judges, in both engines."""

import numpy as np
import pytest

from fastreg.engines.base import Feed, Tally
from fastreg.engines.make import make_engine
from fastreg.engines.memory import padded
from fastreg.machine import _core
from fastreg.program.embedding import Codes, Embed, EmbedDw
from fastreg.program.ops import Emit, Gather, Loss, RowNorm, Totals, gradient
from fastreg.program.program import Program, with_waits
from fastreg.program.riders import Mask, Penalty, Through
from fastreg.program.rules import UPDATE_SLOTS, Rule

DTYPES = ["float32", "float64"]
RULES = {
    "sgd": Rule("sgd"),
    "decay": Rule("sgd", weight_decay=0.1),
    "l2": Rule("sgd", Penalty(l2=0.1)),
    "l1": Rule("sgd", Penalty(l1=0.05)),
    "non_negative": Rule("sgd", non_negative=True),
    "clip": Rule("sgd", clip_value=0.01),
    "momentum": Rule("momentum", momentum=0.9),
    "nesterov": Rule("nesterov", momentum=0.9),
    "rmsprop": Rule("rmsprop", beta2=0.9, eps=1e-8),
    "adam": Rule("adam", beta1=0.9, beta2=0.99, eps=1e-8),
    "lion": Rule("lion", beta1=0.9, beta2=0.99),
}


def filled(values, dtype):
    array = padded(np.shape(values), dtype)
    array[...] = values
    return array


def made(engine, codes, table, rule, batch_size, mask=None, threads=1, more=()):
    """An embedding under mse, and its engine, weight and state."""
    width, dtype = table.shape[1] * len(codes.counts), table.dtype.name
    ops = [
        Gather(out="targets", source="targets"),
        Gather(out="inputs", source="inputs"),
        Embed("e.y", "inputs", "e.weight", codes, mask),
        Loss("mse", "d:e.y", Through("e.y", mask=mask), "targets"),
        EmbedDw("e.weight", "inputs", "d:e.y", codes, rule),
        *more,
        Totals(),
    ]
    buffers = {"inputs": len(codes.counts), "targets": width, "e.y": width, "d:e.y": width, "row_loss": 1, "row_hit": 1}
    program = Program(with_waits(ops, buffers), buffers)
    weight = filled(table, dtype)
    state = {"e.weight": tuple(padded(table.shape, dtype) for _ in UPDATE_SLOTS[rule.kind])}
    return make_engine(engine, program, {"e.weight": weight}, state, batch_size, dtype, threads), weight, state


def data(codes, rows, width, rng, dtype="int64"):
    x = np.stack([rng.integers(0, count, rows) for count in codes.counts], axis=1).astype(dtype)
    x[:: max(rows // 7, 2)] = x[0]  # so that some come often
    return x, rng.normal(size=(rows, width * len(codes.counts)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("codes", [Codes((5,), True), Codes((11, 11), True), Codes((3, 60, 1, 7), False)], ids=str)
@pytest.mark.parametrize("width", [1, 7, 16, 70])
def test_gradients_are_torchs(engine, codes, width, dtype, rng):
    torch = pytest.importorskip("torch")
    x, t = data(codes, 40, width, rng)
    table = rng.normal(size=(codes.rows, width)).astype(dtype)
    layer = torch.nn.Embedding(codes.rows, width, _weight=torch.tensor(table.astype(np.float64)))
    y = layer(torch.tensor(x + np.array(codes.starts))).flatten(1)
    loss = ((y - torch.tensor(t)) ** 2).mean()
    loss.backward()
    found, _, _ = made(engine, codes, table, Rule("gradient"), 40)
    tally = Tally()
    found.run(Feed(x, 40, t, rates=np.zeros(1)), tally, 0, 1)
    close = {"float32": 2e-5, "float64": 1e-12}[dtype]
    assert tally.loss / 40 == pytest.approx(loss.item(), rel=close)
    expected = layer.weight.grad.numpy()
    np.testing.assert_allclose(found.gradients["e.weight"], expected, atol=close * np.abs(expected).max())
    np.testing.assert_array_equal(found.buffers["e.y"], y.detach().numpy().astype(dtype))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_updates_are_those_of_the_whole_gradient(name, dtype, rng):
    """Three steps by the engine, and by a gradient with its zeros that an Update follows: the same bits."""
    from fastreg.kernels import one_op

    codes, rule = Codes((100, 31), False), RULES[name]
    x, t = data(codes, 20, 5, rng)
    table = rng.normal(size=(131, 5)).astype(dtype)
    found, weight, state = made("native", codes, table, rule, 20)
    stored, other, _ = made("native", codes, table, Rule("raw"), 20)
    slots = {slot: np.zeros((131, 5), dtype) for slot in UPDATE_SLOTS[rule.kind]}
    own = table.copy()
    for step in range(3):
        feed = Feed(x, 20, t, rates=np.array([0.3]), step=step)
        found.run(feed, Tally(updates=step), 0, 1)
        other[...] = own
        stored.run(feed, Tally(), 0, 1)
        one_op.update(rule, own, np.array(stored.gradients["e.weight"]), slots, 0.3, step + 1)
    np.testing.assert_array_equal(weight, own)
    for array, slot in zip(state["e.weight"], UPDATE_SLOTS[rule.kind], strict=True):
        np.testing.assert_array_equal(array, slots[slot])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_engines_agree(name, dtype, rng):
    codes, mask = Codes((50, 9), False), Mask(0.6, 3)
    x, t = data(codes, 33, 6, rng, "float32")
    table = rng.normal(size=(59, 6)).astype(dtype)
    found = []
    for engine in ("reference", "native"):
        run, weight, state = made(engine, codes, table, RULES[name], 11, mask)
        tally = Tally()
        run.run(Feed(x, 11, t, rates=np.full(3, 0.1), seed=5), tally, 0, 3)
        found.append((weight, *state["e.weight"], tally.loss, tally.penalty))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3 if dtype == "float32" else 1e-9, atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "l2", "adam"])
@pytest.mark.parametrize("target", ["avx2", "generic"])
def test_the_bits_do_not_depend_on_threads(name, target, rng):
    if target not in _core.simd_available():
        pytest.skip(f"no {target} here")
    codes, rule = Codes((1000, 3, 120), False), RULES[name]
    x, t = data(codes, 200, 9, rng)
    table = rng.normal(size=(1123, 9)).astype("float32")
    before, found = _core.simd_current(), []
    _core.simd_use(target)
    try:
        for threads in (1, 2, 3, 7):
            run, weight, _ = made("native", codes, table, rule, 64, Mask(0.8, 1), threads)
            run.run(Feed(x, 64, t, rates=np.full(4, 0.1), seed=2), Tally(), 0, 4)
            found.append(weight.tobytes())
    finally:
        _core.simd_use(before)
    assert len(set(found)) == 1


@pytest.mark.parametrize("rule", ["raw", "add"])
def test_stored_gradients_add_up(engine, rule, rng):
    codes = Codes((30,), True)
    x, t = data(codes, 12, 4, rng)
    run, _, _ = made(engine, codes, rng.normal(size=(30, 4)), Rule(rule), 12)
    run.gradients["e.weight"][...] = 1
    feed = Feed(x, 12, t, rates=np.zeros(1))
    run.run(feed, Tally(), 0, 1)
    once = np.array(run.gradients["e.weight"])
    assert (once[~np.isin(np.arange(30), x)] == (rule == "add")).all()
    if rule == "add":
        run.run(feed, Tally(), 0, 1)
        np.testing.assert_allclose(run.gradients["e.weight"], 2 * once - 1, rtol=1e-12)


@pytest.mark.parametrize("bad", [-1, 5, 2.5, 1e30, -0.5])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_bad_code_ends_the_run_before_anything_changes(engine, bad, threads, rng):
    codes = Codes((5, 5), True)
    x, t = data(codes, 30, 4, rng, "float64")
    x[17, 1], x[23, 0] = bad, bad
    table = rng.normal(size=(5, 4))
    run, weight, _ = made(engine, codes, table, Rule("sgd"), 30, threads=threads)
    tally = Tally()
    run.run(Feed(x, 30, t, rates=np.ones(1), order=np.arange(29, -1, -1)), tally, 0, 1)
    assert tally.bad_row == 23  # the first in the order of the epoch
    np.testing.assert_array_equal(weight, table)


def test_row_norm(engine, rng):
    codes, table = Codes((40,), True), rng.normal(size=(40, 21))
    run, weight, _ = made(engine, codes, table, Rule("sgd"), 4, more=[RowNorm("e.weight", 4.0)])
    x, t = data(codes, 4, 21, rng)
    run.run(Feed(x, 4, t, rates=np.zeros(1)), Tally(), 0, 1)
    norm = np.linalg.norm(table, axis=1, keepdims=True)
    assert (norm > 4).any() and (norm < 4).any()
    np.testing.assert_allclose(weight, table * np.minimum(1, 4 / norm), rtol=1e-12)
    np.testing.assert_array_equal(weight[norm[:, 0] <= 4], table[norm[:, 0] <= 4])


def test_predictions_need_no_barrier(engine, rng):
    codes = Codes((9,), True)
    table = rng.normal(size=(9, 3))
    ops = [
        Gather(out="inputs", source="inputs"),
        Embed("e.y", "inputs", "e.weight", codes),
        Emit(x="e.y", transform="linear"),
    ]
    buffers = {"inputs": 1, "e.y": 3}
    program = Program(with_waits(ops, buffers), buffers)
    assert not any(op.wait for op in program.ops)
    run = make_engine(engine, program, {"e.weight": filled(table, "float64")}, {}, 4, "float64", 2)
    x = rng.integers(0, 9, (10, 1)).astype("uint8")
    feed = Feed(x, 4, out=np.empty((10, 3)), by_position=True)
    run.run(feed, Tally(), 0, 3)
    np.testing.assert_array_equal(feed.out, table[x[:, 0]])
    assert gradient("e.weight") not in {name for op in program.ops for name in op.writes}
