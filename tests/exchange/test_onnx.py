"""to_onnx against onnxruntime: the same predictions, for any number of rows."""

import json
import os

import numpy as np
import pytest

import fastreg as fr
from fastreg.layers import ACTIVATIONS

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

DTYPES = ["float32", "float64"]
LIMIT = {"float32": 1e-6, "float64": 1e-11}
IMAGE = (7, 6, 3)

# Layers, and the shape of a sample. A head of one Dense follows where the last one leaves images.
LAYERS = {
    "Dense": ([fr.Dense(4)], (5,)),
    "Dense without bias": ([fr.Dense(4, use_bias=False)], (5,)),
    "Dropout": ([fr.Dropout(rate=0.2), fr.Dense(4), fr.Dropout(rate=0.5, kind="gaussian"), fr.Dense(2)], (5,)),
    "Dropout in its first form": ([fr.Dense(4), fr.Dropout(rate=0.3, kind="standard"), fr.Dense(2)], (5,)),
    "GaussianNoise": ([fr.GaussianNoise(0.1), fr.Dense(4)], (5,)),
    "Flatten": ([fr.Flatten(), fr.Dense(4)], IMAGE),
    "Activation": ([fr.Dense(4), fr.Dropout(rate=0.1), fr.Activation("tanh"), fr.Dense(2)], (5,)),
    "BatchNorm": ([fr.Dense(4), fr.BatchNorm("relu", eps=1e-3)], (5,)),
    "BatchNorm without scale": ([fr.BatchNorm(scale=False), fr.Dense(2), fr.BatchNorm(shift=False)], (5,)),
    "BatchNorm of images": ([fr.BatchNorm("elu")], IMAGE),
    "BatchNorm of two dimensions": ([fr.BatchNorm()], (5, 4)),
    "LayerNorm": ([fr.Dense(6), fr.LayerNorm("sigmoid")], (5,)),
    "LayerNorm without shift": ([fr.Dense(6), fr.LayerNorm(shift=False), fr.LayerNorm(scale=False)], (5,)),
    "LayerNorm of images": ([fr.Conv2D(2, 3), fr.LayerNorm(eps=1e-3), fr.Conv2D(2, 1)], IMAGE),
    "Conv2D": ([fr.Conv2D(4, 3, "relu")], IMAGE),
    "Conv2D of two dimensions": ([fr.Conv2D(4, (2, 3), use_bias=False), fr.Conv2D(3, 1)], (7, 6)),
    "Conv2D same": ([fr.Conv2D(4, 4, "leaky_relu", padding="same")], IMAGE),
    "Conv2D with strides": ([fr.Conv2D(4, 3, padding="same", strides=(2, 3)), fr.BatchNorm()], IMAGE),
    "MaxPool2D": ([fr.Conv2D(4, 1), fr.MaxPool2D(2), fr.Flatten(), fr.Dense(3)], IMAGE),
    "MaxPool2D same": ([fr.MaxPool2D(3, strides=2, padding="same"), fr.Conv2D(4, 1)], IMAGE),
    "AvgPool2D": ([fr.AvgPool2D((2, 3)), fr.Conv2D(4, 1)], IMAGE),
    "AvgPool2D same": ([fr.Conv2D(4, 1), fr.AvgPool2D(3, strides=2, padding="same")], IMAGE),
    "GlobalAvgPool2D": ([fr.Conv2D(4, 2), fr.GlobalAvgPool2D(), fr.Dense(2)], IMAGE),
    "GlobalAvgPool2D first": ([fr.GlobalAvgPool2D(), fr.Dense(2)], (7, 6)),
    "Residual": ([fr.Dense(5), fr.Residual([fr.Dense(4, "relu"), fr.Dense(5)], activation="gelu")], (3,)),
    "Residual of images": (
        [fr.Conv2D(4, 3), fr.Residual([fr.Conv2D(4, 3, "relu", padding="same"), fr.BatchNorm()]), fr.Flatten()],
        IMAGE,
    ),
}
LAYERS |= {name: ([fr.Dense(9, name), fr.Dense(3)], (5,)) for name in ACTIVATIONS}


def shaken(model, seed=0):
    """The model with parameters away from where they start."""
    rng = np.random.default_rng(seed)
    state = model.state_dict()
    for name, value in state.items():
        drawn = 0.3 * rng.normal(size=value.shape)
        state[name] = np.abs(drawn) + 0.5 if name.endswith(".var") else value + drawn
    model.load_state_dict(state)
    return model


