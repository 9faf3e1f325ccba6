"""dfn: the printed numbers are those of the document, and the published L2 is the slip, by hand in NumPy."""

import numpy as np
import pytest
from quick import claims_of, quick

import fastreg as fr
from fastreg.experiments import dfn
from fastreg.experiments.harness.results import Runs


def test_the_published_losses_fall_as_printed():
    for way, last in (("none", 0.404), ("L2 as published", 0.860), ("dropout", 0.516)):
        assert len(dfn.LOSSES[way]) == 20 and dfn.LOSSES[way][-1] == last
    assert dfn.LOSSES["bagging of 3"][0] == pytest.approx((2.283 + 2.282 + 2.282) / 3)
    steps = -np.diff(dfn.LOSSES["none"])  # each line prints its difference to the one before, rounded anew
    printed = (0.078, 0.215, 0.353, 0.335, 0.242, 0.166, 0.117, 0.085, 0.062, 0.048)
    assert np.abs(steps[:10] - printed).max() < 0.0016


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_the_slip_is_that_of_the_document(engine):
    rng = np.random.default_rng(3)
    X, y, rate = rng.normal(size=(96, 5)), rng.integers(0, 3, 96), 0.5
    model = fr.Sequential([fr.Dense(4, "sigmoid"), fr.Dense(3)])
    model.build(5, seed=1, dtype="float64")
    trainer = fr.Trainer(model, optimizer=fr.SGD(rate), engine=engine, dtype="float64", seed=1)
    W1, b1, W2, b2 = (model.state_dict()[name] for name in ("0.weight", "0.bias", "1.weight", "1.bias"))
    history = trainer.fit(X, y, epochs=2, batch_size=64, shuffle=False, callbacks=[dfn.Slip(96, rate)], verbose=0)
    penalties = []
    for rows in 2 * [slice(0, 64), slice(64, 96)]:
        penalties.append(dfn.LAMBDA / 2 * sum((some**2).sum() for some in (W1, b1, W2, b2)))
        x, n = X[rows], len(X[rows])
        h = 1 / (1 + np.exp(-(x @ W1 + b1)))
        p = np.exp(h @ W2 + b2)
        dz = (p / p.sum(axis=1, keepdims=True) - np.eye(3)[y[rows]]) / n
        dh = dz @ W2.T * h * (1 - h)
        dW1, dW2 = x.T @ dh + dfn.LAMBDA * b1 / n, h.T @ dz + dfn.LAMBDA * b2 / n
        W1, b1 = W1 - rate * dW1, b1 - rate * dh.sum(axis=0)
        W2, b2 = W2 - rate * dW2, b2 - rate * dz.sum(axis=0)
    for name, value in (("0.weight", W1), ("0.bias", b1), ("1.weight", W2), ("1.bias", b2)):
        assert np.allclose(model.state_dict()[name], value, atol=1e-6)
    means = np.reshape(penalties, (2, 2)).mean(axis=1)
    assert history["published_penalty"] == pytest.approx(means.tolist(), rel=1e-5)


def test_a_true_penalty_is_part_of_the_loss_and_shrinks_the_weights():
    found = quick("dfn").runs[0]["native"]
    assert found["true L2, λ"]["loss"][0] > found["none"]["loss"][0] + 0.05
    assert found["true L2, λ"]["weights"] < found["true L2, λ/n"]["weights"] < found["none"]["weights"]


def test_the_reference_engine_alone_finds_the_same():
    alone, beside = quick("dfn", "reference", 1).runs[0], quick("dfn").runs[0]
    assert list(alone) == ["reference"]
    assert np.allclose(alone["reference"]["dropout"]["loss"], beside["reference"]["dropout"]["loss"], atol=1e-6)


def made(shift=0.0, accuracy=0.0, weights=50.0):
    way = {way: {"loss": np.add(dfn.LOSSES.get(way, 20 * [0.5]), shift), "weights": 90.0} for way in dfn.WAYS}
    for name, found in way.items():
        found["accuracy"] = dfn.ACCURACIES.get(name, 0.9) + accuracy
    way["true L2, λ"]["weights"] = weights
    return {"native": way, "reference": {name: dict(way[name]) for name in dfn.LOSSES}}


def test_the_claims_can_fail():
    def held(numbers):
        return [claim.held for claim in dfn.claims(Runs([numbers, numbers]))]

    assert held(made()) == [True] * 5
    assert held(made(shift=0.021)) == [False, True, True, True, True]
    assert held(made(accuracy=-0.011)) == [True, False, True, True, True]
    assert held(made(weights=90.0))[3] is False
    other = made()
    other["reference"]["none"]["loss"] = other["reference"]["none"]["loss"] + 0.002
    assert held(other)[2] is False
    assert len(claims_of("dfn", made())) == 3  # nothing is said of published numbers on other images
