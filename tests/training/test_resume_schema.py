"""Resuming with columns and classes by name: data that are others than those of the checkpoint are refused."""

import numpy as np
import pytest

import fastreg as fr

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3))
KIND = np.array(["cat", "dog", "fox"])[X.argmax(axis=1)]
TABLE = {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2]}
TOWNS = TABLE | {"town": RNG.choice(["rome", "oslo"], 90)}


def trainer(*first):
    return fr.Trainer(fr.Sequential([*first, fr.Dense(4, "relu"), fr.Dense(3)]), optimizer="adam(lr=0.02)", seed=3)


def fit(one, X, y, path, **how):
    return one.fit(X, y, batch_size=30, callbacks=fr.Checkpoint(path), **how)["loss"]


def test_the_same_names_and_arrays_by_position_go_on(tmp_path):
    whole = fit(trainer(), TABLE, KIND, tmp_path / "whole", epochs=4)
    for inputs in (TABLE, X):
        path = tmp_path / "part"
        fit(trainer(), TABLE, KIND, path, epochs=2)
        one = trainer()
        assert fit(one, inputs, KIND, path, epochs=4, resume=path) == whole
        assert one.model.classes == ("cat", "dog", "fox") and one.model.schema.names == ("a", "b", "c")


@pytest.mark.parametrize(
    "inputs, targets, what",
    [
        ({name: TABLE[name] for name in "cba"}, KIND, "columns: got .'c', 'b', 'a'., expected .'a', 'b', 'c'."),
        (TABLE, X.argmax(axis=1), "targets: got y: not known, expected y: 3 classes cat, dog, fox"),
        (TABLE, np.char.add("x", KIND), "3 classes xcat, xdog, xfox, expected y: 3 classes cat, dog, fox"),
    ],
)
def test_other_columns_or_classes_are_refused(tmp_path, inputs, targets, what):
    path = tmp_path / "part"
    fit(trainer(), TABLE, KIND, path, epochs=2)
    one = trainer()
    with pytest.raises(ValueError, match=what):
        fit(one, inputs, targets, path, epochs=4, resume=path)
    assert not one.model.built and not one.model.schema


def test_a_schema_of_other_rows_is_refused(tmp_path):
    path = tmp_path / "part"
    fit(trainer(fr.data.infer_schema(TOWNS, KIND)), TOWNS, KIND, path, epochs=2)
    other = fr.data.infer_schema(TOWNS | {"town": np.where(TOWNS["town"] == "rome", "bonn", "oslo")}, KIND)
    with pytest.raises(ValueError, match="column"):
        fit(trainer(other), TOWNS, KIND, path, epochs=4, resume=path)


def test_a_loaded_model_goes_on_as_a_new_one_does(tmp_path):
    schema = fr.data.infer_schema(TOWNS, KIND)
    whole = fit(trainer(schema), TOWNS, KIND, tmp_path / "whole", epochs=6)
    path = tmp_path / "part"
    fit(trainer(schema), TOWNS, KIND, path, epochs=2)
    loaded = fr.Trainer(fr.load(path), optimizer="adam(lr=0.02)", seed=3)
    fit(loaded, TOWNS, KIND, path, epochs=4, resume=path)
    assert fit(trainer(schema), TOWNS, KIND, path, epochs=6, resume=path) == whole
