"""The ops on images, one by one: against PyTorch, for both engines, all threads and targets."""

import numpy as np
import pytest
from pytorch import F, torch

from fastreg.engines.base import Feed
from fastreg.engines.memory import padded
from fastreg.engines.native import NativeEngine
from fastreg.engines.reference import ReferenceEngine
from fastreg.machine import _core, threads
from fastreg.program.images import Conv, ConvDw, ConvDx, Flip, Pool, PoolDx, flipped, window
from fastreg.program.program import Program, with_waits
from fastreg.program.riders import Mask, Noise, Penalty, Through
from fastreg.program.rules import Rule

# image, size, strides, padding, units
WINDOWS = {
    "LeNet": ((12, 10, 32), (5, 5), (1, 1), "same", 64),
    "one channel": ((9, 11, 1), (5, 5), (1, 1), "same", 32),
    "valid": ((9, 8, 3), (3, 3), (1, 1), "valid", 20),
    "uneven border": ((7, 6, 5), (4, 2), (1, 1), "same", 7),
    "strides": ((11, 9, 4), (3, 3), (2, 2), "same", 16),
    "strides, valid, a rest": ((12, 9, 2), (3, 2), (2, 3), "valid", 65),
    "strides beyond the window": ((9, 10, 3), (2, 1), (3, 4), "valid", 33),
    "one pixel": ((5, 6, 24), (1, 1), (1, 1), "same", 48),
    "as large as the image": ((6, 5, 8), (6, 5), (1, 1), "valid", 10),
    "one unit": ((6, 5, 1), (3, 3), (1, 1), "same", 1),
    "many lines": ((40, 70, 16), (3, 3), (1, 1), "same", 8),
    "long sums": ((4, 4, 500), (3, 3), (1, 1), "same", 5),
}
M = 6
FEED = Feed(np.zeros((M, 1)), M, seed=5)
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


@pytest.fixture(params=WINDOWS)
def case(request):
    *geometry, units = WINDOWS[request.param]
    return window(*geometry), geometry[-1], units


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


def run(kind, ops, buffers, params, dtype, state=None, **options):
    """An engine on which the ops have run. Buffers hold the given arrays; a number is the width of an empty one."""
    widths = {name: b if isinstance(b, int) else b.shape[1] for name, b in buffers.items()}
    own = {name: padded(p.shape, dtype) for name, p in params.items()}
    for name, p in params.items():
        own[name][...] = p
    state = {name: tuple(padded(own[name].shape, dtype) for _ in slots) for name, slots in (state or {}).items()}
    engine = kind(Program(with_waits(ops, widths), widths), own, state, M, dtype, **options)
    for name, values in buffers.items():
        if not isinstance(values, int):
            engine.buffers[name][...] = values
    for index in range(len(ops)):
        engine.run_op(FEED, 0, index)
    return engine


def as_images(x, w):
    return torch.tensor(x.reshape(M, *w.image)).permute(0, 3, 1, 2)


def as_rows(x):
    return x.permute(0, 2, 3, 1).reshape(M, -1).detach().numpy()


def as_kernel(weight, w):
    return torch.tensor(weight.reshape(*w.size, w.image[2], -1)).permute(3, 2, 0, 1)


def bordered(x, w, value=0.0):
    """The images with the border that the windows ask for."""
    (top, left), sides = w.before, []
    for side, n, step, k, first in zip(w.image, w.places, w.strides, w.size, w.before, strict=False):
        sides.append(max(0, (n - 1) * step + k - side - first))
    return F.pad(x, (left, sides[1], top, sides[0]), value=value)


def convolve(x, weight, bias, w):
    y = F.conv2d(bordered(x, w), weight, bias, stride=w.strides)
    return y[:, :, : w.places[0], : w.places[1]]


