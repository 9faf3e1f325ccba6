"""Graphs that are wrong, and data that do not fit a graph, are refused in one line that names the node."""

import json

import numpy as np
import pytest

import fastreg as fr

X = np.random.default_rng(0).normal(size=(12, 5)).astype("f4")
CLASSES = np.arange(12) % 3
NUMBERS = X[:, :1]


def refused(call, *words: str, kinds=(ValueError, TypeError)) -> None:
    """The call ends in an error of one short line with these words."""
    with pytest.raises(kinds) as found:
        call()
    text = str(found.value)
    assert "\n" not in text and len(text) < 400, text
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in: {text}"


def two_heads() -> fr.Model:
    x = fr.Input(5, name="x")
    h = fr.Dense(8, "relu", name="body")(x)
    return fr.Model(x, {"kind": fr.Dense(3, name="kind")(h), "size": fr.Dense(1, name="size")(h)})


def two_inputs() -> fr.Model:
    a, b = fr.Input(5, name="a"), fr.Input(2, name="b")
    return fr.Model([a, b], fr.Dense(3, name="top")(fr.Concatenate(name="both")([a, b])))


LOSS = {"kind": "softmax_cross_entropy", "size": "mse"}
Y = {"kind": CLASSES, "size": NUMBERS}


# --- Graphs -----------------------------------------------------------------------------------------------------------


def test_shapes_that_do_not_meet():
    x = fr.Input(5, name="x")
    one, two = fr.Dense(3, name="one")(x), fr.Dense(4, name="two")(x)
    refused(lambda: fr.Add(name="sum")([one, two]), "'sum'", "3", "4")
    image = fr.Input((6, 6, 2), name="image")
    refused(lambda: fr.Dense(3, name="top")(image), "'top'", "(6, 6, 2)", "Flatten")
    refused(lambda: fr.Concatenate(name="both")([x, image]), "'both'", "(6, 6, 2)")
    refused(lambda: fr.Residual([fr.Dense(4)])(x), "Add", "(5,)", "(4,)")
    refused(lambda: fr.Sequential([fr.Dense(5), fr.Residual([fr.Dense(4)])]).build(5), "'2'", "(5,)", "(4,)")


def test_a_shared_layer_on_values_of_two_shapes():
    x = fr.Input(5, name="x")
    shared = fr.Dense(3, name="shared")
    h = shared(x)
    refused(lambda: fr.Model(x, fr.Add()([shared(h), h])), "'shared", "(5,)", "(3,)")


@pytest.mark.parametrize("given", [3, np.ones((2, 5)), "x", None, [1, 2]])
def test_a_layer_called_on_no_value(given):
    refused(lambda: fr.Dense(3, name="top")(given), "'top'", "fr.Input")


def test_a_join_of_too_little():
    x = fr.Input(5, name="x")
    refused(lambda: fr.Add(name="sum")([]), "'sum'")
    refused(lambda: fr.Concatenate(name="both")([]), "'both'")
    refused(lambda: fr.Add(name="sum")(), "'sum'")
    refused(lambda: fr.Dense(3, name="top")(x, x), "'top'")


def test_an_input_that_nothing_reads():
    x, z = fr.Input(5, name="x"), fr.Input(2, name="z")
    refused(lambda: fr.Model([x, z], fr.Dense(3)(x)), "'z'")


def test_an_output_that_needs_another_input():
    x, z = fr.Input(5, name="x"), fr.Input(5, name="z")
    value = fr.Dense(3, name="top")(fr.Add(name="sum")([x, z]))
    refused(lambda: fr.Model(x, value), "'z'")
    refused(lambda: fr.Model(x, fr.Dense(3)(z)), "'z'")


def test_inputs_and_outputs_that_are_none():
    x = fr.Input(5, name="x")
    h = fr.Dense(3, name="body")(x)
    refused(lambda: fr.Model(h, fr.Dense(2)(h)), "inputs", "'body'")
    refused(lambda: fr.Model(x, x), "'x'")
    refused(lambda: fr.Model([], h), "inputs")
    refused(lambda: fr.Model(x, []), "outputs")
    refused(lambda: fr.Model(x, {}), "outputs")
    refused(lambda: fr.Model(x, np.ones(3)), "outputs")
    refused(lambda: fr.Model(np.ones(5), h), "inputs")
    refused(lambda: fr.Model(x, {"a b!": h}), "a b!")
    refused(lambda: fr.Model(x, {3: h}), "outputs")


def test_a_name_twice():
    x, z = fr.Input(5, name="x"), fr.Input(5, name="x")
    refused(lambda: fr.Model([x, z], fr.Add()([x, z])), "'x'", "twice")
    refused(lambda: fr.Model(x, fr.Dense(3, name="a")(fr.Dense(3, name="a")(x))), "'a'", "twice")
    refused(lambda: fr.Model(x, [fr.Dense(3, name="a")(x), fr.Dense(2, name="a")(x)]), "'a'", "twice")
    shared = fr.Dense(5, name="a")
    refused(lambda: fr.Model(x, [shared(x), shared(shared(x))]), "'a'", "twice")


