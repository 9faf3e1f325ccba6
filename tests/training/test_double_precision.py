"""A float64 trainer reads its data as float64 at once, also before its model is built: held against numbers that
float32 cannot hold, and against long double."""

import numpy as np
import pytest

import fastreg as fr

BIG = np.array([[1e39], [2e39]])
Y = np.array([1.0, 2.0])
FINE = np.array([[1 + 2.0**-40], [2.0]], np.longdouble)


def new(engine, *layers, **settings):
    settings.setdefault("optimizer", fr.SGD(0.0))
    return fr.Trainer(fr.Sequential([*layers, fr.Dense(1)]), "mse", engine=engine, dtype="float64", **settings)


ASKED = {
    "fit": lambda trainer, X: trainer.fit(X, Y),
    "validation": lambda trainer, X: trainer.fit(X * 0, Y, validation_data=(X, Y)),
    "split": lambda trainer, X: trainer.fit(X, Y, validation_split=0.5),
    "evaluate": lambda trainer, X: trainer.evaluate(X, Y),
    "objective": lambda trainer, X: trainer.objective(X, Y),
    "gradients": lambda trainer, X: trainer.gradients(X, Y),
    "row_losses": lambda trainer, X: trainer.row_losses(X, Y),
    "input_gradient": lambda trainer, X: trainer.input_gradient(X, Y),
}


@pytest.mark.parametrize("asked", ASKED)
def test_numbers_beyond_float32_are_taken(engine, asked):
    trainer = new(engine)
    ASKED[asked](trainer, BIG)
    assert trainer.model.dtype == "float64"
    with pytest.raises(ValueError, match=r"not finite in float32"):
        ASKED[asked](fr.Trainer(fr.Sequential([fr.Dense(1)]), "mse", fr.SGD(0.0), engine=engine), BIG)


def test_numbers_are_not_rounded(engine):
    """Not even a long double, which is converted: to float64, not by way of float32."""
    for X in (FINE, FINE.astype(np.float64), FINE.astype(">f8")):
        trainer = new(engine)
        values = trainer.input_gradient(X, Y)
        w, b = (trainer.model.parameters[f"0.{name}"].ravel()[0] for name in ("weight", "bias"))
        expected = 2 * (X.astype(np.float64)[:, 0] * w + b - Y) * w
        np.testing.assert_allclose(values[:, 0], expected, rtol=1e-15)
        np.testing.assert_array_equal(trainer.arguments.checked(X, Y).inputs.astype(np.float64), X.astype(np.float64))


def test_models_whose_data_tell_their_shape(engine):
    """A convolution as the last layer, several inputs, and the names of columns."""
    image = fr.Trainer(fr.Sequential([fr.Conv2D(1, 1)]), "mse", fr.SGD(0.0), engine=engine, dtype="float64")
    image.fit(np.full((2, 1, 1, 1), 1e39), np.ones((2, 1)))
    a, b = fr.Input(1, name="a"), fr.Input(1, name="b")
    model = fr.Model([a, b], fr.Dense(1)(fr.Concatenate()([a, b])))
    fr.Trainer(model, "mse", fr.SGD(0.0), engine=engine, dtype="float64").fit({"a": BIG, "b": BIG}, Y)
    pandas = pytest.importorskip("pandas")
    trainer = new(engine)
    trainer.fit(pandas.DataFrame({"length": BIG[:, 0]}), Y)
    assert trainer.predict(pandas.DataFrame({"length": BIG[:, 0]})).dtype == np.float64


def test_ensembles_and_copies(engine):
    bagging = fr.Bagging(lambda seed: new(engine, seed=seed), 2)
    bagging.fit(BIG, Y)
    assert bagging.predict(BIG).dtype == np.float64
    new(engine).copy().fit(BIG, Y)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), "mse", fr.SGD(0.0), engine=engine)
    trainer.copy(dtype="float64").fit(BIG, Y)
    trainer.dtype = "float64"
    trainer.fit(BIG, Y)
    assert trainer.model.dtype == "float64"


def test_estimators():
    estimators = pytest.importorskip("fastreg.estimators")
    for dtype in ("float64", None):
        model = estimators.MLPRegressor(hidden_layer_sizes=(3,), dtype=dtype, learning_rate_init=1e-300, solver="sgd")
        model.set_params(max_iter=1, alpha=0.0)
        with pytest.warns():
            model.fit(BIG, Y)
        assert model.model_.dtype == "float64" and np.isfinite(model.predict(BIG)).all()
