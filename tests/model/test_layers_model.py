"""Descriptions and models: names, shapes, draws, predictions, and nothing is shared by mistake."""

import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest

import fastreg as fr
from fastreg.common.description import from_config
from fastreg.engines.arena import Arena
from fastreg.model import summary


def small(**arguments) -> fr.Sequential:
    model = fr.Sequential([fr.Dense(5, activation="relu", **arguments), fr.Dropout(rate=0.5), fr.Dense(3)])
    model.build(4, seed=3)
    return model


# --- Layers ----------------------------------------------------------------------------------------------------


def test_layers_are_named_by_their_index_in_copies():
    first, second = fr.Dense(3), fr.Dense(2, name="head")
    model = fr.Sequential([first, fr.Dropout(keep_prob=0.5), second])
    assert [layer.name for layer in model.layers] == ["0", "1", "head"]
    assert first.name is None and model.layers[0] is not first
    again = fr.Sequential([second, first])  # the same objects in another model
    assert [layer.name for layer in again.layers] == ["head", "1"]


def test_dropout_takes_keep_prob_or_rate_by_name():
    assert fr.Dropout(keep_prob=0.8) == fr.Dropout(rate=1 - 0.8)
    assert fr.Dropout(rate=0.25).keep_prob == 0.75 and fr.Dropout(keep_prob=0.75).rate == 0.25
    with pytest.raises(TypeError, match=r"^Dropout: got 0\.8 without a name, expected keep_prob= .* or rate= "):
        fr.Dropout(0.8)
    with pytest.raises(ValueError, match=r"keep_prob=0\.8 and rate=0\.2"):
        fr.Dropout(keep_prob=0.8, rate=0.2)
    with pytest.raises(ValueError, match="expected one of the two"):
        fr.Dropout()


def test_descriptions_cannot_be_changed():
    with pytest.raises(AttributeError):
        fr.Dense(3).units = 4


@pytest.mark.parametrize(
    "description",
    [
        fr.Dense(7),
        fr.Dense(7, "gelu", use_bias=False, weight_init="he_uniform", l1=0.1, l2=fr.L2(3, m="train"), name="a-1"),
        fr.Dense(2, weight_init=fr.initializers.normal(0.01), bias_init=fr.initializers.uniform(0.5)),
        fr.Dropout(keep_prob=0.8, name="drop"),
        fr.Dense(2, max_norm=3, lr_scale=0.5, trainable=False),
        fr.Dense(2, max_frobenius=3, non_negative=True),
        fr.Dense(2, "relu", activity_l1=1e-3),
        fr.GaussianNoise(0.25, name="noise"),
        fr.Flatten(),
        fr.L1(0.5, m="batch", proximal=False),
        fr.L2(0.5, m=60),
        fr.ElasticNet(0.5, 0.1, m="train", proximal=False),
        fr.Dense(2, penalty=fr.ElasticNet(0.5, l1_ratio=0.2)),
        fr.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
        fr.Adam(1e-2, beta1=0.8, weight_decay=0.1),
        fr.AdamW(),
        fr.AdamW(1e-2, weight_decay=0.0),
        fr.RMSprop(1e-2, alpha=0.9, momentum=0.5),
    ],
)
def test_descriptions_survive_json_and_their_own_repr(description):
    assert from_config(json.loads(json.dumps(description.config()))) == description
    names = vars(fr.initializers) | {name: getattr(fr, name) for name in fr.__all__}
    assert eval(repr(description), names) == description


def test_penalty_coefficients():
    assert fr.L2(0.6).coefficient(100) == 0.6 and not fr.L2(0.6).per_row
    assert fr.L2(0.6, m="train").coefficient(100) == 0.006
    assert fr.L2(0.6, m=3).coefficient(100) == pytest.approx(0.2)
    assert fr.L1(0.6, m="batch").per_row and fr.L1(0.6, m="batch").coefficient(100) == 0.6
    assert fr.L1(0.6, m="batch").value(100) == 0.006


# --- Parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        ("he_normal", 2 / 300),
        ("he_uniform", 2 / 300),
        ("lecun_normal", 1 / 300),
        ("glorot_normal", 2 / 700),
        ("glorot_uniform", 2 / 700),
        (fr.initializers.normal(0.3), 0.09),
        (fr.initializers.uniform(0.3), 0.03),
    ],
)
def test_initializers_have_their_variance(init, variance):
    model = fr.Sequential([fr.Dense(400, weight_init=init)])
    model.build(300, seed=11, dtype="float64")
    w = model.parameters["0.weight"]
    uniform = "uniform" in str(init)
    kurtosis = 1.8 if uniform else 3.0
    assert abs(w.mean()) < 4 * math.sqrt(variance / w.size)
    assert abs(w.var() / variance - 1) < 4 * math.sqrt((kurtosis - 1) / w.size)
    assert abs((w**4).mean() / w.var() ** 2 - kurtosis) < 0.1
    if uniform:
        assert np.abs(w).max() <= math.sqrt(3 * variance)


