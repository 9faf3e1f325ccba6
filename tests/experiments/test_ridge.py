"""ridge: the net's weights against two other ways to the same solution."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments.ridge import ALPHAS, COLUMNS, ROWS, problem


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.slow)])
def test_the_net_solves_the_problem_with_the_rows_of_the_penalty_added(engine):
    """|Xw - y|² + α|w|² is plain least squares with the rows √α I and the targets 0 added."""
    run = quick("ridge", engine, 2 if engine == "native" else 1).runs[0]
    X, y = problem(0)
    for alpha, w in zip(ALPHAS, run["net"], strict=True):
        rows = np.vstack([X, np.sqrt(alpha) * np.eye(COLUMNS)])
        expected, *_ = np.linalg.lstsq(rows, np.append(y, np.zeros(COLUMNS)), rcond=None)
        np.testing.assert_allclose(w, expected, atol=1e-5)


def test_the_dual_form_agrees_and_the_repeated_column_gets_twice_the_weight():
    run = quick("ridge").runs[1]
    X, y = problem(1)
    for alpha, w in zip(ALPHAS, run["net"], strict=True):
        np.testing.assert_allclose(w, X.T @ np.linalg.solve(X @ X.T + alpha * np.eye(ROWS), y), atol=1e-5)
        assert w[1] == pytest.approx(2 * w[0], abs=1e-9)
    assert run["rank"] == np.linalg.matrix_rank(X) == ROWS


def test_the_claims_can_fail():
    away = np.arange(6.0)[::-1, None] * np.ones(COLUMNS)
    good = {
        "rank": 12,
        "eigenvalues": np.linspace(9, 0, COLUMNS),
        "shortest": np.zeros(COLUMNS),
        "closed form": away,
        "printed form": away + 0.1,
        "net": away,
    }
    assert claims_of("ridge", good) == [True, True, True]
    assert claims_of("ridge", {**good, "rank": COLUMNS, "net": away[::-1]}) == [False, False, False]