def test_ties_that_do_not_hold():
    x = fr.Input(5, name="x")
    h = fr.Dense(3, "tanh", name="encoder")(x)

    def tied(units, to, value=h, **more):
        return lambda: fr.Model(x, fr.Dense(units, name="decoder", tied_to=to, **more)(value)).build()

    refused(tied(5, "enc", transposed=True), "'decoder'", "'enc'")
    for option in ({"l1": 0.1}, {"l2": 0.1}, {"max_norm": 2}, {"max_frobenius": 2}, {"non_negative": True}):
        refused(tied(5, "encoder", transposed=True, **option), *option, "the layer that has the weight")
    refused(tied(6, "encoder", transposed=True), "'decoder'", "'encoder'")
    refused(tied(5, "encoder"), "'decoder'", "'encoder'")
    refused(tied(5, "decoder", transposed=True), "'decoder'")
    drop = fr.Dropout(rate=0.5, name="drop")(h)
    refused(tied(5, "drop", drop, transposed=True), "'decoder'", "'drop'")


def test_a_value_of_another_model():
    x = fr.Input(5, name="x")
    h = fr.Dense(3, name="body")(x)
    fr.Model(x, h)
    other = fr.Input(5, name="x")
    refused(lambda: fr.Model(other, fr.Dense(2)(h)), "'x'")


def test_distances_between_what_is_not_there():
    def trainer(*names):
        penalty = fr.penalties.Distance(*names, 0.1)
        return lambda: fr.Trainer(two_heads(), loss=LOSS, distance=penalty).fit(X, Y, epochs=1, verbose=0)

    refused(trainer("body", "nobody"), "nobody")
    refused(trainer("body", "kind"), "body", "kind")
    refused(trainer("body", "drop"), "drop")
    refused(lambda: fr.penalties.Distance("body", "body", 0.1), "body")


# --- Heads ------------------------------------------------------------------------------------------------------------


def trained(y=None, loss=None, X=X, fit=None, model=None, **settings):
    trainer = fr.Trainer(model or two_heads(), loss=LOSS if loss is None else loss, **settings)
    return trainer.fit(X, Y if y is None else y, epochs=1, verbose=0, **(fit or {}))


def test_losses_and_heads():
    refused(lambda: trained(loss={"kind": "softmax_cross_entropy"}), "'size'")
    refused(lambda: trained(loss=LOSS | {"sise": "mse"}), "'sise'")
    refused(lambda: trained(loss=LOSS | {"size": "mze"}), "'size'", "mze")
    refused(lambda: trained(loss_weights={"sise": 1.0}), "'sise'")
    refused(lambda: trained(loss_weights={"size": -1.0}), "size", "-1")
    refused(lambda: trained(loss_weights={"size": np.nan}), "size", "nan")
    refused(lambda: trained(metrics={"sise": ["mae"]}), "'sise'")
    refused(lambda: trained(metrics={"size": ["accuracy"]}), "size", "accuracy")
    refused(lambda: trained(metrics={"size": ["mea"]}), "size", "mea")
    refused(lambda: trained(adversarial=fr.FGSM(0.1)), "adversarial")


def test_targets_and_heads():
    refused(lambda: trained(y={"kind": CLASSES}), "'size'")
    refused(lambda: trained(y=Y | {"sise": NUMBERS}), "'sise'")
    refused(lambda: trained(y=CLASSES), "'kind'", "'size'")
    refused(lambda: trained(y=None, fit={"sample_weight": {"sise": np.ones(12)}}), "'sise'")
    refused(lambda: trained(y=None, fit={"sample_weight": {"size": np.ones(11)}}), "size", "11", "12")
    refused(lambda: trained(y=Y | {"size": NUMBERS[:-1]}), "size", "11", "12")
    refused(lambda: trained(y=Y | {"kind": CLASSES + 1}), "kind", "3")
    refused(lambda: trained(y=Y | {"size": X}), "size")
    refused(lambda: trained(y=Y, fit={"validation_data": (X, {"kind": CLASSES})}), "'size'")


def test_inputs_of_a_fit():
    def fit(given):
        return lambda: fr.Trainer(two_inputs()).fit(given, CLASSES, epochs=1, verbose=0)

    B = X[:, :2]
    refused(fit({"a": X}), "'b'")
    refused(fit({"a": X, "b": B, "c": X}), "'c'")
    refused(fit([X]), "'a'", "'b'")
    refused(fit(X), "'a'", "'b'")
    refused(fit({"a": X, "b": B[:-1]}), "b", "11", "12")
    refused(fit({"a": X, "b": X}), "b", "5", "2")
    refused(fit({"a": X, "b": np.full((12, 2), np.nan)}), "b")
    model = two_inputs()
    model.build()
    refused(lambda: model.predict({"a": X}), "'b'")


def test_columns_of_a_table():
    a = fr.Input(columns=[0, 1], name="a")
    b = fr.Input(columns=[3, 7], name="b")
    model = fr.Model([a, b], fr.Dense(3)(fr.Concatenate()([a, b])))
    refused(lambda: fr.Trainer(model).fit(X, CLASSES, epochs=1, verbose=0), "'b'", "8", "5")
    refused(lambda: fr.Input(3, columns=[0, 1], name="a"), "columns", "3")


