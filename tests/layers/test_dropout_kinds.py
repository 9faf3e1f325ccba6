"""Kinds of dropout: mean and variance of what they multiply by, one draw a unit, gradients through every activation,
and the same expectation at prediction for all of them."""

import numpy as np
import pytest
from dropouts import KINDS, assert_gradients, assert_moments, factors

import fastreg as fr
from fastreg.layers import ACTIVATIONS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on", ["inputs", "outputs"])
def test_a_million_draws_have_mean_and_variance(kind, on):
    keep = 0.7
    m = factors("native", 1000, 1000, on=on, keep_prob=keep, kind=kind)
    _, variance = assert_moments(m, kind, keep)
    assert (m == 0).any() == (kind != "gaussian")
    if kind == "gaussian":
        z = (m - 1) / np.sqrt(variance)
        assert abs((np.abs(z) < 1).mean() - 0.6827) < 0.002 and 4.5 < np.abs(z).max() < 6


@pytest.mark.parametrize("kind", KINDS)
def test_one_draw_a_unit_holds_for_the_batch(engine, kind):
    rows = 5 if engine == "reference" else 300
    m = factors(engine, rows, 130, keep_prob=0.5, kind=kind, per="unit")
    np.testing.assert_array_equal(m, np.broadcast_to(m[0], m.shape))
    assert np.unique(m[0]).size >= 2
    assert not np.array_equal(m[0], factors(engine, 1, 130, step=1, keep_prob=0.5, kind=kind, per="unit")[0])
    np.testing.assert_array_equal(m[0], factors(engine, 1, 130, keep_prob=0.5, kind=kind, per="element")[0])  # row 0


@pytest.mark.parametrize("kind", ["gaussian", "standard"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("per", ["element", "unit"])
def test_gradients(engine, kind, activation, per, blobs):
    assert_gradients(engine, activation, *blobs, kind=kind, per=per)


def test_standard_and_inverted_dropout_expect_the_same(engine, rng):
    """If the weights after standard dropout are larger by 1 / keep, training and prediction are the same."""
    X, keep, predictions, losses = rng.normal(size=(50, 4)), 0.75, {}, {}
    y = rng.normal(size=(50, 2))
    for kind, scale in (("inverted", 1), ("standard", 1 / keep)):
        model = fr.Sequential([fr.Dense(8, "tanh"), fr.Dropout(keep_prob=keep, kind=kind), fr.Dense(2)])
        trainer = fr.Trainer(model, "mse", engine=engine, dtype="float64")
        model.build(4, dtype="float64")
        model.parameters["2.weight"][...] *= scale
        predictions[kind] = trainer.predict(X)
        losses[kind] = [trainer.objective(X, y, step=3), trainer.objective(X, y), trainer.evaluate(X, y)["loss"]]
        gradients = trainer.gradients(X, y)  # of the network that predicts
        bias = model.parameters["0.bias"]
        bias[1] += 1e-6
        above = trainer.objective(X, y)
        bias[1] -= 2e-6
        assert gradients["0.bias"][1] == pytest.approx((above - trainer.objective(X, y)) / 2e-6, rel=1e-6)
    np.testing.assert_allclose(predictions["standard"], predictions["inverted"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(losses["standard"], losses["inverted"], rtol=1e-12)


def test_standard_dropout_at_prediction_multiplies_by_what_it_keeps(engine):
    layers = [fr.Dropout(keep_prob=0.5, kind="standard"), fr.Dense(3), fr.Dropout(keep_prob=0.25, kind="standard")]
    model = fr.Sequential(layers)
    trainer = fr.Trainer(model, "mse", engine=engine)
    model.build(3)
    model.parameters["1.weight"][...] = np.eye(3)
    np.testing.assert_array_equal(trainer.predict(np.ones((2, 3))), np.full((2, 3), 0.125))
    kept = fr.Trainer(fr.Sequential([fr.Dropout(rate=0.5), fr.Dense(3)]), engine=engine)
    kept.model.build(3)
    assert kept.program("predict").ops[0].mask is None


def test_settings_survive_files_and_copies(tmp_path, engine, blobs):
    X, y = blobs
    layers = [
        fr.Dropout(rate=0.2, kind="standard"),
        fr.Dense(5, "relu"),
        fr.Dropout(rate=0.5, kind="gaussian", per="unit"),
    ]
    trainer = fr.Trainer(fr.Sequential([*layers, fr.Dense(3)]), engine=engine)
    trainer.fit(X, y)
    trainer.model.save(tmp_path / "m.safetensors")
    loaded = fr.load(tmp_path / "m.safetensors")
    assert loaded.layers == trainer.model.layers == trainer.copy().model.layers
    np.testing.assert_allclose(loaded.predict(X), trainer.predict(X), rtol=1e-5)
    assert "kind='gaussian', per='unit'" in trainer.model.summary() and "kind='standard'" in repr(trainer.model)
