"""A model may end in any layer that has a value: the number of outputs follows from the layers, or from the data."""

import numpy as np
import pytest

import fastreg as fr

ROWS = 20
rng = np.random.default_rng(0)
images, codes, columns = rng.normal(size=(ROWS, 6, 6)), rng.integers(0, 5, (ROWS, 3)), rng.normal(size=(ROWS, 3))
two, three = rng.integers(0, 2, ROWS), np.array(["a", "b", "c"])[np.arange(ROWS) % 3]

CHAINS = {
    "a mean of channels": ([fr.Conv2D(3, 3), fr.GlobalAvgPool2D()], images, three, "softmax_cross_entropy"),
    "a convolution": ([fr.Conv2D(3, 6)], images, three, "softmax_cross_entropy"),
    "one pixel": ([fr.Conv2D(1, 6)], images, two, "sigmoid_cross_entropy"),
    "an image": ([fr.Conv2D(1, 3, padding="same")], images, images.reshape(ROWS, -1) > 0, "sigmoid_cross_entropy"),
    "a maximum": ([fr.Conv2D(1, 3), fr.MaxPool2D(4), fr.Flatten()], images, two, "mse"),
    "vectors of categories": ([fr.Embedding(5, 1)], codes, three, "softmax_cross_entropy"),
    "a norm": ([fr.LayerNorm()], columns, three, "softmax_cross_entropy"),
}


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("what", CHAINS)
def test_a_chain_that_was_not_built_is_trained_as_one_that_was(what, engine):
    layers, X, y, loss = CHAINS[what]
    parameters = []
    for build in (False, True):
        model = fr.Sequential(layers)
        if build:
            model.build(X.shape[1:], seed=4)
        trainer = fr.Trainer(model, loss, engine=engine, seed=4)
        trainer.fit(X, y, epochs=2)
        parameters.append(model.parameters)
    assert all(np.array_equal(parameters[0][name], parameters[1][name]) for name in parameters[1])


def test_columns_of_one_table_that_are_joined_at_the_end():
    a, b = fr.Input(columns=[0, 1]), fr.Input(columns=[2])
    model = fr.Model([a, b], fr.Concatenate()([fr.Dense(1)(a), fr.Dense(2)(b)]))
    trainer = fr.Trainer(model)
    trainer.fit(columns, three, epochs=1)
    assert model.predict(columns).shape == (ROWS, 3)
    assert set(model.predict_labels(columns)) <= {"a", "b", "c"}


def test_metrics_are_checked_once_the_data_tell_how_many_outputs_there_are():
    trainer = fr.Trainer(fr.Sequential([fr.Conv2D(1, 6)]), "sigmoid_cross_entropy", metrics=["balanced_accuracy"])
    assert "balanced_accuracy" in trainer.evaluate(images, two)
    trainer = fr.Trainer(fr.Sequential([fr.Conv2D(1, 3)]), "sigmoid_cross_entropy", metrics=["balanced_accuracy"])
    with pytest.raises(ValueError, match=r"^metrics: got 'balanced_accuracy' under sigmoid_cross_entropy, expected"):
        trainer.fit(images, np.ones((ROWS, 16)))
    trainer.fit(images[:, :3, :3], two)  # other samples, other outputs
