"""normalize: gradient descent in plain NumPy takes the same steps."""

import numpy as np
import pytest
from quick import claims_of, quick

pytest.importorskip("sklearn")
from fastreg.experiments.normalize import EACH, WAYS, curvatures, parts, scaled, steps_to


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.slow)])
def test_losses_are_those_of_plain_gradient_descent(engine):
    run = quick("normalize", engine, 2 if engine == "native" else 1).runs[0]
    (X, y), (X_test, _) = parts(0)
    for way in WAYS:
        Z, _ = scaled(way, X, X_test)
        w, b, rate, losses = np.zeros(30), 0.0, 1 / curvatures(Z)[1], []
        for _ in range(5 * EACH):
            z = Z @ w + b
            losses.append(np.mean(np.logaddexp(0, z) - y * z))
            slope = (1 / (1 + np.exp(-z)) - y) / len(y)
            w, b = w - rate * Z.T @ slope, b - rate * slope.sum()
        np.testing.assert_allclose(run[way]["losses"][:5], np.reshape(losses, (5, EACH)).mean(axis=1), rtol=1e-6)


def test_curvatures_are_those_of_the_second_derivative():
    (X, _), (X_test, _) = parts(1)
    Z, Z_test = scaled("divided by spread", X, X_test)
    inputs = np.column_stack([Z, np.ones(len(Z))])
    values = np.linalg.eigvalsh(inputs.T @ inputs / len(Z) / 4)
    np.testing.assert_allclose(curvatures(Z), values[[0, -1]], rtol=1e-6)
    np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(Z_test * X.std(axis=0) + X.mean(axis=0), X_test, atol=1e-9)  # by the others' moments


def test_steps_to_the_goal():
    assert steps_to([0.5, 0.1, 0.2]) == 2 * EACH and steps_to([0.5]) == np.inf


def test_the_claims_can_fail():
    fast, slow = {"losses": [0.05] * 60, "condition": 1.0}, {"losses": [0.5] * 60, "condition": 9.0}
    assert claims_of("normalize", {way: fast if way == "divided by spread" else slow for way in WAYS}) == [True, True]
    assert claims_of("normalize", {way: slow if way == "divided by spread" else fast for way in WAYS}) == [False, False]
