"""Texts as codes for embeddings: the schema, and models that begin with one."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.intake.schema import Schema


def flats(rng, rows=400):
    towns = np.array([f"town {k:03}" for k in range(90)])
    worth = rng.normal(size=90)
    town = rng.integers(0, 90, rows)
    size = rng.uniform(20, 200, rows)
    price = 1000 * size + 40_000 * worth[town]
    return fr.data.Table({"town": towns[town], "size": size}), price


def test_a_column_of_many_texts_becomes_one_code(rng):
    X, y = flats(rng)
    schema = fr.data.infer_schema(X, y, categories="codes")
    town = schema.columns[0]
    assert town.coded and town.width == 1 and len(town.values) > 64 and schema.encoded_names() == ["town", "size"]
    encoded = schema.inputs("X", X, "float64")
    assert [town.values[int(k)] for k in encoded[:5, 0]] == list(X["town"][:5])
    other = fr.data.Table({"town": ["nowhere", None], "size": [1.0, 2.0]})
    assert (schema.inputs("X", other)[:, 0] == len(town.values)).all()
    assert Schema.from_config(schema.config()) == schema
    with pytest.raises(ValueError, match=r"expected fr.Model of what fr.data.inputs_of\(schema\) gives"):
        fr.Sequential([schema, fr.Dense(1)])
    with pytest.raises(ValueError, match="categories: got 'code', expected one of one_hot, codes"):
        fr.data.infer_schema(X, y, categories="code")


def test_many_columns_share_few_inputs(rng):
    """Of forty columns of texts, those with vectors of one length have one embedding."""
    counts = [2, 3, 5, 9, 30, 90, 300] * 6
    columns = {f"c{j}": [f"t{k}" for k in np.arange(600) % count] for j, count in enumerate(counts)}
    schema = fr.data.infer_schema(fr.data.Table(columns), rng.normal(size=600), categories="codes")
    inputs, x = fr.data.inputs_of(schema)
    assert len(inputs) <= 5 and sum(each.shape[0] for each in inputs) == len(counts)
    lengths = [value.layer.width for value in x.inputs]
    assert lengths == sorted(lengths) and min(lengths) >= 2 and max(lengths) == 32
    assert fr.data.inputs_of(schema, 3)[1].shape == (3 * len(counts),)


def test_a_model_begins_with_it_and_is_kept(engine, rng, tmp_path):
    X, y = flats(rng)
    schema = fr.data.infer_schema(X, y, categories="codes")
    inputs, x = fr.data.inputs_of(schema)
    model = fr.Model(inputs, fr.Dense(1)(x))
    model.schema = schema
    trainer = fr.Trainer(model, optimizer=fr.Adam(0.02), metrics=("r2",), engine=engine)
    trainer.fit(X, y, epochs=40, batch_size=50)
    assert trainer.evaluate(X, y)["r2"] > 0.97
    model.save(tmp_path / "m.safetensors")
    again = fr.load(tmp_path / "m.safetensors")
    rows = fr.data.Table({"size": [50.0, 60.0], "town": ["town 003", "nowhere"]})
    np.testing.assert_allclose(again.predict(rows), model.predict(rows), rtol=1e-12)
