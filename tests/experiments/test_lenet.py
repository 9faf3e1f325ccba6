"""lenet: parameters counted by hand, moved images, and claims that fail for nets that are alike."""

import numpy as np
from quick import claims_of, quick

from fastreg.experiments import lenet
from fastreg.experiments.harness.results import Runs


def test_parameters_are_those_counted_by_hand():
    run = quick("lenet").runs[0]
    conv = 25 * 4 + 4 + 25 * 4 * 8 + 8 + 49 * 8 * 64 + 64 + 64 * 10 + 10
    assert run["convolutional"]["parameters"] == conv
    assert run["dense"]["parameters"] == 784 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10


def test_an_unmoved_image_is_right_as_often_as_after_the_last_epoch():
    for run in quick("lenet").runs.runs:
        for way in lenet.WAYS:
            assert run[way]["moved"][0] == run[way]["epochs"][-1] > 0.85
            assert run[way]["moved"][0] > max(run[way]["moved"][-2:])


def test_the_claims_can_fail():
    def numbers(conv, moved, dense=0.98, far=0.5):
        return {
            way: {"moved": [right, *4 * [right], there, there], "epochs": 4 * [right]}
            for way, right, there in (("convolutional", conv, moved), ("dense", dense, far))
        }

    def held(*values):
        return [claim.held for claim in lenet.claims(Runs(3 * [numbers(*values)]))]

    assert held(0.993, 0.9) == [True, True, True]
    assert held(0.991, 0.9) == [False, True, True]
    assert held(0.993, 0.4) == [True, True, False]
    assert held(0.97, 0.9)[:2] == [False, False]
    assert claims_of("lenet", numbers(0.9, 0.9)) == [False, True]  # the goal is for MNIST
    assert np.allclose(lenet.MOVES[-2:], [(3, 0), (0, 3)])
