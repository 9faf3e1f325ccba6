"""The native kernels against the NumPy reference, on every SIMD target: masks to the bit, values within a tolerance
that follows the length of the sum."""

import inspect
import pickle

import numpy as np
import pytest

from fastreg import kernels, reference
from fastreg.machine import threads
from fastreg.reference import Key

TARGETS = threads.simd()["available"]
# one, primes, one below and above the register tile (6), a vector (16), a panel (64), a row group (48)
SHAPES = [(1, 1, 1), (2, 3, 5), (5, 7, 15), (7, 13, 17), (6, 47, 63), (13, 49, 65), (64, 31, 128), (97, 200, 10)]
ACTIVATIONS = list(reference.ACTIVATIONS)


@pytest.fixture(params=TARGETS)
def target(request):
    before = threads.simd()["current"]
    threads.use_simd(request.param)
    yield request.param
    threads.use_simd(before)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return np.dtype(request.param)


def close(got, expected, terms, dtype, size=1e-30):
    """Rounding errors of a sum grow like the square root of its length, at worst like the length.

    `size` is the size of the terms, if their difference is smaller (1 - a * a of a saturated tanh).
    """
    assert got.dtype == expected.dtype == dtype
    scale = max(np.abs(expected).max(initial=0.0), size)
    limit = 8 * np.finfo(dtype).eps * (4 + np.sqrt(terms)) * scale
    np.testing.assert_allclose(got, expected, rtol=0, atol=limit)


def draw(rng, shape, dtype):
    return rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense(target, dtype, shape, activation):
    M, K, N = shape
    rng = np.random.default_rng(M + K + N)
    x, w, b = draw(rng, (M, K), dtype), draw(rng, (K, N), dtype) / np.sqrt(K).astype(dtype), draw(rng, N, dtype)
    for keep_prob in (1.0, 0.6, 0.0):
        given = {"activation": activation, "keep_prob": keep_prob, "key": Key(11, 5, 3)}
        got, expected = kernels.dense(x, w, b, **given), reference.dense(x, w, b, **given)
        close(got, expected.astype(dtype), K, dtype)
        if keep_prob == 0.6 and activation in ("linear", "tanh", "sigmoid", "leaky_relu"):
            kept = reference.mask(keep_prob, given["key"], M, N)
            np.testing.assert_array_equal(got != 0, kept)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_backward(target, dtype, shape, activation):
    M, K, N = shape
    rng = np.random.default_rng(M + K + N)
    x, w, dy = draw(rng, (M, K), dtype), draw(rng, (K, N), dtype), draw(rng, (M, N), dtype)
    z = (x @ w).astype(dtype)
    for keep_prob in (1.0, 0.6, 0.0):
        given = {"activation": activation, "keep_prob": keep_prob, "key": Key(2**40 + 1, 5, 3)}
        y = reference.dense(x, w, **given).astype(dtype)
        got = kernels.dense_backward(dy, x, w, y, z=z, **given)
        expected = reference.dense_backward(dy, x, w, y, z=z, **given)
        sizes = abs(dy).max() * np.array([abs(w).max(), abs(x).max(), 1.0])
        for g, e, terms, size in zip(got, expected, (N, M, M), sizes, strict=True):
            close(g, e.astype(dtype), terms, dtype, size)


# Errors in ulp that csrc/kernels/vmath.h states, without a true fused multiply-add a few tenths more.
LIMITS = {"silu": 2.97, "elu": 0.94, "selu": 1.86, "softplus": 1.71, "mish": 4.06, "hard_swish": 1.87}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.slow
def test_activations_in_ulp_of_torch(target, dtype, name):
    """Against the value of PyTorch in float64. float64 itself agrees to 1e-12."""
    torch = pytest.importorskip("torch")
    functions = torch.nn.functional
    theirs = getattr(functions, name.replace("_", ""))
    z = np.concatenate([np.linspace(-110, 110, 20001), np.linspace(-6, 6, 20001)]).astype(dtype).reshape(-1, 2)
    exact = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    options = {"threshold": 800} if name == "softplus" else {}
    y = theirs(exact, **options)
    y.sum().backward()
    got = kernels.dense(z, np.eye(2, dtype=dtype), activation=name)
    expected, slopes = y.detach().numpy(), exact.grad.numpy()
    tiny = np.finfo(dtype).smallest_normal
    expected = np.where(np.abs(expected) < tiny, 0, expected)
    if dtype == np.float32:
        ulp = np.spacing(np.maximum(np.abs(expected), tiny).astype(dtype)).astype(np.float64)
        assert (np.abs(got.astype(np.float64) - expected) / ulp).max() < LIMITS[name] + (
            0.3 if target == "generic" else 0
        )
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0)
    dz = kernels.dense_backward(np.ones_like(z), z, np.eye(2, dtype=dtype), got, activation=name, z=z)[0]
    np.testing.assert_allclose(dz, slopes, rtol=0, atol=2e-7 if dtype == np.float32 else 1e-12)


