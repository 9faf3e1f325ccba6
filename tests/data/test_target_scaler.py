"""TargetScaler: its numbers, and within a model."""

import numpy as np
import pytest

import fastreg as fr


def test_the_same_as_scikit_learns(rng):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    y = rng.normal([5.0, 1e6], [0.1, 2e4], (500, 2))
    ours, theirs = fr.data.TargetScaler().fit(y), preprocessing.StandardScaler().fit(y)
    np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=1e-12)
    np.testing.assert_allclose(ours.scale_, theirs.scale_, rtol=1e-10)
    np.testing.assert_allclose(ours.transform(y), theirs.transform(y), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.inverse_transform(ours.transform(y)), y, rtol=1e-12)
    one = fr.data.TargetScaler().fit(y[:, 0])
    np.testing.assert_allclose(one.transform(y[:, 0]), ours.transform(y)[:, 0], rtol=1e-12)
    assert one.transform(y[:, 0]).shape == (500,)


def test_constant_and_missing_targets():
    scaler = fr.data.TargetScaler().fit([[0.1, 1.0], [0.1, np.nan], [0.1, 3.0]])
    assert scaler.scale_.tolist() == [1.0, 1.0] and scaler.mean_.tolist() == [0.1, 2.0]
    for bad in ([], [[np.nan]], [np.inf, 1.0], ["a"]):
        with pytest.raises((ValueError, TypeError), match="y: "):
            fr.data.TargetScaler().fit(bad)
    with pytest.raises(ValueError, match="not fitted"):
        fr.Sequential([fr.Dense(1), fr.data.TargetScaler()])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_equals_one_on_scaled_targets(rng, engine, dtype):
    """By hand: scale the targets, train without the scaler, undo the scaling."""
    X, y = rng.normal(size=(60, 3)), 2e5 + 5e4 * rng.normal(size=(60, 2))
    scaler = fr.data.TargetScaler().fit(y)
    inside = fr.Sequential([fr.Dense(4, "tanh"), fr.Dense(2), scaler])
    outside = fr.Sequential([fr.Dense(4, "tanh"), fr.Dense(2)])
    for model, targets in ((inside, y), (outside, scaler.transform(y))):
        fr.Trainer(model, "mse", "adam", engine=engine, dtype=dtype).fit(X, targets, epochs=3, batch_size=10)
    for name, value in outside.state_dict().items():
        np.testing.assert_array_equal(inside.state_dict()[name], value)
    by_hand = scaler.inverse_transform(outside.predict(X).astype(np.float64))
    np.testing.assert_allclose(inside.predict(X), by_hand, rtol=1e-6)


def test_losses_are_in_the_units_of_y(rng, tmp_path):
    X = rng.normal(size=(200, 3))
    y = np.stack([300 + 0.5 * X[:, 0], 2e5 + 5e4 * X[:, 1]], axis=1) * (1 + 1e-4 * rng.normal(size=(200, 1)))
    for targets in (y[:, :1], y[:, 1:], y):
        outputs = targets.shape[1]
        model = fr.Sequential([fr.Dense(outputs), fr.data.TargetScaler().fit(targets)])
        trainer = fr.Trainer(model, "mse", fr.SGD(0.2))
        history = trainer.fit(X, targets, epochs=4, batch_size=20, validation_data=(X, targets))
        squared = np.mean((model.predict(X).astype(np.float64) - targets) ** 2)
        assert trainer.evaluate(X, targets)["loss"] == pytest.approx(squared, rel=1e-4)
        assert history["val_loss"][-1] == pytest.approx(squared, rel=1e-4)
        assert squared < 0.01 * targets.var(axis=0).mean()
        assert fr.check_gradients(trainer, X[:20], targets[:20]).ok
        model.save(tmp_path / "m.safetensors")
        loaded = fr.load(tmp_path / "m.safetensors")
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_spread_of_random_passes_is_in_the_units_of_y(rng):
    X, y = rng.normal(size=(50, 3)), 1e4 + 1e3 * rng.normal(size=50)
    scaler = fr.data.TargetScaler().fit(y)
    scaled = fr.Sequential([fr.Dropout(keep_prob=0.5), fr.Dense(1), scaler])
    plain = fr.Sequential([fr.Dropout(keep_prob=0.5), fr.Dense(1)])
    scaled.build(3)
    plain.build(3)
    (mean, std), (mean_0, std_0) = (model.predict(X, samples=20) for model in (scaled, plain))
    np.testing.assert_allclose(mean, mean_0 * scaler.scale_ + scaler.mean_, rtol=1e-5)
    np.testing.assert_allclose(std, std_0 * scaler.scale_, rtol=1e-5)


def test_bagging_on_scaled_targets_and_names(rng):
    X = rng.normal(size=(120, 2))
    y = 500 + 100 * X[:, 0]

    def numbers(seed):
        return fr.Trainer(fr.Sequential([fr.Dense(1), fr.data.TargetScaler().fit(y)]), "mse", fr.SGD(0.2), seed=seed)

    bagging = fr.Bagging(numbers, 3)
    bagging.fit(X, y, epochs=20, batch_size=20)
    assert bagging.score(X, y) > 0.99 and bagging.variance(X, y).v < 0.01 * y.var()

    names = np.where(X[:, 0] > 0, "yes", "no")
    bagging = fr.Bagging(lambda seed: fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=fr.SGD(1.0), seed=seed), 3)
    bagging.fit(X, names, epochs=20, batch_size=20)
    assert bagging.score(X, names) > 0.95 and bagging.oob_score(X, names) > 0.9
