"""quadratic: the trained weights minimize J plus the penalty, judged by slopes and by another way to the minimum."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments.quadratic import ALPHAS, BEST, HALF, KINDS, H


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_slopes_vanish_at_the_weights(engine):
    """The slope of J is h (w - w*). With L1 it may be anything up to α in size where w is 0."""
    run = quick("quadratic", engine, 2 if engine == "native" else 1).runs[0]
    for k, alpha in enumerate(ALPHAS):
        w = np.array(run["L2"]["net"][k])
        np.testing.assert_allclose(H * (w - BEST) + alpha * w, 0, atol=1e-5)
        w = np.array(run["L1"]["net"][k])
        slope = H * (w - BEST)
        np.testing.assert_allclose((slope + alpha * np.sign(w))[w != 0], 0, atol=1e-5)
        assert np.abs(slope[w == 0]).max() <= alpha


def test_the_turned_problem_has_the_same_solution_along_its_axes():
    axes, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(len(H), len(H))))
    run = quick("quadratic").runs[1]
    for k, alpha in enumerate(ALPHAS):
        along = axes.T @ run["L2, turned"]["net"][k]
        np.testing.assert_allclose(along, H / (H + alpha) * (axes.T @ BEST), atol=1e-5)


def test_zeros_are_counted_by_hand():
    """At α = 1: w* = 1 is lost where h <= 1, up to h = 0.08 · 100^(10/19) = 0.90; at h = 1 all w* within 1 of 0 are."""
    w = np.array(quick("quadratic").runs[0]["L1"]["net"][2])
    assert np.sum(w[:HALF] == 0) == 11 and np.sum(w[HALF:] == 0) == np.sum(np.abs(np.linspace(-2, 2, 20)) <= 1)


def test_the_claims_can_fail():
    dense, sparse = np.ones((3, 40)), np.where(np.arange(40) < 5, 0.0, np.ones((3, 40)))

    def numbers(l2, l1):
        nets = dict(zip(KINDS, (l2, l1, l2), strict=True))
        forms = dict(zip(KINDS, (dense, sparse, dense), strict=True))
        return {kind: {"net": nets[kind], "closed form": forms[kind]} for kind in KINDS}

    assert claims_of("quadratic", numbers(dense, sparse)) == [True] * 3
    assert claims_of("quadratic", numbers(sparse, dense)) == [False] * 3
