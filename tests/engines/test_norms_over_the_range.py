"""Limits on norms hold over the whole range of a dtype, where squares overflow and underflow: held against long double,
which has room for them."""

import numpy as np
import pytest

import fastreg as fr

pytestmark = [
    pytest.mark.filterwarnings("ignore:overflow"),
    pytest.mark.skipif(np.finfo(np.longdouble).maxexp < 2**14, reason="needs a long double of a wider range"),
]
LARGE, WIDE = np.longdouble, {"float32": (-36, 38), "float64": (-306, 308)}
LIMITS = {"float32": (1e-30, 1e-3, 1.0, 1e25), "float64": (1e-250, 1e-3, 1.0, 1e250)}


def sizes(dtype):
    low, high = WIDE[dtype]
    return [10.0**e for e in (low, low // 2 - 1, low // 3, -3, 0, 3, high // 3, high // 2 + 1, high - 1)]


def cases(dtype):
    return [(size, limit) for size in sizes(dtype) for limit in LIMITS[dtype]]


def close(found, expected, dtype):
    """Equal within rounding, down to the smallest normal number, below which numbers count as zero."""
    finfo = np.finfo(dtype)
    np.testing.assert_allclose(found.astype(LARGE), expected, rtol=20 * float(finfo.eps), atol=2 * float(finfo.tiny))


def norm(x, axis=None):
    return np.sqrt(np.square(x.astype(LARGE)).sum(axis=axis, keepdims=True))


def limited(x, limit, axis=None):
    length = norm(x, axis)
    return x.astype(LARGE) * np.where(length > limit, LARGE(limit) / np.where(length > 0, length, 1), LARGE(1))


def numbers(size, shape, dtype, seed=0):
    """Random numbers up to a size, of which the last column is far smaller and one element is zero."""
    x = np.random.default_rng(seed).uniform(-size, size, shape)
    x[:, -1] *= 1e-7
    x[0, 0] = 0
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clip_norm(engine, dtype):
    """Under the mean absolute error of a linear model of zeros the gradient is -x, whatever its size."""
    for size, limit in cases(dtype):
        model = fr.Sequential([fr.Dense(1, use_bias=False, weight_init="zeros")])
        trainer = fr.Trainer(model, "mae", fr.SGD(1.0), clip_norm=limit, engine=engine, dtype=dtype)
        x = numbers(size, (1, 37), dtype)
        trainer.fit(x, [1.0])
        factor = np.minimum(LARGE(1), LARGE(limit) / (norm(x) + LARGE(1e-6)))
        close(trainer.model.parameters["0.weight"][:, 0], (x.astype(LARGE) * factor)[0], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("option", ["max_norm", "max_frobenius", "both"])
def test_limits_on_weights(engine, dtype, option):
    """A rate of 0 leaves the weights to the limits."""
    for size, limit in cases(dtype):
        options = {option: limit} if option != "both" else {"max_norm": limit, "max_frobenius": 1.5 * limit}
        model = fr.Sequential([fr.Dense(70, use_bias=False, **options), fr.Dense(1)])
        trainer = fr.Trainer(model, "mae", fr.SGD(0.0), engine=engine, dtype=dtype)
        model.build(101, dtype=dtype)
        w = numbers(size, (101, 70), dtype)
        model.parameters["0.weight"][...] = w
        trainer.fit(np.zeros((1, 101)), [0.0])
        expected = w if option == "max_frobenius" else limited(w, limit, 0)
        if option != "max_norm":
            expected = limited(expected, options["max_frobenius"])
        close(model.parameters["0.weight"], expected, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits_on_rows_of_a_table(engine, dtype):
    for size, limit in cases(dtype):
        model = fr.Sequential([fr.Embedding([5], 19, max_norm=limit), fr.Dense(1)])
        trainer = fr.Trainer(model, "mae", fr.SGD(0.0), engine=engine, dtype=dtype)
        model.build(1, dtype=dtype)
        name = next(iter(model.parameters))
        table = numbers(size, model.parameters[name].shape, dtype)
        model.parameters[name][...] = table
        try:
            trainer.fit(np.zeros((1, 1)), [0.0])
        except fr.DivergenceError:  # the products of such numbers overflow
            continue
        close(model.parameters[name], limited(table, limit, 1), dtype)


@pytest.mark.parametrize("kind", ["clip_norm", "max_norm", "max_frobenius"])
def test_same_bits_for_any_number_of_threads(kind, restore_target):
    """Also where the norm is taken again."""
    found = set()
    for target in [name for name in fr.simd()["available"] if name != "generic"] or ["generic"]:
        for threads in (1, 2, 3):
            fr.machine.threads.use_simd(target)
            options = {} if kind == "clip_norm" else {kind: 3.0}
            model = fr.Sequential([fr.Dense(150, **options), fr.Dense(1)])
            clip = 0.5 if kind == "clip_norm" else None
            trainer = fr.Trainer(model, "mae", fr.SGD(1e-20), clip_norm=clip, threads=threads)
            model.build(90)
            model.parameters["0.weight"][...] *= 1e20
            X = np.random.default_rng(1).normal(size=(40, 90)).astype(np.float32)
            trainer.fit(X, np.zeros(40), epochs=2, batch_size=10)
            found.add(model._arena.flat.tobytes())
    assert len(found) == 1
