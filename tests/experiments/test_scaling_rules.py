"""scaling-rules: draws against the binomial law, a linear layer by hand, and claims that fail."""

import numpy as np
import pytest
from quick import claims_of, quick

from fastreg.experiments import scaling_rules
from fastreg.experiments.harness import Lab


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("kind", scaling_rules.KINDS)
def test_passes_of_a_linear_layer_have_the_moments_of_drawn_masks(engine, kind):
    trainer = scaling_rules.sums(Lab(1, engine=engine, threads=1), kind, 0.25, 6)
    x = np.arange(1.0, 7.0)
    terms = x * trainer.model.state_dict()["1.weight"][:, 0]
    scale = 4.0 if kind == "inverted" else 1.0
    mean, deviation = trainer.predict(np.tile(x, (4000, 1)), samples=10)
    assert mean.mean() == pytest.approx(scale * 0.25 * terms.sum(), abs=0.03 * scale * np.abs(terms).max())
    assert trainer.predict(x[None])[0, 0] == pytest.approx(scale * 0.25 * terms.sum(), rel=1e-4)
    # Within a row, the deviation of 10 passes is sqrt(9/10) too small in the mean of squares.
    drawn = np.mean(deviation**2) * 10 / 9
    assert drawn == pytest.approx(scale**2 * 0.25 * 0.75 * np.sum(terms**2), rel=0.03)


def test_two_moments_of_a_unit():
    assert scaling_rules.FORMULAS["inverted"](0.2) == pytest.approx((1, 4))
    assert scaling_rules.FORMULAS["standard"](0.2) == pytest.approx((0.2, 0.16))


def test_the_rule_of_the_inverted_net_is_the_net_itself():
    runs = quick("scaling-rules").runs
    assert runs.values("inverted", "rule_loss") == pytest.approx(runs.values("inverted", "unscaled_loss"), rel=1e-4)
    assert (np.abs(runs.values("standard", "rule_loss") - runs.values("standard", "unscaled_loss")) > 1e-4).all()
    assert (runs.values("inverted", "away")[:, 0] > runs.values("inverted", "away")[:, -1]).all()


def test_the_claims_can_fail():
    count = len(scaling_rules.PASSES)
    kind = {"rule": 0.8, "passes": [0.9] * count}
    numbers = {
        "inverted": kind,
        "standard": {**kind, "rule": 0.9},
        "draws": {name: [[0.5, 0.5]] * 3 for name in scaling_rules.KINDS},
        "errors": {name: [1.0, 2.0, 1.0] for name in scaling_rules.KINDS},
    }
    assert claims_of("scaling-rules", numbers) == [False] * 4
