"""optimizers: their paths are those of the recurrences, written out by hand."""

import numpy as np
import pytest
from quick import claims_of, quick

pytest.importorskip("sklearn")
from fastreg.experiments.optimizers import CURVATURES, OPTIMIZERS, STEPS, VALLEYS, arrival, rows


def by_hand(name: str, rate: float, w, H, steps: int) -> np.ndarray:
    """The weights before each step on J = w' H w."""
    path, v, m = [], np.zeros(2), np.zeros(2)
    for t in range(1, steps + 1):
        path.append(w)
        g = 2 * H @ w
        if name == "RMSprop":
            v = 0.9 * v + 0.1 * g**2
            w = w - rate * g / (np.sqrt(v) + 1e-8)
        elif name == "Adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            w = w - rate * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        else:
            m = (0.0 if name == "gradient descent" else 0.9) * m + g
            w = w - rate * (g + 0.9 * m if name == "Nesterov" else m)
    return np.array(path)


@pytest.mark.parametrize("engine", ["native", pytest.param("reference", marks=pytest.mark.slow)])
def test_paths_are_those_of_the_recurrences(engine):
    run = quick("optimizers", engine, 2 if engine == "native" else 1).runs[0]
    for valley, angle in VALLEYS.items():
        _, turn = rows(angle)
        for name in OPTIMIZERS:
            found = run["valley"][name][valley]
            path = np.array(found["path"])[:40]
            H = turn @ np.diag(CURVATURES) @ turn.T
            expected = by_hand(name, found["rate"], path[0], H, len(path))
            np.testing.assert_allclose(path, expected, atol=2e-4, err_msg=f"{name}, {valley}")
            np.testing.assert_allclose(found["losses"][:40], np.sum(expected @ H * expected, axis=1), atol=1e-4)


def test_the_surface_has_the_curvatures_it_should_have():
    X, turn = rows(0.3)
    np.testing.assert_allclose(X.T @ X / len(X), turn @ np.diag([1.0, 0.01]) @ turn.T, atol=1e-12)


def test_arrival_counts_from_the_last_time_above():
    assert arrival([1.0, 0.005, 0.02, 0.009, 0.001]) == 3 and arrival([1.0, 1.0]) == 2
    assert arrival([np.inf] * STEPS) == STEPS


def test_the_claims_can_fail():
    def numbers(plain, others, turn):
        steps = {name: plain if name == "gradient descent" else others for name in OPTIMIZERS}
        more = {name: turn if name in ("RMSprop", "Adam") else 0 for name in OPTIMIZERS}
        axis, turned = VALLEYS
        return {
            "valley": {
                name: {axis: {"steps": steps[name]}, turned: {"steps": steps[name] + more[name]}} for name in OPTIMIZERS
            },
            "net": {name: {"losses": [2.0, steps[name] / 100]} for name in OPTIMIZERS},
        }

    assert claims_of("optimizers", numbers(100, 50, 9)) == [True] * 4
    assert claims_of("optimizers", numbers(50, 100, 0)) == [False] * 4
