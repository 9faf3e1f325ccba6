"""logistic: the weights that were found meet the conditions of an optimum, worked out by hand."""

import numpy as np
import pytest
from quick import claims_of, quick

pytest.importorskip("sklearn")
from fastreg.experiments import logistic


def slopes(seed: int, weights: list[float]) -> np.ndarray:
    """The gradient of the sum of the losses, of the weights and then the bias."""
    (Z, t), _ = logistic.split(seed)
    Z = np.column_stack([Z, np.ones(len(Z))])
    return Z.T @ (1 / (1 + np.exp(-Z @ weights)) - t)


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.slow)])
def test_the_weights_meet_the_conditions_of_an_optimum(engine):
    run = quick("logistic", engine, 2 if engine == "native" else 1).runs[0]
    for k, lambd in enumerate(run["lambdas"]):
        w = np.array(run["l2"]["fastreg"][k])
        assert np.abs(slopes(0, w) + lambd * np.append(w[:-1], 0)).max() < 1e-2
        w = np.array(run["l1"]["fastreg"][k])
        slope, away = slopes(0, w), w[:-1] != 0
        assert np.abs(slope[:-1][away] + lambd * np.sign(w[:-1][away])).max(initial=0) < 1e-2
        assert np.abs(slope[:-1][~away]).max() <= lambd and abs(slope[-1]) < 1e-2


def test_l1_leaves_fewer_weights_as_lambda_grows():
    zeros = logistic.zeros(quick("logistic").runs, "l1")
    assert np.all(np.diff(zeros, axis=1) <= 0) and zeros[:, -1].max() < 25  # from the largest λ to the smallest


def test_the_claims_can_fail():
    w = np.ones((4, 31))
    same = {"fastreg": w, "scikit-learn": w, "accuracy": [0.9] * 4}
    off = {**same, "fastreg": w + 0.001}
    assert claims_of("logistic", {"lambdas": [4, 3, 2, 1], "l2": same, "l1": same}) == [True, False]
    sparse = np.where(np.arange(31) < 9, 0.0, w)
    zeros = {**same, "fastreg": sparse, "scikit-learn": sparse}
    assert claims_of("logistic", {"lambdas": [4, 3, 2, 1], "l2": off, "l1": zeros}) == [False, True]
