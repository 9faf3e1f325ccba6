"""Noise within a Dense: on its pre-activations and on its weights, drawn for every batch; none at prediction."""

import numpy as np
import pytest
from trainers import same, state

import fastreg as fr
from fastreg.layers import ACTIVATIONS


def linear(engine, columns=3, **noise) -> fr.Trainer:
    """y = x plus noise."""
    layers = [fr.Dense(columns, **noise), fr.Function(lambda x: SEEN.append(x.copy()) or x, lambda dy, x, y: dy)]
    trainer = fr.Trainer(fr.Sequential(layers), "mse", engine=engine, dtype="float64")
    trainer.model.build(columns, dtype="float64")
    trainer.model.parameters["0.weight"][...] = np.eye(columns)
    return trainer


SEEN: list[np.ndarray] = []


def outputs(trainer, X, step) -> np.ndarray:
    SEEN.clear()
    trainer.row_losses(X, X, step=step)
    return SEEN[-1]


def test_preactivation_noise_has_its_mean_and_variance(engine, rng):
    X = rng.normal(size=(20_000, 3))
    trainer = linear(engine, preactivation_noise=0.5)
    n = outputs(trainer, X, 3) - X
    assert abs(n.mean()) < 4 * 0.5 / np.sqrt(n.size) and abs(n.var() - 0.25) < 4 * 0.25 * np.sqrt(2 / n.size)
    assert not np.array_equal(n, outputs(trainer, X, 4) - X)
    np.testing.assert_array_equal(trainer.predict(X), X)


def test_noise_after_a_linear_layer_rides_on_it(engine):
    layers = [fr.Dense(3), fr.GaussianNoise(0.5)]
    trainer = fr.Trainer(fr.Sequential(layers), "mse", engine=engine)
    trainer.model.build(4)
    assert [type(op).__name__ for op in trainer.program("evaluate", dropout=True).ops].count("Elementwise") == 0


def test_weight_noise_is_one_draw_for_the_batch(engine):
    columns = 40
    trainer = linear(engine, columns, weight_noise=0.5)
    w = outputs(trainer, np.eye(columns), 3)  # rows of W + std n
    n = (w - np.eye(columns)) / 0.5
    assert abs(n.mean()) < 4 / columns and abs(n.var() - 1) < 4 * np.sqrt(2) / columns
    twice = outputs(trainer, np.vstack([np.eye(columns)] * 2), 3)
    np.testing.assert_array_equal(twice[:columns], twice[columns:])
    np.testing.assert_array_equal(twice[:columns], w)
    assert not np.array_equal(w, outputs(trainer, np.eye(columns), 4))
    np.testing.assert_array_equal(trainer.predict(np.eye(columns)), np.eye(columns))


