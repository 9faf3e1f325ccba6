"""fastreg.reference against published answers, hand-worked formulas, finite differences and PyTorch."""

import math

import numpy as np
import pytest

from fastreg import kernels
from fastreg import reference as R
from fastreg.reference import Key

WORD = 0xFFFFFFFF


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def differences(function, x, epsilon=1e-6):
    """The gradient of a scalar function of x by central differences."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[i] += epsilon
        below[i] -= epsilon
        gradient[i] = (function(above) - function(below)) / (above[i] - below[i])
    return gradient


# --- random numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((WORD,) * 4, (WORD,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, answer):
    assert tuple(int(word) for word in R.philox(counter, key, rounds=10)) == answer


def philox_of_ints(c, k, rounds):
    """The paper's round, on Python integers."""
    for i in range(rounds):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        k0, k1 = (k[0] + i * 0x9E3779B9) % 2**32, (k[1] + i * 0xBB67AE85) % 2**32
        c = (high1 ^ c[1] ^ k0, low1, high0 ^ c[3] ^ k1, low0)
    return c


def test_draws_are_halves_of_words_at_their_coordinates():
    key = Key(seed=0x0123456789ABCDEF, step=77, stream=0x30002, row=5)
    drawn = R.draws(key, 3, 19)
    assert drawn.dtype == np.uint16
    for row in range(3):
        for column in range(19):
            words = philox_of_ints((column // 8, 5 + row, 77, 0x30002), (0x89ABCDEF, 0x01234567), 7)
            assert drawn[row, column] == words[column % 8 // 2] >> 16 * (column % 2) & 0xFFFF


def test_a_mask_depends_on_coordinates_alone():
    whole = R.mask(0.4, Key(9, 1, 2), 10, 33)
    np.testing.assert_array_equal(R.mask(0.4, Key(9, 1, 2, row=4), 3, 33), whole[4:7])
    np.testing.assert_array_equal(R.mask(0.4, Key(9, 1, 2), 10, 8), whole[:, :8])
    np.testing.assert_array_equal(R.mask(0.4, 9, 10, 33), R.mask(0.4, Key(9, 0, 0, 0), 10, 33))
    for other in [Key(8, 1, 2), Key(9, 2, 2), Key(9, 1, 3), Key(9 + 2**40, 1, 2)]:
        assert (R.mask(0.4, other, 10, 33) != whole).any()


@pytest.mark.parametrize("keep_prob", [0.0, 2**-16, 0.1, 0.5, 0.8, 1 - 2**-16, 1.0])
def test_inverted_dropout_keeps_the_expectation(keep_prob):
    y = R.dropout(np.ones((1000, 1000)), keep_prob, Key(3))
    p = round(keep_prob * 65536) / 65536  # the probability drawn, whose scale it is
    error = 5 * math.sqrt(p * (1 - p) / 1e6)  # five standard errors of the share that is kept
    assert abs((y > 0).mean() - p) <= error
    if p:
        np.testing.assert_allclose(y[y > 0], 1 / p, rtol=1e-15)
        assert abs(y.mean() - 1) <= error / p + 1e-12
        assert abs(y.var() - (1 - p) / p) <= error * (abs(1 - 2 * p) + error) / p**2 + 1e-12


def test_neither_keep_0_nor_keep_1_draws_anything():
    x = normal(0, 4, 5)
    np.testing.assert_array_equal(R.dropout(x, 1.0, None), x)
    np.testing.assert_array_equal(R.dropout(x, 0.0, None), np.zeros_like(x))
    with pytest.raises(ValueError, match="key: got None"):
        R.dropout(x, 0.5, None)


def test_dropout_takes_the_last_axis_as_columns_and_leaves_its_input_alone():
    x = normal(1, 2, 3, 7).astype(np.float32)
    before = x.copy()
    flat = R.dropout(x.reshape(6, 7), 0.5, Key(1))
    np.testing.assert_array_equal(R.dropout(x, 0.5, Key(1)), flat.reshape(2, 3, 7))
    np.testing.assert_array_equal(R.dropout(x[0, 0], 0.5, Key(1)), flat[0])
    out = np.empty_like(x)
    assert R.dropout(x, 0.5, Key(1), out=out) is out
    np.testing.assert_array_equal(out, flat.reshape(2, 3, 7))
    np.testing.assert_array_equal(x, before)
    assert R.dropout(np.empty((0, 7)), 0.5, Key(1)).shape == (0, 7)


# --- activations and dense -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", R.ACTIVATIONS)
def test_activations_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    theirs = {
        "linear": lambda z: z,
        "relu": F.relu,
        "leaky_relu": F.leaky_relu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "gelu": F.gelu,
        "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
        "silu": F.silu,
        "elu": F.elu,
        "selu": F.selu,
        "softplus": lambda z: F.softplus(z, threshold=50),  # beyond it torch takes z itself
        "mish": F.mish,
        "hard_swish": F.hardswish,
    }[name]
    z = np.linspace(-9, 9, 361)
    tensor = torch.tensor(z, requires_grad=True)
    theirs(tensor).sum().backward()
    value, slope = R.ACTIVATIONS[name].value, R.ACTIVATIONS[name].slope
    a = value(z)
    np.testing.assert_allclose(a, theirs(torch.tensor(z)).numpy(), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(slope(a, z), tensor.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", R.ACTIVATIONS)
def test_activations_hold_at_the_ends_and_keep_the_dtype(name, dtype):
    z = np.array([-1000, -30, -0.0, 0, 30, 1000], dtype)
    value, slope = R.ACTIVATIONS[name].value, R.ACTIVATIONS[name].slope
    a = value(z)
    assert a.dtype == dtype == slope(a, z).dtype
    assert np.isfinite(a).all() and np.isfinite(slope(a, z)).all()
    scale = 1.0507009873554804934 if name == "selu" else 1
    expected = {"sigmoid": (1, 0), "tanh": (1, 0)}.get(name, (1000 * scale, scale))
    np.testing.assert_allclose((a[-1], slope(a, z)[-1]), expected, rtol=np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", R.ACTIVATIONS)
def test_slopes_hold_as_far_as_numbers_go(name, dtype):
    """Far out an activation is a line through 0 or a constant, so its slope there is a / z, or nearly."""
    size = np.logspace(4, np.log10(np.finfo(dtype).max) - 1, 60)
    z = np.concatenate([size, -size]).astype(dtype)[:, np.newaxis]
    one = np.ones((1, 1), dtype)
    for functions in (R, kernels):
        with np.errstate(over="ignore"):
            a = functions.dense(z, one, activation=name)
            slope, _, _ = functions.dense_backward(np.ones_like(z), z, one, a, activation=name, z=z)
        np.testing.assert_allclose(slope, a / z, atol=2e-4)


@pytest.mark.parametrize("name", R.ACTIVATIONS)
def test_slopes_lose_no_digits_to_cancellation(name):
    z = np.linspace(-12, 12, 10001)
    value, slope = R.ACTIVATIONS[name].value, R.ACTIVATIONS[name].slope
    single = z.astype(np.float32)
    exact = slope(value(single.astype(np.float64)), single.astype(np.float64))
    np.testing.assert_allclose(slope(value(single), single), exact, rtol=0, atol=8 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("keep_prob", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("name", R.ACTIVATIONS)
def test_dense_backward_is_the_derivative_of_dense(name, keep_prob):
    x, w, b, dy = normal(0, 5, 4), normal(1, 4, 9), normal(2, 9), normal(3, 5, 9)
    key = Key(4, step=2, stream=1)
    y = R.dense(x, w, b, name, keep_prob, key)
    dx, dw, db = R.dense_backward(dy, x, w, y, name, keep_prob, key, z=R.dense(x, w, b))
    for array, gradient in [(x, dx), (w, dw), (b, db)]:

        def j(changed, array=array):
            return (dy * R.dense(*(changed if a is array else a for a in (x, w, b)), name, keep_prob, key)).sum()

        np.testing.assert_allclose(gradient, differences(j, array), rtol=1e-7, atol=1e-8)


def test_dense_is_its_formula():
    x, w, b = normal(0, 5, 4), normal(1, 4, 9), normal(2, 9)
    np.testing.assert_array_equal(R.dense(x, w), np.dot(x, w))
    z = np.dot(x, w) + b
    kept = R.mask(0.5, Key(7), 5, 9)
    np.testing.assert_array_equal(R.dense(x, w, b, "relu", 0.5, 7), np.where(kept & (z > 0), 2 * z, 0))
    out = np.empty((5, 9))
    assert R.dense(x, w, b, out=out) is out
    np.testing.assert_array_equal(out, z)
    assert R.dense(*(a.astype(np.float32) for a in (x, w, b)), "gelu", 0.5, 7).dtype == np.float32


# --- losses --------------------------------------------------------------------------------------------------------


def a_batch(loss, rows=70):
    """Logits, targets and weights; more rows than a block of 64."""
    logits = 3 * normal(0, rows, 5)
    if loss == "softmax_cross_entropy":
        return logits, np.random.default_rng(1).integers(5, size=rows), np.random.default_rng(2).random(rows)
    targets = np.random.default_rng(1).random((rows, 5)).round(1 if loss == "mse" else 0)
    return logits, targets, np.random.default_rng(2).random(rows)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "mse"])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_the_means_of_torch(loss, weighted):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    logits, targets, weight = a_batch(loss)
    tensor = torch.tensor(logits, requires_grad=True)
    theirs = {
        "softmax_cross_entropy": lambda t: F.cross_entropy(tensor, t, reduction="none"),
        "sigmoid_cross_entropy": lambda t: F.binary_cross_entropy_with_logits(tensor, t, reduction="none").mean(1),
        "mse": lambda t: F.mse_loss(tensor, t, reduction="none").mean(1),
    }[loss](torch.tensor(targets))
    w = torch.tensor(weight if weighted else np.ones(70))
    mean = (w * theirs).sum() / w.sum()
    mean.backward()
    value, gradient = getattr(R, loss)(logits, targets, weight if weighted else None)
    assert isinstance(value, float)
    assert value == pytest.approx(mean.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "mse"])
def test_gradients_of_losses_are_their_differences(loss):
    logits, targets, weight = a_batch(loss, rows=6)
    _, gradient = getattr(R, loss)(logits, targets, weight)
    approximate = differences(lambda z: getattr(R, loss)(z, targets, weight)[0], logits)
    np.testing.assert_allclose(gradient, approximate, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_of_extreme_logits_are_finite(dtype):
    logits = np.array([[1000, -1000], [-1000, 1000]], dtype)
    loss, gradient = R.softmax_cross_entropy(logits, np.array([0, 0]))
    assert loss == 1000.0 and gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, [[0, 0], [-0.5, 0.5]])
    loss, gradient = R.sigmoid_cross_entropy(logits, np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert loss == 500.0 and gradient.dtype == dtype
    np.testing.assert_array_equal(gradient, [[0, 0], [-0.25, 0.25]])


def test_losses_by_hand():
    assert R.softmax_cross_entropy(np.zeros((3, 4)), np.array([0, 1, 3]))[0] == pytest.approx(math.log(4))
    assert R.sigmoid_cross_entropy(np.zeros((3, 1)), np.ones((3, 1)))[0] == pytest.approx(math.log(2))
    loss, gradient = R.mse(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 2.0]]), np.array([1, 3]))
    assert loss == (1 * (1 + 4) / 2 + 3 * (0 + 4) / 2) / 4
    np.testing.assert_array_equal(gradient, [[0.25, 0.5], [0, 1.5]])
    loss, gradient = R.mse(np.ones((2, 1)), np.zeros((2, 1)), np.zeros(2))
    assert loss == 0 and not gradient.any()


# --- updates -------------------------------------------------------------------------------------------------------


def test_one_step_of_weight_decay_by_hand():
    """alpha = 0.1 and lambda / m = 0.5: W <- (1 - 0.05) W - 0.1 dW."""
    w = np.array([2.0, -1.0])
    R.sgd_update(w, np.array([1.0, 4.0]), 0.1, l2=0.5)
    np.testing.assert_allclose(w, [1.8, -1.35], rtol=1e-15)


def test_penalty_and_decay_are_the_same_for_sgd_within_a_rounding():
    w, g = normal(0, 1000), normal(1, 1000)
    by_penalty, by_decay = w.copy(), w.copy()
    R.sgd_update(by_penalty, g, 0.1, l2=0.01)
    R.sgd_update(by_decay, g, 0.1, weight_decay=0.01)
    np.testing.assert_allclose(by_penalty, by_decay, rtol=0, atol=2 * np.spacing(np.abs(w) + np.abs(g)).max())


def test_soft_threshold_is_the_proximal_operator_of_l1():
    grid = np.linspace(-4, 4, 8001)
    for w, t in [(2.5, 1.0), (-0.3, 0.5), (-3.0, 0.25), (0.5, 0.5), (0.0, 1.0)]:
        best = grid[np.argmin((grid - w) ** 2 / 2 + t * np.abs(grid))]
        assert R.soft_threshold(np.array(w), t) == pytest.approx(best, abs=5e-4)


def test_proximal_l1_makes_exact_zeros_and_the_subgradient_does_not():
    start, g = np.array([0.05, -0.05, 1.0, -1.0]), np.zeros(4)
    w = start.copy()
    R.sgd_update(w, g, 0.1, l1=1.0)
    np.testing.assert_allclose(w, [0, 0, 0.9, -0.9], rtol=1e-15)
    assert (w[:2] == 0).all()
    w = start.copy()
    R.sgd_update(w, g, 0.1, l1=1.0, proximal=False)
    np.testing.assert_allclose(w, [-0.05, 0.05, 0.9, -0.9], rtol=1e-15)


def test_momentum_after_a_proximal_step_is_the_step_taken():
    # v = 0.5 * 1 + 1 = 1.5; w = 0.1 - 0.1 * 1.5 = -0.05, within the threshold 0.1: 0; v = (0.1 - 0) / 0.1
    w, v = np.array([0.1]), np.array([1.0])
    R.momentum_update(w, np.array([1.0]), v, 0.1, momentum=0.5, l1=1.0)
    assert w[0] == 0
    assert v[0] == pytest.approx(1.0, rel=1e-15)
    # the decay is not part of the step: w = 1 -> 0.9 by decay, v = 2, w = 0.7, less 0.01: 0.69; v = (0.9 - 0.69) / 0.1
    w, v = np.array([1.0]), np.array([2.0])
    R.momentum_update(w, np.array([1.0]), v, 0.1, momentum=0.5, l1=0.1, weight_decay=1.0)
    assert w[0] == pytest.approx(0.69, rel=1e-14)
    assert v[0] == pytest.approx(2.1, rel=1e-13)
    before = v.copy()
    R.momentum_update(w, np.array([1.0]), v, 0.0, momentum=0.5, l1=0.1)
    assert v[0] == 0.5 * before[0] + 1  # no step, nothing to correct


def test_adam_thresholds_element_by_element():
    # at the first step m' = g and v' = g**2, so rate = 0.1 / (|g| + 0.5)
    w, g = np.array([1.0, 1.0, -0.01]), np.array([1.5, -0.5, 0.0])
    m, v = np.zeros(3), np.zeros(3)
    R.adam_update(w, g, m, v, 0.1, 1, eps=0.5, l1=0.2)
    np.testing.assert_allclose(w, [1 - 0.05 * 1.5 - 0.05 * 0.2, 1 + 0.1 * 0.5 - 0.1 * 0.2, 0], rtol=1e-14)
    assert w[2] == 0


OPTIMIZERS = {
    "sgd": lambda torch, p: torch.optim.SGD(p, lr=0.1),
    "sgd l2": lambda torch, p: torch.optim.SGD(p, lr=0.1, weight_decay=0.05),
    "momentum": lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.8, weight_decay=0.05),
    "nesterov": lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.05),
    "adam": lambda torch, p: torch.optim.Adam(p, lr=0.01),
    "adam l2": lambda torch, p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.05),
    "adamw": lambda torch, p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_follow_torch_step_by_step(name):
    torch = pytest.importorskip("torch")
    w = normal(0, 6, 3)
    slots = np.zeros((2, 6, 3))
    parameter = torch.nn.Parameter(torch.tensor(w))
    optimizer = OPTIMIZERS[name](torch, [parameter])
    for step in range(1, 21):
        g = normal(step, 6, 3)
        parameter.grad = torch.tensor(g)
        optimizer.step()
        if name.startswith("sgd"):
            R.sgd_update(w, g, 0.1, l2=0.05 if "l2" in name else 0.0)
        elif name.startswith("adam"):
            options = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "l2": 0.05} if "l2" in name else {}
            R.adam_update(w, g, *slots, 0.01, step, weight_decay=0.05 if name == "adamw" else 0.0, **options)
        else:
            R.momentum_update(w, g, slots[0], 0.1, 0.8, nesterov=name == "nesterov", l2=0.05)
        np.testing.assert_allclose(w, parameter.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lr", [0.1, np.float64(0.1)])
def test_updates_stay_in_float32_and_do_not_change_the_gradient(lr):
    g = normal(0, 5).astype(np.float32)
    before = g.copy()
    w, m, v = (np.ones(5, np.float32) for _ in range(3))
    exact = np.ones(5, np.float32)
    exact -= np.float32(0.1) * g
    R.sgd_update(w, g, lr)
    np.testing.assert_array_equal(w, exact)
    R.momentum_update(w, g, v, lr, l1=0.1, l2=0.1, weight_decay=0.1)
    R.adam_update(w, g, m, v, lr, 1, l1=0.1, l2=0.1, weight_decay=0.1)
    np.testing.assert_array_equal(g, before)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: R.dropout(np.ones(3), 1.5, 0), r"keep_prob: got 1\.5"),
        (lambda: R.dropout(np.ones(3), math.nan, 0), r"keep_prob: got nan"),
        (lambda: R.dense(np.ones((2, 3)), np.ones((4, 2))), r"w: got shape \(4, 2\) for x of shape \(2, 3\)"),
        (lambda: R.dense(np.ones((2, 3)), np.ones((3, 2)), activation="swash"), "activation: got 'swash', expected"),
        (lambda: R.softmax_cross_entropy(np.ones((2, 3)), np.array([0, 3])), "labels: got 0 to 3, expected 0 to 2"),
        (lambda: R.softmax_cross_entropy(np.ones((2, 3)), np.ones(2)), "labels: got float64"),
        (lambda: R.mse(np.ones((2, 3)), np.ones((2, 2))), "targets: got shape"),
        (lambda: R.mse(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)), "sample_weight: got shape"),
        (lambda: R.dense_backward(*np.ones((4, 2, 2)), "gelu"), "z: got None"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
