"""sparse-code: the code against fastreg's own forward pass, and how zeros and errors go with the coefficient."""

import numpy as np
import pytest
from quick import claims_of, quick

import fastreg as fr
from fastreg.experiments.sparse_code import COEFFICIENTS, code, zeros


def test_the_code_is_the_output_of_the_first_layer():
    X = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    model = fr.Sequential([fr.Dense(4, "relu", name="code")])
    model.build(5, seed=1)
    assert code(model.state_dict(), X) == pytest.approx(fr.Trainer(model, loss="mse").predict(X), abs=1e-6)
    assert zeros(code(model.state_dict(), X)) > 0


def test_zeros_are_counted_exactly():
    assert zeros(np.array([0.0, 1e-30, -0.0, 2.0])) == 0.5


def test_a_larger_coefficient_gives_more_zeros_and_more_error():
    for run in quick("sparse-code").runs:
        assert run["code"][-1] > run["code"][-3] > run["code"][0]
        assert max(run["weights"]) < 0.01
        assert run["error"][0] < 0.2 and run["error"][-1] > 3 * run["error"][0]


def test_the_claims_can_fail():
    count = len(COEFFICIENTS)
    numbers = {"code": [0.5] * count, "weights": [0.1] * count, "error": [0.1] * count}
    assert claims_of("sparse-code", numbers) == [False, False, False]
