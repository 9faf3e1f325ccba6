"""The best weights come back, however training ends. Validation data of the user take the place of held-back rows."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score

import fastreg as fr
from fastreg.estimators import LogisticRegression, MLPClassifier, MLPRegressor

RNG = np.random.default_rng(1)
X = RNG.normal(size=(200, 4))
Y = (X[:, 0] + RNG.normal(size=200) > 0).astype(int)
X_VAL = RNG.normal(size=(80, 4))
Y_VAL = (X_VAL[:, 0] + RNG.normal(size=80) > 0).astype(int)
HELD = {"X_val": X_VAL, "y_val": Y_VAL}


class Break(fr.Callback):
    """Ends the fit after some epochs, by an error."""

    def __init__(self, error, after=12):
        self.error, self.after = error, after

    def on_epoch_end(self, epoch, logs):
        if epoch == self.after:
            raise self.error


def early(**given):
    given = {"learning_rate_init": 0.05, "random_state": 0, "n_iter_no_change": 500, "max_iter": 25, **given}
    return MLPClassifier((30,), early_stopping=True, **given)


def is_best(model):
    scores = model.validation_scores_
    return (
        accuracy_score(Y_VAL, model.predict(X_VAL)) == max(s for s in scores if s == s) == model.best_validation_score_
    )


def test_at_the_end():
    with pytest.warns(ConvergenceWarning):
        model = early().fit(X, Y, **HELD)
    assert is_best(model) and model.validation_scores_[-1] < model.best_validation_score_
    assert model.best_loss_ is None and len(model.validation_scores_) == model.n_iter_ == 25


def test_by_patience():
    model = early(n_iter_no_change=3, max_iter=500).fit(X, Y, **HELD)
    assert is_best(model) and model.n_iter_ < 100


def test_by_ctrl_c():
    with pytest.warns(UserWarning, match="interrupted"):
        model = early(callbacks=[Break(KeyboardInterrupt())]).fit(X, Y, **HELD)
    assert is_best(model) and model.n_iter_ == 13


def test_by_divergence():
    rates = fr.schedules.Given(lambda epoch: 0.05 if epoch < 6 else 1e200)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        model = early(solver="sgd", learning_rate_init=rates).fit(X, Y, **HELD)
    assert is_best(model) and np.isnan(model.validation_scores_[-1])


def test_an_error_of_a_callback_is_the_users():
    model = early(callbacks=[Break(RuntimeError("mine"), 2)])
    with pytest.raises(RuntimeError, match="mine"):
        model.fit(X, Y, **HELD)
    assert not hasattr(model, "coefs_")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scores_are_those_of_scikit_learn():
    weights = RNG.random(80)
    labels, labels_val = ((data[:, :3] > 0).astype(int) for data in (X, X_VAL))
    for kind, y, y_val, score in (
        (MLPClassifier, Y, Y_VAL, accuracy_score),
        (MLPClassifier, labels, labels_val, accuracy_score),
        (MLPRegressor, X[:, :2] ** 2, X_VAL[:, :2] ** 2, r2_score),
        (LogisticRegression, Y, Y_VAL, accuracy_score),
    ):
        model = kind(max_iter=3, random_state=0, **({"solver": "sgd"} if kind is LogisticRegression else {}))
        model.fit(X, y, X_val=X_VAL, y_val=y_val, sample_weight_val=weights)
        expected = score(y_val, model.predict(X_VAL), sample_weight=weights)
        assert model.validation_scores_[-1] == pytest.approx(expected)
        assert len(model.history_["val_loss"]) == 3 and model.best_loss_ is not None


@pytest.mark.parametrize(
    "given, held, told",
    [
        ({}, {"X_val": X_VAL}, "y_val: got None with X_val, expected both"),
        ({}, {"sample_weight_val": np.ones(80)}, "sample_weight_val: got weights without X_val"),
        ({}, {"X_val": X_VAL[:, :2], "y_val": Y_VAL}, "X_val, y_val: X has 2 features, but"),
        ({}, {"X_val": X_VAL, "y_val": Y_VAL + 1}, "X_val, y_val: `y` has classes not in"),
        ({"solver": "lbfgs"}, HELD, "X_val: got data with solver='lbfgs'"),
    ],
)
def test_refusals(given, held, told):
    with pytest.raises(ValueError, match=told):
        MLPClassifier(**given).fit(X, Y, **held)


def test_too_few_rows_to_hold_some_back_are_told_with_the_argument():
    """As in the first round of a search that halves, whose rounds begin with a few rows."""
    X, y = np.eye(10), np.arange(10) % 2
    told = (
        r"The test_size = 1 .*early_stopping holds back validation_fraction=0.1 of 10 rows, or X_val and y_val in fit"
    )
    with pytest.raises(ValueError, match=told):
        MLPClassifier(early_stopping=True).fit(X, y)
