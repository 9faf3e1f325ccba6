"""l2-sweep: what is left at a large λ is the mean, densities are densities, and claims can fail."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments import l2_sweep
from fastreg.experiments.harness import Lab, curves


def test_at_the_largest_lambda_the_fit_is_the_mean_of_the_targets():
    runs = quick("l2-sweep").runs
    for seed in range(len(runs)):
        _, y = curves.points(Lab(seed, quick=True))[0]
        assert np.asarray(runs[seed]["fit"][-1]) == pytest.approx(np.mean(y / y.std()), abs=0.3)
    assert (runs.values("norm")[:, -1] < 1e-3 * runs.values("start_norm")[:, -1]).all()


def test_densities_have_area_one_but_for_what_lies_beyond():
    runs = quick("l2-sweep").runs
    area = runs.values("after").sum(axis=2) * (curves.BINS[1] - curves.BINS[0])
    assert (area[:, 0] > 0.9).all() and (area <= 1 + 1e-9).all()
    start = runs.mean("before")[abs(curves.BINS[:-1]) < 0.1]
    assert start == pytest.approx(4, rel=0.3)  # of ±1/8, within which nearly all parameters begin


def test_the_penalty_is_half_lambda_times_the_squared_norm():
    for engine in ("native", "reference"):
        lab = Lab(quick=True, engine=engine, threads=1)
        training, _ = curves.points(lab)
        model = curves.net()
        trainer = lab.trainer(model, loss="mse", optimizer="adam(lr=0.01)", l2=0.25)
        history = lab.fit(trainer, *training, epochs=2, batch_size=3_750)  # one step an epoch
        again = curves.net()
        lab.fit(
            lab.trainer(again, loss="mse", optimizer="adam(lr=0.01)", l2=0.25), *training, epochs=1, batch_size=3_750
        )
        assert history["penalty"][1] == pytest.approx(0.125 * curves.squared_norm(curves.weights(again)), rel=1e-5)


def test_the_claims_can_fail():
    count = len(l2_sweep.LAMBDAS)
    numbers = {
        "R2": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
        "norm": [3.0] * count,
        "small": [0.1] * count,
        "zeros": [0.2] * count,
        "loss": [1.0] * count,
        "fit": [[0.0, 1.0]] * count,
        "y": [0.0, 1.0],
    }
    assert claims_of("l2-sweep", numbers) == [False] * 5
