"""Rows of arrays are padded in memory. What lies after their last column is no number of the model: no norm and no
penalty counts it."""

import numpy as np
import pytest

import fastreg as fr

ROWS, COLUMNS = 20, 5


def autoencoder(activation, **options):
    """The code's columns are the rows of the gradient of the encoder's weight. At 0 its activation is not 0."""
    x = fr.Input(COLUMNS, name="x")
    code = fr.Dense(3, activation, name="encoder", **options)(x)
    return fr.Model(x, fr.Dense(COLUMNS, tied_to="encoder", transposed=True)(code))


def cases(rng):
    X = rng.normal(size=(ROWS, COLUMNS))
    shares, smoothed = rng.dirichlet(np.ones(3), ROWS), fr.losses.SoftmaxCrossEntropy(label_smoothing=0.5)
    yield autoencoder("softplus"), "mse", X, X
    yield autoencoder("sigmoid"), "mse", X, X
    yield fr.Sequential([fr.Dense(3)]), smoothed, X, shares
    yield fr.Sequential([fr.Dense(3), fr.BatchNorm()]), smoothed, X, shares


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_clipped_step_has_the_length_of_the_limit(engine, dtype, rng):
    for model, loss, X, y in cases(rng):
        trainer = fr.Trainer(model, loss, fr.SGD(1.0), clip_norm=1e-3, engine=engine, dtype=dtype)
        model.build(X.shape[1:], dtype=dtype)
        before = model.state_dict()
        trainer.fit(X, y, batch_size=ROWS)
        moved = [model.parameters[name] - value for name, value in before.items() if name[-4:] not in ("mean", ".var")]
        length = np.sqrt(sum(np.square(step.astype(float)).sum() for step in moved))
        np.testing.assert_allclose(length, 1e-3, rtol=3e-4)  # limit / (norm + 1e-6), and weights that are rounded


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_penalties_and_limits_count_the_columns_alone(engine, dtype, rng):
    X = rng.normal(size=(ROWS, COLUMNS))
    model = autoencoder("sigmoid", max_frobenius=0.5)
    trainer = fr.Trainer(model, "mse", fr.SGD(0.5), l2=0.1, engine=engine, dtype=dtype)
    history = trainer.fit(X, X, epochs=4, batch_size=ROWS)
    squares = np.square(model.parameters["encoder.weight"].astype(float)).sum()
    np.testing.assert_allclose(squares, 0.25, rtol=1e-5)
    np.testing.assert_allclose(history["penalty"][-1], 0.05 * 0.25, rtol=1e-5)
