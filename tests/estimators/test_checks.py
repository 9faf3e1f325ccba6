"""scikit-learn's own checks of estimators, without one that may fail."""

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from fastreg.estimators import LogisticRegression, MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100), LogisticRegression()])
def test_by_default(estimator, check):
    check(estimator)


SMALL = {"hidden_layer_sizes": (20,), "max_iter": 60, "learning_rate_init": 0.01}


@pytest.mark.slow
@parametrize_with_checks(
    [
        MLPClassifier(solver="lbfgs", alpha=0.1),
        MLPClassifier(**SMALL, solver="sgd", learning_rate="adaptive", momentum=0.5),
        MLPClassifier(**SMALL, solver="nadam", max_norm=3.0, label_smoothing=0.1, n_iter_no_change=60),
        MLPRegressor(solver="lbfgs", alpha=1.0),
        MLPRegressor(**SMALL, solver="adamw", weight_decay=1e-3, l1=1e-4),
        MLPRegressor(**SMALL, loss="huber", solver="rmsprop", threads=2),
        LogisticRegression(l1_ratio=0.5, C=10.0),
        LogisticRegression(solver="adam", learning_rate_init=0.1, threads=1),
    ]
)
def test_in_other_settings(estimator, check):
    check(estimator)
