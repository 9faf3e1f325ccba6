"""The reference engine: programs of real layers against PyTorch, finite differences and sums done by hand."""

import math

import numpy as np
import pytest

import fastreg.reference as R
from fastreg.engines.base import Feed, Tally
from fastreg.engines.make import make_engine
from fastreg.engines.memory import padded
from fastreg.layers import Dense, Dropout
from fastreg.model.graph import Network, chain
from fastreg.model.lowering import Head, lower
from fastreg.program.ops import Dense as DenseOp
from fastreg.program.ops import Elementwise
from fastreg.program.riders import PURPOSE_DROPOUT, Penalty, stream
from fastreg.program.rules import Rule

N_IN, N_OUT = 6, 3
HEADS = {"softmax_cross_entropy": "softmax", "sigmoid_cross_entropy": "sigmoid", "mse": "linear"}


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def data(loss, rows=23):
    X = normal(1, rows, N_IN)
    if loss == "softmax_cross_entropy":
        return X, np.random.default_rng(2).integers(N_OUT, size=rows)
    return X, (normal(2, rows, N_OUT) > 0).astype(float) if loss == "sigmoid_cross_entropy" else normal(2, rows, N_OUT)


def net(activation="tanh", *dropouts):
    """inputs - dense - dense, with dropouts of the given keep_prob after 0: the input, 1: the first, 2: the last."""
    dropouts = (*dropouts, (), (), ())
    layers = [
        *(Dropout(keep_prob=keep) for keep in dropouts[0]),
        Dense(5, activation=activation),
        *(Dropout(keep_prob=keep) for keep in dropouts[1]),
        Dense(N_OUT),
        *(Dropout(keep_prob=keep) for keep in dropouts[2]),
    ]
    return [layer.named(str(i)) for i, layer in enumerate(layers)]


class Machine:
    """Layers lowered, with parameters and a reference engine."""

    def __init__(self, layers, loss=None, rule=None, *, batch_size=8, dtype="float64", dropout=False, transform=None):
        shapes, width = {}, N_IN
        for layer in layers:
            if isinstance(layer, Dense):
                shapes[f"{layer.name}.weight"], shapes[f"{layer.name}.bias"] = (width, layer.units), (layer.units,)
                width = layer.units
        self.params = {name: padded(shape, dtype) for name, shape in shapes.items()}
        for seed, w in enumerate(self.params.values()):
            w[...] = 0.7 * normal(seed + 10, *w.shape)
        rules = dict.fromkeys(shapes, rule) if isinstance(rule, Rule) else rule
        self.state = {name: tuple(padded(shapes[name], dtype) for _ in r.slots) for name, r in (rules or {}).items()}
        self.program = lower(
            Network(layers, chain(len(layers)), ((N_IN,),)),
            losses={"output": Head(loss)} if loss else None,
            rules=rules,
            dropout=dropout,
            transforms={"output": transform} if transform else None,
        )
        self.engine = make_engine("reference", self.program, self.params, self.state, batch_size, dtype)
        self.batch_size = batch_size

    def feed(self, X, y=None, **options):
        batches = -(-len(X) // self.batch_size)
        return Feed(X, self.batch_size, y, **{"rates": np.full(batches, 0.1), **options})

    def run(self, X, y=None, **options):
        feed, tally = self.feed(X, y, **options), Tally()
        assert self.engine.run(feed, tally, 0, feed.batches) == feed.batches
        return tally

    def copy_of_params(self):
        return {name: np.array(w) for name, w in self.params.items()}


def torch_forward(torch, params, x, activation, masks=(1, 1, 1)):
    """The net with the multipliers of its dropouts given."""
    act = {"tanh": torch.tanh, "relu": torch.relu, "gelu": torch.nn.functional.gelu}[activation]
    first, last = sorted({name.split(".")[0] for name in params})
    h = act(x * masks[0] @ params[f"{first}.weight"] + params[f"{first}.bias"]) * masks[1]
    return (h @ params[f"{last}.weight"] + params[f"{last}.bias"]) * masks[2]


def torch_loss(torch, loss, z, y, w):
    F = torch.nn.functional
    if loss == "softmax_cross_entropy":
        rows = F.cross_entropy(z, y, reduction="none")
    elif loss == "sigmoid_cross_entropy":
        rows = F.binary_cross_entropy_with_logits(z, y, reduction="none").mean(1)
    else:
        rows = F.mse_loss(z, y, reduction="none").mean(1)
    return (w * rows).sum()


TRAINING = {
    "sgd": (Rule("sgd", Penalty(l2=0.05)), lambda o, p: o.SGD(p, lr=0.1, weight_decay=0.05)),
    "nesterov": (Rule("nesterov", momentum=0.9), lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True)),
    "momentum": (
        Rule("momentum", momentum=0.9, lr_scale=0.5),
        lambda o, p: o.SGD(p, lr=0.05, momentum=0.9),
    ),
    "adamw": (
        Rule("adam", beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.01),
        lambda o, p: o.AdamW(p, lr=0.1, betas=(0.9, 0.99), weight_decay=0.01),
    ),
}


