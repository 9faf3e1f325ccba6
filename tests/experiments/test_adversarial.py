"""adversarial: the attack against that of a linear net by hand, and what it does to both nets."""

import numpy as np
import pytest
from quick import claims_of, quick

import fastreg as fr
from fastreg.experiments.adversarial import ADVERSARIAL, AT, EPSILONS, PLAIN, RANDOM


def test_the_attack_moves_a_linear_net_by_epsilon_times_the_l1_norm():
    w = np.array([[0.5], [-2.0], [0.25]], np.float32)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="sigmoid_cross_entropy")
    trainer.model.build(3)
    trainer.model.load_state_dict({"0.weight": w, "0.bias": [0.0]})
    x = np.float32([[0.1, 0.2, 0.3]])
    moved = fr.FGSM(0.1).attack(trainer, x, [1])
    assert ((x - moved) @ w)[0, 0] == pytest.approx(0.1 * np.abs(w).sum(), rel=1e-5)


@pytest.mark.parametrize(("engine", "seeds"), [("native", 2), ("reference", 1)])
def test_the_attack_harms_the_plain_net_most(engine, seeds):
    for run in quick("adversarial", engine, seeds).runs:
        assert np.all(np.diff(run[PLAIN]) < 0) and np.all(np.diff(run[ADVERSARIAL]) < 0)
        assert run[ADVERSARIAL][AT] > run[PLAIN][AT] + 0.2
        assert min(run[RANDOM]) > 0.9 and run[PLAIN][0] == run[RANDOM][0] > 0.95


def test_the_claims_can_fail():
    falling = np.linspace(0.97, 0.1, len(EPSILONS)).tolist()
    assert claims_of("adversarial", {PLAIN: falling, ADVERSARIAL: falling, RANDOM: falling}) == [False, False]
    flat = [0.97] * len(EPSILONS)
    assert claims_of("adversarial", {PLAIN: flat, ADVERSARIAL: flat, RANDOM: flat}) == [False, False]
