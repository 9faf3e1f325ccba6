"""sparsity: zeros and memory by hand, and what each penalty does to them."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments.sparsity import KINDS, LAMBDAS

WEIGHTS, BIASES, ROWS = 784 * 100 + 100 * 10, 110, (784 + 1) + (100 + 1)


def test_memory_is_eight_bytes_for_what_is_not_zero():
    for run in quick("sparsity").runs:
        for kind in KINDS:
            full = (1 - np.array(run[kind]["zeros"])) * WEIGHTS
            by_hand = (8 * full + 4 * ROWS + 4 * BIASES) / (4 * (WEIGHTS + BIASES))
            assert run[kind]["memory"] == pytest.approx(by_hand, rel=1e-6)


def test_only_l1_gives_zeros():
    for run in quick("sparsity").runs:
        assert run["l1"]["zeros"][0] == 0 and max(run["l2"]["zeros"]) < 0.001
        assert np.all(np.diff(run["l1"]["zeros"]) > 0) and run["l1"]["zeros"][-1] > 0.9


def test_without_a_penalty_both_are_the_same_net():
    for run in quick("sparsity").runs:
        assert run["l1"]["accuracy"][0] == run["l2"]["accuracy"][0] > 0.9


def test_the_claims_can_fail():
    count = len(LAMBDAS)
    none = {"zeros": [0.0] * count, "memory": [2.0] * count, "accuracy": [0.9] * count}
    assert claims_of("sparsity", {"l1": none, "l2": none}) == [False, False]
    costly = {"zeros": np.linspace(0, 0.99, count), "memory": np.linspace(2, 0, count), "accuracy": [0.9] + [0.8] * 6}
    assert claims_of("sparsity", {"l1": costly, "l2": none}) == [True, False]
