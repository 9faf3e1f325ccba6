"""Gaussian noise: its distribution, its gradients, and that prediction has none. Max-norm: held after every update.
Settings that change between two fits."""

import numpy as np
import pytest
from trainers import classifier, same, state

import fastreg as fr

# --- Noise ------------------------------------------------------------------------------------------------------


def identity(layers, engine, columns=2) -> fr.Trainer:
    """y = x plus noise, so the loss of a row is that of its noise."""
    trainer = fr.Trainer(fr.Sequential(layers), loss="mse", engine=engine, dtype="float64")
    trainer.model.build(columns, dtype="float64")
    weight = next(name for name in trainer.model.parameters if name.endswith("weight"))
    trainer.model.parameters[weight][...] = np.eye(columns)
    return trainer


PLACES = {
    "inputs": [fr.GaussianNoise(0.5), fr.Dense(2)],
    "inputs behind a dropout": [fr.Dropout(keep_prob=0.999985), fr.GaussianNoise(0.5), fr.Dense(2)],
    "outputs": [fr.Dense(2), fr.GaussianNoise(0.5)],
    "twice": [fr.GaussianNoise(0.3), fr.Dense(2), fr.GaussianNoise(0.4)],
}


@pytest.mark.parametrize("place", PLACES)
def test_noise_has_its_mean_and_variance(engine, place):
    """Under the squared error (n - t)^2 with t = 0 and t = 1: E = std^2, and std^2 - 2 E(n) + 1."""
    trainer, X = identity(PLACES[place], engine), np.zeros((20_000, 2))
    square = trainer.row_losses(X, X, step=3)
    mean = (square + 1 - trainer.row_losses(X, X + 1, step=3)) / 2
    assert abs(square.mean() - 0.25) < 4 * 0.25 * np.sqrt(2 / 40_000)
    assert abs(mean.mean()) < 4 * 0.5 / np.sqrt(40_000)
    assert abs(((mean - mean.mean()) ** 2).mean() - 0.125) < 0.005  # of the mean of two draws
    assert not np.array_equal(square, trainer.row_losses(X, X, step=4))
    assert not trainer.row_losses(X, X).any() and not trainer.predict(X).any()  # none without a step


def test_noise_is_a_function_of_its_coordinates(rng):
    X = rng.normal(size=(200, 2))
    losses = [identity(PLACES["twice"], engine).row_losses(X, X, step=7) for engine in ("native", "reference")]
    np.testing.assert_allclose(*losses, rtol=1e-12)
    runs = {}
    for engine, threads in (("native", 1), ("native", 3), ("reference", 1)):
        layers = [fr.GaussianNoise(0.2), fr.Dense(8, "relu"), fr.GaussianNoise(0.2), fr.Dense(1)]
        trainer = fr.Trainer(fr.Sequential(layers), "mse", engine=engine, threads=threads)
        trainer.fit(X, X[:, 0] * X[:, 1], epochs=5, batch_size=32)
        runs[engine, threads] = state(trainer)
    assert same(runs["native", 1], runs["native", 3])
    for name, value in runs["native", 1].items():
        np.testing.assert_allclose(runs["reference", 1][name], value, rtol=1e-3, atol=1e-5)


def test_gradients_under_noise(engine, blobs):
    X, y = blobs
    layers = [fr.GaussianNoise(0.3), fr.Dense(6, "tanh"), fr.GaussianNoise(0.2), fr.Dropout(rate=0.3), fr.Dense(3)]
    trainer = fr.Trainer(fr.Sequential([*layers, fr.GaussianNoise(0.5)]), engine=engine, l2=0.01)
    trainer.fit(X, y)
    assert fr.check_gradients(trainer, X[:30], y[:30], step=5).ok
    with pytest.raises(ValueError, match="noise is live in 0, 2, 3, 5"):
        fr.check_gradients(trainer, X[:30], y[:30])


