"""noise: what the trained nets withstand, and that weights are shaken as said."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments.noise import KEYS, WAYS, WEIGHT, disturbed


def test_noise_falls_on_weights_alone():
    rng = np.random.default_rng(0)
    moved = disturbed("0.weight", np.zeros((400, 400)), rng)
    assert moved.std() == pytest.approx(WEIGHT, rel=0.02) and abs(moved.mean()) < 0.002
    bias = np.ones(3)
    assert disturbed("0.bias", bias, rng) is bias


@pytest.mark.parametrize(("engine", "seeds"), [("native", 2), ("reference", 1)])
def test_noise_in_training_makes_noise_in_the_test_harmless(engine, seeds):
    runs = quick("noise", engine, seeds).runs
    for way in ("inputs", "weights"):
        assert runs.mean(way, way) > runs.mean("none", way) + 0.03
    for way in WAYS:
        assert runs.mean(way, "inputs") < runs.mean(way, "accuracy") > 0.8


def test_the_claims_can_fail():
    same = {way: dict.fromkeys(KEYS, 0.9) for way in WAYS}
    assert claims_of("noise", same) == [False] * 7
    better, worse = dict.fromkeys(KEYS, 0.95), dict.fromkeys(KEYS, 0.85)
    assert claims_of("noise", same | {"inputs": better}) == [True, False, False, True, False, False, False]
    assert claims_of("noise", same | {"inputs": better, "weights": better})[5:] == [True, False]
    assert claims_of("noise", same | {"labels": worse})[5:] == [False, True]
