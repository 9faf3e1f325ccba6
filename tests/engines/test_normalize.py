"""The ops of normalization, in both engines: against PyTorch and by formulas, and against themselves for any number of
threads, any handing-out of tiles and any SIMD target with fused multiply-add."""

from dataclasses import replace

import numpy as np
import pytest

from fastreg.engines.base import Feed, Tally
from fastreg.engines.memory import padded
from fastreg.engines.native import NativeEngine
from fastreg.engines.reference import ReferenceEngine
from fastreg.machine import _core, threads
from fastreg.program import normalize as N
from fastreg.program.ops import Dense, Elementwise, Emit, Gather, Loss, Totals, Update, gradient
from fastreg.program.program import Program, with_waits
from fastreg.program.riders import Mask, Through
from fastreg.program.rules import Rule
from fastreg.reference.activations import ACTIVATIONS

ENGINES = {"native": NativeEngine, "reference": ReferenceEngine}
SEEN = {"float32": 2e-5, "float64": 1e-11}
EPS = 1e-3
STORED = Rule("gradient")
ADAM = Rule("adam", beta1=0.9, beta2=0.99, eps=1e-6)
# rows, pixels, channels: panels that are full, narrow, many; blocks of rows that are full and not
SHAPES = [(7, 1, 10), (130, 1, 65), (65, 9, 3), (70, 6, 20), (5, 4, 16), (33, 1, 1), (66, 70, 33), (2, 100, 32)]


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


class Case:
    """One normalization between the inputs, taken as the output of an activation, and a squared error.

    Its parameters are gamma, beta, mean and variance; its gradient is that of the values before that activation.
    """

    def __init__(self, shape, dtype, kind="batch", activation="linear", below="linear", **given):
        rows, pixels, channels = shape
        self.rows, self.channels, self.dtype, self.kind = rows, channels, dtype, kind
        width = pixels * channels
        rng = np.random.default_rng(sum(shape))
        z = rng.normal(size=(rows, width)) * 2 + 3 * rng.random(width)
        self.X = np.asarray(ACTIVATIONS[below].value(z), dtype)
        self.y = rng.normal(size=(rows, width)).astype(dtype)
        size = width if kind == "layer" else channels
        values = {"gamma": rng.normal(size=size), "beta": rng.normal(size=size)}
        values |= {"mean": rng.normal(size=size), "variance": rng.random(size) + 0.5}
        self.params = {name: self._array(value) for name, value in values.items()}
        self.state = {name: tuple(self._array(np.zeros(size)) for _ in range(2)) for name in ("gamma", "beta")}
        self.buffers = dict.fromkeys(("inputs", "y", "d:y", "d:inputs", "targets"), width)
        self.buffers |= {"row_loss": 1, "row_hit": 1, "moments": 3}
        if ACTIVATIONS[activation].needs_z:
            self.buffers["z"] = width
        self.program = self._program(width, activation, below, **given)

    def _array(self, values):
        array = padded(np.shape(values), self.dtype)
        array[...] = values
        return array

    def _program(self, width, activation, below, rule=STORED, mask=None, add=False, moves=True, two_passes=False):
        z = "z" if ACTIVATIONS[activation].needs_z else None
        table, moving = N.Table("table", width, self.channels), N.Moving("mean", "variance", 0.3, moves)
        stored = Rule("raw") if two_passes else rule
        trained = ("gamma", stored), ("beta", stored)
        through = Through("inputs", below)
        back = {"through": through, "add": add}
        how = {"activation": activation, "mask": mask, "z": z}
        if self.kind == "layer":
            forward = [N.LayerNorm("y", "inputs", "moments", "gamma", "beta", EPS, **how)]
            backward = [N.LayerNormDx("d:inputs", "d:y", "inputs", "moments", "gamma", **back)]
            backward.append(N.LayerNormDw("d:y", "inputs", "moments", *trained))
        elif self.channels == width:
            forward = [N.BatchNorm("y", "inputs", table, "gamma", "beta", moving, EPS, **how)]
            backward = [N.BatchNormDx("d:inputs", "d:y", "inputs", table, *trained, **back)]
        else:
            forward = [N.Moments(table, "inputs"), N.NormScale(table, "gamma", "beta", moving, EPS)]
            forward.append(N.Affine("y", "inputs", table, **how))
            backward = [N.NormSums(table, "d:y", "inputs"), N.ScaleDw(table, *trained)]
            backward.append(N.AffineDx("d:inputs", "d:y", "inputs", table, **back))
        first = [Elementwise("d:inputs", "d:y", through=through)] if add else []
        updates = [Update("beta", rule), Update("gamma", rule)] if two_passes else []
        loss = Loss("mse", "d:y", Through("y", activation, mask, z), "targets")
        gathers = [Gather("inputs", "inputs"), Gather("targets", "targets")]
        ops = [*gathers, *forward, loss, *first, *backward, *updates, Totals()]
        return Program(with_waits(ops, self.buffers), self.buffers)

    def run(self, engine, n_threads=None, scramble=0, steps=1):
        """The engine after some steps on the same batch, and the tally."""
        options = {"n_threads": n_threads, "scramble": scramble} if engine == "native" else {}
        made = ENGINES[engine](self.program, self.params, self.state, self.rows, self.dtype, **options)
        tally = Tally()
        for step in range(steps):
            feed = Feed(self.X, self.rows, targets=self.y, seed=3, step=step, rates=np.full(1, 0.05))
            assert made.run(feed, tally, 0, 1) == 1
        return made, tally

    def bits(self, **how):
        made, _ = self.run("native", **how)
        arrays = [*self.params.values(), *made.gradients.values(), made.buffers["d:inputs"], made.buffers["y"]]
        return b"".join(a.tobytes() for a in arrays)

    def by_torch(self, torch, activation, below, add):
        """Output, loss, gradients at x, gamma and beta, and the running moments."""
        x, y, gamma, beta, mean, variance = (
            torch.tensor(np.asarray(a, np.float64)) for a in (self.X, self.y, *self.params.values())
        )
        for leaf in (x, gamma, beta):
            leaf.requires_grad_()
        if self.kind == "layer":
            z = torch.nn.functional.layer_norm(x, x.shape[1:], gamma, beta, EPS)
        else:
            pixels = x.reshape(-1, self.channels)
            z = torch.nn.functional.batch_norm(pixels, mean, variance, gamma, beta, True, 0.3, EPS).reshape(x.shape)
        z.retain_grad()
        out = {"linear": lambda a: a, "relu": torch.relu, "gelu": torch.nn.functional.gelu}[activation](z)
        loss = ((out - y) ** 2).mean(1).mean()
        loss.backward()
        dx = x.grad + (z.grad if add else 0)
        dx = dx * (x > 0) if below == "relu" else dx
        found = {"y": out, "d:inputs": dx, gradient("gamma"): gamma.grad, gradient("beta"): beta.grad}
        found |= {} if self.kind == "layer" else {"mean": mean, "variance": variance}
        return loss.item(), {name: value.detach().numpy() for name, value in found.items()}


