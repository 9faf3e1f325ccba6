"""dropout-sweep: rate 1 on both engines, the noise of the output against drawn masks, and claims that fail."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments import dropout_sweep
from fastreg.experiments.harness import Lab, curves


def test_at_rate_one_the_output_bias_alone_learns():
    for engine in ("native", "reference"):
        lab = Lab(quick=True, engine=engine, threads=1)
        (X, y), _ = curves.points(lab)
        model = curves.net(rate=1.0)
        model.build(1, seed=lab.seed)
        before = model.state_dict()
        trainer = lab.trainer(model, loss="mse", optimizer="adam(lr=0.05)")
        history = lab.fit(trainer, X, y, epochs=60, batch_size=3_750)
        after = model.state_dict()
        assert [name for name in after if not np.array_equal(before[name], after[name])] == [list(after)[-1]]
        assert list(after.values())[-1] == pytest.approx(np.mean(y), abs=0.05)
        assert history["loss"][-1] == pytest.approx(np.var(y), rel=0.02)


def test_noise_is_the_variance_that_dropped_inputs_of_the_output_make():
    rng, rate = np.random.default_rng(2), 0.25
    model = curves.net(rate=rate)
    model.build(1, seed=3)
    X = rng.uniform(0, 12, (50, 1))
    state = list(model.state_dict().values())
    a = X
    for k in range(0, 6, 2):
        z = a @ state[k] + state[k + 1]
        a = np.maximum(z, 0.01 * z)
    kept = rng.random((20_000, 64)) >= rate
    drawn = (kept / (1 - rate)) @ (a * state[6][:, 0]).T
    found = dropout_sweep.of_the_output(model, X)
    assert drawn.var(axis=0).mean() == pytest.approx(found["noise"] * rate / (1 - rate), rel=0.03)
    assert 1 / 64 < found["spread"] < 1


def test_the_loss_grows_with_the_rate_and_all_is_finite():
    runs = quick("dropout-sweep").runs
    assert runs.values("finite").all()
    assert (runs.values("loss")[:, 0] < 0.1).all() and (runs.values("loss")[:, -2] > 0.8).all()
    assert runs.mean("R2")[0] > 0.9 > 0.2 > runs.mean("R2")[-2]


def test_the_claims_can_fail():
    count = len(dropout_sweep.RATES)
    same = {key: [0.9] * count for key in (*dropout_sweep.KEYS, "finite")}
    assert claims_of("dropout-sweep", same) == [False] * 7
