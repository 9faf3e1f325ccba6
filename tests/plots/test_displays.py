"""Pictures of models: what is drawn is what was computed by other means, on the axes that were given."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

import fastreg as fr

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 2))
Y = (X[:, 0] + 0.3 * RNG.normal(size=300) > 0).astype(int)
IMAGES = RNG.random((60, 6, 5))
LABELS = RNG.integers(0, 3, 60)


def fitted(units=2, loss="softmax_cross_entropy", x=X, y=Y, **how):
    trainer = fr.Trainer(fr.Sequential([fr.Dense(8, "tanh"), fr.Dense(units)]), loss, fr.SGD(0.1, momentum=0.9), **how)
    trainer.fit(x, y, epochs=8, batch_size=32)
    return trainer


@pytest.fixture(scope="module")
def trainer():
    return fitted()


@pytest.fixture
def ax():
    return Figure().subplots()


DRAWN = {
    "history": lambda t, ax: fr.plots.history(t, ax=ax),
    "weights": lambda t, ax: fr.plots.weights(t, ax=ax),
    "boundary": lambda t, ax: fr.plots.boundary(t, X, Y, grid_resolution=20, ax=ax),
    "errors": lambda t, ax: fr.plots.errors(t, X, Y, count=5, ax=ax),
    "calibration": lambda t, ax: fr.plots.calibration(t, X, Y, ax=ax),
    "filters": lambda t, ax: fr.plots.filters(t, 1, image_shape=(2, 4), ax=ax),
}


@pytest.mark.parametrize("name", DRAWN)
def test_each_draws_on_the_axes_given_or_on_a_figure_of_its_own(name, trainer, ax):
    display = DRAWN[name](trainer, ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    again = display.plot()
    assert again is display and display.ax_ is not ax  # as scikit-learn's displays do
    assert display._repr_png_().startswith(b"\x89PNG")
    if name not in ("errors", "filters"):
        assert display.ax_.get_xlabel() and display.ax_.get_ylabel()
    else:
        assert display.ax_.get_title()


def test_a_figure_of_ones_own_is_pyplots_where_that_is_loaded():
    script = """if True:
        import sys, numpy as np, matplotlib
        matplotlib.use("agg")
        import fastreg as fr
        history = fr.History()
        history.append(0, {"loss": 1.0})
        assert not hasattr(fr.plots.history(history).figure_, "number") and "matplotlib.pyplot" not in sys.modules
        import matplotlib.pyplot as plt
        display = fr.plots.history(history)
        assert plt.get_fignums() == [display.figure_.number] and display._repr_png_() is None
    """
    subprocess.run([sys.executable, "-c", script], check=True)


# --- History ------------------------------------------------------------------------------------------------------


def test_history_draws_every_column_of_a_value_dashed_where_it_is_of_training():
    history = fr.History()
    for epoch in range(4):
        row = {"loss": 4.0 - epoch, "val_loss": abs(epoch - 2) + 1.0, "test_loss": 5.0, "f1": 0.1 * epoch}
        history.append(epoch, row | {"balanced_accuracy": 0.5, "lr": 0.1, "seconds": 1.0, "penalty": 0.0})
    display = fr.plots.history(history)
    assert [axes.get_ylabel() for axes in display.axes_] == ["loss", "f1", "balanced_accuracy"]
    assert list(display.lines_) == ["loss", "val_loss", "test_loss", "f1", "balanced_accuracy"]
    np.testing.assert_array_equal(display.lines_["val_loss"].get_xydata(), [(1, 3), (2, 2), (3, 1), (4, 2)])
    assert display.lines_["loss"].get_linestyle() == "--" != display.lines_["val_loss"].get_linestyle()
    best = [line for line in display.ax_.lines if line.get_marker() == "o"]
    assert (3, 1) in [tuple(line.get_xydata()[0]) for line in best]  # the least of val_loss
    [one] = fr.plots.history(history, values="val_loss").axes_
    np.testing.assert_array_equal(one.lines[0].get_ydata(), history["val_loss"])


def test_history_of_several_runs_has_a_colour_each():
    first, second = fr.History(), fr.History()
    first.append(0, {"loss": 1.0, "val_loss": 2.0})
    second.append(0, {"loss": 3.0, "val_loss": 4.0})
    display = fr.plots.history({"a": first, "b": second}, values=["loss"])
    assert list(display.lines_) == [("a", "loss"), ("a", "val_loss"), ("b", "loss"), ("b", "val_loss")]
    colours = {key: line.get_color() for key, line in display.lines_.items()}
    assert colours["a", "loss"] == colours["a", "val_loss"] != colours["b", "loss"]


def test_history_of_dicts_of_keras_and_of_scikit_learns_mlp():
    class Keras:
        history = {"loss": (2.0, 1.0), "val_loss": (3.0, 2.0)}  # noqa: RUF012

    assert list(fr.plots.history(Keras()).lines_) == ["loss", "val_loss"]
    assert list(fr.plots.history(Keras.history).lines_) == ["loss", "val_loss"]
    assert list(fr.plots.history({"one": Keras()}, values="loss").lines_) == ["loss", "val_loss"]
    neural = pytest.importorskip("sklearn.neural_network")
    own = neural.MLPClassifier((4,), max_iter=3, early_stopping=True, n_iter_no_change=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own.fit(X, Y)
    display = fr.plots.HistoryDisplay.from_estimator(own)
    np.testing.assert_array_equal(display.lines_["loss"].get_ydata(), own.loss_curve_)
    np.testing.assert_array_equal(display.lines_["val_score"].get_ydata(), own.validation_scores_)


# --- Weights ------------------------------------------------------------------------------------------------------


def test_densities_are_matplotlibs(trainer):
    start = fr.Sequential([fr.Dense(8, "tanh"), fr.Dense(2)])
    start.build(2)
    display = fr.plots.weights(trainer, start)
    both = {"before": start, "after training": trainer.model}
    for name, model in both.items():
        values = np.concatenate([model.parameters[f"{i}.weight"].ravel() for i in (0, 1)])
        counts, _, _ = Figure().subplots().hist(values, display.edges, density=True)
        np.testing.assert_allclose(display.densities[name], counts)
        assert np.sum(display.densities[name] * np.diff(display.edges)) == pytest.approx(1)
    split = fr.plots.weights(trainer, layers=["0", "1"])
    assert list(split.densities) == ["layer 0", "layer 1"] and len(split.lines_) == 2


def test_weights_says_how_many_are_exactly_zero():
    display = fr.plots.weights({"a.weight": np.array([[0.0, 1.0], [0.0, 3.0]]), "a.bias": np.zeros(2)})
    assert display.lines_[0].get_label() == "weights (50 % exact zeros)"


# --- Boundary -----------------------------------------------------------------------------------------------------


def test_boundary_is_scikit_learns(trainer):
    """Against its own display, of a classifier with the same predictions."""
    inspection = pytest.importorskip("sklearn.inspection")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Same(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_, self.n_features_in_ = np.array([0, 1]), 2
            return self

        def predict(self, X):
            return trainer.predict(X).argmax(axis=1)

    same = Same().fit(X, Y)
    theirs = inspection.DecisionBoundaryDisplay.from_estimator(same, X, grid_resolution=25, response_method="predict")
    ours = fr.plots.BoundaryDisplay(theirs.xx0, theirs.xx1, found_at(trainer, theirs.xx0, theirs.xx1))
    np.testing.assert_array_equal(ours.response, theirs.response)
    drawn = fr.plots.boundary(trainer, X, Y, grid_resolution=30)
    assert drawn.xx0.min() < X[:, 0].min() and drawn.xx1.max() > X[:, 1].max()
    assert [len(points.get_offsets()) for points in drawn.points_] == [np.sum(Y == 0), np.sum(Y == 1)]
    of_estimator = fr.plots.boundary(same, X, grid_resolution=30) if hasattr(same, "predict_proba") else None
    assert of_estimator is None


def found_at(model, xx0, xx1):
    from fastreg.plots.answers import answers

    return answers(model, np.stack([xx0.ravel(), xx1.ravel()], axis=1))


def test_the_line_lies_where_the_probability_is_a_half():
    trainer = fitted(1, "sigmoid_cross_entropy")
    display = fr.plots.boundary(trainer, X, Y, grid_resolution=150)
    [line] = display.lines_
    points = np.concatenate([path.vertices for path in line.get_paths()])
    assert len(points) > 20
    np.testing.assert_allclose(trainer.predict(points), 0.5, atol=0.01)


def test_boundary_of_three_classes_named_by_texts_and_of_numbers():
    names = np.array(["low", "mid", "high"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    three = fr.plots.boundary(fitted(3, y=names), X, names, grid_resolution=40)
    assert sorted(points.get_label() for points in three.points_) == ["high", "low", "mid"]
    assert len(three.lines_) >= 2 and set(np.unique(three.response)) <= {0, 1, 2}
    numbers = fitted(1, "mse", y=X[:, 0])
    display = fr.plots.boundary(numbers, X, X[:, 0], grid_resolution=12)
    grid = np.stack([display.xx0.ravel(), display.xx1.ravel()], axis=1)
    np.testing.assert_allclose(display.response.ravel(), numbers.predict(grid)[:, 0], rtol=1e-6)
    assert len(display.figure_.axes) == 2  # with the colours' bar


def test_other_columns_have_their_median_and_frames_their_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": 3.0 + X[:, 1]})
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]))
    trainer.fit(frame, Y)
    display = fr.plots.boundary(trainer, frame, Y, features=("c", "a"), grid_resolution=5)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("c", "a")
    rows = np.stack([display.xx1.ravel(), np.full(25, np.median(X[:, 1])), display.xx0.ravel()], axis=1)
    np.testing.assert_array_equal(display.response.ravel(), trainer.predict(rows).argmax(axis=1))


# --- Errors -------------------------------------------------------------------------------------------------------


def test_errors_are_the_wrong_rows_surest_first(trainer):
    display = fr.plots.errors(trainer, X, Y, count=1000)
    p = trainer.predict(X)
    wrong = np.flatnonzero(p.argmax(axis=1) != Y)
    assert set(display.rows) == set(wrong) and len(wrong)
    lead = p[display.rows, 1 - Y[display.rows]]
    assert (np.diff(lead) <= 0).all()
    assert f"{len(wrong)} mistakes in 300 rows" in display.title
    assert display.told[0] == f"{Y[display.rows[0]]} → {1 - Y[display.rows[0]]}, {100 * lead[0]:.0f} %"


def test_errors_of_images_shows_those_images():
    trainer = fr.Trainer(fr.Sequential([fr.Flatten(), fr.Dense(3)]))
    trainer.fit(IMAGES, LABELS)
    display = fr.plots.errors(trainer, IMAGES, LABELS, count=7)
    assert len(display.images_) == 7
    np.testing.assert_array_equal(display.images_[0].get_array(), IMAGES[display.rows[0]])
    rows = IMAGES.reshape(60, 30)
    flat = fr.plots.errors(fitted(3, x=rows, y=LABELS), rows, LABELS, image_shape=(6, 5))
    assert flat.drawn.shape[1:] == (6, 5)


def test_errors_of_numbers_are_the_largest_distances():
    y = np.abs(X[:, 0])
    trainer = fitted(1, "mse", y=y)
    display = fr.plots.errors(trainer, X, y, count=4)
    off = np.abs(trainer.predict(X)[:, 0] - y)
    np.testing.assert_array_equal(display.rows, np.argsort(-off)[:4])


def test_no_mistakes_are_said():
    display = fr.plots.errors(fitted(), X, fitted().predict(X).argmax(axis=1))
    assert len(display.rows) == 0 and "no mistakes" in display.ax_.texts[0].get_text()


# --- Calibration --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_calibration_is_scikit_learns(trainer, strategy):
    calibration = pytest.importorskip("sklearn.calibration")
    display = fr.plots.calibration(trainer, X, Y, bins=7, strategy=strategy)
    p = trainer.predict(X)[:, 1]
    true, pred = calibration.calibration_curve(Y, p, n_bins=7, strategy=strategy)
    np.testing.assert_allclose(display.prob_true, true, rtol=1e-6)
    np.testing.assert_allclose(display.prob_pred, pred, rtol=1e-6)
    np.testing.assert_array_equal(display.line_.get_xydata(), np.stack([display.prob_pred, display.prob_true], axis=1))
    assert display.share.sum() == pytest.approx(1)


def test_calibration_of_many_classes_is_that_of_the_predicted_one():
    three = np.digitize(X[:, 0], [-0.5, 0.5])
    trainer = fitted(3, y=three)
    display = fr.plots.calibration(trainer, X, three, bins=1)
    p = trainer.predict(X)
    assert display.prob_true[0] == pytest.approx(np.mean(p.argmax(axis=1) == three))
    assert display.prob_pred[0] == pytest.approx(p.max(axis=1).mean(), rel=1e-6)
    one = fr.plots.calibration(trainer, X, three, label=2, bins=1)
    assert one.prob_true[0] == pytest.approx(np.mean(three == 2)) and "class 2" in one.ax_.get_xlabel()


# --- Filters ------------------------------------------------------------------------------------------------------


def test_filters_of_a_convolution_are_pytorchs_weight_order():
    """W.reshape(height, width, channels, filters), as its docstring says."""
    model = fr.Sequential([fr.Conv2D(7, (3, 2)), fr.Flatten(), fr.Dense(2)])
    model.build((8, 8, 3))
    display = fr.plots.filters(model)
    assert display.filters.shape == (7, 3, 2, 3) and len(display.images_) == 7
    weight = model.parameters["0.weight"].reshape(3, 2, 3, 7)
    np.testing.assert_array_equal(display.filters[4], weight[..., 4])
    np.testing.assert_array_equal(fr.plots.filters(model, channel=1).filters[4], weight[:, :, 1, 4])
    five = fr.Sequential([fr.Conv2D(2, 3), fr.Flatten(), fr.Dense(2)])
    five.build((8, 8, 5))
    mean = five.parameters["0.weight"].reshape(3, 3, 5, 2).mean(axis=2)
    np.testing.assert_allclose(fr.plots.filters(five).filters[1], mean[..., 1], rtol=1e-6)


def test_filters_of_a_dense_are_its_columns():
    model = fr.Sequential([fr.Flatten(), fr.Dense(9, name="first"), fr.Dense(2)])
    model.build((6, 5))
    display = fr.plots.filters(model, "first", count=4)
    assert display.filters.shape == (4, 6, 5) and "4 of 9" in display.title
    assert repr(display) == "FiltersDisplay: weights of layer first: 4 of 9, red above 0, blue below"
    np.testing.assert_array_equal(display.filters[2].ravel(), model.parameters["first.weight"][:, 2])


# --- Estimators ---------------------------------------------------------------------------------------------------


def test_scikit_learns_own_estimators_are_drawn():
    linear = pytest.importorskip("sklearn.linear_model")
    logistic = linear.LogisticRegression().fit(X, np.where(Y == 1, "yes", "no"))
    texts = np.where(Y == 1, "yes", "no")
    display = fr.plots.boundary(logistic, X, texts, grid_resolution=10)
    grid = np.stack([display.xx0.ravel(), display.xx1.ravel()], axis=1)
    np.testing.assert_array_equal(logistic.classes_[display.response.ravel()], logistic.predict(grid))
    assert fr.plots.calibration(logistic, X, texts).ax_.get_xlabel() == "predicted probability of class yes"
    wrong = np.flatnonzero(logistic.predict(X) != texts)
    assert set(fr.plots.errors(logistic, X, texts, count=999).rows) == set(wrong)
    ridge = linear.Ridge().fit(X, X[:, 1])
    assert fr.plots.boundary(ridge, X, grid_resolution=4).response.shape == (4, 4)


def test_the_librarys_own_estimators_are_drawn():
    pytest.importorskip("sklearn")
    from fastreg.estimators import MLPClassifier

    texts = np.where(Y == 1, "yes", "no")
    own = MLPClassifier((8,), max_iter=10, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        own.fit(X, texts)
    display = fr.plots.boundary(own, X, texts, grid_resolution=10)
    grid = np.stack([display.xx0.ravel(), display.xx1.ravel()], axis=1)
    np.testing.assert_array_equal(own.classes_[display.response.ravel()], own.predict(grid))
    np.testing.assert_array_equal(fr.plots.history(own).lines_["loss"].get_ydata(), own.history_["loss"])
    first = fr.plots.filters(own, image_shape=(2, 1)).filters
    np.testing.assert_array_equal(first.reshape(8, 2).T, own.coefs_[0])


def test_the_estimator_in_a_pipeline_and_in_a_search_is_drawn():
    pytest.importorskip("sklearn")
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from fastreg.estimators import MLPClassifier

    last = MLPClassifier((8,), tol=9.0, n_iter_no_change=2, random_state=0)
    pipeline = make_pipeline(StandardScaler(), last).fit(X, Y)
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [0.1]}, cv=2).fit(X, Y)
    for held, own in ((pipeline, last), (search, search.best_estimator_[-1])):
        assert fr.plots.history(held).lines_["loss"].get_ydata().tolist() == own.history_["loss"]
        several = fr.plots.history({"one": held, "other": own}, values="loss")
        assert several.lines_["one", "loss"].get_ydata().tolist() == own.history_["loss"]
        first = fr.plots.filters(held, image_shape=(2, 1)).filters
        np.testing.assert_array_equal(first.reshape(8, 2).T, own.coefs_[0])
        assert fr.plots.weights(held).after["weights"].size == sum(w.size for w in own.coefs_)
    for draw in (fr.plots.history, fr.plots.weights, fr.plots.filters):
        for held in (MLPClassifier(), make_pipeline(MLPClassifier())):
            with pytest.raises(TypeError, match=r"got MLPClassifier\(\), expected .*; it is not fitted yet$"):
                draw(held)
        with pytest.raises(TypeError, match=r"got <class .*MLPClassifier'>, expected"):
            draw(MLPClassifier)


# --- What is refused ----------------------------------------------------------------------------------------------

REFUSED = {
    "no model": (lambda t: fr.plots.boundary(3, X), "model: got 3, expected a model, a trainer, or an estimator"),
    "no axes": (lambda t: fr.plots.weights(t, ax=3), "ax: got 3, expected axes of matplotlib or None"),
    "one column": (lambda t: fr.plots.boundary(t, X[:, :1]), r"X: got shape \(300, 1\), expected rows of at least two"),
    "features": (lambda t: fr.plots.boundary(t, X, features=(0, 2)), "features: got 2, expected an integer"),
    "labels": (lambda t: fr.plots.errors(t, X, Y + 5), "y: got 5, 6, expected labels of 2 classes"),
    "rows": (lambda t: fr.plots.errors(t, X, Y[:9]), r"y: got shape \(9,\), expected a label for each of the 300 rows"),
    "image": (lambda t: fr.plots.errors(t, X, Y, image_shape=(3, 3)), r"image_shape: got \(3, 3\) for rows of shape"),
    "numbers": (lambda t: fr.plots.calibration(fitted(1, "mse", y=X[:, 0]), X, Y), "predicts no probabilities"),
    "label": (lambda t: fr.plots.calibration(t, X, Y, label=7), "label: got 7, expected one of 0, 1"),
    "bins": (lambda t: fr.plots.calibration(t, X, Y, bins=0), "bins: got 0, expected an integer"),
    "layer": (lambda t: fr.plots.weights(t, layers=["9"]), "layers: got '9', expected some of 0, 1"),
    "shape": (lambda t: fr.plots.filters(t), "image_shape: got None for units of 2 inputs, expected"),
    "value": (lambda t: fr.plots.history(t, values="acuracy"), "got 'acuracy', expected .*the nearest is 'accuracy'"),
    "outputs": (
        lambda t: fr.plots.boundary(fitted(2, "mse", y=X), X),
        "output: got None for a model of 2 outputs, expected which one, from 0 to 1",
    ),
    "keyword": (lambda t: fr.plots.weights(t, layer="0"), "expected one of model, before, layers.*nearest is 'layers'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case, trainer):
    call, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call(trainer)
    assert "\n" not in str(error.value)


def test_calibration_marks_probabilities_that_are_too_high_and_none_on_the_diagonal():
    told = np.repeat([0.25, 0.5, 0.75], 4)
    happened = np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1])
    display = fr.plots.CalibrationDisplay.from_predictions(happened, told, bins=4)
    marked = [line for line in display.ax_.get_lines() if line.get_label() == "probability too high"]
    assert [line.get_xydata().tolist() for line in marked] == [[[0.25, 0.0]]]
    exact = fr.plots.CalibrationDisplay.from_predictions([0, 0, 0, 1], np.full(4, np.float32(0.25) + 1e-8), bins=4)
    assert "probability too high" not in exact.ax_.get_legend_handles_labels()[1]


def test_a_boundary_of_more_than_two_columns_needs_features():
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]))
    trainer.fit(X, y)
    with pytest.raises(ValueError, match=r"^X: got 3 columns, expected two, or features=\(0, 1\): two places of"):
        fr.plots.boundary(trainer, X, y)
    assert fr.plots.boundary(trainer, X, y, features=(0, 2), grid_resolution=5).response.shape == (5, 5)
