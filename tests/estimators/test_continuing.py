"""What goes on from call to call: partial_fit, warm starts, pickles. And what never changes: the same fit again."""

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone

import fastreg as fr
from fastreg.estimators import LogisticRegression, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(130, 5))
CLASSES = np.array(["a", "b", "c"])[np.argmax(X[:, :3] + 0.3 * RNG.normal(size=(130, 3)), axis=1)]
LABELS = (X[:, :3] > 0.2).astype(int)
NUMBERS = X @ RNG.normal(size=(5, 2))
ON = {"tol": 0.0, "n_iter_no_change": 1000, "random_state": 4, "batch_size": 32}


def bits(model):
    arrays = [model.coef_, model.intercept_] if hasattr(model, "coef_") else model.coefs_ + model.intercepts_
    return b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)


def begun(model, y, **more):
    classes = {} if isinstance(model, MLPRegressor) else {"classes": range(3) if y.ndim == 2 else np.unique(y)}
    return model.partial_fit(X, y, **classes, **more)


SETTINGS = [
    (MLPClassifier, CLASSES, {"shuffle": False}),
    (MLPClassifier, CLASSES, {"shuffle": False, "solver": "sgd", "learning_rate": "invscaling", "dropout": 0.2}),
    (MLPClassifier, LABELS, {"solver": "nadam", "input_noise": 0.1}),
    (
        MLPClassifier,
        CLASSES,
        {"learning_rate": fr.schedules.Cosine(0.01, 8), "solver": "lion", "keep_prob": (0.9, 0.8)},
    ),
    (MLPClassifier, CLASSES, {"batch_norm": True, "solver": "rmsprop", "l1": 1e-3, "max_norm": 1.0}),
    (MLPRegressor, NUMBERS, {"solver": "adamw", "learning_rate_init": fr.schedules.OneCycle(0.01, 30)}),
    (MLPRegressor, NUMBERS[:, 0], {"shuffle": False, "loss": "huber", "dtype": "float32"}),
    (LogisticRegression, CLASSES, {"solver": "adam", "dropout": 0.1}),
]


@pytest.mark.parametrize("kind, y, given", SETTINGS)
def test_epochs_one_by_one_are_one_fit(kind, y, given):
    """To the bit: weights, losses, rates. Also through a pickle in the middle, and as warm starts."""
    weights = RNG.integers(1, 3, len(X))
    whole = kind(max_iter=6, **ON, **given).fit(X, y, weights)
    single = begun(kind(**ON, **given), y, sample_weight=weights)
    for _ in range(2):
        single.partial_fit(X, y, weights)
    single = pickle.loads(pickle.dumps(single))
    single.partial_fit(X, y, weights)
    single = copy.deepcopy(single)
    for _ in range(2):
        single.partial_fit(X, y, weights)
    warm = kind(max_iter=3, warm_start=True, **ON, **given).fit(X, y, weights).fit(X, y, weights)
    for other in (single, warm):
        assert bits(other) == bits(whole)
        assert other.loss_curve_ == whole.loss_curve_ and other.history_["lr"] == whole.history_["lr"]
        assert other.t_ == whole.t_ == 6 * len(X)
    assert (whole.n_iter_, single.n_iter_, warm.n_iter_) == (6, 1, 3)


@pytest.mark.parametrize("kind, y, given", SETTINGS[:1] + SETTINGS[5:])
def test_fit_again_is_the_same(kind, y, given):
    model = kind(max_iter=3, **ON, **given)
    first = bits(model.fit(X, y))
    assert bits(model.fit(X, y)) == first == bits(clone(model).fit(X, y))
    assert bits(model.set_params(random_state=5).fit(X, y)) != first or kind is LogisticRegression


def test_the_same_bits_for_any_threads():
    assert (
        len({bits(MLPClassifier(dropout=0.3, max_iter=4, threads=n, **ON).fit(X, CLASSES)) for n in (1, 2, None)}) == 1
    )