@pytest.mark.parametrize("rule", TRAINING)
@pytest.mark.parametrize("loss", HEADS)
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_three_epochs_follow_torch(activation, loss, rule):
    """Shuffled and weighted, with dropout everywhere and a smaller last batch."""
    torch = pytest.importorskip("torch")
    rule, optimizer = TRAINING[rule]
    machine = Machine(net(activation, [0.8], [0.6], [0.9]), loss, rule, dropout=True)
    X, y = data(loss)
    weight = np.random.default_rng(3).random(len(X))
    params = {name: torch.tensor(np.array(w), requires_grad=True) for name, w in machine.params.items()}
    optimizer = optimizer(torch.optim, list(params.values()))
    tally = Tally()
    total = 0.0

    def key(epoch, batch, layer):
        return R.Key(5, 100 + 3 * epoch + batch, stream(PURPOSE_DROPOUT, layer))

    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(len(X))
        feed = machine.feed(X, y, weights=weight, order=order, seed=5, step=100 + 3 * epoch)
        assert machine.engine.run(feed, tally, 0, 3) == 3
        for batch in range(3):
            rows = order[8 * batch : 8 * batch + 8]
            masks = [
                torch.tensor(R.mask(keep, key(epoch, batch, i), len(rows), n) / (round(keep * 65536) / 65536))
                for keep, i, n in [(0.8, 0, N_IN), (0.6, 2, 5), (0.9, 4, N_OUT)]
            ]
            z = torch_forward(torch, params, torch.tensor(X[rows]), activation, masks)
            w = torch.tensor(weight[rows])
            value = torch_loss(torch, loss, z, torch.tensor(y[rows]), w)
            total += value.item()
            optimizer.zero_grad()
            (value / w.sum()).backward()
            optimizer.step()
    for name, w in machine.params.items():
        np.testing.assert_allclose(w, params[name].detach().numpy(), rtol=1e-9, atol=1e-11)
    assert tally.loss == pytest.approx(total, rel=1e-11)
    assert tally.weight == pytest.approx(3 * weight.sum(), rel=1e-13)
    assert tally.batches == tally.updates == 9


@pytest.mark.parametrize("dropouts", [((), (), ()), ((0.7, 0.8), (0.5, 0.9), (0.8, 0.9)), ((0.0,), (), (0.5,))])
@pytest.mark.parametrize("activation", R.ACTIVATIONS)
@pytest.mark.parametrize("loss", HEADS)
def test_gradients_are_differences_of_the_objective(loss, activation, dropouts):
    """Penalties included; two dropouts in a row make elementwise ops."""
    rule = Rule("gradient", Penalty(0.02, 0.3, l2_per_row=True, proximal=False))
    machine = Machine(net(activation, *dropouts), loss, rule, batch_size=9, dropout=True)
    assert any(isinstance(op, Elementwise) for op in machine.program.ops) == (len(dropouts[0]) == 2)
    X, y = data(loss, rows=9)
    weight = np.random.default_rng(3).random(9)
    before = machine.copy_of_params()

    def objective():
        tally = machine.run(X, y, weights=weight, seed=3, step=4)
        return tally.loss / tally.weight + tally.penalty

    objective()
    gradients = {name: machine.engine.gradients[name].copy() for name in machine.params}
    for name, w in machine.params.items():
        np.testing.assert_array_equal(w, before[name])
        expected = np.empty(w.shape)
        for i in np.ndindex(w.shape):
            w[i] = before[name][i] + 1e-5
            above = objective()
            w[i] = before[name][i] - 1e-5
            expected[i] = (above - objective()) / 2e-5
            w[i] = before[name][i]
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-6, atol=1e-9)