def test_long_sums(target, dtype):
    """More terms than one chain of fused multiply-adds has."""
    rng = np.random.default_rng(0)
    x, w = draw(rng, (3, 9001), dtype), draw(rng, (9001, 5), dtype)
    exact = (x.astype(np.longdouble) @ w.astype(np.longdouble)).astype(dtype)
    close(kernels.dense(x, w), exact, 9001, dtype)
    _, dw, _ = kernels.dense_backward(draw(rng, (3, 5), dtype), x, w, exact)
    assert dw.shape == w.shape


@pytest.mark.parametrize("shape", [(1,), (17,), (100_003,), (3, 5), (4, 64), (7, 129), (2, 3, 33), (0, 4)])
def test_dropout_masks_to_the_bit(target, dtype, shape):
    x = np.random.default_rng(1).normal(size=shape).astype(dtype)
    for keep_prob in (0.0, 0.1, 0.5, 0.75, 1.0, 1e-6):
        key = Key(2**63 + 5, 2**32 - 1, 7)
        got = kernels.dropout(x, keep_prob, key)
        np.testing.assert_array_equal(got, reference.dropout(x, keep_prob, key).astype(dtype))
        np.testing.assert_array_equal(kernels.dropout_backward(x, keep_prob, key), got)


def test_mean_and_variance_of_dropout(target):
    """E[a] is unchanged, Var = (1 - p) / p for ones: a million draws, four standard errors."""
    n, keep = 1_000_000, 0.8
    y = kernels.dropout(np.ones(n), keep, 3)
    assert abs(y.mean() - 1) < 4 * np.sqrt((1 - keep) / keep / n)
    assert abs((y != 0).mean() - keep) < 4 * np.sqrt(keep * (1 - keep) / n)


@pytest.mark.parametrize("columns", [1, 2, 10, 15, 16, 17, 100])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses(target, dtype, columns, weighted):
    rng = np.random.default_rng(columns)
    rows = 131
    z = draw(rng, (rows, columns), dtype) * 5
    weight = rng.integers(0, 3, rows) if weighted else None
    labels = rng.integers(0, columns, rows)
    targets = (rng.random((rows, columns)) > 0.5).astype(dtype)
    for name, t in (("softmax_cross_entropy", labels), ("sigmoid_cross_entropy", targets), ("mse", targets)):
        loss, gradient = getattr(kernels, name)(z, t, weight)
        expected_loss, expected = getattr(reference, name)(z, t, weight)
        assert loss == pytest.approx(expected_loss, rel=40 * float(np.finfo(dtype).eps))
        close(gradient, expected.astype(dtype), columns, dtype)


def test_losses_of_extreme_logits(target, dtype):
    z = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]], dtype)
    loss, gradient = kernels.softmax_cross_entropy(z, np.array([0, 0]))
    assert loss == 1000.0  # (0 + 2000) / 2
    np.testing.assert_array_equal(gradient, np.array([[0, 0], [-0.5, 0.5]], dtype))
    loss, _ = kernels.sigmoid_cross_entropy(z, np.array([[1.0, 0.0], [1.0, 0.0]], dtype))
    assert loss == 500.0


