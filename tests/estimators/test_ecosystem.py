"""In the hands of scikit-learn: pipelines, searches, clones, routing; and errors in one line."""

import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastreg.estimators import LogisticRegression, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_classification(n_samples=160, n_features=6, random_state=0)
SHORT = {"hidden_layer_sizes": (8,), "max_iter": 8, "random_state": 0, "learning_rate_init": 0.05}


def test_searches_give_the_same_on_two_workers():
    grid = {"mlpclassifier__dropout": [0.0, 0.3], "mlpclassifier__alpha": [1e-4, 1.0]}
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SHORT))
    found = [GridSearchCV(pipeline, grid, cv=2, n_jobs=jobs).fit(X, Y).cv_results_ for jobs in (1, 2)]
    assert np.array_equal(found[0]["mean_test_score"], found[1]["mean_test_score"])
    half = HalvingRandomSearchCV(
        MLPClassifier(**SHORT),
        {"alpha": [0.001, 0.1, 1.0], "solver": ["adam", "lion"]},
        cv=2,
        random_state=0,
        n_candidates=4,
    )
    assert half.fit(X, Y).best_params_.keys() == {"alpha", "solver"}


def test_cross_validation_and_meta_estimators():
    assert cross_val_score(MLPClassifier(**SHORT), X, Y, cv=3, scoring="roc_auc").min() > 0.7
    scores = cross_validate(LogisticRegression(), X, Y, cv=3, scoring=["neg_log_loss", "accuracy"])
    assert scores["test_accuracy"].min() > 0.7
    assert CalibratedClassifierCV(MLPClassifier(**SHORT), cv=2).fit(X, Y).score(X, Y) > 0.7
    scaled = TransformedTargetRegressor(MLPRegressor(**SHORT | {"max_iter": 60}), transformer=StandardScaler())
    assert scaled.fit(X, 100 * X[:, 0] + 5).score(X, 100 * X[:, 0] + 5) > 0.7


def test_arguments_are_stored_as_they_are():
    sizes, keep = [8, 4], [0.9, 0.8]
    model = MLPClassifier(sizes, keep_prob=keep, solver="nonsense")
    assert model.hidden_layer_sizes is sizes and model.get_params()["keep_prob"] is keep
    assert clone(model).get_params() == model.get_params()
    assert repr(MLPClassifier((8,), dropout=0.2)) == "MLPClassifier(dropout=0.2, hidden_layer_sizes=(8,))"
    assert "MLPClassifier" in MLPClassifier()._repr_html_()


def test_joblib_keeps_a_fitted_estimator(tmp_path):
    model = MLPClassifier(**SHORT).fit(X, Y)
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert loaded.history_["loss"] == model.history_["loss"]


def test_metadata_reach_fit():
    weights = np.where(Y == 1, 50.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        asked = MLPClassifier(**SHORT).set_fit_request(sample_weight=True, X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), asked)
        pipeline.fit(X, Y, sample_weight=weights, X_val=X, y_val=Y)
    assert len(pipeline[-1].validation_scores_) == pipeline[-1].n_iter_
    assert (pipeline.predict(X) == 1).mean() > 0.6


def test_set_output():
    pytest.importorskip("pandas")
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SHORT)).set_output(transform="pandas").fit(X, Y)
    assert list(pipeline[-1].feature_names_in_) == [f"x{j}" for j in range(6)]


