"""Programs of several inputs and heads, in both engines, against PyTorch."""

import numpy as np
import pytest
from networks import assert_close
from pytorch import torch

from fastreg.engines.base import Feed, Tally
from fastreg.engines.memory import padded
from fastreg.engines.native import NativeEngine
from fastreg.engines.reference import ReferenceEngine
from fastreg.program.ops import Dense, DenseDw, DenseDx, Emit, Gather, Loss, Totals
from fastreg.program.program import Program, with_waits
from fastreg.program.riders import Through
from fastreg.program.rules import Rule

ENGINES = {"native": NativeEngine, "reference": ReferenceEngine}
SGD, GRADIENT, RAW = Rule("sgd"), Rule("gradient"), Rule("raw")
COLUMNS = (5, 0, 3)  # of the table, which "right" reads
ROWS, BATCH = 50, 13


class Net:
    """Two inputs, left and right, each with a layer; the head "kind" (softmax) on left, "size" (mse) on right. Rows of
    weight 0 in "kind" have no label."""

    def __init__(self, dtype, rule=SGD, weights=(1.0, 0.3), accumulate=1, activity=0.0):
        rng = np.random.default_rng(4)
        self.dtype, self.rule, self.weights, self.accumulate = np.dtype(dtype), rule, weights, accumulate
        self.activity = activity
        shapes = {"a.weight": (7, 20), "a.bias": (20,), "k.weight": (20, 4), "k.bias": (4,)}
        shapes |= {"s.weight": (3, 2), "s.bias": (2,)}
        self.params = {name: padded(shape, dtype) for name, shape in shapes.items()}
        for array in self.params.values():
            array[...] = rng.normal(size=array.shape) / 2
        self.inputs = {"left": rng.normal(size=(ROWS, 7)).astype(dtype), "right": rng.normal(size=(ROWS, 6))}
        self.targets = {"kind": rng.integers(0, 4, ROWS), "size": rng.normal(size=(ROWS, 2)).astype(np.float32)}
        weight = rng.integers(0, 3, ROWS).astype(dtype)
        weight[:BATCH] = 0  # a batch without a label
        self.sample_weights = {"kind": weight, "size": None}
        self.order = rng.permutation(ROWS)
        self.order[:BATCH], self.order[BATCH:] = np.sort(self.order)[:BATCH], rng.permutation(np.arange(BATCH, ROWS))

    @property
    def program(self) -> Program:
        buffers = {"left": 7, "right": 3, "t": 2, "a.y": 20, "a.activity": 1, "k.y": 4, "s.y": 2, "d:k": 4, "d:s": 2}
        buffers |= {"d:a": 20, "loss:k": 1, "hit:k": 1, "loss:s": 1, "hit:s": 1}
        of = {"kind": ("loss:k", "hit:k"), "size": ("loss:s", "hit:s")}
        rule, (first, second), activity = self.rule, self.weights, self.activity
        ops = [
            Gather("t", "targets:size"),
            Gather("left", "inputs:left"),
            Gather("right", "inputs:right", columns=COLUMNS),
            Dense("a.y", "left", "a.weight", "a.bias", "tanh", activity="a.activity", activity_l1=activity),
            Dense("k.y", "a.y", "k.weight", "k.bias"),
            Dense("s.y", "right", "s.weight", "s.bias"),
            Loss(
                *("softmax_cross_entropy", "d:k", Through("k.y")),
                source="targets:kind",
                rows=of["kind"],
                weight=first,
            ),
            Loss(
                *("mse", "d:s", Through("s.y"), "t"),
                head=1,
                source="targets:size",
                rows=of["size"],
                weight=second,
            ),
            DenseDx("d:a", "d:k", "k.weight", Through("a.y", "tanh", activity_l1=activity)),
            DenseDw("k.weight", "k.bias", "a.y", "d:k", rule, rule),
            DenseDw("a.weight", "a.bias", "left", "d:a", rule, rule),
            DenseDw("s.weight", "s.bias", "right", "d:s", rule, rule),
            Totals((("a.activity", activity),), rows=of["kind"]),
            Totals(head=1, rows=of["size"]),
        ]
        return Program(with_waits(ops, buffers), buffers, self.accumulate)

    def engine(self, kind, *threads):
        return ENGINES[kind](self.program, self.params, {}, BATCH, self.dtype.name, *threads)

    def feed(self, **given) -> Feed:
        given = {"order": self.order, "rates": np.full(4, 0.2)} | given
        return Feed(self.inputs, BATCH, self.targets, self.sample_weights, **given)

    def train(self, kind, *threads):
        engine, feed, tally = self.engine(kind, *threads), self.feed(), Tally()
        assert engine.run(feed, tally, 0, feed.batches) == feed.batches
        return tally, {name: array.copy() for name, array in self.params.items()}

    def torch_step(self, params, rows):
        """The objective of these rows, and the losses of the heads."""
        left, right = (torch.tensor(self.inputs[name][rows].astype(self.dtype)) for name in ("left", "right"))
        hidden = torch.tanh(left @ params["a.weight"] + params["a.bias"])
        logits = hidden @ params["k.weight"] + params["k.bias"]
        sizes = right[:, list(COLUMNS)] @ params["s.weight"] + params["s.bias"]
        weight = torch.tensor(self.sample_weights["kind"][rows])
        kind = torch.nn.functional.cross_entropy(logits, torch.tensor(self.targets["kind"][rows]), reduction="none")
        kind = (weight * kind).sum() / weight.sum() if weight.sum() else (0 * kind).sum()
        size = torch.nn.functional.mse_loss(sizes, torch.tensor(self.targets["size"][rows].astype(self.dtype)))
        activity = self.activity * hidden.abs().sum() / len(rows)
        return self.weights[0] * kind + self.weights[1] * size + activity, [kind, size]


