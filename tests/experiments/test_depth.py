"""depth: sizes against powers and against a pass by hand, and claims that can fail."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments.depth import DEPTH, INITIALIZERS, KINDS, ROWS, UNITS


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_linear_nets_follow_the_powers(engine):
    run = quick("depth", engine, 2 if engine == "native" else 1).runs[0]
    X = np.random.default_rng(0).normal(size=(ROWS, UNITS))[:, :8]
    layers = np.arange(1, DEPTH + 1)
    for factor in (1.5, 0.5):
        found = run["linear"][f"{factor:g}"]
        np.testing.assert_allclose(found["activation"], factor**layers * np.sqrt(np.mean(X**2)), rtol=1e-12)
        ratios = np.array(found["gradient"]) / found["gradient"][-1]
        np.testing.assert_allclose(ratios, factor ** (DEPTH - layers), rtol=1e-12)


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_relu_halves_the_square_that_1_over_n_keeps(engine):
    """The expected square of a ReLU's output is half of that of z: with 1/n it halves in each layer, with 2/n not."""
    run = quick("depth", engine, 2 if engine == "native" else 1).runs[0]["relu"]
    for name, factor in (("1/n", 0.5), ("2/n", 1.0)):
        squares = np.square(run[name]["activation"])
        assert (squares[-1] / squares[0]) ** (1 / (DEPTH - 1)) == pytest.approx(factor, rel=0.1)


def test_activations_are_those_of_a_pass_by_hand():
    X = np.random.default_rng(0).normal(size=(ROWS, UNITS))
    found = [quick("depth").runs[0]["tanh"][name]["activation"][0] for name in INITIALIZERS]
    rng = np.random.default_rng(5)  # other draws of the same variances
    expected = [
        np.sqrt(np.mean(np.tanh(X @ rng.normal(scale=std, size=(UNITS, UNITS))) ** 2))
        for std in (0.01, UNITS**-0.5, UNITS**-0.5, (2 / UNITS) ** 0.5)
    ]
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_the_claims_can_fail():
    flat, steep = dict.fromkeys(KINDS, (1.0,) * DEPTH), dict.fromkeys(KINDS, tuple(0.5 ** np.arange(DEPTH)))

    def numbers(good, bad):
        relu = {name: good if name == "2/n" else bad for name in INITIALIZERS}
        tanh = {name: bad if name.startswith("N") else good for name in INITIALIZERS}
        return {"linear": {"1.5": flat, "1": flat, "0.5": flat, "input": 1.0}, "relu": relu, "tanh": tanh}

    assert claims_of("depth", numbers(flat, steep)) == [False, True, True]
    assert claims_of("depth", numbers(steep, flat)) == [False, False, False]