def test_random_states():
    state = np.random.get_state()[1].copy()
    free = [bits(MLPRegressor(max_iter=1).fit(X, NUMBERS)) for _ in range(2)]
    assert free[0] != free[1]
    given = np.random.RandomState(3)
    one, two = (bits(MLPRegressor(max_iter=1, random_state=given).fit(X, NUMBERS)) for _ in range(2))
    assert one != two and one == bits(MLPRegressor(max_iter=1, random_state=3).fit(X, NUMBERS))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # NumPy's own generator


def test_a_warm_start_with_other_arguments():
    model = MLPClassifier(warm_start=True, max_iter=2, **ON).fit(X, CLASSES)
    moments = model._trainer.optimizer_state["hidden1.weight/m"].copy()
    model.set_params(alpha=0.1, learning_rate_init=0.0005, dropout=0.5).fit(X, CLASSES)
    assert model.history_["lr"] == [0.001] * 2 + [0.0005] * 2
    assert not np.array_equal(model._trainer.optimizer_state["hidden1.weight/m"], moments)
    assert any(isinstance(layer, fr.Dropout) for layer in model.model_.layers)
    with pytest.raises(ValueError, match="hidden_layer_sizes: got \\(7,\\)"):
        model.set_params(hidden_layer_sizes=(7,)).fit(X, CLASSES)
    model.set_params(hidden_layer_sizes=(100,), solver="sgd").fit(X, CLASSES)
    assert model.n_iter_ == 2 and len(model.loss_curve_) == 6


def test_what_a_warm_start_cannot_change_is_named():
    wide = MLPRegressor(warm_start=True, max_iter=2, **ON).fit(X, NUMBERS[:, 0])
    with pytest.raises(
        ValueError, match="dtype: got 'float32', expected 'float64' as in the fits before; fit with warm"
    ):
        wide.set_params(dtype="float32").fit(X, NUMBERS[:, 0])
    with pytest.raises(ValueError, match="y: needs 2 outputs, expected 1 as in the fits before"):
        wide.set_params(dtype=None).fit(X, NUMBERS)
    with pytest.raises(ValueError, match=r"loss: got Poisson\(.*expected MSE.* as in the fits before"):
        wide.set_params(loss="poisson").fit(X, np.abs(NUMBERS[:, 0]))
    wide.set_params(loss="squared_error", dtype="float64").fit(X, NUMBERS[:, 0])
    assert wide.t_ == 4 * len(X)


def test_rates_go_on():
    """scikit-learn's test of learning rates in warm starts, without its private names."""
    model = MLPClassifier(4, solver="sgd", learning_rate="invscaling", power_t=0.25, max_iter=1, warm_start=True)
    for _ in range(3):
        model.fit(X[:4], CLASSES[:4])
    assert model.history_["lr"] == pytest.approx([0.001, 0.001 / 5**0.25, 0.001 / 9**0.25])


def test_a_warm_start_holds_the_same_rows_back():
    """Else the second fit would train on rows that the first one had held back."""
    model = MLPClassifier(early_stopping=True, warm_start=True, max_iter=2, **ON).fit(X, CLASSES)
    first = model.model_.copy()
    scores = list(model.validation_scores_)
    model.set_params(learning_rate_init=1e-12).fit(X, CLASSES)
    assert len(model.validation_scores_) == 4
    best = max(scores)
    assert model.validation_scores_[2] == pytest.approx(best)  # of the same weights, on the same rows
    for name, values in first.parameters.items():
        np.testing.assert_allclose(model.model_.parameters[name], values, atol=1e-8)


def test_a_failed_fit_leaves_the_model():
    model = MLPRegressor(max_iter=2, random_state=0).fit(X, NUMBERS)
    before = bits(model)
    with pytest.raises(ValueError, match="solver"):
        model.set_params(solver="adm").fit(X, NUMBERS)
    with pytest.raises(ValueError, match="NaN"):
        model.set_params(solver="adam").fit(np.full_like(X, np.nan), NUMBERS)
    with pytest.raises(ValueError, match="non-finite"):
        model.set_params(solver="sgd", learning_rate_init=1e300).fit(X, NUMBERS)
    assert bits(model) == before
