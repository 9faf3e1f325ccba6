"""A misspelled name is refused with the right one; what probes for an attribute is told only that there is none."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from fastreg.common import names
from fastreg.estimators import LogisticRegression, MLPClassifier, MLPRegressor

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.where(X[:, 0] > 0, "yes", "no")
WEIGHTS = np.ones(40)


def fitted():
    return LogisticRegression().fit(X, Y)


CASES = {
    "an attribute": (lambda: fitted().loss_curv_, "loss_curve_"),
    "an attribute of scikit-learn's other models": (lambda: MLPClassifier().coef_, "coefs_"),
    "an attribute before the fit": (lambda: MLPClassifier().loss_curv_, "loss_curve_"),
    "a method": (lambda: MLPRegressor().partial_fitt, "partial_fit"),
    "a method of the others": (lambda: MLPRegressor().predict_proba, "predict"),
    "an argument": (lambda: MLPClassifier(alhpa=1), "alpha"),
    "an argument of fit": (lambda: MLPClassifier().fit(X, Y, sample_wieght=WEIGHTS), "sample_weight"),
    "an argument of partial_fit": (lambda: MLPClassifier().partial_fit(X, Y, clases=["no", "yes"]), "classes"),
    "an argument of predict": (lambda: fitted().predict(X=X, Xx=X), "X"),
    "set_params": (lambda: MLPClassifier().set_params(alhpa=1), "alpha"),
    "set_params of a pipeline": (
        lambda: make_pipeline(MLPClassifier()).set_params(mlpclassifier__alhpa=1),
        "alpha",
    ),
    "a class": (lambda: LogisticRegression(class_weight={"yess": 2}).fit(X, Y), "yes"),
    "a solver": (lambda: MLPClassifier(solver="adm").fit(X, Y), "adam"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_names_the_name_that_is_meant(case):
    call, meant = CASES[case]
    with pytest.raises((AttributeError, TypeError, ValueError)) as error:
        call()
    text = str(error.value)
    assert f"the nearest is '{meant}'" in text or f"expected one of {meant}" in text, text


ELSEWHERE = {  # names of Keras, PyTorch and fastreg's trainer, and what says the same here
    "epochs": (lambda: MLPClassifier(epochs=3), "max_iter="),
    "lr": (lambda: MLPRegressor(lr=0.1), "learning_rate_init="),
    "optimizer": (lambda: MLPClassifier(optimizer="adam"), "solver="),
    "layers": (lambda: MLPClassifier(hidden_units=(3,)), "hidden_layer_sizes="),
    "l2": (lambda: MLPRegressor(l2=0.1), "alpha="),
    "l2 of a logistic regression": (lambda: LogisticRegression(alpha=0.1), "C="),
    "seed": (lambda: MLPClassifier(seed=1), "random_state="),
    "set_params": (lambda: MLPClassifier().set_params(epochs=3), "max_iter="),
    "set_params of a pipeline": (lambda: make_pipeline(MLPClassifier()).set_params(mlpclassifier__lr=1), "rate_init="),
    "epochs of fit": (lambda: MLPClassifier().fit(X, Y, epochs=3), "argument of the constructor: max_iter="),
    "class_weight of fit": (lambda: LogisticRegression().fit(X, Y, class_weight="balanced"), "of the constructor"),
    "data of fit": (lambda: MLPRegressor().fit(X, WEIGHTS, validation_data=(X, WEIGHTS)), "use X_val= and y_val="),
    "data of partial_fit": (lambda: MLPClassifier().partial_fit(X, Y, eval_set=[(X, Y)]), "use X_val= and y_val="),
    "data of the constructor": (lambda: MLPClassifier(validation_data=(X, Y)), r"fit(X, y, "),
    "classes of fit": (lambda: MLPClassifier().fit(X, Y, classes=["no", "yes"]), "leave it out: fit finds"),
    "batch_size of predict": (lambda: fitted().predict_proba(X, batch_size=3), "leave it out: rows go"),
    "the model's methods": (lambda: fitted().summary, "estimator.model_"),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_name_of_another_library_is_told_in_the_words_of_the_estimators(case):
    call, told = ELSEWHERE[case]
    with pytest.raises((AttributeError, TypeError, ValueError)) as error:
        call()
    advice = str(error.value).partition("; ")[2]
    assert told in advice and "fr." not in advice, str(error.value)


def test_advice_names_arguments_that_exist():
    for kind in (MLPClassifier, MLPRegressor, LogisticRegression):
        known = {*inspect.signature(kind.__init__).parameters, *inspect.signature(kind.fit).parameters}
        for name in names.ADVICE[f"{kind.__name__}()"]:
            _, told = names.about(kind.__name__, name, known)
            assert {*re.findall(r"(\w+)=", told)} <= known or name in map(names.plain, known), (kind, name, told)


def test_what_a_fit_leaves_is_told_from_what_is_misspelled():
    for name in ("loss_curve_", "coefs_", "n_iter_"):
        with pytest.raises(AttributeError, match=r"it is not fitted yet$"):
            getattr(MLPClassifier(), name)
    with pytest.raises(AttributeError, match=r"has no attribute 'partial_fit'$") as error:
        _ = MLPClassifier(solver="lbfgs").partial_fit
    assert "solver='lbfgs' has none" in str(error.value.__cause__)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, LogisticRegression])
def test_a_probe_looks_for_no_name(kind, monkeypatch):
    made = kind()
    monkeypatch.setattr("fastreg.common.names.advice", lambda *_: pytest.fail("looked for a name"))
    assert not hasattr(made, "loss_curv_") and not hasattr(made, "_ipython_display_") and hasattr(made, "fit")
    with pytest.raises(NotFittedError):
        check_is_fitted(made)
    for one in (copy.copy(made), copy.deepcopy(made), clone(made), pickle.loads(pickle.dumps(made))):
        assert one.get_params() == made.get_params()
    assert not hasattr(kind.__new__(kind), "loss_curv_")
    assert made._repr_html_() and repr(made) == f"{kind.__name__}()"


def test_what_a_fit_has_left_is_known_by_name():
    with pytest.raises(AttributeError, match="the nearest is 'classes_'"):
        _ = fitted().clases_
