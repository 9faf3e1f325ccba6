"""The Standardizer: its numbers, and as the first layer of a model."""

import numpy as np
import pytest
from trainers import same

import fastreg as fr


@pytest.fixture
def X(rng):
    return rng.normal([5.0, -300.0, 0.0, 1e4], [0.1, 20.0, 3.0, 1.0], size=(1000, 4))


def fitted(X) -> fr.data.Standardizer:
    return fr.data.Standardizer().fit(X)


def test_columns_get_mean_0_and_variance_1(X):
    standardizer = fitted(X)
    np.testing.assert_allclose(standardizer.mean_, X.mean(axis=0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(standardizer.var_, X.var(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(standardizer.scale_, np.sqrt(standardizer.var_))
    Z = standardizer.transform(X)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-11)
    np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(standardizer.inverse_transform(Z), X, rtol=1e-12)
    assert "4 columns" in repr(standardizer) and repr(fr.data.Standardizer()) == "Standardizer()"


def test_the_same_as_scikit_learns(X):
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    theirs = preprocessing.StandardScaler().fit(X)
    np.testing.assert_allclose(fitted(X).scale_, theirs.scale_, rtol=1e-12)
    np.testing.assert_allclose(fitted(X).transform(X), theirs.transform(X), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3, -1e-30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_columns_become_zeros(value, dtype):
    """0.1 is not a sum of powers of two: the mean of many would be off, and give a variance of 1e-34."""
    X = np.full((70_001, 2), value, dtype)
    X[:, 1] = np.arange(70_001) % 7
    standardizer = fitted(X)
    assert standardizer.var_[0] == 0 and standardizer.scale_[0] == 1 and standardizer.mean_[0] == X[0, 0]
    assert not standardizer.transform(X)[:, 0].any()


def test_a_small_spread_around_a_large_mean():
    X = 1e9 + np.arange(100_000)[:, np.newaxis] % 2
    np.testing.assert_allclose(fitted(X).var_, [0.25], rtol=1e-12)


def test_data_of_any_dtype_layout_and_place(tmp_path, rng):
    X = rng.integers(0, 256, size=(5000, 3, 8), dtype=np.uint8)
    expected = fitted(X.astype(np.float64))
    mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=X.shape)
    mapped[...] = X
    wide = np.zeros((5000, 6, 8), np.uint8)
    wide[:, ::2] = X
    for form in (X, mapped, wide[:, ::2], np.asfortranarray(X), X.astype(np.float16), X.tolist(), X.astype(">i4")):
        standardizer = fitted(form)
        assert standardizer.mean_.shape == (3, 8)
        np.testing.assert_array_equal(standardizer.mean_, expected.mean_)
        np.testing.assert_array_equal(standardizer.scale_, expected.scale_)
        np.testing.assert_array_equal(standardizer.transform(form), expected.transform(X))
    assert expected.transform(X).dtype == np.float64 and expected.transform(X.astype("f4")).dtype == np.float32


def test_what_is_not_finite_is_refused_in_memory_maps_too(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(100_000, 2))
    mapped[77_777, 1] = np.nan
    for form in (mapped, np.array(mapped)):
        with pytest.raises(ValueError, match="X: row 77777 holds a value that is not finite"):
            fitted(form)


# --- In a model --------------------------------------------------------------------------------------------------


def model_of(first, *more) -> fr.Sequential:
    return fr.Sequential([*more, first, fr.Dropout(keep_prob=0.9), fr.Dense(6, "tanh"), fr.Dense(3)])


def test_a_model_takes_raw_data(engine, X, tmp_path):
    y = (X[:, 0] > 5).astype(int) + (X[:, 1] > -300)
    standardizer = fitted(X)
    raw = fr.Trainer(model_of(standardizer), engine=engine, dtype="float64")
    ready = fr.Trainer(model_of(fr.Flatten()), engine=engine, dtype="float64")  # a Flatten keeps the indices
    histories = raw.fit(X, y, epochs=5), ready.fit(standardizer.transform(X), y, epochs=5)
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-9)
    np.testing.assert_allclose(raw.predict(X), ready.predict(standardizer.transform(X)), rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(raw.model.parameters["0.mean"], standardizer.mean_)
    np.testing.assert_array_equal(raw.model.parameters["0.scale"], 1 / standardizer.scale_)
    assert set(raw.gradients(X, y)) == set(ready.gradients(X, y))  # nobody trains mean and scale

    raw.model.save(tmp_path / "model.safetensors")
    loaded = fr.load(tmp_path / "model.safetensors")
    loaded.engine = raw.model.engine = engine
    np.testing.assert_array_equal(loaded.predict(X), raw.model.predict(X))
    for copy in (raw.model.copy(), loaded.copy()):
        assert same(copy.state_dict(), raw.model.state_dict())
    fr.Trainer(loaded, engine=engine, dtype="float64").fit(X, y)


def test_images_and_other_places(engine, rng):
    X = rng.integers(0, 256, size=(60, 4, 6), dtype=np.uint8)
    X[:, 0, 0] = 255
    standardizer, y = fitted(X), rng.integers(0, 3, 60)
    flat = fitted(X.reshape(60, 24)).layer(name="scale")
    states = []
    for layers in ([standardizer, fr.Flatten()], [fr.Flatten(), standardizer], [fr.Flatten(), flat]):
        trainer = fr.Trainer(fr.Sequential([*layers, fr.Dense(3)]), engine=engine)
        trainer.fit(X, y, epochs=2)
        states.append(trainer.predict(X))
    for other in states[1:]:
        np.testing.assert_array_equal(other, states[0])
    assert "scale.mean" in trainer.model.parameters and "Standardize" in trainer.model.summary()


def test_an_unbuilt_copy_keeps_its_numbers(X):
    model = model_of(fitted(X)).copy()
    model.build(4)
    np.testing.assert_array_equal(model.parameters["0.mean"], fitted(X).mean_.astype(np.float32))
    model.build(4, seed=3)  # again
    other = fr.Sequential.from_config({**model.config(), "input_shape": None})
    with pytest.raises(ValueError, match="got no mean and scale, expected those of a fitted"):
        other.build(4)
    assert not other.built


REFUSED = {
    "behind a Dense": (lambda s: [fr.Dense(4), s], r"layers\[1\]: got Standardize\(4 columns\), expected it as"),
    "behind a Dropout": (lambda s: [fr.Dropout(rate=0.5), s, fr.Dense(4)], r"layers\[1\]: .* the first layer"),
    "behind noise": (lambda s: [fr.GaussianNoise(1), s, fr.Dense(4)], r"layers\[1\]: .* the first layer"),
    "twice": (lambda s: [s, s, fr.Dense(4)], r"layers\[1\]: .* the first layer"),
    "not fitted": (lambda s: [fr.data.Standardizer(), fr.Dense(4)], r"got one that was not fitted, expected fit"),
    "the class": (
        lambda s: [fr.data.Standardizer, fr.Dense(4)],
        r"layers\[0\]: got the class Standardizer, expected an object",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_models_refuse(X, case):
    layers, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message):
        fr.Sequential(layers(fitted(X)))


def test_wrong_data(X):
    standardizer = fr.data.Standardizer()
    for method in ("transform", "inverse_transform"):
        with pytest.raises(ValueError, match="got one that was not fitted"):
            getattr(standardizer, method)(X)
    wrong = {"at least one row": X[:0], "two or more dimensions": X[:, 0], "real numbers": X.astype(str)}
    for message, bad in wrong.items():
        with pytest.raises((ValueError, TypeError), match=f"X: got .*{message}"):
            standardizer.fit(bad)
    with pytest.raises(ValueError, match="variance beyond float64"):
        standardizer.fit([[1e200], [-1e200]])
    assert not hasattr(standardizer, "mean_")
    with pytest.raises(ValueError, match=r"X: got shape \(1000, 3\), expected \(n, 4\), as fitted"):
        fitted(X).transform(X[:, :3])
    with pytest.raises(ValueError, match="beyond float32"):
        fitted([[1e-60], [2e-60]]).layer()
    with pytest.raises(ValueError, match=r"Standardize: got samples of shape \(3,\), expected 4 columns"):
        model_of(fitted(X)).build(3)
