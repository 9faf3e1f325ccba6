"""Penalties: their forms, where they apply, and the optima that training with them reaches."""

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


def test_one_step_of_l2_by_hand(engine):
    """y = w x with w = 2, x = 1, target 0, mse: dW = 2 w x = 4. W <- (1 - a l/m) W - a dW = W - a (dW + l/m W)."""
    model = fr.Sequential([fr.Dense(1, use_bias=False)])
    model.build(1, dtype="float64")
    model.load_state_dict({"0.weight": np.array([[2.0]])})
    trainer = fr.Trainer(model, "mse", fr.SGD(0.1), l2=fr.L2(3.0, m=6), engine=engine, dtype="float64")
    history = trainer.fit(np.ones((1, 1)), np.zeros((1, 1)))
    assert model.parameters["0.weight"].item() == pytest.approx(1.5, rel=1e-15)  # (1 - 0.05) 2 - 0.4 = 2 - 0.1 (4 + 1)
    assert history["penalty"] == [1.0]  # 3 / (2 * 6) * 2^2, before the step
    decayed = fr.Trainer(model, "mse", fr.SGD(0.1, weight_decay=0.5), engine=engine, dtype="float64")
    model.load_state_dict({"0.weight": np.array([[2.0]])})
    decayed.fit(np.ones((1, 1)), np.zeros((1, 1)))
    assert model.parameters["0.weight"].item() == pytest.approx(1.5, rel=1e-15)  # the other form


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_two_forms_of_l2_agree(engine, dtype, blobs):
    """W <- (1 - a l2) W - a dW and W <- W - a (dW + l2 W), within the rounding of one operation."""
    X, y = blobs
    ends = []
    for optimizer, l2 in ((fr.SGD(0.1), 0.2), (fr.SGD(0.1, weight_decay=0.2), 0.0)):
        layers = [fr.Dense(6, "relu"), fr.Dense(5, "tanh"), fr.Dense(3)]
        trainer = fr.Trainer(fr.Sequential(layers), optimizer=optimizer, l2=l2, engine=engine, dtype=dtype, seed=1)
        trainer.fit(X, y, batch_size=len(X))
        ends.append(trainer.model.parameters)
    for name, w in ends[0].items():
        limit = 2 * np.finfo(dtype).eps * np.abs(w).max()
        np.testing.assert_allclose(ends[1][name], w, rtol=0, atol=limit)


def test_an_elastic_net_is_l1_and_l2(engine, blobs):
    X, y = blobs
    net = fr.ElasticNet(0.02, l1_ratio=0.25, m="batch")
    assert (net.l1, net.l2) == (fr.L1(0.005, m="batch"), fr.L2(0.015, m="batch"))
    assert fr.ElasticNet(1, 0.5, proximal=False).l1 == fr.L1(0.5, proximal=False)
    layers = [[fr.Dense(5, penalty=net), fr.Dense(3)], [fr.Dense(5, l1=net.l1, l2=net.l2), fr.Dense(3)]]
    one = fr.Trainer(fr.Sequential(layers[0]), penalty=fr.L2(0.5), engine=engine)
    two = fr.Trainer(fr.Sequential(layers[1]), l2=0.5, engine=engine)
    assert one.model.layers == two.model.layers and one.settings() == two.settings()
    histories = [trainer.fit(X, y, epochs=2) for trainer in (one, two)]
    assert histories[0]["penalty"] == histories[1]["penalty"]
    for name, w in one.model.parameters.items():
        np.testing.assert_array_equal(w, two.model.parameters[name])
    one.penalty = net
    assert (one.l1, one.l2) == (net.l1, net.l2) and one.penalty(10) > 0


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


