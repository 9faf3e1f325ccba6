"""The model of an estimator knows classes and features by name, and keeps them in files and from fit to fit."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastreg as fr
from fastreg.estimators import LogisticRegression, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(60, 4))
CODES = np.argmax(X[:, :3], axis=1)
SHORT = {"max_iter": 4, "random_state": 0, "hidden_layer_sizes": (6,)}
NAMES = {
    "texts": np.array(list("uvw")),
    "objects": np.array(["no", "yes", "may be"], object),
    "numbers": np.array([7, 3, 12]),
    "fractions": np.array([1.0, 2.0, 40.0]),
    "codes": np.arange(3),
}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", NAMES)
def test_names_are_those_of_the_labels(kind, solver, tmp_path):
    y = NAMES[kind][CODES]
    model = MLPClassifier(**SHORT, solver=solver).fit(X, y)
    assert model.model_.classes == tuple(np.unique(y).tolist())
    np.testing.assert_array_equal(model.model_.predict_labels(X), model.predict(X))
    model.model_.save(tmp_path / "model.safetensors")
    loaded = fr.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict_labels(X), model.predict(X))


def test_two_classes_have_one_output():
    y = np.where(X[:, 0] > 0, "up", "down")
    for model in (MLPClassifier(**SHORT), LogisticRegression(), MLPClassifier(**SHORT, early_stopping=True)):
        model.fit(X, y)
        assert model.model_.classes == ("down", "up")
        np.testing.assert_array_equal(model.model_.predict_labels(X), model.predict(X))


def test_fits_that_continue():
    y = NAMES["texts"][CODES]
    plain = MLPClassifier(**SHORT | {"max_iter": 8}, tol=0.0).fit(X, CODES)
    warm = MLPClassifier(**SHORT, warm_start=True, tol=0.0).fit(X, y).fit(X, y, X_val=X, y_val=y)
    steps = MLPClassifier(**SHORT, tol=0.0)
    for _ in range(8):
        steps.partial_fit(X, y, classes=["u", "v", "w"], X_val=X[:2], y_val=y[:2])
    for model in (warm, steps):
        assert model.model_.classes == ("u", "v", "w")
        np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])


def test_checkpoints_in_a_fit_have_the_names(tmp_path):
    class Saves(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.save(tmp_path / "now.safetensors")

    MLPClassifier(**SHORT, callbacks=[Saves()]).fit(X, NAMES["texts"][CODES])
    assert fr.load(tmp_path / "now.safetensors").classes == ("u", "v", "w")


def test_several_labels_are_yes_or_no():
    model = MLPClassifier(**SHORT).fit(X, (X > 0).astype(int))
    np.testing.assert_array_equal(model.model_.predict_labels(X), model.predict(X))


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_columns_of_a_frame_are_found_by_name(kind, library, tmp_path):
    """An array is taken by position."""
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({name: X[:, j] for j, name in enumerate("abcd")})
    model = kind(**SHORT, early_stopping=True).fit(frame, CODES, X_val=frame[:9], y_val=CODES[:9])
    model.model_.save(tmp_path / "model.safetensors")
    expected = model.model_.predict(X)
    for own in (model.model_, fr.load(tmp_path / "model.safetensors")):
        np.testing.assert_array_equal(own.predict(frame), expected)
        np.testing.assert_array_equal(own.predict(frame[list("dbca")]), expected)
        with pytest.raises(ValueError, match="c"):
            own.predict(frame[list("abd")])
    np.testing.assert_array_equal(kind(**SHORT).fit(X, CODES).coefs_[0], kind(**SHORT).fit(frame, CODES).coefs_[0])


def test_exports_say_where_an_estimator_and_a_pipeline_have_a_model(tmp_path):
    own = MLPClassifier(**SHORT)
    pipeline = make_pipeline(StandardScaler(), own).fit(X, CODES)
    for export in (fr.torch_state, lambda held: fr.to_onnx(held, tmp_path / "model.onnx")):
        with pytest.raises(TypeError, match=r"; its \.model_ is one$"):
            export(own)
        with pytest.raises(TypeError, match=r"; its \[-1\]\.model_ is one, which takes what the steps before it give$"):
            export(pipeline)
    np.testing.assert_allclose(pipeline[-1].model_.predict(pipeline[:-1].transform(X)), pipeline.predict_proba(X))
