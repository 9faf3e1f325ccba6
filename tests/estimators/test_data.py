"""What X and y may be: sparse rows, frames, texts, several labels and outputs, any type of number."""

import tracemalloc

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from sklearn import neural_network as sklearn_mlp

import fastreg as fr
from fastreg.estimators import LogisticRegression, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = np.where(RNG.random((120, 7)) < 0.6, 0.0, RNG.normal(size=(120, 7)))
Y = (X.sum(axis=1) > 0).astype(int)
SHORT = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0, "batch_size": 50}


@pytest.mark.parametrize("form", ["csr_array", "csr_matrix", "csc_array", "coo_array"])
@pytest.mark.parametrize("given", [{}, {"solver": "lbfgs"}, {"early_stopping": True}], ids=str)
def test_sparse_rows_give_the_same_bits(form, given):
    rows = getattr(sparse, form)(X)
    dense, other = (MLPClassifier(**SHORT, **given).fit(data, Y) for data in (X, rows))
    assert np.array_equal(dense.predict_proba(X), other.predict_proba(rows))


def test_sparse_rows_are_never_dense_as_a_whole():
    n, columns = 20_000, 5_000  # 800 MB with the zeros
    places = RNG.integers(0, columns, n)
    rows = sparse.csr_array((np.ones(n), (np.arange(n), places)), shape=(n, columns))
    tracemalloc.start()
    try:
        model = MLPClassifier((2,), max_iter=1, early_stopping=True).fit(rows, places % 2)
        model.predict(rows)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 100e6


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "huber", fr.losses.Quantile(0.7)], ids=str)
def test_a_linear_regression_on_sparse_rows(loss, several):
    """L-BFGS multiplies sparse rows as they are: it ends where it ends on the same rows with their zeros."""
    targets = np.abs(X[:, :2] + 1) if several else np.abs(X[:, 0] + 1)
    given = {"loss": loss, "hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 1.0, "max_iter": 5}
    weight = RNG.uniform(0.5, 2, len(X))
    dense, other = (
        MLPRegressor(**given, random_state=0).fit(data, targets, weight) for data in (X, sparse.csr_array(X))
    )
    np.testing.assert_allclose(other.loss_curve_, dense.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(other.predict(sparse.csr_array(X)), dense.predict(X), rtol=1e-7)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({f"column {j}": X[:, j] for j in range(7)})
    target = frames.Series("y", Y) if library == "polars" else frames.Series(Y, name="y")
    model = MLPClassifier(**SHORT).fit(frame, target, X_val=frame[:20], y_val=target[:20])
    assert list(model.feature_names_in_) == [f"column {j}" for j in range(7)] and model.n_features_in_ == 7
    assert np.array_equal(model.predict_proba(frame), MLPClassifier(**SHORT).fit(X, Y).predict_proba(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frames.DataFrame({f"other {j}": X[:, j] for j in range(7)}))


@pytest.mark.parametrize("dtype", [object, "U3", bool, float, np.uint8])
def test_labels(dtype):
    names = np.array(["no", "yes"]) if dtype in (object, "U3") else np.array([0, 1])
    labels = names[Y].astype(dtype)
    model = MLPClassifier(**SHORT).fit(X, labels)
    assert model.classes_.dtype.kind == labels.dtype.kind and set(model.predict(X)) <= set(labels)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64", "bool"])
def test_types_of_numbers(dtype):
    data = (X * 10).astype(dtype)
    working = "float32" if dtype in ("float32", "float16") else "float64"
    model = MLPRegressor(**SHORT).fit(data, Y)
    assert model.coefs_[0].dtype == model.predict(data).dtype == working
    assert MLPRegressor(**SHORT, dtype="float32").fit(data, Y).coefs_[0].dtype == "float32"
    same = MLPRegressor(**SHORT).fit(data.astype(working), Y)
    assert np.array_equal(model.predict(data), same.predict(data))


@pytest.mark.parametrize("form", ["csr_array", "csc_matrix"])
def test_sparse_labels_are_answered_in_kind(form):
    """As by scikit-learn's, whose scores and chains of classifiers count on it."""
    several = np.stack([Y, 1 - Y, Y], axis=1)
    labels = getattr(sparse, form)(several)
    model, dense = MLPClassifier(**SHORT).fit(X, labels), MLPClassifier(**SHORT).fit(X, several)
    answers, theirs = model.predict(X), sklearn_mlp.MLPClassifier(max_iter=2).fit(X, labels).predict(X)
    assert type(answers) is type(theirs) and np.array_equal(answers.toarray(), dense.predict(X))
    assert model.score(X, labels) == model.score(X, several) == dense.score(X, labels) == dense.score(X, several)
    assert type(model.fit(X, several).predict(X)) is np.ndarray
    assert type(MLPClassifier(**SHORT).partial_fit(X, labels, classes=[0, 1, 2]).predict(X)) is type(theirs)


def test_shapes_of_answers():
    several, outputs = np.stack([Y, 1 - Y, Y], axis=1), X[:, :2]
    labels = MLPClassifier(**SHORT).fit(X, several)
    assert labels.predict(X).shape == labels.predict_proba(X).shape == labels.decision_function(X).shape == (120, 3)
    assert list(labels.classes_) == [0, 1, 2] and labels.out_activation_ == "logistic"
    assert MLPRegressor(**SHORT).fit(X, outputs).predict(X).shape == (120, 2)
    one = MLPClassifier(**SHORT).fit(X, ["only"] * 120)
    assert set(one.predict(X)) == {"only"} and one.predict_proba(X).shape == (120, 1)
    with pytest.warns(Warning, match="column-vector"):
        assert MLPRegressor(**SHORT).fit(X, Y[:, None]).predict(X).shape == (120,)


def test_a_model_file(tmp_path):
    model = MLPClassifier(**SHORT).fit(X, np.array(["no", "yes"])[Y])
    model.model_.save(tmp_path / "m.safetensors")
    assert np.array_equal(fr.load(tmp_path / "m.safetensors").predict(X)[:, 0], model.predict_proba(X)[:, 1])


@pytest.mark.parametrize("kind", [MLPClassifier, LogisticRegression])
def test_labels_that_have_no_order_are_refused_by_row(kind):
    pandas = pytest.importorskip("pandas")
    texts = np.array(["no", "yes"], object)[Y]
    assert kind(max_iter=3).fit(X, texts).classes_.tolist() == ["no", "yes"]
    for odd, told in ((3, "y has 3 in row 5"), (None, "y has None in row 5"), (3.5, r"y has 3\.5 in row 5")):
        mixed = texts.copy()
        mixed[5] = odd
        with pytest.raises(ValueError, match=f"Unknown label type: {told}, expected texts alone or"):
            kind(max_iter=3).fit(X, mixed)
    holes = pandas.Series(texts, dtype="string")
    holes[7] = pandas.NA
    for y in (holes, holes.astype("category"), pandas.Series(Y, dtype="Int64").mask(np.arange(120) == 7)):
        with pytest.raises(ValueError, match="row 7 holds no label, expected one per row"):
            kind(max_iter=3).fit(X, y)
