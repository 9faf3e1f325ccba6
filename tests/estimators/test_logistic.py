"""LogisticRegression finds scikit-learn's minimum."""

import tracemalloc

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn.linear_model as theirs
from scipy import sparse
from sklearn.datasets import load_iris, make_classification
from sklearn.exceptions import ConvergenceWarning

from fastreg.estimators import LogisticRegression

IRIS = load_iris(return_X_y=True)
IRIS = (IRIS[0] - IRIS[0].mean(axis=0)) / IRIS[0].std(axis=0), IRIS[1]
TWO = make_classification(n_samples=120, n_features=8, random_state=0)
CSR = sparse.csr_array
EXACT = {"tol": 1e-10, "max_iter": 5000}


def objective(model, X, y, C, ratio, weights=None):
    """What scikit-learn's documentation says is minimized, computed from the probabilities."""
    chosen = model.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    W = np.asarray(model.coef_)
    penalty = (1 - ratio) / 2 * (W**2).sum() + ratio * np.abs(W).sum()
    return -(chosen * (1 if weights is None else weights)).sum() + penalty / C


def agree(given, data, fit=None, tolerance=1e-4):
    fit = fit or {}
    ours = LogisticRegression(**EXACT, **given).fit(*data, **fit)
    other = theirs.LogisticRegression(**EXACT, **given).fit(*data, **fit)
    np.testing.assert_allclose(ours.coef_, other.coef_, atol=tolerance)
    np.testing.assert_allclose(ours.intercept_, other.intercept_, atol=tolerance)
    np.testing.assert_allclose(ours.predict_proba(data[0]), other.predict_proba(data[0]), atol=tolerance)
    np.testing.assert_allclose(ours.decision_function(data[0]), other.decision_function(data[0]), atol=tolerance * 5)
    assert ours.coef_.shape == other.coef_.shape and ours.n_iter_.shape == other.n_iter_.shape
    return ours


@pytest.mark.parametrize("C", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("data", [IRIS, TWO], ids=["three classes", "two"])
def test_the_same_minimum(data, C):
    agree({"C": C}, data)


@pytest.mark.parametrize(
    "given",
    [
        {"fit_intercept": False},
        {"class_weight": "balanced"},
        {"class_weight": {0: 3.0, 1: 0.5}},
        {"C": 0.1, "random_state": 3},
    ],
    ids=str,
)
def test_in_other_settings(given):
    weights = np.random.default_rng(0).integers(0, 4, 120).astype(float)
    agree(
        given,
        (TWO[0], np.array(["no", "yes"])[TWO[1]]) if "class_weight" not in given else TWO,
        {"sample_weight": weights},
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("ratio", [0.3, 1.0])
@pytest.mark.parametrize("data", [IRIS, TWO], ids=["three classes", "two"])
def test_l1(data, ratio):
    """saga is slow to the last digits, so values of the objective are compared: ours is at least as low."""
    X, y = data
    ours = LogisticRegression(C=0.1, l1_ratio=ratio, **EXACT).fit(X, y)
    other = theirs.LogisticRegression(C=0.1, l1_ratio=ratio, solver="saga", tol=1e-9, max_iter=1000).fit(X, y)
    values = [objective(model, X, y, 0.1, ratio) for model in (ours, other)]
    assert values[0] <= values[1] * (1 + 1e-9) and values[0] == pytest.approx(values[1], rel=1e-7)
    np.testing.assert_array_equal(np.asarray(ours.coef_) == 0, np.abs(other.coef_) < 1e-6)
    assert (np.asarray(ours.coef_) == 0).any()


def test_no_penalty_and_their_words_for_penalties():
    X, y = TWO
    free = LogisticRegression(C=np.inf, **EXACT).fit(X, y)
    assert np.array_equal(free.coef_, LogisticRegression(penalty=None, **EXACT).fit(X, y).coef_)
    np.testing.assert_allclose(free.coef_, theirs.LogisticRegression(C=np.inf, **EXACT).fit(X, y).coef_, rtol=1e-3)
    for word, ratio in (("l1", 1.0), ("l2", 0.0)):
        given = [LogisticRegression(penalty=word, C=0.3), LogisticRegression(l1_ratio=ratio, C=0.3)]
        assert np.array_equal(*(model.fit(X, y).coef_ for model in given))


@pytest.mark.parametrize("solver", ["newton-cg", "newton-cholesky", "sag", "saga"])
def test_their_other_solvers(solver):
    assert np.array_equal(LogisticRegression(solver=solver).fit(*TWO).coef_, LogisticRegression().fit(*TWO).coef_)


@pytest.mark.parametrize("dtype, close", [("float64", 1e-6), ("float32", 1e-3)])
@pytest.mark.parametrize("data", [IRIS, TWO], ids=["three classes", "two"])
@pytest.mark.parametrize(
    "given", [{}, {"fit_intercept": False}, {"C": 0.2, "l1_ratio": 0.5}, {"class_weight": "balanced"}], ids=str
)
def test_sparse_rows_have_the_same_minimum(given, data, dtype, close):
    """They are multiplied as they are, with the zeros left out, so sums differ in the last digits."""
    X, y = np.where(np.abs(data[0]) < 0.7, 0, data[0]).astype(dtype), data[1]
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y))
    tol = {"tol": 1e-10 if dtype == "float64" else 1e-4}
    dense, rows = (LogisticRegression(**EXACT | given | tol).fit(kind(X), y, weights) for kind in (np.asarray, CSR))
    assert rows.coef_.dtype == dtype
    np.testing.assert_allclose(rows.coef_, dense.coef_, atol=close)
    np.testing.assert_allclose(rows.intercept_, dense.intercept_, atol=close)
    np.testing.assert_array_equal(rows.predict_proba(sparse.csc_array(X)), rows.predict_proba(X))