def test_augmentation_needs_one_input():
    model = two_inputs()
    augment = fr.data.augment.Compose([fr.data.augment.Flip()])
    refused(lambda: fr.Trainer(model, augment=augment).fit({"a": X, "b": X[:, :2]}, CLASSES), "augment")


# --- Configs ----------------------------------------------------------------------------------------------------------


def damaged(tmp_path, change):
    """Reading a file whose config was changed by hand."""
    from fastreg.common.safetensors import write_tensors

    model = two_heads()
    model.build()
    metadata = model.metadata()
    config = json.loads(metadata["fastreg.model"])
    change(config)
    metadata["fastreg.model"] = json.dumps(config)
    path = tmp_path / "model.safetensors"
    write_tensors(path, model.parameters, metadata)
    return lambda: fr.load(path)


def put(*path, value):
    """A change of one place of the graph in a config."""

    def change(config):
        place = config["graph"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


DAMAGE = {  # the graph is x -> body -> kind, size; its values 0 to 3
    "a cycle of two": (put("nodes", 0, value=[0, [2]]), "cycle"),
    "a node that reads itself": (put("nodes", 1, value=[1, [2]]), "cycle"),
    "a value that is not there": (put("nodes", 1, value=[1, [9]]), "value 9"),
    "a layer that is not there": (put("nodes", 1, value=[7, [1]]), "layer 7"),
    "a node of no value": (put("nodes", 1, value=[1, []]), "'kind'"),
    "a node of two values": (put("nodes", 1, value=[1, [1, 1]]), "'kind'"),
    "an input that nothing reads": (
        lambda config: config["graph"]["inputs"].insert(1, {"name": "z", "shape": [2], "columns": None}),
        "",
    ),
    "a node that nothing reads": (lambda config: config["graph"]["outputs"].pop("size"), "node 2"),
    "an output that is not there": (put("outputs", "size", value=9), "'size'"),
    "an output that is an input": (put("outputs", "size", value=0), ""),
    "no outputs": (put("outputs", value={}), "outputs"),
    "no inputs": (put("inputs", value=[]), ""),
    "half a number": (put("nodes", 1, value=[1, [1.5]]), "1.5"),
    "a text for a number": (put("nodes", 1, value=["1", [1]]), "'1'"),
    "true for a number": (put("outputs", "size", value=True), "True"),
    "a negative number": (put("nodes", 1, value=[1, [-1]]), "-1"),
    "more than there is": (put("more", value=1), "more"),
    "a number for a name": (put("inputs", 0, "name", value=3), "3"),
    "another width": (put("inputs", 0, "shape", value=[6]), ""),
    "a shape that is none": (put("inputs", 0, "shape", value=5), "5"),
    "no graph at all": (lambda config: config.update(graph=None), ""),
    "no nodes": (lambda config: config["graph"].pop("nodes"), "nodes"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_file_whose_graph_is_none(what, tmp_path):
    change, word = DAMAGE[what]
    refused(damaged(tmp_path, change), "model.safetensors", word, kinds=fr.FileFormatError)


def test_a_file_that_nobody_changed_can_be_read(tmp_path):
    assert damaged(tmp_path, lambda config: None)().predict(X)["kind"].shape == (12, 3)


def test_values_and_models_where_layers_belong():
    x = fr.Input(4, name="x")
    chain = fr.Sequential([fr.Dense(3)])
    with pytest.raises(ValueError, match=r"^layers\[0\]: got Input\(.*, expected an Input with a shape alone; "):
        fr.Sequential([x, fr.Dense(3)])
    with pytest.raises(
        TypeError, match=r"^layers\[0\]: got <value of Dense\(3\), of shape 3>, expected a layer such as Dense\(10\): "
    ):
        fr.Sequential([fr.Dense(3)(x)])
    for model in (chain, fr.Model(x, fr.Dense(3)(x))):
        with pytest.raises(TypeError, match=r"^(Sequential|Model): got a call, expected model\.predict\(X\); "):
            model(x)
        for ask in (lambda model: model[0], lambda model: model["0"], list):
            with pytest.raises(TypeError, match=r"^(Sequential|Model): got an index, expected model\.layers\[0\] or"):
                ask(model)
    for part in (3, chain, fr.Dense):
        with pytest.raises(TypeError, match=r"^layers\[1\]: got "):
            fr.Residual([fr.Dense(4), part])
    with pytest.raises(TypeError, match=r"^shortcut: got 3, expected a layer such as Dense\(10\)$"):
        fr.Residual([fr.Dense(4)], shortcut=3)


def test_the_only_input_by_a_wrong_name():
    x = fr.Input(4, name="x")
    trainer = fr.Trainer(fr.Model(x, fr.Dense(3)(x)), "mse")
    X = np.ones((5, 4))
    for given in ({"z": X}, {"x": X, "z": X}):
        with pytest.raises(ValueError, match=r"^X: got the inputs \[.*\], expected one array, or \{'x': X\}$"):
            trainer.fit(given, X[:, :3])
