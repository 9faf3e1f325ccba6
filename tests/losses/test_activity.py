"""The penalty on the outputs of a layer: its value, its gradient, and what it does to a representation."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.layers import ACTIVATIONS


def network(l1, activation="relu"):
    return [
        fr.Dense(70, activation, activity_l1=l1),
        fr.Dropout(keep_prob=0.7),
        fr.Dense(3, activity_l1=0.1),
    ]


@pytest.mark.parametrize("weighted", [False, True])
def test_value_by_hand(engine, blobs, weighted):
    """objective and history["penalty"] include it, evaluate and row_losses do not. Rows are weighted as in the loss."""
    X, y = blobs
    weights = np.random.default_rng(0).integers(0, 3, len(X)) if weighted else None
    model = fr.Sequential([fr.Dense(70, "tanh", activity_l1=0.02, l2=0.5), fr.Dense(3, activity_l1=0.1)])
    trainer = fr.Trainer(model, optimizer=fr.SGD(0.0), engine=engine, dtype="float64")
    history = trainer.fit(X, y, batch_size=len(X), sample_weight=weights)
    w = model.parameters
    h = np.tanh(X @ w["0.weight"] + w["0.bias"])
    rows = 0.02 * abs(h).sum(axis=1) + 0.1 * abs(h @ w["1.weight"]).sum(axis=1)
    value = np.average(rows, weights=weights)
    assert history["penalty"][0] == pytest.approx(value + trainer.penalty(len(X)), rel=1e-12)
    assert trainer.penalty(len(X)) == pytest.approx(0.25 * (w["0.weight"] ** 2).sum(), rel=1e-12)
    loss = trainer.evaluate(X, y, weights)["loss"]
    assert loss == pytest.approx(np.average(trainer.row_losses(X, y), weights=weights), rel=1e-12)
    assert trainer.objective(X, y, weights) == pytest.approx(loss + history["penalty"][0], rel=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("step", [None, 5])
def test_gradients(engine, blobs, activation, step):
    X, y = blobs[0][:20], blobs[1][:20]
    layers = network(0.05, activation)
    trainer = fr.Trainer(fr.Sequential(layers if step else layers[::2]), engine=engine, l1=1e-3, seed=2)
    check = fr.check_gradients(trainer, X, y, np.random.default_rng(1).random(20), step=step)
    assert check.ok, str(check)


def test_gradients_include_the_penalty(engine, blobs):
    """A plain layer under mse: the difference to no penalty is activity_l1 / rows * X^T sign(y)."""
    X, _ = blobs
    targets = np.zeros((len(X), 4))
    models = [fr.Sequential([fr.Dense(4, activity_l1=l1)]) for l1 in (0.0, 0.3)]
    trainers = [fr.Trainer(model, "mse", dtype="float64", engine=engine, seed=1) for model in models]
    plain, pulled = (trainer.gradients(X, targets)["0.weight"] for trainer in trainers)
    expected = 0.3 / len(X) * X.astype(np.float64).T @ np.sign(models[0].predict(X))
    np.testing.assert_allclose(pulled - plain, expected, rtol=1e-9, atol=1e-12)


def test_the_representation_becomes_sparser(engine):
    """Goodfellow, Bengio and Courville, Deep Learning, 2016, 7.10."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(200, 10))
    y = (X[:, :3].sum(axis=1) > 0).astype(int) + (X[:, 3] > 0.5)
    shares = []
    for l1 in (0.0, 1e-3, 1e-2, 1e-1):
        model = fr.Sequential([fr.Dense(40, "relu", activity_l1=l1), fr.Dense(3)])
        trainer = fr.Trainer(model, optimizer=fr.Adam(1e-2), engine=engine, seed=3)
        trainer.fit(X, y, epochs=60, batch_size=50)
        w = model.parameters
        shares.append(np.mean(X @ w["0.weight"] + w["0.bias"] <= 0))
    assert all(np.diff(shares) > 0.01), shares


def test_the_penalty_adds_no_op():
    """It rides on dense, on the way back, and on the totals."""
    kinds = []
    for l1 in (0.0, 0.1):
        model = fr.Sequential([fr.Dense(8, "relu", activity_l1=l1), fr.Dense(3)])
        model.build(4)
        kinds.append([(type(op).__name__, op.wait) for op in fr.Trainer(model).program("train").ops])
    assert kinds[0] == kinds[1]


def test_engines_agree_op_by_op(blobs):
    X, y = blobs
    trainer = fr.Trainer(fr.Sequential(network(0.05, "tanh")))
    trainer.fit(X, y)
    comparison = fr.compare_engines(trainer, X, y, step=3)
    assert comparison.ok, str(comparison)
