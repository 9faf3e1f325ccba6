"""The same seed gives the same training as scikit-learn's own estimators, where both do the same arithmetic."""

import inspect
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn.linear_model
import sklearn.neural_network
from sklearn.datasets import load_digits, make_multilabel_classification, make_regression

import fastreg as fr
from fastreg import estimators
from fastreg.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS = load_digits(return_X_y=True)
X, Y = DIGITS[0][:300] / 16, DIGITS[1][:300]
MULTI = make_multilabel_classification(n_samples=200, n_features=8, n_labels=2, random_state=0)
NUMBERS = make_regression(n_samples=200, n_features=6, n_targets=3, random_state=0)
NUMBERS = NUMBERS[0], NUMBERS[1] / NUMBERS[1].std(axis=0)
DATA = {
    "classes": (X, Y),
    "two": (X[Y < 2], np.array(["no", "yes"])[Y[Y < 2]]),
    "labels": MULTI,
    "numbers": (NUMBERS[0], NUMBERS[1][:, 0]),
    "outputs": NUMBERS,
    "counts": (NUMBERS[0], np.random.default_rng(0).poisson(3.0, 200)),
}
KINDS = {"numbers": "MLPRegressor", "outputs": "MLPRegressor", "counts": "MLPRegressor"}


def both(kind, data, fit=None, **given):
    """Ours and theirs, fitted."""
    given = {"hidden_layer_sizes": (20, 10), "random_state": 3, "max_iter": 20, "batch_size": 50, **given}
    models = [getattr(package, kind)(**given) for package in (estimators, sklearn.neural_network)]
    return [model.fit(*data, **(fit or {})) for model in models]


def agree(ours, theirs, tolerance=1e-11):
    pairs = zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True)
    for mine, other in pairs:
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance)
    assert ours.n_iter_ == theirs.n_iter_ and ours.t_ == theirs.t_
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor", "LogisticRegression"])
def test_their_arguments_come_first_with_their_defaults(name):
    home = sklearn.linear_model if name == "LogisticRegression" else sklearn.neural_network
    ours, theirs = (inspect.signature(getattr(package, name)).parameters for package in (estimators, home))
    if "max_fun" not in theirs and name != "LogisticRegression":
        pytest.skip("an older scikit-learn")
    assert [(p.name, p.default, p.kind) for p in theirs.values()] == [
        (p.name, p.default, p.kind) for p in list(ours.values())[: len(theirs)]
    ]


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"alpha": 0.5, "momentum": 0.0, "activation": "tanh"},
        {"learning_rate": "invscaling", "learning_rate_init": 0.05, "activation": "logistic", "power_t": 0.2},
        {"learning_rate": "adaptive", "learning_rate_init": 0.05, "tol": 0.05, "n_iter_no_change": 1},
        {"nesterovs_momentum": False, "momentum": 0.7, "activation": "identity", "learning_rate_init": 0.003},
    ],
    ids=lambda given: "-".join(map(str, given)) or "plain",
)
def test_sgd_in_order(name, given):
    more = {"loss": "poisson"} if name == "counts" else {}
    X, y = DATA[name]
    X, y = X[: len(X) // 50 * 50], y[: len(X) // 50 * 50]  # all batches of one size: losses are means over them
    ours, theirs = both(KINDS.get(name, "MLPClassifier"), (X, y), solver="sgd", shuffle=False, **given, **more)
    agree(ours, theirs)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose([ours.loss_, ours.best_loss_], [theirs.loss_, theirs.best_loss_], rtol=1e-10)
    answers = "predict_proba" if hasattr(ours, "predict_proba") else "predict"
    np.testing.assert_allclose(getattr(ours, answers)(X), getattr(theirs, answers)(X), atol=1e-10)
    np.testing.assert_array_equal(ours.predict(X).shape, theirs.predict(X).shape)


@pytest.mark.parametrize("name", ["classes", "outputs"])
@pytest.mark.parametrize("batch_size", [99, 30])
def test_a_last_smaller_batch(name, batch_size):
    """The losses weigh each batch by its rows, and so do the rules that stop by them."""
    data = [part[:100] for part in DATA[name]]
    given = {"learning_rate_init": 0.1, "tol": 0.02, "max_iter": 60, "alpha": 1.0, "n_iter_no_change": 2}
    kind = KINDS.get(name, "MLPClassifier")
    ours, theirs = both(kind, data, solver="sgd", shuffle=False, **given | {"batch_size": batch_size})
    agree(ours, theirs)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-11)


@pytest.mark.parametrize("name", ["classes", "outputs", "labels"])
@pytest.mark.parametrize("batch_size", [300, 50, 70])
@pytest.mark.parametrize("given", [{}, {"early_stopping": True}], ids=["", "early"])
def test_weights_of_the_rows(name, batch_size, given):
    """Of very different sums in the batches, by which alpha is divided."""
    data = DATA[name]
    count = len(data[0])
    weights = np.where(np.arange(count) % 100 < 40, 10.0, 0.1) * np.random.default_rng(0).integers(1, 4, count)
    given = given | {"alpha": 1.0, "learning_rate_init": 0.01, "batch_size": min(batch_size, count)}
    if "early_stopping" in given:
        given["batch_size"] = min(batch_size, 100)
    kind = KINDS.get(name, "MLPClassifier")
    ours, theirs = both(kind, data, {"sample_weight": weights}, solver="sgd", shuffle=False, **given)
    agree(ours, theirs)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)