@pytest.mark.parametrize(
    "given, told",
    [
        ({"solver": "adma"}, "solver: got 'adma', expected one of lbfgs, sgd, .*; the nearest is 'adam'"),
        ({"activation": "rleu"}, "activation: got 'rleu', .*; the nearest is 'relu'"),
        (
            {"activation": "logisitc"},
            "activation: got 'logisitc', expected one of identity, logistic, .*; the nearest is 'log",
        ),
        ({"activation": "identitiy"}, "activation: got 'identitiy', .*; the nearest is 'identity'"),
        ({"activation": "softmax"}, "activation: got 'softmax', .* that of the outputs follows from the loss"),
        ({"activation": None}, "activation: got None, .* that of the outputs follows from the loss"),
        (
            {"validation_fraction": 0, "early_stopping": True},
            "validation_fraction: got 0 with early_stopping=True, expected",
        ),
        ({"learning_rate": "adaptiv"}, "learning_rate: got 'adaptiv', .*; the nearest is 'adaptive'"),
        ({"loss": "log_los"}, "loss: got 'log_los', expected one of log_loss, focal; the nearest is 'log_loss'"),
        ({"keep_prob": 0.5, "dropout": 0.5}, "keep_prob: got 0.5 with dropout=0.5, expected one of the two"),
        ({"dropout": [0.1, 0.1, 0.1]}, "dropout: got 3 numbers, expected 1, one for each hidden layer, or 2"),
        ({"keep_prob": 1.5}, "keep_prob: got 1.5, expected a finite number from 0 to 1"),
        ({"hidden_layer_sizes": (5, -1)}, "hidden_layer_sizes must be > 0, got"),
        ({"alpha": -1}, "alpha: got -1, expected a finite number of at least 0"),
        ({"batch_size": 0}, "batch_size: got 0, expected an integer of at least 1"),
        ({"learning_rate_init": 0.0}, "learning_rate_init: got 0.0, expected a finite number"),
        ({"validation_fraction": 1.0}, "validation_fraction: got 1.0, expected a finite number from 0 to below 1"),
        ({"class_weight": "balance"}, "class_weight: got 'balance', .*; the nearest is 'balanced'"),
        ({"dtype": "float16"}, "dtype: got 'float16'"),
        ({"solver": "lbfgs", "max_norm": 1.0}, "max_norm: got 1.0 with solver='lbfgs', expected none"),
        ({"threads": 0}, "threads: got 0"),
    ],
)
def test_errors_come_in_fit_and_name_the_nearest(given, told):
    model = MLPClassifier(**given)
    with pytest.raises(ValueError, match=told):
        model.fit(X, Y)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        model.predict(X)


def test_a_misspelled_argument_is_named():
    for kind, given, told in (
        (MLPClassifier, {"droput": 0.1}, r"got the argument 'droput', .*; the nearest is 'dropout'$"),
        (MLPRegressor, {"max_itr": 1}, r"got the argument 'max_itr', .*; the nearest is 'max_iter'$"),
        (LogisticRegression, {"tool": 1}, r"got the argument 'tool', .*; the nearest is 'tol'$"),
        (MLPClassifier, {"xyzzy": 1}, r"got the argument 'xyzzy', .*, dtype$"),
    ):
        with pytest.raises(TypeError, match=told):
            kind(**given)


def test_what_drops_nothing_counts_as_not_given():
    one = MLPClassifier(**SHORT, keep_prob=0.7).fit(X, Y)
    for given in ({"keep_prob": 0.7, "dropout": 0.0}, {"keep_prob": 1.0, "dropout": 0.3}):
        other = MLPClassifier(**SHORT, **given).fit(X, Y)
        np.testing.assert_allclose(other.coefs_[0], one.coefs_[0], rtol=1e-12)


def test_targets_of_several_classes_a_column():
    with pytest.raises(ValueError, match=r"y: got multiclass-multioutput targets of shape \(160, 2\), expected"):
        MLPClassifier(**SHORT).fit(X, np.c_[np.arange(160) % 3, np.arange(160) % 3])


def test_masked_values_are_refused():
    masked = np.ma.masked_array(X, mask=X > 2)
    with pytest.raises(ValueError, match="X: got masked values"):
        MLPClassifier(**SHORT).fit(masked, Y)
    model = MLPClassifier(**SHORT).fit(np.ma.masked_array(X, mask=False), Y)
    with pytest.raises(ValueError, match="X: got masked values"):
        model.predict(masked)


def test_one_row_has_no_variance():
    with pytest.raises(ValueError, match="X: got 1 sample, expected at least 2 with batch_norm=True"):
        MLPRegressor(**SHORT, batch_norm=True).fit(X[:1], Y[:1])


def test_types_are_told():
    for given, told in (
        ({"max_iter": 2.5}, "max_iter: got 2.5, expected an integer"),
        ({"shuffle": 1}, "shuffle: got 1, expected True or False"),
        ({"learning_rate": 0.1}, "learning_rate: got 0.1, expected one of .*; learning_rate_init is the number"),
        ({"hidden_layer_sizes": "100"}, "hidden_layer_sizes: got '100', expected an integer"),
    ):
        with pytest.raises(TypeError, match=told):
            MLPClassifier(**given).fit(X, Y)
    with pytest.raises(TypeError, match=r"loss: got 50, .*; hidden_layer_sizes=50 is given by name"):
        MLPRegressor(50).fit(X, Y)


def test_without_scikit_learn_the_extra_is_named():
    script = """
        import sys
        sys.modules["sklearn"] = None
        import fastreg as fr
        assert "MLPClassifier" in dir(fr.estimators)
        try:
            fr.estimators.MLPClassifier
        except ImportError as error:
            print(error)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert 'pip install "fastreg[sklearn]"' in result.stdout


def test_scikit_learn_is_loaded_only_when_asked_for():
    script = "import sys, fastreg as fr; fr.estimators; print('sklearn' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
