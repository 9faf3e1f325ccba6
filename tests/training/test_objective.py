"""The debugging rule: with keep_prob = 1 and full batches J = loss + penalty falls at every step."""

import numpy as np
import pytest
from trainers import line

import fastreg as fr

RNG = np.random.default_rng(2)
X = RNG.normal(size=(60, 8))
Y = RNG.integers(0, 4, 60)
PENALTIES = {
    "none": {},
    "l2": {"l2": 0.05},
    "l1": {"l1": 0.01},
    "l1, subgradient": {"l1": fr.L1(0.01, proximal=False)},
    "both": {"l1": 0.005, "l2": fr.L2(2.0, m="batch")},
}


def net(engine, keep_prob=1.0, lr=0.1, **settings) -> fr.Trainer:
    layers = [fr.Dense(16, "tanh"), fr.Dropout(keep_prob=keep_prob), fr.Dense(4)]
    return fr.Trainer(fr.Sequential(layers), optimizer=fr.SGD(lr), engine=engine, dtype="float64", **settings)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_objective_falls_at_every_step(engine, penalty):
    trainer = net(engine, **PENALTIES[penalty])
    history = trainer.fit(X, Y, epochs=100, batch_size=len(X))
    assert trainer.step == 100
    assert (np.diff(history.objective) < 0).all()


def test_the_reported_objective_is_that_before_the_step(engine):
    """Loss and penalty of an epoch belong to the same parameters, so their sum is J at these."""
    trainer = net(engine, l1=0.01, l2=0.05)
    trainer.model.build(8, dtype="float64")
    for _ in range(3):
        before = trainer.objective(X, Y)
        history = trainer.fit(X, Y, batch_size=len(X))
        np.testing.assert_allclose(history.objective, before, rtol=1e-13)
        assert history.objective == [history["loss"][0] + history["penalty"][0]]


def test_the_loss_may_rise_while_the_objective_falls(engine):
    """A penalty draws the weight back from the least-squares line: the loss rises, J falls."""
    x = np.array([[-1.0], [0.0], [1.0]])
    trainer = line(engine, lr=0.1, w=2.0, b=0.0, l2=1.0)
    history = trainer.fit(x, 2 * x, epochs=30, batch_size=3)
    assert (np.diff(history["loss"]) > 0).all()
    assert (np.diff(history.objective) < 0).all()


def test_with_dropout_the_objective_need_not_fall(engine):
    """Each step has its own objective. That is why the rule asks for keep_prob = 1."""
    history = net(engine, keep_prob=0.5).fit(X, Y, epochs=100, batch_size=len(X))
    assert (np.diff(history.objective) > 0).any()


def test_too_large_a_rate_makes_the_objective_rise(engine):
    """What the rule is for: J rises, so something is wrong. (J has the curvature 2 here, and 2 / 2 is the limit.)"""
    x = np.array([[-1.0], [1.0]])
    history = line(engine, lr=1.01, w=0.0, b=0.0).fit(x, x, epochs=5, batch_size=2)
    assert (np.diff(history.objective) > 0).all()