def test_weights_of_partial_fits_and_of_lbfgs():
    weights = np.where(np.arange(300) < 100, 10.0, 0.1)
    given = {"hidden_layer_sizes": (7,), "solver": "sgd", "shuffle": False, "alpha": 1.0, "random_state": 0}
    models = [package.MLPClassifier(**given, batch_size=50) for package in (estimators, sklearn.neural_network)]
    for model in models:
        for _ in range(3):
            model.partial_fit(X, Y, weights, classes=range(10))
    for mine, other in zip(models[0].coefs_, models[1].coefs_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
    exact = {"solver": "lbfgs", "hidden_layer_sizes": (), "max_iter": 2000, "tol": 1e-8, "alpha": 1}
    ours, theirs = both("MLPClassifier", (X, Y), {"sample_weight": weights}, **exact)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-8)


@pytest.mark.parametrize("name", ["two", "numbers"])
def test_early_stopping_holds_the_same_rows_back(name):
    given = {"solver": "sgd", "shuffle": False, "early_stopping": True, "validation_fraction": 0.2, "max_iter": 40}
    given |= {"batch_size": 20}
    ours, theirs = both(
        KINDS.get(name, "MLPClassifier"), DATA[name], learning_rate_init=0.1, n_iter_no_change=3, **given
    )
    agree(ours, theirs)
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, atol=1e-10)
    np.testing.assert_allclose(ours.best_validation_score_, theirs.best_validation_score_)
    assert ours.best_loss_ is None


def test_adam_in_order():
    """Theirs adds epsilon before the bias is corrected. Without one there is no difference."""
    ours, theirs = both("MLPRegressor", DATA["numbers"], shuffle=False, max_iter=30, epsilon=1e-30)
    agree(ours, theirs, 1e-9)


def test_shuffled_courses_are_alike():
    ours, theirs = both("MLPClassifier", (X, Y), max_iter=100)
    assert abs(ours.loss_ - theirs.loss_) < 0.2 * theirs.loss_


def test_lbfgs_finds_the_same_minimum_of_a_convex_objective():
    ours, theirs = both(
        "MLPClassifier", (X, Y), solver="lbfgs", hidden_layer_sizes=(), max_iter=2000, tol=1e-8, alpha=1
    )
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-8)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)


def test_a_step_by_hand():
    """The worked example of scikit-learn's test_fit, which sets the weights of an estimator without a first fit."""
    X = np.array([[0.6, 0.8, 0.7]])
    given = {"solver": "sgd", "learning_rate_init": 0.1, "alpha": 0.1, "activation": "logistic", "momentum": 0}
    model = MLPClassifier(hidden_layer_sizes=2, **given).partial_fit(X, [0], classes=[0, 1])
    model.coefs_ = [np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0]]), np.array([[0.1], [0.2]])]
    model.intercepts_ = [np.array([0.1, 0.1]), np.array([1.0])]
    model.partial_fit(X, [0])
    np.testing.assert_allclose(
        model.coefs_[0], [[0.098, 0.195756], [0.2956664, 0.096008], [0.4939998, -0.002244]], atol=1e-3
    )
    np.testing.assert_allclose(model.coefs_[1], [[0.04706], [0.154089]], atol=1e-3)
    np.testing.assert_allclose(model.intercepts_[0], [0.098333, 0.09626], atol=1e-3)
    np.testing.assert_allclose(model.intercepts_[1], [0.9235], atol=1e-3)
    assert model.predict_proba(X)[0, 1] == pytest.approx(0.739, abs=1e-3)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_the_gradient_is_that_of_the_objective(activation):
    model = MLPClassifier(10, activation, max_iter=1, random_state=1).fit(X[:20], Y[:20] % 3)
    assert fr.check_gradients(model._trainer, X[:20], Y[:20] % 3).ok


def test_the_first_weights_are_theirs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for activation in ("relu", "logistic"):
            ours, theirs = both("MLPRegressor", NUMBERS, activation=activation, learning_rate_init=1e-15, max_iter=1)
            agree(ours, theirs, 1e-12)


def test_weights_are_those_of_the_model():
    model = MLPRegressor(hidden_layer_sizes=4, max_iter=2).fit(*NUMBERS)
    before = model.predict(NUMBERS[0])
    model.intercepts_[-1][...] += 1
    np.testing.assert_allclose(model.predict(NUMBERS[0]), before + 1)
    with pytest.raises(ValueError, match=r"coefs_\[1\]: got shape \(3, 3\), expected \(4, 3\)"):
        model.coefs_ = [model.coefs_[0], np.zeros((3, 3))]