def assert_close(got, expected, limit, name):
    size = max(np.abs(expected).max(), 1e-30)
    assert np.abs(got - expected).max() <= limit * size, name


@pytest.mark.parametrize("kind", ["batch", "layer"])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(("activation", "below"), [("relu", "linear"), ("gelu", "relu"), ("linear", "relu")])
def test_against_torch(engine, dtype, shape, kind, activation, below, add):
    torch = pytest.importorskip("torch")
    if kind == "layer" and shape == (33, 1, 1):
        pytest.skip("one value is its own mean: y is beta, and nothing comes back")
    case = Case(shape, dtype, kind, activation, below, add=add)
    loss, expected = case.by_torch(torch, activation, below, add)
    made, tally = case.run(engine)
    gradients = {gradient(name): array for name, array in made.gradients.items()}
    got = {**made.buffers, **gradients, **case.params}
    assert tally.loss / tally.weight == pytest.approx(loss, rel=SEEN[dtype])
    for name, array in expected.items():
        assert_close(got[name], array, SEEN[dtype], name)


@pytest.mark.parametrize("kind", ["batch", "layer"])
@pytest.mark.parametrize(
    "mask",
    [None, Mask(0.7, 5), Mask(0.7, 5, "gaussian"), Mask(0.6, 5, group=2**32 - 1), Mask(0.6, 5, group=3)],
    ids=["none", "drop", "g", "unit", "rows"],
)
@pytest.mark.parametrize("activation", ["relu", "mish", "tanh"])
def test_native_against_the_reference(dtype, shape, kind, mask, activation, restore_target):
    """Ten steps of Adam, with dropout behind the activation."""
    reference = Case(shape, dtype, kind, activation, mask=mask, rule=ADAM)
    _, expected = reference.run("reference", steps=10)
    eps = float(np.finfo(dtype).eps)
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        case = Case(shape, dtype, kind, activation, mask=mask, rule=ADAM)
        _, tally = case.run("native", steps=10)
        assert tally.loss == pytest.approx(expected.loss, rel=2000 * eps)
        for name, array in reference.params.items():
            assert_close(case.params[name], array, 2e4 * eps, name)


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_same_bits_for_threads_tiles_and_targets(dtype, shape, kind, restore_target):
    def bits(**how):
        case = Case(shape, dtype, kind, "gelu", "relu", mask=Mask(0.7, 5), rule=ADAM, add=True)
        return case.bits(steps=3, **how)

    expected: dict[bool, bytes] = {}
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        for n_threads, scramble in ((1, 0), (2, 0), (3, 0), (7, 0), (3, 77), (7, 5)):
            found = bits(n_threads=n_threads, scramble=scramble)
            assert found == expected.setdefault(target != "generic", found), (target, n_threads)


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_the_second_pass_has_the_bits_of_the_fused_one(dtype, shape, kind):
    fused, second = (Case(shape, dtype, kind, rule=ADAM, two_passes=two) for two in (False, True))
    for case in (fused, second):
        case.run("native", steps=3)
    for name, array in fused.params.items():
        np.testing.assert_array_equal(second.params[name], array, err_msg=name)