@pytest.mark.parametrize("activation", fr.layers.ACTIVATIONS)
def test_default_initializer_follows_the_activation(activation):
    glorot = dict.fromkeys(("linear", "tanh", "sigmoid"), "glorot_normal")
    expected = (glorot | {"selu": "lecun_normal"}).get(activation, "he_normal")
    default, explicit = fr.Dense(6, activation), fr.Dense(6, activation, weight_init=expected)
    assert default == explicit


def test_draws_follow_seed_layer_and_nothing_else():
    models = [fr.Sequential([fr.Dense(8), fr.Dense(8, bias_init=fr.initializers.normal(1.0))]) for _ in range(3)]
    models[0].build(8, seed=5)
    models[1].build(8, seed=5, dtype="float64")
    models[2].build(8, seed=6)
    a, b, c = (model.state_dict() for model in models)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name].astype(np.float32))
    assert not np.array_equal(a["0.weight"], c["0.weight"])
    assert not np.array_equal(a["0.weight"], a["1.weight"])
    assert not np.intersect1d(a["1.weight"], a["1.bias"]).size
    assert not a["0.bias"].any()


def test_parameters_are_views_and_state_dict_is_copies():
    model = small()
    assert list(model.parameters) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert model.parameters["0.weight"].shape == (4, 5) and model.parameters["2.bias"].shape == (3,)
    copies = model.state_dict()
    assert all(copy.flags.c_contiguous and copy.flags.owndata for copy in copies.values())
    copies["0.bias"][:] = 9
    assert not model.parameters["0.bias"].any()
    model.load_state_dict(copies)
    assert (model.parameters["0.bias"] == 9).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("0.bias"), "missing"),
        (lambda d: d.update(extra=np.zeros(3)), "unknown"),
        (lambda d: d.update({"2.weight": np.zeros((3, 5))}), "shape"),
        (lambda d: d.update({"2.bias": np.array([0, np.nan, 0])}), "finite"),
        (lambda d: d.update({"2.bias": np.array([0, 1e300, 0])}), "finite"),
        (lambda d: d.update({"2.bias": np.array(["a", "b", "c"])}), "real numbers"),
    ],
)
def test_load_state_dict_checks_before_it_changes(change, message):
    model = small()
    before, state = model.state_dict(), {name: value + 1 for name, value in model.state_dict().items()}
    change(state)
    with pytest.raises((ValueError, TypeError), match=message):
        model.load_state_dict(state)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy, fr.Sequential.copy])
def test_copies_are_independent(duplicate, rng):
    model, X = small(), rng.normal(size=(6, 4))
    model.output_transform = "softmax"
    expected = model.predict(X)
    other = duplicate(model)
    other = pickle.loads(other) if isinstance(other, bytes) else other
    np.testing.assert_array_equal(other.predict(X), expected)
    other.parameters["0.weight"][...] = 0
    np.testing.assert_array_equal(model.predict(X), expected)


def test_copy_in_another_dtype():
    model = small()
    double = model.copy(dtype="float64")
    assert double.dtype == "float64" and double.parameters["0.weight"].dtype == np.float64
    np.testing.assert_array_equal(double.parameters["0.weight"], model.parameters["0.weight"])


def test_arena_is_saved_and_put_back_at_once():
    arena = Arena({"w": (3, 17), "b": (5,), "one": (1, 1)}, "float32")
    for array in arena.values():
        assert array.ctypes.data % 64 == 0 and not array.any()
        array[...] = 2
    assert arena.flat.sum() == 2 * (3 * 17 + 5 + 1)  # the padding stays zero
    assert arena["w"].shape == (3, 17) and arena["b"].shape == (5,)
    assert np.shares_memory(arena["w"], arena.flat) and not np.shares_memory(arena["w"], arena["b"])


