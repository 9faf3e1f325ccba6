"""bias-variance: the diagnosis of every net against the two differences, and claims that fail."""

import pytest
from quick import claims_of, quick

from fastreg.experiments.bias_variance import EXPECTED, LIMIT


def case(train: float, dev: float) -> str:
    high = [name for name, value in (("high bias", train), ("high variance", dev - train)) if value > LIMIT]
    return " and ".join(high) or "neither"


@pytest.mark.parametrize(("engine", "seeds"), [("native", 2), ("reference", 1)])
def test_every_diagnosis_follows_from_the_two_errors(engine, seeds):
    for run in quick("bias-variance", engine, seeds).runs:
        for name, expected in EXPECTED.items():
            assert run[name]["case"] == case(run[name]["train"], run[name]["dev"]) == expected


def test_the_advice_is_about_what_is_high():
    for run in quick("bias-variance").runs:
        assert "more training data" in run["large net, few data"]["advice"]
        assert "fit its training set" in run["small net, many data"]["advice"]


def test_the_claims_can_fail():
    same = {name: {"train": 0.0, "dev": 0.01, "case": "neither"} for name in EXPECTED}
    assert claims_of("bias-variance", same) == [False, False, False]
