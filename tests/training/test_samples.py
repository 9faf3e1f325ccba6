"""Predictions of many passes with dropout and noise on: mean and spread (Gal and Ghahramani, 2016)."""

import numpy as np
import pytest

import fastreg as fr


def network(engine="native", dtype="float64", layers=None, threads=None) -> fr.Trainer:
    layers = layers or [
        *(fr.GaussianNoise(0.1), fr.Dropout(rate=0.2), fr.Dense(33, "relu", weight_noise=0.05)),
        *(fr.Dropout(rate=0.5, per="unit"), fr.Dense(20, "tanh", preactivation_noise=0.2)),
        *(fr.Dropout(rate=0.3, kind="gaussian"), fr.Dropout(rate=0.1), fr.Dense(3), fr.GaussianNoise(0.1)),
    ]
    trainer = fr.Trainer(fr.Sequential(layers), engine=engine, dtype=dtype, threads=threads)
    trainer.model.build(7, seed=1, dtype=dtype)
    return trainer


@pytest.mark.parametrize("kind", ["inverted", "gaussian", "standard"])
def test_prediction_is_the_mean_of_many_passes_of_a_linear_network(engine, kind, rng):
    layers = [fr.Dropout(rate=0.2, kind=kind), fr.Dense(5), fr.Dropout(rate=0.5, kind=kind), fr.Dense(2)]
    trainer = fr.Trainer(fr.Sequential(layers), "mse", engine=engine, dtype="float64")
    trainer.model.build(7, dtype="float64")
    X, samples = rng.normal(size=(4, 7)), 3000
    mean, std = trainer.predict(X, samples=samples)
    assert (np.abs(mean - trainer.predict(X)) < 4.5 * std / np.sqrt(samples)).all() and (std > 0.1).all()


def test_the_spread_is_that_of_the_formula(engine):
    """y = sum of w_j x_j m_j, so the variance is sum (w_j x_j)^2 (1 - k) / k."""
    trainer = fr.Trainer(fr.Sequential([fr.Dropout(keep_prob=0.8), fr.Dense(1)]), "mse", engine=engine, dtype="float64")
    trainer.model.build(7, dtype="float64")
    x = np.arange(1.0, 8)[np.newaxis]
    _, std = trainer.predict(x, samples=4000)
    w = trainer.model.parameters["1.weight"][:, 0]
    assert std.item() == pytest.approx(np.sqrt(((w * x[0]) ** 2).sum() * 0.25), rel=0.06)


def test_nothing_depends_on_the_batch_size_the_threads_or_the_engine(rng):
    X = rng.normal(size=(130, 7))
    whole = network().predict(X, samples=5, seed=9)
    for threads, batch_size in ((1, 512), (2, 64), (3, 1), (1, 7)):
        other = network(threads=threads).predict(X, batch_size, samples=5, seed=9)
        np.testing.assert_array_equal(whole, other)
    for part in (slice(0, 50), slice(0, 1)):
        np.testing.assert_array_equal(np.array(whole)[:, part], network().predict(X[part], samples=5, seed=9))
    for batch_size in (512, 13):
        np.testing.assert_allclose(network("reference").predict(X, batch_size, samples=5, seed=9), whole, rtol=1e-9)
    assert not np.array_equal(whole[0], network().predict(X, samples=5, seed=8)[0])


def test_mean_and_std_are_numpys(engine, rng):
    X, passes = rng.normal(size=(9, 7)), []
    trainer = network(engine)
    for n in (1, 2, 3, 4):
        mean, std = trainer.predict(X, samples=n)
        total = mean * n - sum(passes)  # the last pass
        passes.append(total)
        np.testing.assert_allclose(std, np.std(passes, axis=0), atol=1e-7)
    assert mean.shape == std.shape == (9, 3) and mean.dtype == np.float64
    np.testing.assert_allclose(mean.sum(axis=1), 1, rtol=1e-12)  # probabilities


def test_without_anything_random_there_is_no_spread(engine, rng):
    X = rng.normal(size=(9, 7))
    trainer = network(engine, layers=[fr.Dense(4, "relu"), fr.Dense(3)])
    mean, std = trainer.predict(X, samples=3)
    np.testing.assert_allclose(mean, trainer.predict(X), rtol=1e-12)
    assert not std.any()


def test_predictions_before_and_after_are_the_usual_ones(rng):
    X, trainer = rng.normal(size=(9, 7)), network()
    before = trainer.predict(X)
    trainer.predict(X, samples=2)
    np.testing.assert_array_equal(trainer.predict(X), before)
    np.testing.assert_array_equal(trainer.predict(X, rows=[3, 1]), before[[3, 1]])
    trainer.model.loss = trainer.loss
    np.testing.assert_array_equal(trainer.predict(X, samples=3), trainer.model.predict(X, samples=3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, r"samples: got 0, expected an integer of at least 1"),
        ({"samples": 2.5}, r"samples: got 2\.5, expected an integer"),
        ({"samples": 3, "seed": -1}, r"seed: got -1, expected an integer"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        network().predict(np.ones((2, 7)), **arguments)