# --- Predictions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predictions_are_the_formula(engine, dtype, rng):
    model = fr.Sequential([fr.Dropout(keep_prob=0.5), fr.Dense(7, activation="tanh"), fr.Dense(3, use_bias=False)])
    model.build(5, seed=1, dtype=dtype)
    model.parameters["1.bias"][...] = rng.normal(size=7)
    model.engine = engine
    X = rng.normal(size=(33, 5))
    p = {name: value.astype(np.float64) for name, value in model.parameters.items()}
    z = np.tanh(X @ p["1.weight"] + p["1.bias"]) @ p["2.weight"]
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-13}
    expected = {
        "linear": z,
        "sigmoid": 1 / (1 + np.exp(-z)),
        "softmax": np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
    }
    for transform, values in expected.items():
        model.output_transform = transform
        predicted = model.predict(X)
        assert predicted.dtype == dtype
        np.testing.assert_allclose(predicted, values, **tolerance)


def test_a_prediction_does_not_depend_on_its_batch(rng):
    model, X = small(), rng.normal(size=(101, 4)).astype(np.float32)
    model.output_transform = "softmax"
    whole = model.predict(X, batch_size=101)
    for size in (1, 7, 64, 1000):
        np.testing.assert_array_equal(model.predict(X, batch_size=size), whole)
    np.testing.assert_array_equal(model.predict(X[57:58]), whole[57:58])


def test_images_are_flattened_in_c_order(engine, rng):
    X = rng.integers(0, 255, size=(9, 4, 6), dtype=np.uint8)
    model = fr.Sequential([fr.Flatten(), fr.Dense(3)])
    model.build((4, 6), seed=2)
    model.engine = engine
    expected = X.reshape(9, 24).astype(np.float64) @ model.parameters["1.weight"].astype(np.float64)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-4, atol=1e-3)
    turned = np.asarray(X.transpose(0, 2, 1), order="C").transpose(0, 2, 1)  # the same numbers, other strides
    np.testing.assert_array_equal(model.predict(turned), model.predict(X))
    with pytest.raises(ValueError, match="Flatten"):
        fr.Sequential([fr.Dense(3)]).build((4, 6))


def test_predict_takes_what_numpy_takes(engine):
    model = small()
    model.engine = engine
    values = [[1, 0, 0, 1], [0, 1, 1, 0]]
    expected = model.predict(np.array(values, np.float32))
    for dtype in (bool, np.int8, np.uint16, np.int64, np.float16, np.float64, ">f4", np.uint64):
        np.testing.assert_array_equal(model.predict(np.array(values, dtype)), expected)
    np.testing.assert_array_equal(model.predict(values), expected)


# --- Description -----------------------------------------------------------------------------------------------


def test_config_makes_the_same_model_again(rng):
    model = fr.Sequential(
        [
            fr.Flatten(),
            fr.Dropout(rate=0.3),
            fr.Dense(6, "leaky_relu", weight_init=fr.initializers.uniform(0.2), l1=fr.L1(0.1, m="batch"), name="in"),
            fr.Dense(2, l2=0.3),
        ]
    )
    assert fr.Sequential.from_config(model.config()).layers == model.layers
    model.build((2, 3), seed=4, dtype="float64")
    model.output_transform = "sigmoid"
    other = fr.Sequential.from_config(json.loads(json.dumps(model.config())))
    assert other.layers == model.layers and other.input_shape == (2, 3) and other.dtype == "float64"
    other.load_state_dict(model.state_dict())
    X = rng.normal(size=(5, 2, 3))
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


class Unread(list):
    """A million layers that nobody may look at."""

    def __len__(self):
        return 1_000_000

    def __iter__(self):
        raise AssertionError("read")


def test_a_config_that_is_too_long_is_refused_before_it_is_read():
    shape = {"input_shape": None, "dtype": "float32", "output_transform": "linear"}
    with pytest.raises(ValueError, match="layers: got 1000000, expected at most 32768"):
        fr.Sequential.from_config({"layers": Unread(), **shape})
    layers = itertools.repeat(fr.Dense(1), 40_000)
    with pytest.raises(ValueError, match="layers: got 32769, expected at most 32768"):
        fr.Sequential(layers)
    assert len(list(layers)) == 40_000 - 32_769  # the rest
    with pytest.raises(ValueError, match="the name 'a' twice"):
        fr.Sequential([*(fr.Flatten() for _ in range(32_000)), fr.Dense(1, name="a"), fr.Dense(1, name="a")])


def test_a_config_of_python_functions_is_refused():
    for kind in ("Function", "Custom"):  # what holds Python functions comes from no file
        with pytest.raises(ValueError, match=f"config: got type '{kind}', expected one of"):
            from_config({"type": kind, "forward": "print", "backward": "print"})


def test_a_saved_model_predicts_at_once(tmp_path, blobs):
    X, y = blobs
    model = fr.Sequential([fr.Dense(6, activation="relu"), fr.Dropout(rate=0.2), fr.Dense(3)])
    fr.Trainer(model, optimizer=fr.SGD(0.1)).fit(X, y, epochs=2)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(fr.load(tmp_path / "m.safetensors").predict(X), model.predict(X))
    np.testing.assert_allclose(model.predict(X).sum(axis=1), 1, rtol=1e-6)