def test_the_penalty_is_the_value_before_every_update():
    rules = {"0.weight": Rule(penalty=Penalty(0.25, 0.5)), "1.weight": Rule(penalty=Penalty(3.0, l1_per_row=True))}
    machine = Machine(net(), "mse", {"0.bias": Rule(), "1.bias": Rule(), **rules}, batch_size=20)
    w0, w1 = machine.params["0.weight"].copy(), machine.params["1.weight"].copy()
    X, y = data("mse", rows=20)
    expected = 0.25 * (w0**2).sum() + 0.25 * abs(w0).sum() + 3 / 20 * abs(w1).sum()
    assert machine.run(X, y).penalty == pytest.approx(expected, rel=1e-13)


def test_full_batches_without_dropout_fall_at_every_step():
    machine = Machine(net(), "mse", Rule(penalty=Penalty(l2=0.01)), batch_size=23)
    X, y = data("mse")
    values = []
    for _ in range(50):
        tally = machine.run(X, y, rates=np.array([0.05]))
        values.append(tally.loss / tally.weight + tally.penalty)
    assert (np.diff(values) < 0).all()


# --- gather --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gather_reads_any_dtype_shape_and_strides(dtype, tmp_path):
    pictures = np.random.default_rng(0).integers(256, size=(9, 2, 3), dtype=np.uint8)
    on_disk = np.memmap(tmp_path / "x", np.uint8, "w+", shape=pictures.shape)
    on_disk[...] = pictures
    flat = pictures.reshape(9, N_IN).astype(dtype)
    expected = None
    order = np.array([4, 0, 8, 8, 1, 2, 3, 5, 6])
    for X in [
        flat,
        flat.astype(np.float64),
        pictures,
        on_disk,
        np.asfortranarray(pictures),
        np.repeat(flat, 2, axis=0)[::2],
        np.repeat(flat, 2, axis=1)[:, ::2],
        flat.astype(">i4"),
    ]:
        machine = Machine(net(), transform="linear", dtype=dtype, batch_size=4)
        out = np.empty((9, N_OUT), dtype)
        machine.run(X, order=order, out=out)
        np.testing.assert_array_equal(machine.engine.buffers["inputs"][0], flat[6])  # the one row of the last batch
        expected = out if expected is None else expected
        np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(out[2], out[3])


def test_a_bad_row_stops_the_run_before_its_step():
    machine = Machine(net(), "mse", Rule(), batch_size=8)
    X, y = data("mse")
    order = np.arange(23)[::-1].copy()
    X[10, 3], X[9, 0], y[11, 1] = np.nan, np.inf, -np.inf  # positions 12, 13 and 11, in the second batch
    after_one = Machine(net(), "mse", Rule(), batch_size=8)
    feed = after_one.feed(X, y, order=order)
    after_one.engine.run(feed, Tally(), 0, 1)
    tally = Tally()
    assert machine.engine.run(feed, tally, 0, 3) == 1
    assert tally.bad_row == 11 and tally.batches == 1 and not tally.diverged
    for name, w in machine.params.items():
        np.testing.assert_array_equal(w, after_one.params[name])


def test_what_overflows_in_the_conversion_is_a_bad_row():
    machine = Machine(net(), transform="linear", dtype="float32")
    X = np.zeros((3, N_IN))
    X[2, 0] = 1e300
    tally = Tally()
    machine.engine.run(machine.feed(X, out=np.empty((3, N_OUT), np.float32)), tally, 0, 1)
    assert tally.bad_row == 2


# --- the run -------------------------------------------------------------------------------------------------------


def test_a_batch_of_zero_weight_takes_no_step():
    X, y = data("mse", rows=24)
    weight = np.repeat([1.0, 0.0, 2.0], 8)
    rule = Rule("adam", Penalty(l2=0.1), beta1=0.9, beta2=0.99, eps=1e-8)
    machine, other = Machine(net(), "mse", rule), Machine(net(), "mse", rule)
    tally = machine.run(X, y, weights=weight)
    kept = weight > 0
    same = other.run(X[kept], y[kept], weights=weight[kept])
    assert (tally.batches, tally.updates, tally.weight) == (2, 2, 24)
    assert (tally.loss, tally.penalty) == (same.loss, same.penalty)
    for name, w in machine.params.items():
        np.testing.assert_array_equal(w, other.params[name])


def test_a_loss_that_is_not_finite_stops_the_run():
    machine = Machine(net("linear"), "mse", Rule(), dtype="float32")
    X, y = data("mse")
    feed, tally = machine.feed(X, y, rates=np.array([0.1, 1e30, 0.1])), Tally()
    assert machine.engine.run(feed, tally, 0, 3) == 2
    assert tally.diverged and tally.bad_row == -1 and tally.batches == 2