@pytest.mark.slow
def test_noise_on_the_inputs_is_a_penalty_on_the_slope(engine, rng):
    """For a linear model the noise adds std^2 |w|^2 to the expected loss, so the optimum is that of ridge."""
    X = rng.normal(size=(400, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.normal(scale=0.1, size=400)
    model = fr.Sequential([fr.GaussianNoise(0.5), fr.Dense(1, use_bias=False)])
    trainer = fr.Trainer(model, "mse", fr.SGD(0.1), engine=engine, dtype="float64")
    for rate in (0.1, 0.01, 0.001):
        trainer.optimizer = fr.SGD(rate)
        trainer.fit(X, y, epochs=300, batch_size=400, shuffle=False)
    ridge = np.linalg.solve(X.T @ X + 400 * 0.25 * np.eye(3), X.T @ y)
    np.testing.assert_allclose(model.parameters["1.weight"][:, 0], ridge, atol=0.02)


def test_no_noise_costs_nothing():
    with_noise, without = (fr.Sequential([fr.GaussianNoise(std), fr.Dense(3)]) for std in (0.1, 0.0))
    kinds = []
    for model in (with_noise, without):
        model.build(4)
        kinds.append([type(op).__name__ for op in fr.Trainer(model).program("train").ops])
    assert kinds[0] == kinds[1]  # noise on the inputs rides on the gather


# --- Max-norm ---------------------------------------------------------------------------------------------------


class Norms(fr.Callback):
    """The largest norm of a column behind every update, and how many columns are at the limit."""

    def __init__(self, limits):
        self.limits, self.worst, self.reached = limits, 0.0, 0

    def on_batch_end(self, batch, logs):
        if not self.trainer.updates:  # of a step that takes several batches
            return
        for name, limit in self.limits.items():
            norms = np.linalg.norm(self.model.parameters[name].astype(np.float64), axis=0)
            self.worst = max(self.worst, (norms / limit).max())
            self.reached += int((norms > limit * (1 - 1e-5)).sum())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", [{}, {"clip_norm": 1.0}, {"accumulate": 2}, {"l1": 1e-3, "l2": 1e-3}])
@pytest.mark.parametrize("optimizer", [fr.SGD(0.5, momentum=0.9), fr.RMSprop(0.05, momentum=0.5), fr.Adam(0.05)])
def test_max_norm_holds_after_every_update(engine, dtype, settings, optimizer, rng):
    X, y = rng.normal(size=(200, 70)), rng.integers(0, 5, 200)
    layers = [fr.Dense(90, "relu", max_norm=0.7), fr.Dense(40, "tanh"), fr.Dense(5, max_norm=0.2)]
    trainer = fr.Trainer(fr.Sequential(layers), optimizer=optimizer, engine=engine, dtype=dtype, **settings)
    norms = Norms({"0.weight": 0.7, "2.weight": 0.2})
    trainer.fit(X, y, epochs=3, batch_size=32, callbacks=[norms])
    assert norms.worst <= 1 + 1e-6 and norms.reached > 100
    assert np.linalg.norm(trainer.model.parameters["1.weight"], axis=0).max() > 0.7


def test_max_norm_scales_only_the_columns_over_the_limit(engine):
    """A step of plain gradient descent, and then the projection by hand."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(30, 10)), rng.normal(size=(30, 6))
    model = fr.Sequential([fr.Dense(6, max_norm=1.2)])
    trainer = fr.Trainer(model, "mse", fr.SGD(0.5), engine=engine, dtype="float64")
    model.build(10, dtype="float64")
    w = model.parameters["0.weight"] - 0.5 * trainer.gradients(X, y)["0.weight"]
    norms = np.linalg.norm(w, axis=0)
    assert 0 < (norms > 1.2).sum() < 6
    trainer.fit(X, y, batch_size=30)
    np.testing.assert_allclose(model.parameters["0.weight"], w * np.minimum(1, 1.2 / norms), rtol=1e-12)


# --- Settings between two fits -------------------------------------------------------------------------------------

CHANGES = {
    "l2": 0.5,
    "l1": 0.01,
    "clip_norm": 0.01,
    "clip_value": 0.001,
    "accumulate": 2,
    "optimizer": fr.SGD(0.1, momentum=0.5, nesterov=True),
    "loss": "mse",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_changes_is_followed(engine, name, blobs):
    X, y = blobs
    y = np.eye(3)[y]
    changed, made = classifier(engine), classifier(engine, **{name: CHANGES[name]})
    changed.fit(X, y, epochs=1, batch_size=32)
    changed.model.build(4)
    changed.reset()
    value = getattr(made, name)
    setattr(changed, name, value)
    for trainer in (changed, made):
        trainer.fit(X, y, epochs=2, batch_size=32)
    assert same(state(changed), state(made))
    copied = changed.copy()
    assert getattr(copied, name) == value
    for trainer in (copied, made):
        trainer.fit(X, y, epochs=2, batch_size=32)
    assert same(state(copied), state(made))


def test_another_optimizer_starts_with_zeros(engine, blobs):
    X, y = blobs
    trainer = classifier(engine, optimizer=fr.SGD(0.1))
    trainer.fit(X, y)
    start = state(trainer)
    trainer.optimizer = fr.Adam(0.01)
    trainer.reset()
    trainer.fit(X, y, epochs=2)
    fresh = classifier(engine, optimizer=fr.Adam(0.01))
    fresh.model.build(4)
    fresh.model.load_state_dict(start)
    fresh.fit(X, y, epochs=2)
    assert same(state(trainer), state(fresh))


def test_all_frozen_is_refused_before_anything_is_drawn(engine, blobs):
    X, y = blobs
    model = fr.Sequential([fr.Dense(4, trainable=False), fr.Dense(3, trainable=False)])
    trainer = fr.Trainer(model, engine=engine)
    for method in (trainer.fit, trainer.gradients):
        with pytest.raises(ValueError, match="all frozen, expected at least one with trainable=True"):
            method(X, y)
    assert trainer.step == 0 and trainer.evaluate(X, y)["loss"] > 0
