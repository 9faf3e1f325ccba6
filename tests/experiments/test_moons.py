"""moons: losses by hand, what the printed formula does where A is 1, both engines, and claims that fail."""

import numpy as np
import pytest
from quick import claims_of, quick

import fastreg as fr
from fastreg.experiments import moons


def test_where_the_printed_gradient_is_not_a_number_ours_is_zero():
    A, y = np.float32([1.0, 0.0]), np.float32([1.0, 0.0])
    with np.errstate(all="ignore"):
        assert np.isnan(-y / A + (1 - y) / (1 - A)).all()
    model = fr.Sequential([fr.Dense(1)])
    trainer = fr.Trainer(model, loss="sigmoid_cross_entropy")
    model.build(1)
    model.load_state_dict({"0.weight": np.float32([[200.0]]), "0.bias": np.float32([0])})
    assert trainer.predict([[1.0], [-1.0]])[:, 0].tolist() == A.tolist()
    assert all((g == 0).all() for g in trainer.gradients([[1.0], [-1.0]], [1, 0]).values())
    assert trainer.evaluate([[1.0], [-1.0]], [0, 1])["loss"] == pytest.approx(200)


def test_regularization_holds_the_weights_and_the_validation_loss():
    runs = quick("moons").runs
    assert (runs.values("l2", "norm") < runs.values("none", "norm") / 2).all()
    assert (moons.last(runs, "l2", "val_loss") < moons.last(runs, "none", "val_loss")).all()
    assert (moons.last(runs, "none", "loss") < moons.last(runs, "l2", "loss")).all()


def test_the_map_agrees_with_the_labels():
    run = quick("moons").runs[0]
    x, y = np.asarray(run["x"]), np.asarray(run["y"])
    near = [np.abs(moons.EDGE[:, None] - x[:, axis]).argmin(axis=0) for axis in (0, 1)]
    found = np.reshape(run["l2"]["map"], (len(moons.EDGE), -1))[near[1], near[0]] > 0.5
    assert np.mean(found == y) > 0.8


def test_the_claims_can_fail():
    way = {"loss": [0.7], "val_loss": [0.7], "val_accuracy": [0.9], "finite": False, "saturated": 0}
    assert claims_of("moons", {**dict.fromkeys(moons.WAYS, way), "steps": [10]}) == [False] * 5