def test_time_ends_a_run_after_the_batch_at_hand():
    machine = Machine(net(), "mse", Rule())
    X, y = data("mse")
    feed, tally = machine.feed(X, y), Tally()
    assert machine.engine.run(feed, tally, 1, 3, seconds=1e-9) == 2
    assert machine.engine.run(feed, tally, 2, 3, seconds=3600.0) == 3
    assert tally.batches == 2


def test_masks_belong_to_the_global_step():
    """Slices, and other batch counts, draw the same masks. Only 32 bits of the step matter."""
    X, y = data("mse", rows=24)
    whole, sliced = (Machine(net("relu", [0.8], [0.5]), "mse", Rule(), dropout=True) for _ in range(2))
    whole.run(X, y, seed=2**40 + 1, step=2**32 - 1)
    for batch in range(3):
        part = slice(8 * batch, 8 * batch + 8)
        sliced.run(X[part], y[part], seed=2**40 + 1, step=(2**32 - 1 + batch) % 2**32)
    for name, w in whole.params.items():
        np.testing.assert_array_equal(w, sliced.params[name])


def test_ops_one_by_one_are_a_run():
    X, y = data("softmax_cross_entropy", rows=8)
    rule = Rule("adam", Penalty(0.01), beta1=0.9, beta2=0.99, eps=1e-8)
    whole, single = (Machine(net("gelu", [0.8], [0.5]), "softmax_cross_entropy", rule, dropout=True) for _ in range(2))
    whole.run(X, y, seed=1)
    for index in range(len(single.program.ops)):
        single.engine.run_op(single.feed(X, y, seed=1), 0, index)
    for name, w in whole.params.items():
        np.testing.assert_array_equal(w, single.params[name])


def test_proximal_l1_leaves_exact_zeros():
    rules = {name: Rule(penalty=Penalty(0.5 if "weight" in name else 0.0)) for name in Machine(net()).params}
    machine = Machine(net(), "mse", rules)
    for _ in range(20):
        machine.run(*data("mse"))
    assert (machine.params["0.weight"] == 0).mean() > 0.5


# --- evaluation and prediction -------------------------------------------------------------------------------------


def logits_of(machine, X):
    p = machine.params
    return np.tanh(X @ p["0.weight"] + p["0.bias"]) @ p["1.weight"] + p["1.bias"]


@pytest.mark.parametrize("loss", HEADS)
def test_evaluation_counts_losses_and_hits(loss):
    machine = Machine(net("tanh"), loss)
    X, y = data(loss)
    before = machine.copy_of_params()
    weight = np.random.default_rng(3).random(len(X))
    tally = machine.run(X, y, weights=weight)
    z = logits_of(machine, X)
    if loss == "softmax_cross_entropy":
        rows = [math.log(sum(math.exp(v) for v in row)) - row[label] for row, label in zip(z, y, strict=True)]
        right = z.argmax(axis=1) == y
    elif loss == "sigmoid_cross_entropy":
        p = 1 / (1 + np.exp(-z))
        rows, right = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(axis=1), ((p > 0.5) == (y > 0.5)).mean(axis=1)
    else:
        rows, right = ((z - y) ** 2).mean(axis=1), np.zeros(len(X))
    assert tally.loss == pytest.approx(np.dot(weight, rows), rel=1e-12)
    assert tally.hits == pytest.approx(np.dot(weight, right), rel=1e-12)
    assert tally.weight == pytest.approx(weight.sum(), rel=1e-13)
    assert tally.penalty == 0 and tally.updates == 0
    for name, w in machine.params.items():
        np.testing.assert_array_equal(w, before[name])


@pytest.mark.parametrize("transform", HEADS.values())
def test_predictions_lie_at_their_positions(transform):
    machine = Machine(net("tanh", [0.5], [0.5]), transform=transform)  # dropout is off unless asked for
    machine.params = {
        f"{i}.{kind}": machine.params[f"{2 * i + 1}.{kind}"] for i in (0, 1) for kind in ("weight", "bias")
    }
    X, _ = data("mse")
    out = np.full((len(X), N_OUT), np.nan)
    machine.run(X, out=out)
    z = logits_of(machine, X)
    expected = {
        "linear": z,
        "sigmoid": 1 / (1 + np.exp(-z)),
        "softmax": np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
    }[transform]
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-15)


def test_a_dropout_rides_on_its_neighbour():
    machine = Machine(net("relu", [0.8], [0.5], [0.9]), "mse", Rule(), dropout=True)
    assert not any(isinstance(op, Elementwise) for op in machine.program.ops)
    assert [op.mask.keep_prob for op in machine.program.ops if isinstance(op, DenseOp)] == [0.5, 0.9]
