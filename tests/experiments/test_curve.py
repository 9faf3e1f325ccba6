"""curve: the rank correlation against SciPy, the bound of a ReLU output by hand, and claims that fail."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments import curve
from fastreg.experiments.harness import Lab, curves


def test_agreement_is_spearmans():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    x, spread, error = rng.permutation(1000), rng.random(1000), rng.normal(size=1000)
    order = np.argsort(x).reshape(curve.STRETCHES, -1)
    expected = stats.spearmanr(spread[order].mean(axis=1), (error[order] ** 2).mean(axis=1))[0]
    assert curve.agreement(*curve.by_stretch(x, spread, error)) == pytest.approx(expected)
    assert curve.agreement(*curve.by_stretch(x, x.astype(float), x.astype(float))) == pytest.approx(1)


def test_the_net_has_the_published_size_and_start():
    model = curves.net("relu")
    model.build(1)
    shapes = [value.shape for value in model.state_dict().values()]
    assert shapes == [(1, 64), (64,), (64, 64), (64,), (64, 64), (64,), (64, 1), (1,)]
    for value, limit in zip(curves.weights(model), (1, 0.125, 0.125, 0.125), strict=True):
        assert 0.9 * limit < np.abs(value).max() <= limit


def test_no_relu_output_beats_its_bound_and_a_linear_one_does():
    runs = quick("curve").runs
    below = runs.values("below")
    assert (below < runs.values("relu", "val_loss").T).all() and (below > 0.5).all()
    assert (runs.values("linear", "val_loss")[:, -1] < below / 4).all()
    assert (runs.values("relu", "fit") >= 0).all()


def test_a_dead_net_is_flat_and_one_that_lives_learns_the_raised_curve():
    runs = quick("curve").runs
    dead = runs.values("raised", "dead") == 1
    flat = np.ptp(runs.values("raised", "fit"), axis=1) == 0
    assert (dead == flat).all() and (runs.values("raised", "R2")[~dead] > 0.9).all() and not dead.all()


def test_with_dropout_the_net_still_learns_the_curve():
    """Else the spread of its passes would tell nothing."""
    assert (quick("curve").runs.values("dropout", "R2") > 0.9).all()


def test_both_engines_learn_the_same():
    losses = []
    for engine in ("native", "reference"):
        lab = Lab(quick=True, engine=engine, threads=1)
        training, validation = curves.points(lab)
        trainer = lab.trainer(curves.net("linear", curve.RATE), loss="mse", optimizer="adam(lr=0.01)")
        losses.append(lab.fit(trainer, *training, validation_data=validation, epochs=3, batch_size=25)["val_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_the_claims_can_fail():
    way = {"loss": [1.0] * 10, "val_loss": [2.0] * 10, "R2": 0.9, "dead": False, "agreement": 0.1}
    numbers = {**dict.fromkeys(curve.WAYS, way), "variance": 4.0}
    assert claims_of("curve", numbers) == [False] * 5
    dead = {**numbers, "raised": {**way, "R2": 0.99, "dead": True}}
    assert claims_of("curve", dead)[3] is False
    assert claims_of("curve", {**numbers, "raised": {**way, "R2": 0.99}})[3] is True
