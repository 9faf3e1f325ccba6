"""Dropout with draws for groups of rows: which rows share them, their moments, gradients, files."""

from dataclasses import replace

import numpy as np
import pytest
from dropouts import KINDS, assert_gradients, assert_moments, factors

import fastreg as fr

ON = ("inputs", "outputs")


@pytest.mark.parametrize("rows", [1, 4, 7, 32, 1000])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on", ON)
def test_group_g_has_the_draws_of_row_g(engine, kind, rows, on):
    count = 19 if engine == "reference" else 70
    options = {"keep_prob": 0.6, "kind": kind, "on": on}
    m = factors(engine, count, 130, per="unit", rows=rows, **options)
    by_element = factors(engine, count, 130, per="element", **options)
    np.testing.assert_array_equal(m, by_element[np.arange(count) // rows])


def test_more_rows_than_the_batch_has_are_all(engine):
    options = {"keep_prob": 0.5, "per": "unit"}
    m = factors(engine, 9, 40, rows=2**32 - 1, **options)
    np.testing.assert_array_equal(m, factors(engine, 9, 40, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_moments(kind):
    keep = 0.7
    m = factors("native", 3000, 1000, keep_prob=keep, kind=kind, per="unit", rows=3)[::3]
    mean, variance = assert_moments(m, kind, keep)
    both = np.mean((m[1:] - mean) * (m[:-1] - mean)) / variance  # groups are independent
    assert abs(both) < 4 / np.sqrt(m[1:].size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_gradients(engine, kind, activation, blobs):
    assert_gradients(engine, activation, *blobs, kind=kind, per="unit", rows=6)


def test_samples_do_not_depend_on_the_size_of_batches(engine, rng):
    """Groups are counted from the first row of the data there."""
    X = rng.normal(size=(50, 5))
    model = fr.Sequential([fr.Dense(20, "relu"), fr.Dropout(rate=0.5, per="unit", rows=8), fr.Dense(2)])
    trainer = fr.Trainer(model, "mse", engine=engine, dtype="float64")
    model.build(5, dtype="float64")
    found = [trainer.predict(X, samples=3, batch_size=size) for size in (50, 7)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12, atol=1e-14)


def test_it_survives_files_copies_and_changes(tmp_path, blobs):
    X, y = blobs
    layer = fr.Dropout(rate=0.5, per="unit", rows=32)
    assert repr(layer) == "Dropout(keep_prob=0.5, per='unit', rows=32)" and eval(repr(layer), vars(fr)) == layer
    assert replace(layer, rows=None) == fr.Dropout(rate=0.5, per="unit")
    model = fr.Sequential([fr.Dense(8, "relu"), layer, fr.Dense(3)])
    trainer = fr.Trainer(model)
    trainer.fit(X, y)
    model.save(tmp_path / "m.safetensors")
    loaded = fr.load(tmp_path / "m.safetensors")
    assert loaded.layers == model.layers == trainer.copy().model.layers
    assert "per='unit', rows=32" in model.summary()
    model.layers[1].rows = 16
    assert model.layers[1].rows == 16
