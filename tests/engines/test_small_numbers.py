"""Small numbers are zero, by one rule (csrc/flush.h): in arithmetic, in state, in data, in a training that has gone on
for long; and not in Python's own arithmetic."""

import platform
from fractions import Fraction

import numpy as np
import pytest

import fastreg as fr
from fastreg.machine import _core

TARGETS = _core.simd_available()
ARM = platform.machine() in ("aarch64", "arm64")
DIGITS = {"float32": 24, "float64": 53}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=TARGETS)
def target(request):
    before = _core.simd_current()
    _core.simd_use(request.param)
    yield request.param
    _core.simd_use(before)


def smallest(dtype) -> float:
    """The smallest normal number."""
    return float(np.finfo(dtype).tiny)


def denormals(array) -> int:
    return int(np.count_nonzero((array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny)))


def rounded(x: Fraction, dtype: str) -> Fraction:
    """The rule: to the nearest (even) number as if exponents had no limit, then 0 if that is too small."""
    least = Fraction(smallest(dtype))
    if x == 0 or (ARM and abs(x) < least):
        return Fraction(0)
    exponent = abs(x).numerator.bit_length() - abs(x).denominator.bit_length()
    unit = Fraction(2) ** (exponent - (0 if abs(x) >= Fraction(2) ** exponent else 1) - DIGITS[dtype] + 1)
    nearest = round(x / unit) * unit
    return nearest if abs(nearest) >= least else Fraction(0)


def chain(x, w, dtype: str, fused: bool) -> float:
    """The sum of products, in order, by exact arithmetic and the rule."""
    total = Fraction(0)
    operands = [[rounded(Fraction(float(v)), dtype) for v in values] for values in (x, w)]
    for a, b in zip(*operands, strict=True):
        total = rounded(total + (a * b if fused else rounded(a * b, dtype)), dtype)
    return float(total)


def test_sums_of_small_products_are_those_of_the_rule(dtype, target, rng):
    K, N = 7, 24
    root = smallest(dtype) ** 0.5
    x = (rng.normal(size=(6, K)) * 4.0 ** rng.integers(-2, 3, (6, K)) * root).astype(dtype)
    w = (rng.normal(size=(K, N)) * 4.0 ** rng.integers(-2, 3, (K, N)) * root).astype(dtype)
    x[1], w[:, 3] = smallest(dtype) / 4, 1e10  # operands that count as 0
    x[2], w[:, 4] = 1, rng.normal(size=K) * smallest(dtype)
    found = fr.kernels.dense(x, w)
    expected = [[chain(row, column, dtype, target != "generic") for column in w.T] for row in x]
    assert np.count_nonzero(found) > 50 and np.count_nonzero(found == 0) > 30 and denormals(found) == 0
    np.testing.assert_array_equal(found, np.array(expected, dtype))