@pytest.mark.parametrize("shape", [(1,), (16,), (1000,), (5, 7), (33, 64), (50, 3, 4)])
@pytest.mark.parametrize("proximal", [True, False])
def test_updates(target, dtype, shape, proximal):
    rng = np.random.default_rng(3)
    w, g, m, v = draw(rng, (4, *shape), dtype)
    v = abs(v)
    common = {"l1": 0.3, "l2": 0.1, "weight_decay": 0.05, "proximal": proximal}

    def compare(name, arrays, **given):
        ours, theirs = [a.copy() for a in arrays], [a.copy() for a in arrays]
        for module, (*first, last) in ((kernels, ours), (reference, theirs)):
            if name == "rmsprop_update" and "momentum" in given:  # m comes behind the numbers
                module.rmsprop_update(*first, m=last, **given, **common)
            else:
                getattr(module, name)(*first, last, **given, **common)
        for a, e in zip(ours, theirs, strict=True):
            close(a, e, 100, dtype)
        return ours[0]

    new = compare("sgd_update", (w, g), lr=0.1)
    assert (new == 0).any() or not proximal or new.size < 100
    compare("momentum_update", (w, g, m), lr=0.1)
    compare("momentum_update", (w, g, m), lr=0.1, nesterov=True)
    compare("adam_update", (w, g, m, v), lr=0.1, step=3)
    new = compare("rmsprop_update", (w, g, v), lr=0.1, alpha=0.9, eps=1e-3)
    assert (new == 0).any() or not proximal or new.size < 100
    compare("rmsprop_update", (w, g, v, m), lr=0.1, alpha=0.9, eps=1e-3, momentum=0.8)


def test_arrays_of_all_kinds(target, dtype):
    """Strided, reversed, Fortran, read-only and unaligned inputs work, and do not change."""
    rng = np.random.default_rng(4)
    x, w = draw(rng, (9, 32), dtype), draw(rng, (32, 48), dtype)
    expected = kernels.dense(x, w)
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(dtype).reshape(x.shape)
    frozen = x.copy()
    frozen.flags.writeable = False
    wide = np.zeros((18, 64), dtype)
    wide[::2, ::2] = x
    for same in (np.asfortranarray(x), x[::-1][::-1], wide[::2, ::2], frozen, unaligned):
        np.testing.assert_array_equal(kernels.dense(same, w), expected)
    np.testing.assert_array_equal(wide[::2, ::2], x)
    out = np.full((9, 48), 7, dtype)
    assert kernels.dense(x, w, out=out) is out
    np.testing.assert_array_equal(out, expected)
    strided = np.full((9, 96), 7, dtype)
    kernels.dense(x, w, out=strided[:, ::2])
    np.testing.assert_array_equal(strided[:, ::2], expected)
    assert (strided[:, 1::2] == 7).all()


def test_out_may_be_an_input(dtype):
    rng = np.random.default_rng(9)
    x, w = draw(rng, (64, 64), dtype), draw(rng, (64, 64), dtype)
    expected = kernels.dense(x, w)
    for which in (0, 1):
        given = [x.copy(), w.copy()]
        np.testing.assert_array_equal(kernels.dense(*given, out=given[which]), expected)
    long = draw(rng, 160, dtype)
    expected = kernels.dropout(long[:64], 0.5, 1)
    np.testing.assert_array_equal(kernels.dropout(long[:64], 0.5, 1, out=long[16:80]), expected)
    same = x.copy()
    np.testing.assert_array_equal(kernels.dropout(same, 0.5, 1, out=same), kernels.dropout(x, 0.5, 1))


def test_same_signatures():
    """One signature for a kernel and its reference."""
    for name in kernels.__all__:
        if callable(getattr(kernels, name)) and name != "Key":
            assert inspect.signature(getattr(kernels, name)).parameters.keys() == (
                inspect.signature(getattr(reference, name)).parameters.keys()
            ), name


@pytest.mark.parametrize("module", [kernels, reference])
def test_bad_arguments(module):
    x, w = np.ones((2, 3)), np.ones((3, 4))
    with pytest.raises(ValueError, match=r"w: got shape"):
        module.dense(x, np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"activation: got 'swash'"):
        module.dense(x, w, activation="swash")
    with pytest.raises(ValueError, match=r"keep_prob: got 1.5"):
        module.dropout(x, 1.5, 0)
    with pytest.raises(ValueError, match=r"key: got None"):
        module.dropout(x, 0.5, None)
    with pytest.raises(ValueError, match=r"labels: got"):
        module.softmax_cross_entropy(x, np.array([0, 3]))
    with pytest.raises(ValueError, match=r"targets: got shape"):
        module.mse(x, np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"m: got None, expected an array like w"):
        module.rmsprop_update(x, x, x, 0.1, momentum=0.9)


