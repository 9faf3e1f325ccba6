"""Constraints on weights: max-norm, the Frobenius ball, weights of at least 0. They hold after each update."""

import numpy as np
import pytest

import fastreg as fr

OPTIMIZERS = [
    fr.SGD(0.5, weight_decay=0.01),
    fr.SGD(0.5, momentum=0.9),
    fr.SGD(0.2, momentum=0.9, nesterov=True),
    fr.RMSprop(0.05),
    fr.RMSprop(0.05, momentum=0.5),
    fr.Adam(0.05),
    fr.AdamW(0.05),
]
SETTINGS = [{}, {"clip_norm": 1.0}, {"clip_value": 0.01}, {"accumulate": 2}, {"l1": 1e-3, "l2": 1e-3}]


class Watch(fr.Callback):
    """What the constraints limit, as it is behind every update: all shares of their limits."""

    def __init__(self):
        self.column, self.whole, self.least = [], [], []

    def on_batch_end(self, batch, logs):
        if not self.trainer.updates:  # of a step that takes several batches
            return
        for layer in self.model.layers:
            w = self.model.parameters[f"{layer.name}.weight"].astype(np.float64)
            if layer.max_norm:
                self.column.append(np.linalg.norm(w, axis=0).max() / layer.max_norm)
            if layer.max_frobenius:
                self.whole.append(np.linalg.norm(w) / layer.max_frobenius)
            if layer.non_negative:
                self.least.append(w.min())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_constraints_hold_after_every_update(engine, dtype, settings, optimizer, rng):
    X, y = rng.normal(size=(96, 70)), rng.integers(0, 5, 96)
    layers = [
        fr.Dense(90, "relu", max_frobenius=4.0),
        fr.Dense(40, "tanh", max_norm=0.6, max_frobenius=3.0, non_negative=True),
        fr.Dense(5, non_negative=True),
    ]
    trainer = fr.Trainer(fr.Sequential(layers), optimizer=optimizer, engine=engine, dtype=dtype, **settings)
    watch = Watch()
    trainer.fit(X, y, epochs=3, batch_size=32, callbacks=[watch])
    assert max(watch.column) <= 1 + 1e-6 and max(watch.whole) <= 1 + 1e-6
    assert max(watch.whole) > 1 - 1e-5 and min(watch.least) == 0


def test_projections_by_hand(engine):
    """One step of plain gradient descent, then max(0, W), the columns, the whole: in this order."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(30, 10)), rng.normal(size=(30, 6))
    ball = {"max_frobenius": 1.5}
    for options in ({"non_negative": True}, ball, {"non_negative": True, "max_norm": 0.9, **ball}):
        model = fr.Sequential([fr.Dense(6, **options)])
        trainer = fr.Trainer(model, "mse", fr.SGD(0.5), engine=engine, dtype="float64")
        model.build(10, dtype="float64")
        w = model.parameters["0.weight"] - 0.5 * trainer.gradients(X, y)["0.weight"]
        if "non_negative" in options:
            w = np.maximum(w, 0)
        if "max_norm" in options:
            norms = np.linalg.norm(w, axis=0)
            assert 0 < (norms > 0.9).sum() < 6
            w *= np.minimum(1, 0.9 / norms)
        if "max_frobenius" in options:
            assert np.linalg.norm(w) > 1.5
            w *= 1.5 / np.linalg.norm(w)
        trainer.fit(X, y, batch_size=30)
        np.testing.assert_allclose(model.parameters["0.weight"], w, rtol=1e-12)


def test_a_ball_that_is_large_enough_changes_nothing(engine, blobs):
    X, y = blobs
    plain, held = (
        fr.Trainer(fr.Sequential([fr.Dense(3, max_frobenius=limit)]), engine=engine, seed=1) for limit in (None, 1e3)
    )
    for trainer in (plain, held):
        trainer.fit(X, y, epochs=3)
    np.testing.assert_array_equal(plain.model.parameters["0.weight"], held.model.parameters["0.weight"])


@pytest.mark.parametrize(
    "optimizer", [fr.SGD(0.1), fr.SGD(0.05, momentum=0.8), fr.Adam(fr.schedules.Cosine(0.05, 400))]
)
@pytest.mark.parametrize("l1", [0.0, 0.3])
def test_non_negative_least_squares(engine, optimizer, l1, rng):
    """scikit-learn's optimum under positive=True; its loss is half of ours."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    X = rng.normal(size=(60, 12))
    y = X @ rng.normal(size=12) + 0.7
    model = fr.Sequential([fr.Dense(1, non_negative=True)])
    trainer = fr.Trainer(model, "mse", optimizer, l1=l1, dtype="float64", engine=engine)
    trainer.fit(X, y, epochs=400, batch_size=60, shuffle=False)
    expected = linear_model.LinearRegression(positive=True)
    if l1:
        expected = linear_model.Lasso(alpha=l1 / 2, positive=True, tol=1e-12, max_iter=100_000)
    expected.fit(X, y)
    w = model.parameters["0.weight"][:, 0]
    np.testing.assert_allclose(w, expected.coef_, atol=1e-4)
    np.testing.assert_array_equal(w == 0, expected.coef_ == 0)
    assert 0 < np.count_nonzero(w) < 12


def test_constraints_survive_saving(tmp_path):
    model = fr.Sequential([fr.Dense(2, max_frobenius=2, non_negative=True)])
    assert repr(model) == "Sequential([Dense(2, max_frobenius=2.0, non_negative=True)])"
    model.build(3)
    model.save(tmp_path / "model.safetensors")
    assert fr.load(tmp_path / "model.safetensors").layers == model.layers