def test_the_boundary(dtype, target):
    """What rounds up to the smallest normal number is that number (on ARM it is 0); the next ones below are 0."""
    least, bits = smallest(dtype), DIGITS[dtype]
    half = 2.0 ** -(bits // 2 + 1)  # (1 - half)(1 + half) = 1 - 2^-26 or 1 - 2^-54: nearer to 1 than its neighbour
    x = np.array([[1 - half], [1 - 2.0**-bits], [1.0], [-1.0], [0.5], [1.5]], dtype)
    w = np.full((1, 16), least, dtype)
    w[0, 1] *= 1 + half
    found = fr.kernels.dense(x, w)
    np.testing.assert_array_equal(found[1:, 0], np.array([0, least, -least, 0, 1.5 * least], dtype))
    assert found[0, 1] == (0 if ARM else least)
    assert found[0, 0] == 0
    np.testing.assert_array_equal(found[:, 0], [chain(row, w[:, 0], dtype, target != "generic") for row in x])


def test_state_becomes_zero(dtype, target):
    """Momentum and moments of a gradient that has become 0: zero after the same number of steps in both engines."""
    shape, scale = (3, 20), 1e6 * smallest(dtype)
    zero, steps = np.zeros(shape, dtype), {}
    for name, functions in {"native": fr.kernels, "reference": fr.reference}.items():
        w, v, mean, square = (np.full(shape, s, dtype) for s in (1, scale, scale, scale))
        for step in range(1, 2000):
            functions.momentum_update(w, zero, v, 0.1, momentum=0.9)
            functions.adam_update(w, zero, mean, square, 0.1, step, beta1=0.95, beta2=0.98)
            assert denormals(v) == denormals(mean) == denormals(square) == 0
            for slot in {"v": v, "mean": mean, "square": square}.items():
                if not slot[1].any():
                    steps.setdefault((name, slot[0]), step)
    for slot in ("v", "mean", "square"):
        assert steps["native", slot] == pytest.approx(steps["reference", slot], abs=1)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_weights_decay_to_zero(engine):
    """Weights of an input that has become 0, under decay."""
    X, y = np.random.default_rng(1).normal(size=(32, 3)), np.zeros(32)
    X[:, 1] = 0
    trainer = fr.Trainer(
        fr.Sequential([fr.Dense(2, "tanh"), fr.Dense(1)]),
        loss="mse",
        optimizer=fr.SGD(0.1, momentum=0.5, weight_decay=5.0),
        engine=engine,
        seed=1,
    )
    trainer.fit(X, y, epochs=200, batch_size=32, verbose=0)
    assert not trainer.model.state_dict()["0.weight"][1].any()


def learned(activation: str, dtype: str, epochs: int, **settings) -> tuple[fr.Trainer, np.ndarray, np.ndarray]:
    """A trainer after a task that it can learn wholly: margins grow, and gradients go towards 0."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 256)
    X = (rng.normal(size=(256, 5)) + 6 * (2 * y[:, None] - 1)).astype(dtype)
    X[:, 4] = 0
    X[::2, 3] *= smallest(dtype)
    model = fr.Sequential([fr.Dense(48, activation), fr.Dense(48, activation), fr.Dense(2)])
    trainer = fr.Trainer(model, dtype=dtype, seed=2, optimizer=fr.Adam(0.03), **settings)
    trainer.fit(X, y, epochs=epochs, batch_size=64, verbose=0)
    return trainer, X, y


def arrays_of(trainer: fr.Trainer) -> dict[str, np.ndarray]:
    """All that the engine of a training holds."""
    found = {}
    for session in trainer._sessions._kept.values():
        engine = session.engine
        found |= (
            engine.buffers
            | engine.params
            | {f"{name}/{i}": a for name, s in engine.state.items() for i, a in enumerate(s)}
        )
    return found


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "softplus", "mish"])
def test_nothing_small_is_held_after_a_long_training(activation):
    trainer, _, _ = learned(activation, "float32", 300)
    arrays = arrays_of(trainer)
    assert sum("/" in name for name in arrays) > 4 and len(arrays) > 15
    assert {name: denormals(array) for name, array in arrays.items() if denormals(array)} == {}


def test_a_long_training_has_the_same_bits_for_all_threads_and_targets(dtype):
    def bits(target, threads):
        before = _core.simd_current()
        _core.simd_use(target)
        try:
            trainer, _, _ = learned("gelu", dtype, 60, threads=threads)
        finally:
            _core.simd_use(before)
        arrays = arrays_of(trainer)
        return {name: array.tobytes() for name, array in arrays.items() if not name.startswith("row_")}

    for target in TARGETS:
        first = bits(target, 1)
        assert [n for n in range(2, 10) if bits(target, n) != first] == []
    fused = [target for target in TARGETS if target != "generic"]
    assert all(bits(target, 2) == bits(fused[0], 2) for target in fused)


@pytest.mark.parametrize("activation", ["gelu", "sigmoid", "relu"])
def test_engines_agree_on_what_is_small(activation, dtype):
    """From the same parameters and state, late in a training."""
    trainer, X, y = learned(activation, dtype, 100)
    twin = fr.Trainer(
        fr.Sequential([fr.Dense(48, activation), fr.Dense(48, activation), fr.Dense(2)]),
        dtype=dtype,
        engine="reference",
        seed=2,
    )
    twin.model.build(5, dtype=dtype)
    twin.model.load_state_dict(trainer.model.state_dict())
    found, expected = trainer.gradients(X, y), twin.gradients(X, y)
    eps = float(np.finfo(dtype).eps)
    for name, gradient in expected.items():
        assert denormals(gradient) == denormals(found[name]) == 0
        np.testing.assert_allclose(found[name], gradient, rtol=2e4 * eps, atol=1e3 * eps * np.abs(gradient).max())


@pytest.mark.parametrize("given", ["float32", "float64"])
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_small_numbers_of_the_data_are_zero(engine, given, dtype):
    """Those that are small in the dtype of the data or in the working dtype."""
    model = fr.Sequential([fr.Dense(1, use_bias=False)])
    model.build(1, dtype=dtype)
    model.load_state_dict({"0.weight": np.array([[2.0**100]])})
    least, own = smallest(dtype), smallest(given)
    values = [least, least / 2, -least / 2, least * (1 - 2**-10), own, own / 2, 1e-40, 1.0, 0.0]
    X = np.array(values, given)[:, None]
    with np.errstate(all="ignore"):
        expected = np.where(np.abs(X) < own, 0, X).astype(dtype)
    expected = np.where(np.abs(expected) < least, 0, expected) * dtype_of(dtype)(2.0**100)
    trainer = fr.Trainer(model, loss="mse", engine=engine, dtype=dtype)
    np.testing.assert_array_equal(trainer.predict(X), expected)


def dtype_of(name):
    return np.dtype(name).type


def keeps_small_numbers() -> bool:
    """Whether this thread's arithmetic does: by NumPy, on both dtypes."""
    return all((np.full(64, np.finfo(d).tiny / 8, d) * np.dtype(d).type(2)).all() for d in ("float32", "float64"))


def test_small_weights_of_samples_are_zero(engine, dtype, rng):
    """They are refused where zeros are, also as a product, and a training with some is one with zeros."""
    X, y, small = rng.normal(size=(8, 3)), rng.integers(0, 2, 8), np.full(8, smallest(dtype) / 4)

    def trainer(units=2, loss="softmax_cross_entropy", **settings):
        return fr.Trainer(fr.Sequential([fr.Dense(units)]), loss, engine=engine, dtype=dtype, **settings)

    refused = {
        "sample_weight: got zeros only": lambda: trainer().fit(X, y, sample_weight=small),
        "sample_weight: got zeros only in the selected": lambda: trainer().fit(
            X, y, sample_weight=np.where(np.arange(8) < 4, 1, small), rows=[5, 6]
        ),
        r"validation_data\[2\]: got zeros only": lambda: trainer().fit(X, y, validation_data=(X, y, small)),
        "class_weight: got": lambda: trainer().fit(
            X, y, sample_weight=8 * small, class_weight=dict.fromkeys((0, 1), 0.1)
        ),
        "y: got no target in a row with a weight": lambda: trainer(4, "mse", missing_targets=True).fit(
            X, np.where(np.arange(4) > 0, np.nan, X[:, :1]), sample_weight=6 * small
        ),
    }
    for message, call in refused.items():
        with pytest.raises(ValueError, match=message):
            call()

    found = []
    for weights in (np.where(np.arange(8) % 3, 1, small), np.arange(8) % 3 > 0):
        one = trainer()
        one.fit(X, y, sample_weight=weights, batch_size=2, epochs=2)
        found.append((one.updates, one.model.parameters["0.weight"].tobytes()))
    assert found[0] == found[1]


def test_weights_whose_squares_overflow_have_no_penalty_without_a_coefficient(engine, dtype):
    model = fr.Sequential([fr.Dense(1, use_bias=False)])
    model.build(1, dtype=dtype)
    model.load_state_dict({"0.weight": [[np.finfo(dtype).max / 4]]})
    trainer = fr.Trainer(model, "mae", engine=engine, dtype=dtype)
    assert trainer.objective([[0.0]], [1.0]) == 1
    assert trainer.penalty(1) == 0


def test_python_has_its_own_mode():
    """In layers, losses and callbacks, after a run, and after one that failed."""
    seen = []

    def forward(x):
        seen.append(keeps_small_numbers())
        return x

    def loss(y, t):
        seen.append(keeps_small_numbers())
        if len(seen) > 30:
            raise RuntimeError("enough")
        return np.abs(y - t).mean(axis=1), np.sign(y - t)

    layers = [fr.Dense(4), fr.Function(forward, lambda dy, x, y: dy), fr.Dense(1)]
    trainer = fr.Trainer(fr.Sequential(layers), loss=fr.losses.Custom(loss), threads=3)
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(40, 3)), rng.normal(size=40)
    trainer.fit(X, y, epochs=1, batch_size=10, verbose=0)
    assert keeps_small_numbers() and len(seen) >= 8
    with pytest.raises(RuntimeError, match="enough"):
        trainer.fit(X, y, epochs=100, batch_size=10, verbose=0)
    assert keeps_small_numbers() and all(seen)
