"""stopping-is-l2: both paths against plain gradient descent and a linear solve."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments.stopping_is_l2 import ALPHAS, BOUND, CURVATURES, RATE, STEPS, by_formula, problem


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.slow)])
def test_the_stopped_weights_are_those_of_plain_gradient_descent(engine):
    run = quick("stopping-is-l2", engine, 2 if engine == "native" else 1).runs[0]
    axes, best = problem(0)
    H = axes @ np.diag(CURVATURES) @ axes.T
    w, path = np.zeros(2), {}
    for step in range(1, STEPS[-1] + 1):
        w = w - RATE * H @ (w - best)
        path[step] = w
    np.testing.assert_allclose(run["stopped"], [path[steps] for steps in STEPS], atol=1e-9)


def test_the_weights_with_l2_solve_its_equations():
    run = quick("stopping-is-l2").runs[1]
    axes, best = problem(1)
    H = axes @ np.diag(CURVATURES) @ axes.T
    for alpha, w in zip(ALPHAS, run["l2"], strict=True):
        np.testing.assert_allclose(w, np.linalg.solve(H + alpha * np.eye(2), H @ best), atol=1e-9)


def test_the_bound_is_that_of_the_formulas():
    every = np.arange(1, 20_000)[:, None]
    h = np.array([0.1, 1.0])
    apart = 1 - (1 - RATE * h) ** every - h / (h + 1 / (RATE * every))
    assert 0.203 < apart.max() < BOUND and np.all(apart > 0)  # L2 is behind


def test_the_claims_can_fail():
    def numbers(stopped, l2):
        return {"axes": np.eye(2), "best": np.ones(2), "stopped": stopped, "l2": l2}

    right = by_formula()
    assert claims_of("stopping-is-l2", numbers(right["stopped"], right["l2"])) == [True] * 3
    assert claims_of("stopping-is-l2", numbers(right["stopped"], 0 * right["l2"])) == [False] * 3
