"""check_gradients as a debugging tool: with penalties, masks held fixed, before and after training, bugs located."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.engines import reference as reference_engine
from fastreg.program import ops as O
from fastreg.program.riders import Through
from fastreg.reference import updates as reference_updates

RNG = np.random.default_rng(8)
X = RNG.normal(size=(24, 5))
Y = RNG.integers(0, 3, 24)
PENALTIES = {
    "l2": {"l2": 0.3},
    "l2, m batch": {"l2": fr.L2(0.5, m="batch")},
    "l2, m train": {"l2": fr.L2(0.5, m="train")},
    "l1": {"l1": 0.05},
    "l1, subgradient": {"l1": fr.L1(0.4, m="batch", proximal=False)},
    "both": {"l1": 0.02, "l2": 0.1},
}


def net(engine, layers=None, **settings) -> fr.Trainer:
    layers = layers or [fr.Dense(7, "tanh"), fr.Dropout(keep_prob=0.7), fr.Dense(6, "relu"), fr.Dense(3)]
    return fr.Trainer(fr.Sequential(layers), optimizer=fr.Adam(0.02), engine=engine, **settings)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_with_penalties_before_and_after_training(engine, penalty):
    """Proximal L1 makes exact zeros. There the difference of |w| is 0, like sign(0)."""
    trainer = net(engine, **PENALTIES[penalty])
    assert fr.check_gradients(trainer, X, Y, step=2).ok
    trainer.fit(X, Y, epochs=30, batch_size=8)
    assert trainer.step == 90
    assert fr.check_gradients(trainer, X, Y, step=2).ok


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_a_penalty_left_out_of_the_gradient_is_found(penalty, monkeypatch):
    """Weights are off by the gradient of the penalty. Biases have none and are correct."""
    monkeypatch.setattr(reference_updates, "penalized", lambda w, gradient, l1, l2: gradient)
    trainer = net("reference", **PENALTIES[penalty])
    trainer.model.build(5)
    check = fr.check_gradients(trainer, X, Y, step=0)
    assert check.verdict == "wrong"
    assert all((ratio < 1e-7) == name.endswith("bias") for name, ratio in check.per_parameter.items())
    for entry in check.worst_entries:
        w = float(trainer.model.parameters[entry.parameter][entry.index])
        missing = 0.3 * w if penalty == "l2" else 0.05 * np.sign(w)
        np.testing.assert_allclose(entry.approx - entry.gradient, missing, rtol=1e-5)


def test_masks_are_those_of_the_step(engine):
    """Another step has another objective, so gradients differ. Each is correct for its own masks."""
    trainer = net(engine)
    first, second = (trainer.gradients(X, Y, step=step)["0.weight"] for step in (0, 1))
    assert np.abs(first - second).max() > 1e-3
    for step in (0, 1, 2**33):
        assert fr.check_gradients(trainer, X, Y, step=step, max_entries=8).ok
    with pytest.raises(ValueError, match="step: got None, but dropout or noise is live in 1; "):
        fr.check_gradients(trainer, X, Y)


def test_a_bug_in_one_entry_is_located(engine, monkeypatch):
    right = fr.Trainer.gradients

    def wrong(self, *arguments, **named):
        gradients = right(self, *arguments, **named)
        gradients["2.weight"][3, 1] += 0.01
        return gradients

    monkeypatch.setattr(fr.Trainer, "gradients", wrong)
    check = fr.check_gradients(net(engine), X, Y, step=0)
    worst = check.worst_entries[0]
    assert not check.ok and check.worst == "2.weight"
    assert (worst.parameter, worst.index) == ("2.weight", (3, 1))
    np.testing.assert_allclose(worst.gradient - worst.approx, 0.01, rtol=1e-5)
    assert all(entry.error < 1e-6 for entry in check.worst_entries[1:]) and len(check.worst_entries) == 5
    assert "2.weight[3, 1]: gradient" in str(check)


def test_a_wrong_backward_pass_makes_the_layers_below_it_wrong(monkeypatch):
    """A backward pass that forgets the dropout of a layer: layers above it are correct, layers below are not."""
    right = reference_engine.RUN[O.DenseDx]

    def without_mask(engine, op, batch):
        through = op.through if op.weight != "2.weight" else Through(op.through.y, op.through.activation)
        right(engine, O.DenseDx(op.out, op.dz, op.weight, through), batch)

    monkeypatch.setitem(reference_engine.RUN, O.DenseDx, without_mask)
    check = fr.check_gradients(net("reference"), X, Y, step=0)
    assert check.verdict == "wrong" and check.worst.startswith("0.")
    assert {name for name, ratio in check.per_parameter.items() if ratio > 1e-3} == {"0.weight", "0.bias"}


def test_a_bug_that_only_training_shows(engine):
    """sin(x) with the derivative 1: almost correct near 0, where a network starts, and wrong when weights grow."""
    small = fr.initializers.normal(1e-6)
    layers = [fr.Dense(6, weight_init=small), fr.Function(np.sin, lambda dy, x, y: dy), fr.Dense(3)]
    trainer = net(engine, layers)
    assert fr.check_gradients(trainer, X, Y).ok
    trainer.fit(X, Y, epochs=60, batch_size=8)
    check = fr.check_gradients(trainer, X, Y)
    assert check.verdict == "wrong" and check.worst.startswith("0.")


def test_the_ratio_is_that_of_the_formula(engine):
    """By hand for a line: J = (w x - t)^2, with its own differences."""
    x, t = np.array([[2.0], [-1.0]]), np.array([3.0, 0.5])
    model = fr.Sequential([fr.Dense(1, use_bias=False)])
    model.build(1, dtype="float64")
    model.load_state_dict({"0.weight": np.array([[0.7]])})
    trainer = fr.Trainer(model, loss="mse", engine=engine, dtype="float64", l2=0.4)
    check = fr.check_gradients(trainer, x, t, epsilon=1e-4)
    exact = np.mean(2 * (0.7 * x[:, 0] - t) * x[:, 0]) + 0.4 * 0.7
    assert len(check.worst_entries) == 1
    np.testing.assert_allclose(check.worst_entries[0].gradient, exact, rtol=1e-14)
    np.testing.assert_allclose(check.worst_entries[0].approx, exact, rtol=1e-11)
    np.testing.assert_allclose(check.ratio, check.worst_entries[0].error / (2 * abs(exact)), rtol=1e-6, atol=1e-15)


BAD = {
    "epsilon 0": ({"epsilon": 0}, r"epsilon: got 0, expected a finite number above 0"),
    "epsilon NaN": ({"epsilon": float("nan")}, r"epsilon: got nan, expected a finite number"),
    "epsilon below 0": ({"epsilon": -1}, r"epsilon: got -1, expected a finite number above 0, up to 1"),
    "epsilon too large": ({"epsilon": 1e200}, r"epsilon: got 1e\+200, expected a finite number above 0, up to 1"),
    "epsilon too small": ({"epsilon": 1e-20}, r"epsilon: got 1e-20, expected more: it moves no number of the size"),
    "epsilon tiny": ({"epsilon": 5e-324}, r"epsilon: got 4.94066e-324, expected more: .* as in '0\.weight'"),
    "epsilon text": ({"epsilon": "1e-7"}, r"epsilon: got '1e-7', expected a number"),
    "max_entries 0": ({"max_entries": 0}, r"max_entries: got 0, expected an integer of at least 1"),
    "max_entries float": ({"max_entries": 2.5}, r"max_entries: got 2\.5, expected an integer"),
    "step": ({"step": -1}, r"step: got -1, expected an integer of at least 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case):
    changes, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        fr.check_gradients(net("native"), X, Y, **({"step": 0} | changes))