@pytest.mark.parametrize("activity", [0.0, 0.05])
@pytest.mark.parametrize("kind", list(ENGINES))
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 2e-5), ("float64", 1e-11)])
def test_gradients_are_those_of_pytorch(kind, dtype, limit, activity):
    net = Net(dtype, GRADIENT, activity=activity)
    engine, tally = net.engine(kind), Tally()
    for batch, rows in enumerate(np.split(net.order, [13, 26, 39])):  # the first has no label
        engine.run(net.feed(), tally, batch, batch + 1)
        params = {name: torch.tensor(np.array(array), requires_grad=True) for name, array in net.params.items()}
        net.torch_step(params, rows)[0].backward()
        for name, param in params.items():
            expected = param.grad.numpy()
            scale = max(np.abs(expected).max(), 1e-3)
            assert np.abs(engine.gradients[name] - expected).max() <= limit * scale, name


@pytest.mark.parametrize("kind", list(ENGINES))
def test_training_and_totals_are_those_of_pytorch(kind):
    net = Net("float64")
    params = {name: torch.tensor(np.array(array), requires_grad=True) for name, array in net.params.items()}
    sums, weights = np.zeros(2), np.zeros(2)
    for rows in np.split(net.order, [13, 26, 39]):
        objective, losses = net.torch_step(params, rows)
        own = np.array([net.sample_weights["kind"][rows].sum(), len(rows)])
        sums, weights = sums + own * [loss.item() for loss in losses], weights + own
        for param, gradient in zip(params.values(), torch.autograd.grad(objective, params.values()), strict=True):
            with torch.no_grad():
                param -= 0.2 * gradient
    tally, got = net.train(kind)
    assert_close(got, {name: param.detach().numpy() for name, param in params.items()})
    for head in range(2):
        assert tally.totals[head][:2] == pytest.approx((sums[head], weights[head]), rel=1e-12)
        assert tally.means((), head) == pytest.approx({"loss": sums[head] / weights[head]}, rel=1e-12)
    assert tally.batches == 4  # the one without labels too: the other head learned from it


@pytest.mark.parametrize("kind", list(ENGINES))
def test_accumulated_batches_are_one_step(kind):
    many, one = Net("float64", RAW, accumulate=4), Net("float64", RAW)
    engine, tally = many.engine(kind), Tally()
    engine.run(many.feed(), tally, 0, 4)
    params = {name: torch.tensor(np.array(array), requires_grad=True) for name, array in one.params.items()}
    one.torch_step(params, one.order)[0].backward()
    assert_close(engine.gradients, {name: param.grad.numpy() for name, param in params.items()})


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_threads(dtype, accumulate):
    expected, params = Net(dtype, accumulate=accumulate, activity=0.1).train("native", 1)
    for threads in (2, 3, 7):
        tally, got = Net(dtype, accumulate=accumulate, activity=0.1).train("native", threads)
        assert tally == expected
        assert all(got[name].tobytes() == array.tobytes() for name, array in params.items())


