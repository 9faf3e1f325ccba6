"""tanh-linear: measured against formulas by hand, and a claim that fails where nothing happens."""

import numpy as np
from quick import claims_of, quick

from fastreg.experiments import tanh_linear


def test_bend_is_zero_for_a_linear_logit_and_one_for_one_without_a_linear_part():
    X = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert tanh_linear.bend(X, 3 * X[:, 0] + 2) < 1e-12
    assert tanh_linear.bend(X, X[:, 0] ** 2) > 1 - 1e-12


def test_near_zero_counts():
    assert tanh_linear.near_zero([np.array([[0.1, 0.6]]), np.array([[-0.4, -0.5]])]) == 0.5


def test_weights_shrink_z_on_both_engines():
    for engine in ("native", "reference"):
        linear = quick("tanh-linear", engine, 2 if engine == "native" else 1).runs.mean("linear")
        assert linear[0] < 0.8 and linear[-1] > 0.95


def test_the_claims_can_fail():
    same = {"linear": [0.5] * 7, "bend": [0.3] * 7, "accuracy": [0.9] * 7}
    assert claims_of("tanh-linear", same) == [False, False]