def test_summary_tells_shapes_and_counts():
    model = fr.Sequential([fr.Dense(5, activation="relu"), fr.Dropout(rate=0.2), fr.Dense(3, name="head")])
    assert "not built" in model.summary()
    model.build(4)
    text = model.summary()
    assert "keep_prob=0.8, rate=0.2" in text and "head" in text and "(5,)" in text
    assert "43 parameters" in text and "172 B in float32" in text  # 4*5 + 5 + 5*3 + 3, four bytes each
    assert repr(model) == ("Sequential([Dense(5, activation='relu'), Dropout(keep_prob=0.8), Dense(3, name='head')])")


def test_summary_counts_exact_zeros(blobs):
    """Against scipy's own sparse matrices, with indices of 4 bytes."""
    sparse = pytest.importorskip("scipy.sparse")
    X, y = blobs
    model = fr.Sequential([fr.Dense(30, "relu", l1=0.05), fr.Dropout(rate=0.2), fr.Dense(3)])
    fr.Trainer(model, optimizer=fr.SGD(0.1)).fit(X, y, epochs=20)
    found = summary.sparsity(model)
    assert list(found) == ["0", "2"] and found["0"].zeros > 10 and found["2"].zeros == 0
    for name, zeros in found.items():
        w, b = model.parameters[f"{name}.weight"], model.parameters[f"{name}.bias"]
        csr = sparse.csr_matrix(w)
        assert csr.indices.itemsize == csr.indptr.itemsize == 4
        assert zeros.csr_bytes == csr.data.nbytes + csr.indices.nbytes + csr.indptr.nbytes + b.nbytes
        assert (zeros.bytes, zeros.zeros) == (w.nbytes + b.nbytes, w.size - csr.nnz)
        assert zeros.share == np.mean(w == 0) and zeros.parameters == w.size + b.size
    text = model.summary()
    share = 100 * (found["0"].zeros + found["2"].zeros) / (found["0"].weights + found["2"].weights)
    assert f"{100 * found['0'].share:.1f} %" in text and f"{share:.1f} % of the weights are exactly zero" in text


def test_public_names_exist():
    for name in fr.__all__:
        assert getattr(fr, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        fr.nonsense  # noqa: B018


def test_show_versions(capsys):
    fr.show_versions()
    assert np.__version__ in capsys.readouterr().out


def test_a_pickle_of_an_older_version():
    model = fr.Sequential([fr.Dense(2)])
    model.build(3)
    state = {name: value for name, value in model.__getstate__().items() if name not in ("schema", "loss", "_changes")}
    old = fr.Sequential.__new__(fr.Sequential)
    old.__setstate__(state)
    X = np.ones((2, 3))
    np.testing.assert_array_equal(old.predict(X), model.predict(X))
    np.testing.assert_array_equal(old.copy().predict(X), model.predict(X))


def test_an_input_may_come_first_in_a_row(tmp_path):
    X, y = np.eye(4, dtype=np.float32), np.arange(4) % 2
    row = fr.Sequential([fr.Input((4,)), fr.Dense(3, "relu"), fr.Dense(2)])
    plain = fr.Sequential([fr.Dense(3, "relu"), fr.Dense(2)])
    assert repr(row) == "Sequential([Input(4), Dense(3, activation='relu'), Dense(2)])"
    row.build(seed=3)  # its shape is known
    plain.build(4, seed=3)
    np.testing.assert_array_equal(row.predict(X), plain.predict(X))
    fr.Trainer(row).fit(X, y)
    row.save(tmp_path / "row.safetensors")
    np.testing.assert_array_equal(fr.load(tmp_path / "row.safetensors").predict(X), row.predict(X))
    with pytest.raises(ValueError, match=r"expected .*4"):
        fr.Trainer(fr.Sequential([fr.Input(4), fr.Dense(2)])).fit(np.eye(3), [0, 1, 1])
    with pytest.raises(ValueError, match="Conv2D"):  # what does not fit is refused at once
        fr.Sequential([fr.Input(4), fr.Conv2D(2, 3)])
    with pytest.raises(ValueError, match=r"layers\[0\]: got Input\(4, name='a'\), expected an Input with a shape"):
        fr.Sequential([fr.Input(4, name="a"), fr.Dense(2)])
    with pytest.raises(TypeError, match=r"layers\[1\]: got Input"):
        fr.Sequential([fr.Dense(2), fr.Input(2)])
