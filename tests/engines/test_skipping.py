"""Products that leave out what dropout drops for groups of rows: the bits are those of whole products."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.machine import threads, tuning

SIZES = (200, 300, 130, 10)
RATES = (0.2, 0.5, 0.5)


def trained(rows, activation="relu", batch=130, engine="native", kind="inverted", **settings) -> list[np.ndarray]:
    """The parameters after two epochs of three batches, the last of them shorter."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(2 * batch + 37, SIZES[0])), rng.integers(0, SIZES[-1], 2 * batch + 37)
    layers = []
    for units, rate in zip(SIZES[1:], RATES, strict=True):
        layers += [fr.Dropout(rate=rate, per="unit", rows=rows, kind=kind), fr.Dense(units, activation)]
    layers[-1] = fr.Dense(SIZES[-1])
    optimizer = settings.pop("optimizer", fr.SGD(0.01, momentum=0.9))
    trainer = fr.Trainer(fr.Sequential(layers), optimizer=optimizer, seed=2, engine=engine, **settings)
    trainer.fit(X, y, epochs=2, batch_size=batch)
    return [np.array(value) for value in trainer.model.parameters.values()]


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(found, expected, strict=True))


def both(rows, **settings) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Without and with skipping."""
    with tuning.using("none"):
        whole = trained(rows, **settings)
    with tuning.using("skip"):
        return whole, trained(rows, **settings)


@pytest.mark.parametrize("target", threads.simd()["available"])
@pytest.mark.parametrize("rows", [16, 17, 32, 100, None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("restore_target")
def test_every_target(target, rows, dtype):
    threads.use_simd(target)
    assert same(*both(rows, dtype=dtype, threads=1))


@pytest.mark.parametrize("count", range(2, 10))
def test_any_number_of_threads(count):
    with tuning.using("skip"):
        assert same(trained(32, threads=count), trained(32, threads=1))


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "silu"])
@pytest.mark.parametrize("kind", ["inverted", "standard", "gaussian"])
def test_activations_and_kinds(activation, kind):
    assert same(*both(32, activation=activation, kind=kind, threads=2))


@pytest.mark.parametrize("batch", [33, 64, 131, 300])
def test_batches(batch):
    assert same(*both(32, batch=batch, threads=2))


@pytest.mark.parametrize(
    "settings",
    [
        {"l1": 1e-4, "l2": 1e-3},
        {"optimizer": fr.Adam(1e-3)},
        {"clip_norm": 0.5},
        {"accumulate": 2},
        {"precision": "bfloat16"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings(settings):
    assert same(*both(32, threads=2, **settings))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_reference_engine(dtype):
    with tuning.using("skip"):
        found = trained(32, dtype=dtype)
    for value, expected in zip(found, trained(32, dtype=dtype, engine="reference"), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-13)


def test_weights_of_what_is_dropped_are_not_read():
    """An infinite weight of a dropped unit would make its whole sums NaN."""
    layers = [fr.Dense(300, "relu"), fr.Dropout(rate=0.5, per="unit"), fr.Dense(130), fr.Dense(2)]
    model = fr.Sequential(layers)
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(64, 200)), rng.integers(0, 2, 64)
    trainer = fr.Trainer(model, seed=2)
    model.build(200)
    clean = trainer.row_losses(X, y, step=0)
    mask = fr.kernels.dropout(np.ones((1, 300), np.float32), 0.5, fr.kernels.Key(2, 0, 1))
    model.parameters["2.weight"][mask[0] == 0] = np.inf
    with tuning.using("skip"):
        np.testing.assert_array_equal(trainer.row_losses(X, y, step=0), clean)
    with tuning.using("none"):
        assert np.isnan(trainer.row_losses(X, y, step=0)).any()