def test_fma_targets_give_the_same_bits(dtype):
    """All but generic: every kernel, byte for byte."""
    fused = [t for t in TARGETS if t != "generic"]
    if len(fused) < 2:
        pytest.skip("needs two SIMD targets with fused multiply-add")
    rng = np.random.default_rng(5)
    x, w, b = draw(rng, (50, 77), dtype), draw(rng, (77, 131), dtype), draw(rng, 131, dtype)
    results = []
    before = threads.simd()["current"]
    for name in fused:
        threads.use_simd(name)
        parts = []
        for activation in ACTIVATIONS:
            y = kernels.dense(x, w, b, activation, 0.7, 9)
            parts += [y, *kernels.dense_backward(y, x, w, y, activation, 0.7, 9, z=y)]
        parts.append(kernels.softmax_cross_entropy(w, np.arange(77))[1])
        parts.append(kernels.sigmoid_cross_entropy(w, abs(w) / abs(w).max())[1])
        state = [a.copy() for a in (w, w * 2, w * 3, w * w)]
        kernels.adam_update(*state, lr=0.1, step=2, l1=0.01, l2=0.1)
        results.append(b"".join(a.tobytes() for a in [*parts, *state]))
    threads.use_simd(before)
    assert all(result == results[0] for result in results)


class Lion:
    """By hand, with torch's face."""

    def __init__(self, parameters, lr, beta1, beta2, weight_decay):
        (self.w,) = parameters
        self.m, self.numbers = np.zeros(self.w.shape), (lr, beta1, beta2, weight_decay)

    def zero_grad(self):
        self.w.grad = None

    def step(self):
        lr, beta1, beta2, weight_decay = self.numbers
        w, g = self.w.detach().numpy(), self.w.grad.numpy()
        w -= lr * (weight_decay * w + np.sign(beta1 * self.m + (1 - beta1) * g))
        self.m = beta2 * self.m + (1 - beta2) * g


STEPS = {
    "nadam": (
        lambda torch, p: torch.optim.NAdam(p, lr=0.01, betas=(0.85, 0.99), eps=1e-6, momentum_decay=0.02),
        lambda module, w, g, s, t: module.nadam_update(w, g, *s, 0.01, t, 0.85, 0.99, 1e-6, 0.02),
    ),
    "nadam, decay": (
        lambda torch, p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
        lambda module, w, g, s, t: module.nadam_update(w, g, *s, 0.01, t, weight_decay=0.1),
    ),
    "lion": (
        lambda torch, p: Lion(p, 0.003, 0.9, 0.98, 0.1),
        lambda module, w, g, s, t: module.lion_update(w, g, s[0], 0.003, 0.9, 0.98, weight_decay=0.1),
    ),
    "rmsprop": (
        lambda torch, p: torch.optim.RMSprop(p, lr=0.01),
        lambda module, w, g, s, t: module.rmsprop_update(w, g, s[0], 0.01),
    ),
    "rmsprop, momentum": (
        lambda torch, p: torch.optim.RMSprop(p, lr=0.003, alpha=0.9, eps=1e-5, momentum=0.8, weight_decay=0.05),
        lambda module, w, g, s, t: module.rmsprop_update(w, g, s[0], 0.003, 0.9, 1e-5, 0.8, s[1], l2=0.05),
    ),
    "adamw": (
        lambda torch, p: torch.optim.AdamW(p, lr=0.01, betas=(0.85, 0.99), eps=1e-6, weight_decay=0.1),
        lambda module, w, g, s, t: module.adam_update(w, g, *s, 0.01, t, 0.85, 0.99, 1e-6, weight_decay=0.1),
    ),
}


@pytest.fixture
def torch(dtype):
    """PyTorch with this dtype by default: NAdam keeps a running product in it."""
    module = pytest.importorskip("torch")
    before = module.get_default_dtype()
    module.set_default_dtype(getattr(module, dtype.name))
    yield module
    module.set_default_dtype(before)


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.slow
def test_optimizers_follow_torch_for_200_steps(name, module, dtype, torch):
    """On a quadratic with noise, so that the gradient depends on where the parameters are."""
    make, update = STEPS[name]
    rng = np.random.default_rng(9)
    curvature = rng.uniform(0.1, 3, (7, 5)).astype(dtype)
    w = draw(rng, (7, 5), dtype)
    parameter = torch.nn.Parameter(torch.tensor(w))
    optimizer = make(torch, [parameter])
    state = np.zeros((2, 7, 5), dtype)
    for step in range(1, 201):
        noise = draw(rng, (7, 5), dtype)
        parameter.grad = torch.tensor(curvature) * parameter.detach() + torch.tensor(noise)
        optimizer.step()
        update(module, w, curvature * w + noise, state, step)
    np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=0, atol=500 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", kernels.__all__)
def test_a_kernel_is_found_by_pickle(name):
    function = getattr(kernels, name)
    assert pickle.loads(pickle.dumps(function)) is function