def run(proto, X):
    """What onnxruntime computes, by output."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = X if isinstance(X, dict) else {session.get_inputs()[0].name: X}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def close(got, expected, rel):
    assert got.shape == expected.shape and got.dtype == expected.dtype
    return float(np.abs(got - expected).max(initial=0)) <= rel * float(np.abs(expected).max(initial=1e-300))


def same(model, X, rel, **how):
    found, expected = run(fr.to_onnx(model, **how), X), model.predict(X)
    expected = expected if isinstance(expected, dict) else {"output": expected}
    assert found.keys() == expected.keys()
    return all(close(found[head], expected[head], rel) for head in found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer(name, dtype):
    layers, shape = LAYERS[name]
    model = fr.Sequential(layers)
    model.build(shape, seed=3, dtype=dtype)
    shaken(model)
    X = np.random.default_rng(1).normal(size=(5, *shape)).astype(dtype)
    limit = 1e-6 if "gelu" in str(model.layers) else LIMIT[dtype]
    assert same(model, X, limit)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_any_number_of_rows(rows):
    model = fr.Sequential([fr.Conv2D(2, 3, "relu"), fr.MaxPool2D(2), fr.Flatten(), fr.Dense(3)])
    model.build((8, 8, 1), seed=0)
    model.loss = "softmax_cross_entropy"
    assert same(model, np.random.default_rng(0).normal(size=(rows, 8, 8, 1)).astype("f4"), 1e-6)


def built(model, shape=None, dtype="float32"):
    model.build(shape, seed=5, dtype=dtype)
    return shaken(model)


@pytest.mark.parametrize(
    "loss, operator",
    [("softmax_cross_entropy", "Softmax"), ("sigmoid_cross_entropy", "Sigmoid"), ("poisson", "Exp"), ("hinge", None)],
)
def test_predictions_and_logits(loss, operator):
    model = built(fr.Sequential([fr.Dense(3)]), 4)
    X = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")
    values = model.predict(X)
    model.loss = loss
    assert same(model, X, 1e-6)
    proto = fr.to_onnx(model)
    assert [node.op_type for node in proto.graph.node] == ["Gemm", *([operator] if operator else []), "Identity"]
    assert close(run(fr.to_onnx(model, logits=True), X)["output"], values, 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scaled_inputs_and_targets(dtype):
    rng = np.random.default_rng(0)
    X, y = rng.normal(50, 20, size=(40, 3)), rng.normal(1.7e9, 1e6, size=(40, 2))
    parts = [fr.data.Standardizer().fit(X), fr.Dense(4, "tanh"), fr.Dense(2), fr.data.TargetScaler().fit(y)]
    model = built(fr.Sequential(parts), 3, dtype)
    model.loss = "mse"
    assert model.predict(X).dtype == np.float64 and model.predict(X).mean() > 1e9
    X = X.astype(dtype)
    found, expected = run(fr.to_onnx(model), X)["output"], model.predict(X)
    assert close(found - 1.7e9, expected - 1.7e9, 1e-6)


def graph():
    """Two inputs, of which one has codes, a skip, a layer that is used twice, a tied weight, and two heads."""
    x, codes = fr.Input(4, name="x"), fr.Input(2, name="codes")
    h = fr.Concatenate()([x, fr.Embedding([3, 5], 2)(codes)])
    body = fr.Dense(8, "relu", name="body")
    h = fr.Add("tanh")([body(h), h])
    h = fr.BatchNorm("silu")(body(h))
    kind = fr.Dense(3, name="kind")(h)
    back = fr.Dense(8, tied_to="body", transposed=True, name="back")(h)
    return fr.Model([x, codes], {"kind": kind, "back": back})


def test_a_graph_of_several_inputs_and_heads():
    model = built(graph())
    model.loss = {"kind": "softmax_cross_entropy", "back": "mse"}
    rng = np.random.default_rng(0)
    X = {"x": rng.normal(size=(9, 4)).astype("f4"), "codes": rng.integers(0, 3, (9, 2))}
    assert same(model, X, 1e-6)


def test_columns_of_one_table():
    numbers, codes = fr.Input(columns=[0, 3]), fr.Input(columns=[2])
    h = fr.Concatenate()([numbers, fr.Embedding(4, 3)(codes)])
    model = built(fr.Model([numbers, codes], fr.Dense(2)(h)), 4)
    X = np.random.default_rng(0).normal(size=(9, 4)).astype("f4")
    X[:, 2] = np.arange(9) % 4
    assert same(model, X, 1e-6)


def test_codes_alone_are_integers():
    model = built(fr.Sequential([fr.Embedding(6, 2), fr.Dense(2)]), 3)
    assert same(model, np.random.default_rng(0).integers(0, 6, (7, 3)), 1e-6)


TABLE = {
    "size": [1.0, 2.0, None, 4.0, 2.5, 1.5],
    "town": ["rome", "oslo", "rome", None, "bonn", "oslo"],
    "age": [3, 4, 5, 6, 7, 8],
}
LABELS = ["low", "low", "high", "high", "low", "high"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("categories", ["columns", "codes"])
def test_a_table_of_texts_and_holes(dtype, categories):
    how = {} if categories == "columns" else {"categories": "codes"}
    schema = fr.data.infer_schema(TABLE, LABELS, **how)
    if categories == "columns":
        model = fr.Sequential([schema, fr.Dense(4, "tanh"), fr.Dense(schema.outputs)])
        shape = schema.width
    else:
        inputs, x = fr.data.inputs_of(schema, width=2)
        model, shape = fr.Model(inputs, fr.Dense(schema.outputs)(x)), schema.width
        model.schema = schema
    model = built(model, shape, dtype)
    model.loss = "softmax_cross_entropy"
    new = {"size": [None, 1.0, 3.0], "town": ["bonn", "lima", "oslo"], "age": [1, 2, 3]}
    feed = {
        "size": np.array([[np.nan], [1.0], [3.0]], dtype),
        "town": np.array([["bonn"], ["lima"], ["oslo"]], object),
        "age": np.array([[1], [2], [3]], dtype),
    }
    proto = fr.to_onnx(model)
    assert [value.name for value in proto.graph.input] == ["size", "town", "age"]
    assert close(run(proto, feed)["output"], model.predict(new), 1e-6)
    told = {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
    assert told == {"fastreg.classes": {"output": ["high", "low"]}, "fastreg.columns": ["size", "town", "age"]}
    encoded = model.schema.inputs("X", new, dtype)
    assert close(run(fr.to_onnx(model, encoded=True), encoded)["output"], model.predict(new), 1e-6)


def test_dates_are_refused_and_go_without_the_schema():
    table = {"day": ["2020-01-01", "2020-02-03", "2021-01-01"], "n": [1.0, 2.0, 3.0]}
    schema = fr.data.infer_schema(table, [0.5, 1.5, 2.5])
    model = built(fr.Sequential([schema, fr.Dense(1)]), schema.width)
    with pytest.raises(ValueError, match=r"column 'day' of dates.*encoded=True"):
        fr.to_onnx(model)
    encoded = model.schema.inputs("X", table)
    assert close(run(fr.to_onnx(model, encoded=True), encoded)["output"], model.predict(table), 1e-6)


def test_the_file_and_what_it_says(tmp_path):
    model = built(fr.Sequential([fr.Dense(4, "relu", name="body"), fr.Dense(2)]), 3)
    path = tmp_path / "model.onnx"
    proto = fr.to_onnx(model, path)
    assert onnx.load(path) == proto and os.listdir(tmp_path) == ["model.onnx"]
    assert (proto.producer_name, proto.producer_version) == ("fastreg", fr.__version__)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 17)]
    assert [node.name for node in proto.graph.node] == ["body/Gemm", "body/Relu", "1/Gemm", "output/Identity"]
    assert {array.name for array in proto.graph.initializer} == set(model.parameters)
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


def test_what_onnx_has_not_is_refused_by_its_name(tmp_path):
    square = fr.Function(lambda x: x**2, lambda dy, x, y: 2 * x * dy, name="square")
    model = built(fr.Sequential([fr.Dense(4), square, fr.Dense(1)]), 3)
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(ValueError, match="layer 'square': got a Function"):
        fr.to_onnx(model, path)
    assert path.read_text() == "old"
    with pytest.raises(ValueError, match="no parameters yet"):
        fr.to_onnx(fr.Sequential([fr.Dense(1)]))
    with pytest.raises(TypeError, match="model: got 3, expected"):
        fr.to_onnx(3)