def test_wide_sparse_rows_are_never_dense():
    X = sparse.random_array((2000, 20_000), density=0.001, random_state=0, format="csr")  # 320 MB with the zeros
    y = (X @ np.random.default_rng(0).normal(size=20_000) > 0).astype(int)
    tracemalloc.start()
    try:
        ours = LogisticRegression(tol=1e-8).fit(X, y)
        found = ours.predict_proba(X)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 60e6
    np.testing.assert_allclose(found, theirs.LogisticRegression(tol=1e-8).fit(X, y).predict_proba(X), atol=1e-6)


def test_more_rows_than_a_batch():
    """The gradient is summed over batches: with 9,000 rows there are three, of which the last is smaller."""
    X, y = make_classification(n_samples=9000, n_features=5, random_state=1)
    agree({}, (X, y))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_solver_on_batches_comes_close():
    exact = LogisticRegression(**EXACT).fit(*TWO)
    given = {"solver": "adam", "learning_rate_init": 0.05, "max_iter": 400, "random_state": 0}
    close = LogisticRegression(**given, tol=1e-7).fit(*TWO)
    values = [objective(model, *TWO, 1.0, 0.0) for model in (exact, close)]
    assert values[0] <= values[1] < values[0] * 1.01
    dropped = LogisticRegression(**given, dropout=0.5).fit(*TWO)
    assert np.abs(dropped.coef_).sum() < np.abs(exact.coef_).sum()


def test_warm_start_begins_at_the_minimum():
    model = LogisticRegression(warm_start=True).fit(*TWO)
    assert model.n_iter_[0] > 2
    assert model.fit(*TWO).n_iter_[0] <= 2


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_the_end_of_the_digits_is_an_end(ratio):
    """A tol that float32 cannot reach: where no step goes down any more there is no warning, also in a warm start."""
    X, y = TWO[0].astype(np.float32), TWO[1]
    model = LogisticRegression(C=100.0, l1_ratio=ratio, tol=1e-12, max_iter=5000, warm_start=True)
    exact = LogisticRegression(C=100.0, l1_ratio=ratio, **EXACT).fit(*TWO)
    for _ in range(3):
        model.fit(X, y)
        np.testing.assert_allclose(model.coef_, exact.coef_, atol=0.02)
    with pytest.warns(ConvergenceWarning):
        LogisticRegression(C=100.0, l1_ratio=ratio, tol=1e-12, max_iter=2).fit(X, y)


def test_coefficients_can_be_set():
    model = LogisticRegression().fit(*TWO)
    model.coef_ = np.zeros((1, 8))
    model.intercept_ = [np.log(3)]
    np.testing.assert_allclose(model.predict_proba(TWO[0]), [[0.25, 0.75]] * 120)


@pytest.mark.parametrize(
    "given, told",
    [
        ({"solver": "liblinear"}, "solver: got 'liblinear', which penalizes the intercept"),
        ({"solver": "lbgfs"}, "the nearest is 'lbfgs'"),
        ({"dual": True}, "dual: got True, expected False"),
        ({"C": 0}, "C: got 0, expected a finite number of at least 0|C: got 0, expected a finite number above 0"),
        ({"penalty": "L1"}, "penalty: got 'L1', expected one of l1, l2, elasticnet; the nearest is 'l1'"),
        ({"l1_ratio": 2}, "l1_ratio: got 2, expected a finite number from 0 to 1"),
        ({"dropout": 0.5}, "dropout: got 0.5 with solver='lbfgs', expected none; solver='adam' takes it"),
    ],
)
def test_refusals(given, told):
    with pytest.raises(ValueError, match=told):
        LogisticRegression(**given).fit(*TWO)
    with pytest.raises(ValueError, match="one class"):
        LogisticRegression().fit(TWO[0], np.ones(120))


def test_sparse_coefficients():
    model = LogisticRegression(C=0.05, l1_ratio=1.0).fit(*TWO)
    dense, predicted = model.coef_.copy(), model.predict_proba(TWO[0])
    assert sparse.issparse(model.sparsify().coef_) and model.coef_.nnz == np.count_nonzero(dense) < dense.size
    np.testing.assert_array_equal(model.predict_proba(TWO[0]), predicted)
    np.testing.assert_array_equal(model.densify().coef_, dense)


def test_both_penalties_end_at_the_minimum():
    """Where L-BFGS-B alone stops early, far from it."""
    given = {"C": 100, "l1_ratio": 0.5, "tol": 1e-10, "max_iter": 10**5}
    ours = LogisticRegression(**given).fit(*IRIS)
    other = theirs.LogisticRegression(**given, solver="saga").fit(*IRIS)
    values = [objective(model, *IRIS, 100, 0.5) for model in (ours, other)]
    assert values[0] <= values[1] * (1 + 1e-9)
    np.testing.assert_array_equal(np.asarray(ours.coef_) == 0, np.abs(other.coef_) < 1e-9)
