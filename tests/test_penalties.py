"""Penalties: their forms, whom they concern, and the optima that training with them reaches."""

import math

import numpy as np
import pytest

import fastreg as fr

# --- Penalties ----------------------------------------------------------------------------------------------------


def test_forms_of_m(engine, blobs):
    """The penalty of an epoch is the mean over its steps: batches of 64, 64 and 22 rows."""
    X, y = blobs
    expected = {1: 1.0, 4: 1 / 4, "train": 1 / 150, "batch": (2 / 64 + 1 / 22) / 3}
    for m, share in expected.items():
        model = fr.Sequential([fr.Dense(3)])
        trainer = fr.Trainer(model, optimizer=fr.SGD(0.0), l2=fr.L2(0.5, m=m), l1=fr.L1(0.1, m=m), engine=engine)
        history = trainer.fit(X, y, batch_size=64)
        w = model.parameters["0.weight"].astype(np.float64)
        whole = 0.25 * (w * w).sum() + 0.1 * np.abs(w).sum()
        assert history["penalty"][0] == pytest.approx(share * whole, rel=1e-6)
        assert trainer.penalty(150) == pytest.approx(whole / {"batch": 150, "train": 150}.get(m, m))


def test_a_layers_own_penalties_win_and_biases_have_none(engine, blobs):
    X, y = blobs
    layers = [fr.Dense(5, "tanh", l2=0.0, l1=fr.L1(0.3, proximal=False)), fr.Dense(4, "tanh", l2=0.7), fr.Dense(3)]
    plain, penalized = (
        fr.Trainer(fr.Sequential(layers_), dtype="float64", engine=engine, l2=l2, seed=3)
        for layers_, l2 in (([fr.Dense(5, "tanh"), fr.Dense(4, "tanh"), fr.Dense(3)], 0.0), (layers, 0.2))
    )
    a, b = plain.gradients(X, y), penalized.gradients(X, y)
    w = penalized.model.parameters
    added = {
        "0.weight": 0.3 * np.sign(w["0.weight"]),
        "1.weight": 0.7 * w["1.weight"],
        "2.weight": 0.2 * w["2.weight"],
    }
    for name in a:
        np.testing.assert_allclose(b[name] - a[name], added.get(name, 0.0), rtol=1e-9, atol=1e-12)
    assert penalized.objective(X, y) - plain.objective(X, y) == pytest.approx(penalized.penalty(len(X)))


# --- Where training converges to ----------------------------------------------------------------------------------


def fit_to_the_end(X, y, outputs=1, epochs=3000, engine="native", **settings) -> fr.Trainer:
    trainer = fr.Trainer(fr.Sequential([fr.Dense(outputs)]), dtype="float64", engine=engine, **settings)
    trainer.fit(X, y, epochs=epochs, batch_size=len(X), shuffle=False)
    return trainer


@pytest.fixture
def regression(rng):
    X = rng.normal(size=(60, 12))
    w = np.where(np.arange(12) % 3 == 0, rng.normal(size=12) * 2, 0)
    return X, X @ w + 0.7 + 0.1 * rng.normal(size=60)


OPTIMIZERS = [fr.SGD(0.1), fr.SGD(0.05, momentum=0.8), fr.SGD(0.05, momentum=0.8, nesterov=True)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_l1_reaches_the_lasso_with_exact_zeros(engine, regression, optimizer):
    """scikit-learn minimizes half our loss plus alpha |w|_1, so alpha = l1 / 2."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = regression
    trainer = fit_to_the_end(X, y, loss="mse", l1=0.3, optimizer=optimizer, engine=engine, epochs=600)
    lasso = linear_model.Lasso(alpha=0.15, tol=1e-12, max_iter=100_000).fit(X, y)
    w = trainer.model.parameters["0.weight"][:, 0]
    np.testing.assert_allclose(w, lasso.coef_, atol=1e-8)
    assert trainer.model.parameters["0.bias"].item() == pytest.approx(lasso.intercept_, abs=1e-8)
    np.testing.assert_array_equal(w == 0, lasso.coef_ == 0)
    assert 0 < np.count_nonzero(w == 0) < 12


def test_l1_under_adam_gives_exact_zeros(engine, regression):
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = regression
    trainer = fit_to_the_end(X, y, loss="mse", l1=0.3, optimizer=fr.Adam(0.01), engine=engine, epochs=2000)
    lasso = linear_model.Lasso(alpha=0.15, tol=1e-12, max_iter=100_000).fit(X, y)
    w = trainer.model.parameters["0.weight"][:, 0]
    np.testing.assert_allclose(w, lasso.coef_, atol=2e-3)
    np.testing.assert_array_equal(w == 0, lasso.coef_ == 0)


def test_penalties_on_a_quadratic_reach_the_closed_forms(rng):
    """With X^T X = n I the loss is |w - w*|^2 and a constant: L1 gives soft(w*, l1/2), L2 gives w* / (1 + l2/2)."""
    X = np.linalg.qr(rng.normal(size=(40, 8)))[0] * math.sqrt(40)
    X -= X.mean(axis=0)
    X = np.linalg.qr(X)[0] * math.sqrt(40)  # orthogonal to the bias, too
    w = rng.normal(size=8)
    y = X @ w
    one = fit_to_the_end(X, y, loss="mse", optimizer=fr.SGD(0.3), l1=0.8, epochs=200)
    soft = np.sign(w) * np.maximum(np.abs(w) - 0.4, 0)
    np.testing.assert_allclose(one.model.parameters["0.weight"][:, 0], soft, atol=1e-10)
    np.testing.assert_array_equal(one.model.parameters["0.weight"][:, 0] == 0, soft == 0)
    two = fit_to_the_end(X, y, loss="mse", optimizer=fr.SGD(0.3), l2=0.8, epochs=200)
    np.testing.assert_allclose(two.model.parameters["0.weight"][:, 0], w / 1.4, atol=1e-10)


def test_logistic_regression_reaches_scikit_learns_optimum():
    """C = 1/lambda; lambda/m of the penalty is m="train"."""
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(X, y)
    trainer = fit_to_the_end(
        X, y, loss="sigmoid_cross_entropy", optimizer=fr.SGD(0.5, momentum=0.9), l2=fr.L2(2.0, m="train")
    )
    np.testing.assert_allclose(trainer.model.parameters["0.weight"][:, 0], expected.coef_[0], atol=1e-4)
    np.testing.assert_allclose(trainer.model.parameters["0.bias"], expected.intercept_, atol=1e-4)
    np.testing.assert_allclose(trainer.predict(X)[:, 0], expected.predict_proba(X)[:, 1], atol=1e-5)


def test_without_dropout_and_with_full_batches_the_objective_falls(engine, blobs):
    X, y = blobs
    trainer = fr.Trainer(
        fr.Sequential([fr.Dense(6, "tanh"), fr.Dense(3)]), optimizer=fr.SGD(0.1), l2=1e-2, l1=1e-3, engine=engine
    )
    history = trainer.fit(X, y, epochs=60, batch_size=len(X))
    J = np.add(history["loss"], history["penalty"])
    assert (np.diff(J) < 0).all()