END = 1500  # epochs
COSINE = fr.schedules.Cosine(0.05, END)  # the divisors of RMSprop and Adam let a constant rate circle the optimum
OPTIMIZERS = [
    fr.SGD(0.1),
    fr.SGD(0.05, momentum=0.8),
    fr.SGD(0.05, momentum=0.8, nesterov=True),
    fr.RMSprop(COSINE),
    fr.RMSprop(COSINE, momentum=0.5),
    fr.Adam(COSINE),
    fr.AdamW(COSINE, weight_decay=0.0),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("kind", ["lasso", "elastic net", "ridge"])
def test_penalties_reach_scikit_learns_optimum(engine, regression, optimizer, kind):
    """scikit-learn minimizes half our loss plus alpha (r |w|_1 + (1 - r)/2 |w|^2), so our alpha is twice its own. Ridge
    has n times our loss plus alpha |w|^2: half of our lam, with m="train"."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = regression
    penalty, other = {
        "lasso": (fr.L1(0.3), linear_model.Lasso(alpha=0.15, tol=1e-12, max_iter=100_000)),
        "elastic net": (
            fr.ElasticNet(0.5, l1_ratio=0.7),
            linear_model.ElasticNet(alpha=0.25, l1_ratio=0.7, tol=1e-12, max_iter=100_000),
        ),
        "ridge": (fr.L2(14.0, m="train"), linear_model.Ridge(alpha=7.0)),
    }[kind]
    trainer = fit_to_the_end(X, y, loss="mse", penalty=penalty, optimizer=optimizer, engine=engine, epochs=END)
    other.fit(X, y)
    w = trainer.model.parameters["0.weight"][:, 0]
    np.testing.assert_allclose(w, other.coef_, atol=1e-6)
    assert trainer.model.parameters["0.bias"].item() == pytest.approx(other.intercept_, abs=1e-6)
    np.testing.assert_array_equal(w == 0, other.coef_ == 0)
    assert kind == "ridge" or 0 < np.count_nonzero(w == 0) < 12


def test_l1_under_adamw_balances_gradient_penalty_and_decay(engine, regression):
    """At rest g + l1 sign(w) + decay (sqrt(v) + eps) w = 0, with sqrt(v) = |g|, and a zero needs |g| <= l1."""
    X, y = regression
    optimizer = fr.AdamW(0.01, beta2=0.99, weight_decay=0.05)
    trainer = fit_to_the_end(X, y, loss="mse", l1=0.3, optimizer=optimizer, engine=engine)
    w = trainer.model.parameters["0.weight"][:, 0]
    g = trainer.gradients(X, y)["0.weight"][:, 0] - 0.3 * np.sign(w)
    moved = w != 0
    assert 0 < moved.sum() < 12 and (abs(g[~moved]) <= 0.3).all()
    rest = g + 0.3 * np.sign(w) + 0.05 * (abs(g) + 1e-8) * w
    np.testing.assert_allclose(rest[moved], 0, atol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_penalties_on_a_quadratic_reach_the_closed_forms(engine, optimizer, rng):
    """(Goodfellow, Bengio and Courville, Deep Learning, 2016, 7.1) About w* the loss is (w - w*)^T H (w - w*) / 2 with
    H = 2/n X^T X. L2 gives (H + l2)^-1 H w*: h / (h + l2) of w* along every eigenvector of H. L1, where H is diagonal,
    gives sign(w*) max(|w*| - l1 / h, 0)."""
    X = rng.normal(size=(40, 8))
    X = np.linalg.qr(X - X.mean(axis=0))[0] * math.sqrt(40)  # orthogonal, also to the bias
    spread = np.linspace(0.5, 1.2, 8)
    w = rng.normal(size=8)
    settings = {"loss": "mse", "optimizer": optimizer, "engine": engine, "epochs": END}

    h = 2 * spread**2
    one = fit_to_the_end(X * spread, X * spread @ w, l1=0.8, **settings)
    soft = np.sign(w) * np.maximum(np.abs(w) - 0.8 / h, 0)
    np.testing.assert_allclose(one.model.parameters["0.weight"][:, 0], soft, atol=1e-6)
    np.testing.assert_array_equal(one.model.parameters["0.weight"][:, 0] == 0, soft == 0)
    assert 0 < np.count_nonzero(soft) < 8

    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    turned = X * spread @ turn.T  # H = turn diag(h) turn^T
    two = fit_to_the_end(turned, turned @ w, l2=0.8, **settings)
    expected = turn @ (h / (h + 0.8) * (turn.T @ w))
    np.testing.assert_allclose(two.model.parameters["0.weight"][:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["l1", "l2"])
@pytest.mark.slow
def test_logistic_regression_reaches_scikit_learns_optimum(kind):
    """C = 1/lambda; lambda/m of the penalty is m="train"."""
    sklearn = pytest.importorskip("sklearn")
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    lam = {"l1": 5.0, "l2": 2.0}[kind]
    options = {}
    if kind == "l1":
        new = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8)
        options = {"solver": "saga"} | ({"l1_ratio": 1.0} if new else {"penalty": "l1"})
    other = LogisticRegression(C=1 / lam, tol=1e-10, max_iter=50_000, **options).fit(X, y)
    penalty = {"l1": fr.L1, "l2": fr.L2}[kind](lam, m="train")
    optimizer = fr.SGD(0.5, momentum=0.9)
    trainer = fit_to_the_end(
        X,
        y,
        loss="sigmoid_cross_entropy",
        optimizer=optimizer,
        penalty=penalty,
        epochs={"l1": 20_000, "l2": 3000}[kind],
    )
    w = trainer.model.parameters["0.weight"][:, 0]
    np.testing.assert_allclose(w, other.coef_[0], atol=1e-4)
    np.testing.assert_allclose(trainer.model.parameters["0.bias"], other.intercept_, atol=1e-4)
    np.testing.assert_allclose(trainer.predict(X)[:, 0], other.predict_proba(X)[:, 1], atol=1e-5)
    np.testing.assert_array_equal(w == 0, other.coef_[0] == 0)
    assert np.count_nonzero(w == 0) == {"l1": 20, "l2": 0}[kind]


def test_without_dropout_and_with_full_batches_the_objective_falls(engine, blobs):
    X, y = blobs
    trainer = fr.Trainer(
        fr.Sequential([fr.Dense(6, "tanh"), fr.Dense(3)]), optimizer=fr.SGD(0.1), l2=1e-2, l1=1e-3, engine=engine
    )
    history = trainer.fit(X, y, epochs=60, batch_size=len(X))
    J = np.add(history["loss"], history["penalty"])
    assert (np.diff(J) < 0).all()


@pytest.mark.parametrize("penalty", [fr.L1, fr.L2, fr.ElasticNet])
def test_docstrings_say_what_is_refused_and_where_it_comes_from(penalty):
    with pytest.raises(ValueError, match=r"(lam|alpha): got -1, expected a finite number of at least 0"):
        penalty(-1)
    for part in ("Raises\n", "ValueError, TypeError\n", "|W|", "19" if penalty is not fr.ElasticNet else "2005"):
        assert part in penalty.__doc__
