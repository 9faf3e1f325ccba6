"""A fit that is refused or broken off leaves an estimator that works, and callbacks hold no data afterwards."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from interrupted import at_every_line
from sklearn.base import clone

import fastreg as fr
from fastreg.estimators import LogisticRegression, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
CODES = np.argmax(X[:, :3], axis=1)
ABC, XYZ = (np.array(list(names))[CODES] for names in ("abc", "xyz"))
WIDE = RNG.normal(size=(60, 6))
SHORT = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}


def told(model):
    """All that a user can see of a fitted estimator."""
    attributes = {name: repr(value) for name, value in vars(model).items() if name.endswith("_")}
    arguments = repr(model._trainer.arguments), repr(model.model_.layers), repr(model.model_.classes)
    return (
        attributes,
        arguments,
        [array.tobytes() for array in model.coefs_ + model.intercepts_],
        model.predict(X).tolist(),
    )


REFUSED = {
    "class weight": ({"class_weight": {"zz": 1}}, (X, XYZ), {}),
    "validation data": ({}, (X, XYZ), {"X_val": X[:5], "y_val": ABC[:5]}),
    "loss": ({"loss": "mse"}, (X, np.arange(60) % 2), {}),
    "sample weight": ({}, (WIDE, XYZ), {"sample_weight": -np.ones(60)}),
    "monitor": ({"callbacks": [fr.EarlyStopping("nothing")]}, (WIDE, XYZ), {}),
    "divergence": ({"solver": "sgd", "learning_rate_init": 1e300}, (WIDE, XYZ), {}),
    "divergence of lbfgs": ({"solver": "lbfgs"}, (WIDE * 1e200, XYZ), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_interrupted_refit_changes_nothing_or_all(solver):
    """Also not for the fit that comes next."""

    def make():
        model = MLPClassifier(warm_start=True, solver="lbfgs", **SHORT).fit(X, ABC)
        return model.set_params(solver=solver)

    def trained(model):
        """What does not hang on the clock."""
        return [array.tobytes() for array in model.coefs_ + model.intercepts_], model.loss_curve_, model.t_

    before, after = make(), trained(make().fit(X, ABC))

    def check(model):
        if trained(model) != after:
            assert told(model) == told(before)
            assert trained(model.fit(X, ABC)) == after

    assert at_every_line(make, lambda model: model.fit(X, ABC), check, step=397) > 5


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_refit_changes_nothing(name, warm):
    changed, data, more = REFUSED[name]
    if warm:
        data = (X, ABC) if name not in ("validation data", "sample weight") else (X, data[1])
        more = {"X_val": X[:5], "y_val": XYZ[:5]} if name == "validation data" else more
    model = MLPClassifier(warm_start=warm, **SHORT).fit(X, ABC)
    if warm and name == "divergence of lbfgs":
        pytest.skip("these data do not diverge")
    before = told(model)
    with pytest.raises((ValueError, TypeError)), np.errstate(all="ignore"):
        model.set_params(**changed).fit(*data, **more)
    assert told(model) == before


def test_a_refused_partial_fit_changes_nothing():
    model = MLPClassifier(**SHORT)
    with pytest.raises(ValueError, match="sample_weight"):
        model.partial_fit(X, ABC, sample_weight=-np.ones(60), classes=["a", "b", "c"])
    assert not hasattr(model, "classes_")
    model.partial_fit(X, XYZ, classes=["x", "y", "z"])
    before = told(model)
    with pytest.raises(ValueError, match="has classes not in"):
        model.partial_fit(X, ABC)
    assert told(model) == before


def test_a_refused_first_fit_leaves_no_attribute():
    model = MLPRegressor(**SHORT)
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(X, X[:, 0], sample_weight=-np.ones(60))
    assert [name for name in vars(model) if name.endswith("_")] == []


@pytest.mark.parametrize("kind", [MLPClassifier, LogisticRegression])
def test_callbacks_hold_no_data_after_a_fit(kind):
    stopping = fr.EarlyStopping("loss")
    data = np.random.default_rng(0).normal(size=(5000, 40))
    model = kind(solver="adam", max_iter=2, callbacks=[stopping]).fit(data, (data[:, 0] > 0).astype(int))
    assert not hasattr(stopping, "plan") and not hasattr(stopping, "trainer")
    assert len(pickle.dumps(model)) < 200_000 < data.nbytes
    assert len(pickle.dumps(clone(model))) < 10_000


def interrupted(monkeypatch, after):
    """The objective of L-BFGS raises Ctrl-C at an evaluation."""
    from fastreg.estimators.lbfgs import Batches

    calls, own = [], Batches.data_loss

    def data_loss(self, theta):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt
        return own(self, theta)

    monkeypatch.setattr(Batches, "data_loss", data_loss)


@pytest.mark.parametrize(
    "model",
    [
        MLPClassifier((6,), solver="lbfgs", random_state=0),
        MLPClassifier((6,), solver="lbfgs", l1=1e-3, random_state=0),
        MLPRegressor(hidden_layer_sizes=(6,), solver="lbfgs", random_state=0),
        LogisticRegression(tol=1e-9),
        LogisticRegression(l1_ratio=0.5, tol=1e-9),
    ],
    ids=str,
)
def test_ctrl_c_in_lbfgs_keeps_the_best_so_far(model, monkeypatch):
    y = CODES if hasattr(model, "predict_proba") else X[:, 0] * X[:, 1]
    with monkeypatch.context() as patch:
        interrupted(patch, 12)
        with pytest.warns(UserWarning, match="interrupted"):
            model.fit(X, y)
    count = len(model.loss_curve_)
    assert 2 < count < 12 and model.loss_ == min(model.loss_curve_) < model.loss_curve_[0]
    stopped = [array.copy() for array in model.coefs_]
    with pytest.warns(UserWarning):  # the same iterations, ended by their number
        model.set_params(max_iter=count).fit(X, y)
    for own, expected in zip(stopped, model.coefs_, strict=True):
        np.testing.assert_array_equal(own, expected)


def test_ctrl_c_before_the_first_iteration_leaves_the_start(monkeypatch):
    with monkeypatch.context() as patch:
        interrupted(patch, 0)
        with pytest.warns(UserWarning, match="interrupted"):
            model = LogisticRegression().fit(X, CODES)
    assert not model.coef_.any() and model.predict_proba(X).shape == (60, 3)
