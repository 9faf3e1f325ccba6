"""gradient-check: differences of an objective written out by hand, and claims that fail when the check does."""

import numpy as np
import pytest
from quick import claims_of, quick

import fastreg as fr
from fastreg.experiments import gradient_check
from fastreg.experiments.gradient_check import CASES, LEFT_OUT, ONE_UNIT, RIGHT
from fastreg.experiments.harness import Lab


def test_the_ratio_of_a_missing_derivative_is_that_of_differences_by_hand():
    """The gradient of the trainer, against two-sided differences of J = mean of -log softmax, in plain NumPy."""
    lab = Lab(0, quick=True)
    X, y = lab.rng.normal(size=(20, 10)), lab.rng.integers(0, 3, 20)
    trainer = lab.trainer(gradient_check.net(LEFT_OUT), optimizer="adam(lr=0.01)", dtype="float64")
    trainer.fit(X, y, epochs=50, batch_size=20)
    state = trainer.model.state_dict()

    def J():
        a = np.tanh(X @ state["first.weight"] + state["first.bias"])
        a = np.tanh(a @ state["second.weight"] + state["second.bias"])
        z = a @ state["out.weight"] + state["out.bias"]
        return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(20), y])

    approx = {}
    for name, values in state.items():
        approx[name] = np.zeros_like(values)
        for at in np.ndindex(values.shape):
            kept, sides = values[at], []
            for move in (1e-5, -1e-5):
                values[at] = kept + move
                sides.append(J())
            values[at], approx[name][at] = kept, (sides[0] - sides[1]) / 2e-5
    gradients = trainer.gradients(X, y)
    both = [np.concatenate([part[name].ravel() for name in state]) for part in (approx, gradients)]
    ratio = np.linalg.norm(both[0] - both[1]) / sum(np.linalg.norm(part) for part in both)
    found = fr.check_gradients(trainer, X, y).ratio
    np.testing.assert_allclose(found, ratio, rtol=1e-4)
    assert np.abs(approx["second.weight"] - gradients["second.weight"]).max() < 1e-8  # above the mistake all is right


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.slow)])
def test_mistakes_are_found_and_right_gradients_pass(engine):
    run = quick("gradient-check", engine, 2 if engine == "native" else 1).runs[0]
    assert all(ratio < 1e-7 for case in RIGHT for ratio in run["ratio"][case])
    assert run["worst"][ONE_UNIT][0][1] == gradient_check.UNIT and run["refused"]
    assert run["ratio"][LEFT_OUT][0] < 1e-7 and run["ratio"][LEFT_OUT][1] > 1e-3


def test_the_claims_can_fail():
    def numbers(right, off, left, unit, refused):
        ratio = {**{case: [right, right] for case in RIGHT}, ONE_UNIT: [off, off], LEFT_OUT: left}
        return {"ratio": ratio, "worst": {case: [["first.bias", unit]] * 2 for case in CASES}, "refused": refused}

    assert claims_of("gradient-check", numbers(1e-9, 1e-4, [1e-9, 0.1], 3, True)) == [True] * 4
    assert claims_of("gradient-check", numbers(1e-6, 1e-9, [1e-9, 1e-9], 3, False)) == [False] * 4
    assert claims_of("gradient-check", numbers(1e-9, 1e-4, [0.1, 0.1], 2, True)) == [True, True, False, False]