def test_the_engines_agree():
    expected, params = Net("float64", activity=0.1).train("reference")
    tally, got = Net("float64", activity=0.1).train("native")
    assert_close(got, params)
    assert np.allclose(tally.totals, expected.totals, rtol=1e-12)
    assert tally.penalty == pytest.approx(expected.penalty, rel=1e-12)


@pytest.mark.parametrize("kind", list(ENGINES))
def test_a_step_without_weight_in_any_head_is_not_taken(kind):
    net = Net("float32")
    net.sample_weights["size"] = net.sample_weights["kind"]
    before = {name: array.copy() for name, array in net.params.items()}
    tally = Tally()
    assert net.engine(kind).run(net.feed(), tally, 0, 1) == 1
    assert tally == Tally()
    assert all(np.array_equal(net.params[name], array) for name, array in before.items())


@pytest.mark.parametrize("kind", list(ENGINES))
@pytest.mark.parametrize("head", ["kind", "size"])
def test_the_loss_of_any_head_can_diverge(kind, head):
    net = Net("float32")
    net.params["k.weight" if head == "kind" else "s.weight"][...] = 3e38
    tally, feed = Tally(), net.feed()
    assert net.engine(kind).run(feed, tally, 1, 3) == 1
    assert tally.diverged


@pytest.mark.parametrize("kind", list(ENGINES))
@pytest.mark.parametrize("part", ["left", "right"])
def test_a_bad_row_is_found_in_any_input(kind, part):
    net, tally = Net("float32"), Tally()
    row = int(net.order[30])
    net.inputs[part][row, 5] = np.nan
    net.engine(kind).run(net.feed(), tally, 0, 4)
    assert tally.bad_row == row


@pytest.mark.parametrize("kind", list(ENGINES))
def test_a_value_in_a_column_that_is_not_read_does_not_matter(kind):
    net, tally = Net("float32"), Tally()
    net.inputs["right"][:, 4] = np.nan
    assert net.engine(kind).run(net.feed(), tally, 0, 4) == 4
    assert not tally.ended


@pytest.mark.parametrize("kind", list(ENGINES))
@pytest.mark.parametrize("dtype", ["u1", "i8", "f2", ">f4", "f8"])
def test_columns_are_those_of_the_flat_row_in_any_layout(kind, dtype):
    images = np.arange(4 * 3 * 5 * 2).reshape(4, 3, 5, 2)[:, ::2, :, ::-1].astype(dtype)
    columns = (19, 0, 7, 7)
    ops = with_waits([Gather("x", "inputs", columns=columns), Emit("x", "linear")], {"x"})
    out = np.empty((4, 4), np.float32)
    engine = ENGINES[kind](Program(ops, {"x": 4}), {}, {}, 4, "float32")
    engine.run(Feed(images, 4, out=out), Tally(), 0, 1)
    np.testing.assert_array_equal(out, images.reshape(4, -1)[:, list(columns)])


@pytest.mark.parametrize("kind", list(ENGINES))
def test_several_outputs_are_written(kind):
    net = Net("float64")
    ops = [op for op in net.program.ops if isinstance(op, (Gather, Dense)) and op.out != "t"]
    ops += [Emit("k.y", "softmax", source="out:kind"), Emit("s.y", "linear", head=1, source="out:size")]
    program = Program(with_waits(ops, net.program.buffers), net.program.buffers)
    out = {"kind": np.empty((ROWS, 4)), "size": np.empty((ROWS, 2))}
    engine = ENGINES[kind](program, net.params, {}, BATCH, "float64")
    engine.run(Feed(net.inputs, BATCH, out=out), Tally(), 0, 4)
    p = net.params
    logits = np.tanh(net.inputs["left"] @ p["a.weight"] + p["a.bias"]) @ p["k.weight"] + p["k.bias"]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sizes = net.inputs["right"][:, list(COLUMNS)] @ p["s.weight"] + p["s.bias"]
    assert_close(out, {"kind": shares, "size": sizes})


def test_what_does_not_fit_is_refused():
    net = Net("float32")
    with pytest.raises(ValueError, match=r"feed\.targets: got ndarray, expected what holds 'targets:kind'"):
        Feed(net.inputs, BATCH, np.zeros(ROWS)).need("targets:kind")
    with pytest.raises(ValueError, match=r"feed\.targets:other: got None"):
        net.feed().need("targets:other")
    head = Loss("mse", None, Through("y"), "t", head=2)
    with pytest.raises(ValueError, match=r"heads: got the numbers \[2\], expected 0, 1"):
        _ = Program((head,), {}).heads
