"""Class weights: rows twice or not at all, scikit-learn's formula, products with sample weights, refusals."""

import numpy as np
import pytest
from trainers import same, state

import fastreg as fr

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4))
Y = np.array([0] * 14 + [1] * 7 + [2] * 3)


def trained(X, y, engine="native", loss="softmax_cross_entropy", outputs=3, epochs=3, **settings):
    trainer = fr.Trainer(
        fr.Sequential([fr.Dense(5, "tanh"), fr.Dense(outputs)]), loss, fr.SGD(0.3, momentum=0.9),
        l2=0.01, engine=engine, dtype="float64",
    )  # fmt: skip
    trainer.history = trainer.fit(X, y, epochs=epochs, batch_size=99, shuffle=False, **settings)
    return trainer


def close(a, b):
    for name, value in state(a).items():
        np.testing.assert_allclose(value, state(b)[name], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(a.history["loss"], b.history["loss"], rtol=1e-12)


def test_weight_2_is_the_row_twice(engine):
    twice = np.sort(np.concatenate([np.arange(24), np.flatnonzero(Y == 1)]))
    close(trained(X, Y, engine, class_weight={1: 2}), trained(X[twice], Y[twice], engine))


def test_weight_0_is_the_row_absent(engine):
    kept = Y != 0
    close(trained(X, Y, engine, class_weight={0: 0, 2: 1.0}), trained(X[kept], Y[kept], engine))


def test_balanced_is_scikit_learns(engine):
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    by_class = sklearn.compute_class_weight("balanced", classes=np.arange(3), y=Y)
    expected = trained(X, Y, engine, sample_weight=by_class[Y])
    assert same(state(trained(X, Y, engine, class_weight="balanced")), state(expected))
    assert same(state(trained(X, Y, engine, class_weight=dict(enumerate(by_class)))), state(expected))


def test_balanced_counts_the_rows_that_are_meant_and_the_labels_among_them():
    rows = np.array([0, 0, 0, 14, 15, 0])
    weights = np.where(Y == 0, 6 / (2 * 4), 6 / (2 * 2))
    expected = trained(X, Y, rows=rows, sample_weight=weights)
    assert same(state(trained(X, Y, rows=rows, class_weight="balanced")), state(expected))


def test_it_multiplies_the_sample_weights(engine):
    weights = RNG.uniform(size=24)
    both = trained(X, Y, engine, class_weight={0: 0.5, 2: 3}, sample_weight=weights)
    assert same(state(both), state(trained(X, Y, engine, sample_weight=weights * np.array([0.5, 1, 3])[Y])))


def test_one_hot_rows_binary_labels_and_losses_in_python():
    assert same(state(trained(X, np.eye(3)[Y], class_weight={1: 2})), state(trained(X, Y, class_weight={1: 2})))
    binary, weights = (Y > 0).astype(int), np.where(Y > 0, 3.0, 1.0)
    for y in (binary, binary.astype(bool), binary[:, np.newaxis], binary.astype(float), binary.astype("f4")[:, None]):
        made = trained(X, y, loss="sigmoid_cross_entropy", outputs=1, class_weight={1: 3})
        assert same(state(made), state(trained(X, y, loss="sigmoid_cross_entropy", outputs=1, sample_weight=weights)))
    by_class = {0: 24 / (2 * 14), 1: 24 / (2 * 10)}
    balanced = trained(X, binary.astype(float), loss="sigmoid_cross_entropy", outputs=1, class_weight="balanced")
    expected = trained(X, binary, loss="sigmoid_cross_entropy", outputs=1, class_weight=by_class)
    assert same(state(balanced), state(expected))
    custom = fr.losses.Custom(lambda z, t: (z[:, 0] * t, z * 0 + 1e-3), targets="labels")
    assert same(
        state(trained(X, Y, loss=custom, class_weight={1: 2})),
        state(trained(X, Y, loss=custom, sample_weight=np.array([1.0, 2, 1])[Y])),
    )


def test_validation_is_not_weighted():
    made = trained(X, Y, class_weight={0: 7}, validation_data=(X, Y))
    assert made.history["val_loss"][-1] == made.evaluate(X, Y)["loss"]


def test_a_resumed_fit_repeats_it(tmp_path):
    path = tmp_path / "run.safetensors"
    whole = trained(X, Y, epochs=4, class_weight={0: 2})
    trained(X, Y, epochs=2, class_weight={0: 2}, callbacks=[fr.Checkpoint(path)])
    assert same(state(trained(X, Y, epochs=4, class_weight={0: 2, 1: 1}, resume=path)), state(whole))
    for other in ({0: 3}, "balanced", None):
        with pytest.raises(ValueError, match="resume: "):
            trained(X, Y, epochs=4, class_weight=other, sample_weight=np.ones(24), resume=path)


BAD = {
    "text": ("even", r"class_weight: got 'even', expected one of balanced, a dict"),
    "list": ([1, 2, 3], r"class_weight: got \[1, 2, 3\], expected 'balanced' or a dict of weights by label"),
    "label": ({3: 1}, r"class_weight: got the label 3, expected integers from 0 to 2"),
    "negative label": ({-1: 1}, r"class_weight: got the label -1, expected integers from 0 to 2"),
    "name": ({"0": 1}, r"class_weight: got the label '0', expected integers from 0 to 2"),
    "weight": ({0: -1}, r"class_weight\[0\]: got -1, expected a finite number of at least 0"),
    "NaN": ({0: float("nan")}, r"class_weight\[0\]: got nan, expected a finite number"),
    "zeros": ({0: 0, 1: 0, 2: 0}, r"class_weight: got \{.*\}, expected a weight above 0 for some row"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_class_weights(case):
    value, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        trained(X, Y, class_weight=value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("loss", ["mse", "sigmoid_cross_entropy"])
def test_other_targets_are_refused(loss):
    if loss == "mse":
        with pytest.raises(ValueError, match=r"class_weight: got targets of shape \(24, 3\).* expected integer labels"):
            trained(X, np.eye(3)[Y], loss=loss, class_weight={0: 2})
    y = np.linspace(0, 1, 24)
    with pytest.raises(ValueError, match=r"class_weight: got targets .* in float64 .* expected integer labels"):
        trained(X, y, loss=loss, outputs=1, class_weight={0: 2})
