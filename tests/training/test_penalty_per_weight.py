"""L2(lam, m="weights") divides by the sum of the sample weights of each batch, on both engines."""

import numpy as np
import pytest

import fastreg as fr

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.random.default_rng(1).normal(size=20)
WEIGHTS = np.where(np.arange(20) < 8, 5.0, 0.2)


def trainer(engine="native", **given):
    model = fr.Sequential([fr.Dense(1)])
    model.build(3, dtype="float64")
    model.parameters["0.weight"][...] = np.array([[1.0], [-2.0], [0.5]])
    given = {"loss": "mse", "optimizer": fr.SGD(0.1), "dtype": "float64", "l2": fr.L2(2.0, m="weights"), **given}
    return fr.Trainer(model, engine=engine, **given)


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_epoch_by_hand(engine, accumulate):
    own = trainer(engine, accumulate=accumulate)
    w, b = own.model.parameters["0.weight"][:, 0].copy(), 0.0
    history = own.fit(X, Y, epochs=1, batch_size=8, shuffle=False, sample_weight=WEIGHTS)
    penalties, size = [], 8 * accumulate
    for rows in (slice(start, start + size) for start in range(0, 20, size)):
        x, total, error = X[rows], WEIGHTS[rows].sum(), X[rows] @ w + b - Y[rows]
        penalties.append(w @ w / total)
        share = 2 * WEIGHTS[rows] * error / total
        w, b = w - 0.1 * (x.T @ share + 2.0 * w / total), b - 0.1 * share.sum()
    np.testing.assert_allclose(own.model.parameters["0.weight"][:, 0], w, rtol=1e-12)
    np.testing.assert_allclose(own.model.parameters["0.bias"], [b], rtol=1e-12)
    assert history["penalty"] == pytest.approx([np.mean(penalties)], rel=1e-12)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_means_by_rows(engine):
    """What the estimators report: each batch as often as it has rows, also a smaller last one."""
    own = trainer(engine, optimizer=fr.SGD(0.0))
    w = own.model.parameters["0.weight"][:, 0]
    own.fit(X, Y, epochs=1, batch_size=8, shuffle=False, sample_weight=WEIGHTS)
    parts = [slice(0, 8), slice(8, 16), slice(16, 20)]
    losses = [np.average((X[rows] @ w - Y[rows]) ** 2, weights=WEIGHTS[rows]) for rows in parts]
    penalties = [w @ w / WEIGHTS[rows].sum() for rows in parts]
    assert own._tally.rows == 20
    assert own._tally.row_loss == pytest.approx(np.dot([8, 8, 4], losses), rel=1e-12)
    assert own._tally.row_penalty == pytest.approx(np.dot([8, 8, 4], penalties), rel=1e-12)


def test_without_weights_it_is_that_of_the_rows():
    results = []
    for m in ("weights", "batch"):
        own = trainer(l2=fr.L2(2.0, m=m), l1=fr.L1(0.1, m=m))
        own.fit(X, Y, epochs=2, batch_size=8)
        results.append(own.model.parameters["0.weight"].tobytes())
    assert results[0] == results[1]


def test_objective_and_gradient():
    own = trainer()
    w = own.model.parameters["0.weight"]
    expected = np.average((X @ w[:, 0] - Y) ** 2, weights=WEIGHTS) + float((w**2).sum()) / WEIGHTS.sum()
    assert own.objective(X, Y, WEIGHTS) == pytest.approx(expected, rel=1e-12)
    assert fr.check_gradients(own, X, Y, WEIGHTS).ok


def test_refusals():
    with pytest.raises(
        ValueError, match=r"L2 m: got 'weight', expected 'batch', 'weights', 'train' or a number above 0"
    ):
        fr.L2(1.0, m="weight")