def draws(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def weights(w, units):
    return draws(w.values, units, seed=1) / np.sqrt(w.values)


def assert_near(got, expected, dtype, scale=1.0):
    assert np.abs(got - expected).max() <= scale * TOLERANCE[dtype] * np.abs(expected).max()


ENGINES = pytest.mark.parametrize("kind", [NativeEngine, ReferenceEngine])


@ENGINES
def test_forward(case, kind, dtype):
    w, _, units = case
    x, weight, bias = draws(M, np.prod(w.image)), weights(w, units), draws(units, seed=2)
    params = {"w": weight, "b": bias}
    buffers = {"x": x, "y": w.count * units, "z": w.count * units}
    for activation in ("linear", "tanh"):
        op = Conv("y", "x", "w", "b", activation, z="z", window=w)
        engine = run(kind, [op], buffers, params, dtype)
        z = as_rows(convolve(as_images(x, w), as_kernel(weight, w), torch.tensor(bias), w))
        assert_near(engine.buffers["z"], z, dtype)
        assert_near(engine.buffers["y"], np.tanh(z) if activation == "tanh" else z, dtype)


@ENGINES
def test_backward(case, kind, dtype):
    """Both gradients, by autograd; that of x goes through what made it, and is added to what was there."""
    w, _, units = case
    a, weight, dz = draws(M, np.prod(w.image)), weights(w, units), draws(M, w.count * units, seed=3)
    x, before = np.tanh(a), draws(*a.shape, seed=4)
    ta, tw = as_images(a, w).requires_grad_(), as_kernel(weight, w).requires_grad_()
    tb = torch.zeros(units, dtype=tw.dtype, requires_grad=True)
    y = convolve(torch.tanh(ta), tw, tb, w)
    y.backward(torch.tensor(dz.reshape(M, *w.places, units)).permute(0, 3, 1, 2))
    rule = Rule("gradient")
    for add in (False, True):
        ops = [
            Flip(flipped("w"), "w", w),
            ConvDx("dx", "dz", flipped("w"), Through("x", "tanh"), add, window=w),
            ConvDw("w", "b", "x", "dz", rule, rule, window=w),
        ]
        engine = run(kind, ops, {"x": x, "dz": dz, "dx": before}, {"w": weight, "b": np.zeros(units)}, dtype)
        assert_near(engine.buffers["dx"], as_rows(ta.grad) + (before if add else 0), dtype)
        assert_near(engine.gradients["w"], tw.grad.permute(2, 3, 1, 0).reshape(weight.shape).numpy(), dtype)
        assert_near(engine.gradients["b"], tb.grad.numpy(), dtype, 5)


POOLS = {
    "usual": ((8, 6, 32), (2, 2), (2, 2), "valid"),
    "a rest": ((9, 7, 5), (2, 2), (2, 2), "valid"),
    "overlap": ((9, 7, 20), (3, 3), (2, 2), "same"),
    "uneven border": ((6, 7, 1), (4, 2), (3, 1), "same"),
    "gaps": ((10, 7, 9), (2, 1), (3, 4), "valid"),
    "all": ((5, 4, 17), (5, 4), (5, 4), "valid"),
}


def pooled(x, w, kind):
    if kind == "maximum":
        return F.max_pool2d(bordered(x, w, -np.inf), w.size, w.strides)
    ones = torch.ones_like(x)
    sums, counts = (F.avg_pool2d(bordered(v, w), w.size, w.strides, divisor_override=1) for v in (x, ones))
    return sums / counts


@ENGINES
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("how", ["maximum", "mean"])
def test_pools(pool, how, kind, dtype):
    """Many values are equal: the gradient goes to the first maximum, as in PyTorch."""
    w = window(*POOLS[pool])
    a = np.round(draws(M, np.prod(w.image)), 1)
    dy, before = draws(M, w.count * w.image[2], seed=1), draws(*a.shape, seed=2)
    ta = as_images(a, w).requires_grad_()
    y = pooled(ta, w, how)[:, :, : w.places[0], : w.places[1]]
    y.backward(torch.tensor(dy.reshape(M, *w.places, -1)).permute(0, 3, 1, 2))
    ops = [Pool("y", "x", w, how), PoolDx("dx", "dy", "x", w, how, Through("x", "relu"), add=True)]
    engine = run(kind, ops, {"x": a, "y": dy.shape[1], "dy": dy, "dx": before}, {}, dtype)
    assert_near(engine.buffers["y"], as_rows(y), dtype)
    assert_near(engine.buffers["dx"], before + as_rows(ta.grad) * (a > 0), dtype)


def test_riders(case, dtype):
    """Masks, noise and sums of an activity penalty are those of the reference, also where bands are short."""
    w, _, units = case
    x, weight, bias = draws(M, np.prod(w.image)), weights(w, units), draws(units, seed=2)
    width = w.count * units
    buffers = {"x": x, "y": width, "p": w.count * w.image[2], "sums": -(-width // _core.PANEL)}
    ops = [
        Conv("y", "x", "w", "b", "relu", Mask(0.7, 9), noise=Noise(0.3, 11), activity="sums", window=w),
        Pool("p", "x", w, "maximum", Mask(0.6, 12)),
    ]
    params = {"w": weight, "b": bias}
    reference = run(ReferenceEngine, ops, buffers, params, dtype)
    for count in (1, 3):
        native = run(NativeEngine, ops, buffers, params, dtype, n_threads=count)
        for name in ("y", "p", "sums"):
            assert ((native.buffers[name] == 0) == (reference.buffers[name] == 0)).all()
            assert_near(native.buffers[name], reference.buffers[name], dtype)


RULES = {
    "sgd": Rule("sgd"),
    "adam": Rule("adam", beta1=0.9, beta2=0.999, eps=1e-8),
    "penalties, a limit": Rule("nesterov", Penalty(1e-3, 1e-2), momentum=0.9, max_norm=0.5),
    "raw": Rule("raw"),
    "add": Rule("add"),
}


@pytest.mark.parametrize(("rule", "dtype"), [*((rule, "float32") for rule in RULES), ("adam", "float64")])
def test_the_same_bits_for_all_threads_and_targets(case, rule, dtype, monkeypatch, restore_target):
    w, _, units = case
    x, dz = np.tanh(draws(M, np.prod(w.image))), draws(M, w.count * units, seed=3)
    weight, bias, slots = weights(w, units), draws(units, seed=2), RULES[rule].slots
    ops = [
        Flip(flipped("w"), "w", w),
        Conv("y", "x", "w", "b", "relu", Mask(0.7, 9), window=w),
        ConvDx("dx", "dz", flipped("w"), Through("x", "tanh"), window=w),
        ConvDw("w", "b", "x", "dz", RULES[rule], Rule("sgd"), window=w),
    ]
    buffers = {"x": x, "dz": dz, "y": dz.shape[1], "dx": x.shape[1]}
    feed = Feed(FEED.inputs, M, seed=5, rates=np.array([0.1]))
    monkeypatch.setattr(f"{__name__}.FEED", feed)

    def bits(kind, **options):
        engine = run(kind, ops, buffers, {"w": weight, "b": bias}, dtype, {"w": slots, "b": ()}, **options)
        arrays = (engine.buffers["y"], engine.buffers["dx"], *engine.params.values(), *engine.gradients.values())
        return [np.ascontiguousarray(a).copy() for a in arrays]

    by_rounding, reference = {}, bits(ReferenceEngine)
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        expected = by_rounding.setdefault(target != "generic", bits(NativeEngine, n_threads=1))
        for got, right in zip(expected, reference, strict=True):
            assert_near(got, right, dtype, 5)
        for options in ({"n_threads": 2}, {"n_threads": 3}, {"n_threads": 7}, {"n_threads": 3, "scramble": 12345}):
            for got, right in zip(bits(NativeEngine, **options), expected, strict=True):
                assert got.tobytes() == right.tobytes(), (target, options)