@pytest.mark.parametrize("noise", ["preactivation_noise", "weight_noise"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients(engine, noise, activation, blobs):
    X, y = blobs
    layers = [fr.Dense(6, activation, **{noise: 0.3}), fr.Dropout(rate=0.3), fr.Dense(5, activation, **{noise: 0.2})]
    trainer = fr.Trainer(fr.Sequential([*layers, fr.Dense(3, **{noise: 0.1})]), engine=engine, l2=0.01)
    trainer.fit(X, y)
    check = fr.check_gradients(trainer, X[:20], y[:20], step=5)
    assert check.ok, check
    with pytest.raises(ValueError, match="noise is live in 0, 1, 2, 3"):
        fr.check_gradients(trainer, X[:20], y[:20])


def test_the_clean_weights_follow_the_gradient_of_the_noisy_ones(engine, rng):
    """One step by hand: W <- W - lr x^T dz with the dz of W + n; nothing else moves W."""
    X, y = rng.normal(size=(8, 5)), rng.normal(size=(8, 3))
    model = fr.Sequential([fr.Dense(3, weight_noise=0.5, use_bias=False)])
    trainer = fr.Trainer(model, "mse", fr.SGD(0.1), engine=engine, dtype="float64", seed=4)
    model.build(5, dtype="float64")
    clean = model.state_dict()["0.weight"]
    unit = fr.Trainer(fr.Sequential([*model.layers]), "mse", engine=engine, dtype="float64", seed=4)
    unit.model.build(5, dtype="float64")
    unit.model.parameters["0.weight"][...] = 0
    # with W = 0 and the unit vectors as rows the outputs are n, and the gradient is 2 n / 15
    n = unit.gradients(np.eye(5), np.zeros((5, 3)), step=0)["0.weight"] * 15 / 2
    trainer.fit(X, y, shuffle=False, batch_size=8)
    dz = (X @ (clean + n) - y) * 2 / y.size
    np.testing.assert_allclose(model.parameters["0.weight"], clean - 0.1 * X.T @ dz, rtol=1e-10)


def test_weight_noise_is_a_penalty_on_the_inputs_size(engine, rng):
    """For a linear unit E(y) is unchanged and the expected loss grows by std^2 |x|^2."""
    X = rng.normal(size=(400, 6))
    trainer = linear(engine, 6, weight_noise=0.3)
    losses = [trainer.row_losses(X, X, step=step).mean() for step in range(200)]
    expected = 0.09 * (X**2).sum(axis=1).mean()
    assert np.mean(losses) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("noise", ["preactivation_noise", "weight_noise"])
def test_settings_survive_files_copies_and_checkpoints(tmp_path, noise, engine, blobs):
    X, y = blobs
    path = tmp_path / "run"

    def fresh():
        layers = [fr.Dense(9, "relu", **{noise: 0.2}), fr.Dense(3)]
        return fr.Trainer(fr.Sequential(layers), engine=engine, seed=2)

    trainer, parts, rest = fresh(), fresh(), fresh()
    trainer.fit(X, y, epochs=3, batch_size=16)
    parts.fit(X, y, epochs=1, batch_size=16, callbacks=[fr.Checkpoint(path)])
    rest.fit(X, y, epochs=3, batch_size=16, resume=path, callbacks=[fr.Checkpoint(path)])
    assert same(state(trainer), state(rest))
    trainer.model.save(tmp_path / "m")
    loaded = fr.load(tmp_path / "m")
    assert loaded.layers == trainer.model.layers and f"{noise}=0.2" in repr(loaded)
    np.testing.assert_allclose(loaded.predict(X), trainer.predict(X), rtol=1e-5, atol=1e-6)


def test_noise_and_kinds_of_dropout_under_an_attack(blobs):
    """Both passes of a batch multiply by the same noisy weights."""
    X, y = blobs
    runs = {}
    for engine, threads in (("native", 1), ("native", 3), ("reference", 1)):
        layers = [fr.Dropout(rate=0.1, kind="gaussian"), fr.Dense(9, "tanh", weight_noise=0.1, preactivation_noise=0.1)]
        layers += [fr.Dropout(rate=0.3, per="unit"), fr.Dense(3, weight_noise=0.1)]
        settings = {"engine": engine, "threads": threads, "dtype": "float64", "adversarial": fr.FGSM(0.05)}
        trainer = fr.Trainer(fr.Sequential(layers), fr.losses.SoftmaxCrossEntropy(0.1), **settings)
        kinds = [type(op).__name__ for op in _built(trainer, X).program("train").ops]
        assert kinds.count("Perturb") == 2 and kinds.count("Dense") == 4
        trainer.fit(X, y, epochs=2, batch_size=16)
        runs[engine, threads] = state(trainer)
    assert same(runs["native", 1], runs["native", 3])
    for name, value in runs["native", 1].items():
        np.testing.assert_allclose(runs["reference", 1][name], value, rtol=1e-8, atol=1e-10)


def _built(trainer, X):
    trainer.model.build(X.shape[1:], dtype=trainer.dtype)
    return trainer


def test_no_noise_costs_nothing():
    models = (fr.Sequential([fr.Dense(3, **options)]) for options in ({}, {"preactivation_noise": 0.1}))
    kinds = []
    for model in models:
        model.build(4)
        kinds.append([type(op).__name__ for op in fr.Trainer(model).program("train").ops])
    assert kinds[0] == kinds[1]