def test_padding_stays_zero(shape, dtype):
    """What lies behind the last column of parameters and their state."""
    case = Case(shape, dtype, rule=ADAM)
    case.run("native", steps=3)
    for array in (*case.params.values(), *(slot for slots in case.state.values() for slot in slots)):
        whole = np.lib.stride_tricks.as_strided(array, (-(-len(array) // 16) * 16,), array.strides)
        assert not whole[len(array) :].any()


def test_moments_that_do_not_move(engine, shape, dtype):
    """A program that only wants gradients changes nothing, but uses the moments of the batch."""
    moving, still = Case(shape, dtype), Case(shape, dtype, moves=False)
    before = {name: array.copy() for name, array in still.params.items()}
    (a, _), (b, _) = moving.run(engine), still.run(engine)
    np.testing.assert_array_equal(a.buffers["y"], b.buffers["y"])
    for name, array in before.items():
        np.testing.assert_array_equal(still.params[name], array)
    assert not np.array_equal(moving.params["mean"], before["mean"])


@pytest.mark.parametrize("target", threads.simd()["available"])
def test_running_moments(engine, shape, dtype, target, restore_target):
    """Predictions by the running moments, against the formula, and with what comes before them, folded into a Dense."""
    threads.use_simd(target)
    case, (rows, pixels, channels) = Case(shape, dtype), shape
    table, moving = N.Table("table", pixels * channels, channels), N.Moving("mean", "variance")
    buffers = {"inputs": table.width, "y": table.width}
    gather = Gather("inputs", "inputs")
    scale = N.NormScale(table, "gamma", "beta", moving, EPS, running=True)
    ops = [scale, gather, N.Affine("y", "inputs", table, "tanh"), Emit("y", "linear")]
    g, b, m, v = (np.asarray(array, np.float64) for array in case.params.values())

    def expected(z):
        pixel = z.reshape(-1, channels)
        return np.tanh((pixel - m) / np.sqrt(v + EPS) * g + b).reshape(z.shape)

    def predicted(ops, buffers, X):
        out = np.empty((rows, table.width), dtype)
        program = Program(with_waits(ops, buffers), buffers)
        ENGINES[engine](program, case.params, {}, 3, dtype).run(Feed(X, 3, out=out), Tally(), 0, -(-rows // 3))
        return out

    assert_close(predicted(ops, buffers, case.X), expected(case.X.astype(np.float64)), SEEN[dtype], "affine")
    if pixels > 1:
        return
    rng = np.random.default_rng(0)
    X, W, bias = rng.normal(size=(rows, 5)).astype(dtype), rng.normal(size=(5, channels)), rng.normal(size=channels)
    case.params |= {"weight": case._array(W), "bias": case._array(bias)}
    for own in ("bias", None):
        ops = [
            replace(scale, folded=True, bias=own),
            gather,
            Dense("y", "inputs", "weight", None, "tanh", folded="table"),
        ]
        got = predicted([*ops, Emit("y", "linear")], buffers | {"inputs": 5}, X)
        assert_close(got, expected(X.astype(np.float64) @ W + (bias if own else 0)), SEEN[dtype], "folded")


def test_a_frozen_norm_lets_gradients_through(engine, shape, dtype):
    """With constant moments z is affine in x."""
    case, (rows, pixels, channels) = Case(shape, dtype), shape
    table, moving = N.Table("table", pixels * channels, channels), N.Moving("mean", "variance")
    ops = [
        N.NormScale(table, "gamma", "beta", moving, EPS, running=True),
        *(Gather("inputs", "inputs"), Gather("targets", "targets"), N.Affine("y", "inputs", table)),
        Loss("mse", "d:y", Through("y"), "targets", by_row=True),
        *(N.AffineDx("d:inputs", "d:y", "inputs", table, Through("inputs"), running=True), Totals()),
    ]
    program = Program(with_waits(ops, case.buffers), case.buffers)
    made = ENGINES[engine](program, case.params, {}, rows, dtype)
    made.run(Feed(case.X, rows, targets=case.y), Tally(), 0, 1)
    slope = np.asarray(case.params["gamma"] / np.sqrt(case.params["variance"] + EPS))
    assert_close(made.buffers["d:inputs"], made.buffers["d:y"] * np.tile(slope, pixels), SEEN[dtype], "d:inputs")


def test_the_moments_of_far_values_are_exact(engine):
    """A mean far from zero takes nothing from the variance, in float32 neither."""
    case = Case((64, 25, 20), "float32")
    offsets = np.tile(np.linspace(500, 2000, 20), 25)
    exact = np.random.default_rng(5).normal(size=case.X.shape) + offsets
    case.X = exact.astype("float32")
    case.run(engine)
    pixels = case.X.astype(np.float64).reshape(-1, 20)
    before = Case((64, 25, 20), "float32").params["variance"]
    np.testing.assert_allclose(case.params["variance"], 0.7 * before + 0.3 * pixels.var(axis=0, ddof=1), rtol=1e-5)


def test_tables_have_the_rows_of_c():
    assert _core.TABLE_ROWS == N.ROWS
    assert _core.LANES == N.LANES
