"""search: the cost of halving by hand, what was chosen is the best that was seen, and claims that fail."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments.search import KEEPS, LAMBDAS


def test_cost_by_hand():
    run = quick("search").runs[0]
    assert run["grid"]["spent"][-1] == 25 * 81
    assert run["halving"]["spent"][-1] == 27 * 9 + 9 * 18 + 3 * 54
    assert sorted(run["halving"]["reached"]) == [9] * 18 + [27] * 6 + [81] * 3


def test_the_best_pair_is_the_one_with_the_lowest_dev_loss():
    for run in quick("search").runs.runs:
        grid = run["grid"]
        assert grid["best"] == grid["pairs"][int(np.argmin(grid["losses"]))]
        assert grid["dev_loss"] == min(grid["losses"])
        assert run["halving"]["dev_loss"] == min(run["halving"]["losses"][-3:])
        pairs = np.array(run["halving"]["pairs"])
        assert pairs.min(axis=0) == pytest.approx((LAMBDAS[0], KEEPS[0]), rel=4)
        assert (pairs.max(axis=0) <= (LAMBDAS[1], KEEPS[1])).all()


def test_members_of_the_first_rung_are_cut_by_their_loss():
    halving = quick("search").runs[0]["halving"]
    first = np.array(halving["losses"][:27])
    assert set(np.argsort(first)[:9]) == set(np.flatnonzero(np.array(halving["reached"]) > 9))


def test_the_claims_can_fail():
    way = {"spent": [100], "test": {"accuracy": 0.9, "loss": 0.3}, "seconds": 1.0}
    worse = {**way, "test": {"accuracy": 0.8, "loss": 0.5}}
    assert claims_of("search", {"none": way, "grid": way, "halving": worse}) == [False] * 3
