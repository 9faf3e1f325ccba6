"""early-stopping: the rules stop where Prechelt's formulas, worked out again on the whole curve, say they must."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments import early_stopping
from fastreg.experiments.early_stopping import CONTINUE, RESTART, RULES, TO_THE_END


def where(name: str, loss: np.ndarray, dev: np.ndarray) -> int:
    """How many epochs a rule allows, from both curves."""
    waited = 0
    for t in range(len(dev)):
        waited = 0 if t == 0 or dev[t] < dev[:t].min() else waited + 1
        rise = 100 * (dev[t] / dev[: t + 1].min() - 1)
        strip = loss[t - 4 : t + 1]
        ends = (t + 1) % 5 == 0
        if (
            (name == "GL" and rise > 5)
            or (name == "PQ" and ends and rise > 0.5 * 1000 * (strip.mean() / strip.min() - 1))
            or (name == "UP" and ends and t >= 14 and dev[t] > dev[t - 5] > dev[t - 10])
            or (name == "patience" and waited == 4)
        ):
            return t + 1
    return len(dev)


def test_each_rule_stops_where_its_formula_says():
    for run in quick("early-stopping").runs:
        loss, dev = (np.array(run["curves"][key]) for key in ("loss", "dev"))
        assert {name: run["found"][name]["epochs"] for name in RULES} == {
            name: where(name, loss, dev) for name in RULES
        }


def test_the_weights_are_those_of_the_lowest_dev_loss_so_far():
    for run in quick("early-stopping").runs:
        for name in RULES:
            seen = np.array(run["curves"]["dev"][: run["found"][name]["epochs"]])
            assert run["found"][name]["norm"] == pytest.approx(run["curves"]["norm"][seen.argmin() + 1], rel=1e-6)


def test_a_restart_takes_the_same_steps_on_more_data():
    for run in quick("early-stopping").runs:
        dev = np.array(run["curves"]["dev"][: run["found"]["patience"]["epochs"]])
        steps = (dev.argmin() + 1) * -(-300 // 32)
        assert run["found"][RESTART]["more"] == -(-steps // -(-400 // 32))


def test_the_norm_leaves_biases_out():
    assert early_stopping.norm_of({"0.weight": np.array([[3.0]]), "1.weight": np.array([4.0]), "0.bias": [9.0]}) == 5


def test_the_claims_can_fail():
    same = {"epochs": 3, "norm": 1.0, "loss": 0.5, "accuracy": 0.8, "more": 2, "reached": True}
    curves = {"loss": [0.9, 0.8, 0.8], "dev": [0.9, 0.8, 0.8], "norm": [1.0, 1.0, 1.0, 1.0]}
    numbers = {"curves": curves, "found": dict.fromkeys((TO_THE_END, *RULES, RESTART, CONTINUE), same)}
    assert claims_of("early-stopping", numbers) == [False] * 6
