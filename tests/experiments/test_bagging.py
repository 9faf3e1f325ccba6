"""bagging: the means of errors against sums by hand, and both ensembles against each other."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments.bagging import MEMBERS, of_means


def test_means_of_errors_by_hand():
    errors = np.array([[[1.0]], [[-3.0]]])
    assert of_means(errors, np.random.default_rng(0), 1) in ([1, 1], [9, 1])
    assert of_means(errors, np.random.default_rng(0), 4000) == pytest.approx([5, 1], abs=0.2)


def test_independent_errors_fall_as_one_over_k():
    errors = np.random.default_rng(0).normal(size=(4, 5000, 1))
    assert of_means(errors, np.random.default_rng(1)) == pytest.approx(1 / np.arange(1, 5), rel=0.08)


def test_the_formula_is_that_of_v_and_c():
    for run in quick("bagging").runs:
        k = np.arange(1, MEMBERS + 1)
        assert run["predicted"] == pytest.approx(run["v"] / k + run["c"] * (k - 1) / k, rel=1e-6)


def test_more_nets_are_better_and_never_below_c():
    for run in quick("bagging").runs:
        assert run["measured"][0] > run["measured"][1] > run["measured"][3] > run["measured"][-1]
        assert run["mean"] > run["single"]
        assert 0.5 * run["v"] < run["c"] < 0.95 * run["v"]


def test_the_claims_can_fail():
    falling = np.linspace(2, 1, MEMBERS).tolist()
    numbers = {"v": 2.0, "c": 2.1, "predicted": [2.0] * MEMBERS, "measured": falling, "single": 0.9, "mean": 0.8}
    assert claims_of("bagging", numbers) == [False, False, False]
