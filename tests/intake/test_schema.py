"""The schema of a data set: what is inferred, what rows become, and that a model and its file keep it."""

import json

import numpy as np
import pytest

import fastreg as fr
from fastreg.intake import dates
from fastreg.intake.classes import Classes
from fastreg.intake.schema import Column, Schema, Target

N = 120


@pytest.fixture
def table(rng):
    """Numbers, numbers with holes, texts with holes, dates, and a text that is different in every row."""
    size = rng.normal(80, 20, N)
    size[::7] = np.nan
    town = rng.choice(["rome", "oslo", "bonn"], N).tolist()
    town[3] = None
    sold = [
        f"2020-{month:02}-{day:02}" for month, day in zip(rng.integers(1, 13, N), rng.integers(1, 29, N), strict=True)
    ]
    columns = {"rooms": rng.integers(1, 30, N), "size": size, "town": town, "sold": sold}
    return fr.data.Table({**columns, "id": [f"house {i}" for i in range(N)], "price": 1e5 + 1e4 * columns["rooms"]})


def targets(rng):
    return {
        "labels": ([0, 1, 2] * 50, "classes", (0, 1, 2)),
        "labels (n, 1)": (np.array([[0], [1], [2]] * 50), "classes", (0, 1, 2)),
        "labels from 1": ([1, 2, 3] * 50, "classes", (1, 2, 3)),
        "labels with a gap": ([1, 2, 5] * 50, "classes", (1, 2, 5)),
        "whole floats": (np.array([0, 1, 2] * 50, np.float32), "classes", (0, 1, 2)),
        "-1 and 1": ([-1, 1] * 50, "classes", (-1, 1)),
        "booleans": ([True, False] * 50, "classes", (False, True)),
        "texts": (["cat", "dog", "fox"] * 50, "classes", ("cat", "dog", "fox")),
        "letters": (np.arange(26).tolist() * 20, "classes", tuple(range(26))),
        "codes with gaps": (
            [2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14] * 30,
            "classes",
            (2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14),
        ),
        "one-hot": (np.eye(3)[[0, 1, 2] * 50], "classes", (0, 1, 2)),
        "shares": (rng.dirichlet(np.ones(3), 150), "classes", (0, 1, 2)),
        "several yes or no": (rng.integers(0, 2, (150, 3)), "labels", ((0, 1),) * 3),
        "prices": ((2e5 + 5e4 * rng.normal(size=150)).astype(int), "numbers", None),
        "few prices": ([250_000, 280_000, 300_000] * 50, "numbers", None),
        "ages": (np.clip(10 + 3 * rng.normal(size=300), 1, 29).astype(int), "numbers", None),
        "ages of all": (rng.integers(18, 90, 1000), "numbers", None),
        "numbers": (rng.normal(size=150), "numbers", None),
        "several numbers": (rng.normal(size=(150, 2)), "numbers", None),
        "numbers with holes": (np.where(rng.random(150) < 0.1, np.nan, 1.0), "numbers", None),
    }


@pytest.mark.parametrize("name", targets(np.random.default_rng(0)))
def test_what_targets_are(rng, name):
    y, task, classes = targets(rng)[name]
    schema = fr.data.infer_schema(np.zeros((len(y), 2)), y)
    assert (schema.target.task, schema.target.classes) == (task, classes)
    assert schema.outputs == (len(classes) if classes else np.shape(y)[1] if np.ndim(y) == 2 else 1)
    assert (
        schema.loss == {"classes": "softmax_cross_entropy", "labels": "sigmoid_cross_entropy", "numbers": "mse"}[task]
    )


def test_what_was_asked_wins(rng):
    X, ages = np.zeros((60, 2)), np.arange(60) % 20
    assert fr.data.infer_schema(X, ages, task="classes").target.classes == tuple(range(20))
    assert fr.data.infer_schema(X, ages % 3, task="numbers").target.task == "numbers"
    assert fr.data.infer_schema(X, ages % 3, loss="mse").target.task == "numbers"
    two = fr.data.infer_schema(X, ages % 2, loss="sigmoid_cross_entropy")
    assert (two.target.task, two.outputs) == ("classes", 1)
    plain = fr.data.infer_schema(X, ages, task="numbers", scale="none")
    assert plain.target.mean is None and plain.mean is None
    with pytest.raises(ValueError, match="loss: got 'mse' for the task 'classes'"):
        fr.data.infer_schema(X, ages, task="classes", loss="mse")
    with pytest.raises(ValueError, match="single class 3"):
        fr.data.infer_schema(X, np.full(60, 3))
    with pytest.raises(ValueError, match="task: got 'guess'"):
        fr.data.infer_schema(X, ages, task="guess")


def test_bytes_are_told_by_values_not_by_dtype(rng):
    for dtype in (np.uint8, np.int64, np.float64):
        bits = rng.integers(0, 2, (600, 10)).astype(dtype)
        few = rng.integers(0, 256, (600, 10)).astype(dtype)
        pixels = rng.integers(0, 256, (60, 784)).astype(dtype)
        kinds = [fr.data.infer_schema(X, np.arange(len(X)) % 2).scaling for X in (bits, few, pixels)]
        assert kinds == ["standardize", "standardize", "bytes"]
    images = rng.integers(0, 256, (60, 5, 5), np.uint8)
    assert fr.data.infer_schema(images, np.arange(60) % 2).factor == (1 / 255,) * 25


def test_rows_become_numbers(table):
    """Against the rows written out by hand."""
    schema = fr.data.infer_schema(table, target="price")
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {"rooms": "number", "size": "number", "town": "category", "sold": "date", "id": "unused"}
    encoded = schema.inputs("X", table, "float64")
    names = schema.encoded_names()
    assert names[:6] == ["rooms", "size", "size is empty", "town=bonn", "town=oslo", "town=rome"]
    size = table["size"]
    holes = np.isnan(size)
    np.testing.assert_array_equal(encoded[:, 0], table["rooms"])
    np.testing.assert_array_equal(encoded[:, 1], np.where(holes, np.median(size[~holes]), size))
    np.testing.assert_array_equal(encoded[:, 2], holes)
    for column, town in enumerate(("bonn", "oslo", "rome"), 3):
        np.testing.assert_array_equal(encoded[:, column], [value == town for value in table["town"]])
    days = [(np.datetime64(text) - np.datetime64("2000-01-01")).astype(int) for text in table["sold"]]
    np.testing.assert_array_equal(encoded[:, 6], days)
    np.testing.assert_allclose(encoded[:, 9] ** 2 + encoded[:, 10] ** 2, 1)
    assert encoded.shape[1] == schema.width == len(names)


def test_columns_are_found_by_name(table):
    schema = fr.data.infer_schema(table, target="price")
    expected = schema.inputs("X", table, "float32")
    shuffled = table.select(["sold", "price", "town", "size", "rooms"])  # without "id", which is not used
    np.testing.assert_array_equal(schema.inputs("X", shuffled, "float32"), expected)
    with pytest.raises(ValueError, match="X: has no column size, expected those of the model; it has rooms, town"):
        schema.inputs("X", table.select(["rooms", "town", "sold"]), "float32")


def test_new_texts_and_new_holes(table):
    schema = fr.data.infer_schema(table, target="price")
    row = fr.data.Table({"rooms": [3], "size": [70.0], "town": ["paris"], "sold": ["2021-05-01"]})
    assert not schema.inputs("X", row, "float32")[0, 3:6].any()
    holes = fr.data.Table({"rooms": [float("nan")], "size": [70.0], "town": ["rome"], "sold": ["2021-05-01"]})
    with pytest.raises(
        ValueError, match="column 'rooms', row 0 is empty, expected a value: none was empty in training"
    ):
        schema.inputs("X", holes, "float32")
    text = fr.data.Table({"rooms": ["three"], "size": [70.0], "town": ["rome"], "sold": ["2021-05-01"]})
    with pytest.raises(ValueError, match="column 'rooms', row 0: got 'three', expected a number, as in training"):
        schema.inputs("X", text, "float32")


def test_numbers_where_texts_were_are_said(rng):
    size = rng.normal(size=40)
    schema = fr.data.infer_schema({"size": size, "garden": rng.choice(["True", "False"], 40)}, size)
    with pytest.warns(UserWarning, match="'garden', row 0: got 1, and in no row a text .*, expected 'False', 'True'"):
        schema.inputs("X", {"size": [0.0, 1.0], "garden": [1, 0]})
    given = schema.inputs("X", {"size": [0.0, 1.0], "garden": ["True", "False"]})
    np.testing.assert_array_equal(given, schema.inputs("X", {"size": [0.0, 1.0], "garden": [True, False]}))


def test_a_name_that_comes_twice(rng):
    pandas = pytest.importorskip("pandas")
    X = rng.normal(size=(20, 2))
    schema = fr.data.infer_schema(pandas.DataFrame(X, columns=["a", "b"]), X[:, 0])
    twice = pandas.DataFrame(X[:, [0, 1, 0]], columns=["a", "b", "a"])
    with pytest.raises(ValueError, match="X: got two columns 'a', expected each name once"):
        schema.inputs("X", twice)


def test_a_schema_comes_first(table):
    schema = fr.data.infer_schema(table, target="price")
    with pytest.raises(TypeError, match=r"layers\[1\]: got a Schema after another layer, expected it as the first"):
        fr.Sequential([fr.Dense(1), schema])


def test_train_save_and_predict_elsewhere(table, tmp_path):
    """A loaded model takes raw rows, in another order and with their columns permuted."""
    schema = fr.data.infer_schema(table, target="price")
    model = fr.Sequential([schema, fr.Dense(16, "relu"), fr.Dense(schema.outputs)])
    trainer = fr.Trainer(model, "mse", optimizer="adam(lr=0.02)")
    trainer.fit(table, epochs=60, batch_size=20)
    predicted = model.predict(table)[:, 0]
    assert np.abs(predicted - table["price"]).mean() < 0.1 * table["price"].std()
    model.save(tmp_path / "m.safetensors")
    loaded = fr.load(tmp_path / "m.safetensors")
    assert loaded.schema == model.schema and loaded.config() == model.config()
    order = np.random.default_rng(0).permutation(N)
    elsewhere = table.select(["town", "size", "sold", "rooms"])[order]
    np.testing.assert_array_equal(loaded.predict(elsewhere)[:, 0], predicted[order])
    np.testing.assert_array_equal(model.copy().predict(table)[:, 0], predicted)


def test_classes_by_name(rng, tmp_path):
    X = rng.normal(size=(300, 3))
    kind = np.array(["cat", "dog", "fox"])[X.argmax(axis=1)]
    model = fr.Sequential([fr.Dense(16, "relu"), fr.Dense(3)])
    trainer = fr.Trainer(model, optimizer="adam(lr=0.02)")
    trainer.fit(X, kind, epochs=40, batch_size=30, validation_data=(X[:50], kind[:50]))
    assert model.classes == ("cat", "dog", "fox")
    without = kind != "dog"
    for part in (slice(None), without):
        assert trainer.evaluate(X[part], kind[part])["accuracy"] > 0.95
        assert (model.predict_labels(X[part]) == kind[part]).mean() > 0.95
    model.save(tmp_path / "m.safetensors")
    assert (fr.load(tmp_path / "m.safetensors").predict_labels(X[without]) == kind[without]).mean() > 0.95
    with pytest.raises(ValueError, match="y: got 'bird' in row 1, expected one of cat, dog, fox"):
        trainer.evaluate(X[:2], ["cat", "bird"])
    with pytest.raises(ValueError, match="y: got 2 classes no, yes for a model of 3 outputs"):
        fr.Trainer(fr.Sequential([fr.Dense(3)])).fit(X, np.where(X[:, 0] > 0, "yes", "no"))


def test_names_under_a_sigmoid(rng):
    X = rng.normal(size=(200, 2))
    y = np.where(X[:, 0] > 0, "yes", "no")
    model = fr.Sequential([fr.Dense(1)])
    fr.Trainer(model, "sigmoid_cross_entropy", fr.SGD(1.0)).fit(X, y, epochs=20, batch_size=20)
    assert (model.predict_labels(X) == y).mean() > 0.95
    both = fr.data.Table({"a": X[:, 0], "b": X[:, 1], "wet": y, "cold": np.where(X[:, 1] > 0, "on", "off")})
    schema = fr.data.infer_schema(both, target=["wet", "cold"])
    assert schema.target.classes == (("no", "yes"), ("off", "on")) and schema.outputs == 2
    model = fr.Sequential([schema, fr.Dense(2)])
    fr.Trainer(model, schema.loss, fr.SGD(1.0)).fit(both, epochs=30, batch_size=20)
    told = model.predict_labels(both)
    assert (told == np.stack([both["wet"], both["cold"]], axis=1)).mean() > 0.95


def test_numbers_have_no_names(rng):
    model = fr.Sequential([fr.Dense(1)])
    model.build(2)
    with pytest.raises(ValueError, match="predicts numbers, which have no names"):
        model.predict_labels(np.ones((1, 2)))


def test_labels_are_matched_by_value():
    classes = Classes((1, 2, 7))
    for y in ([7, 1], [7.0, 1.0], ["7", "1"], np.array([7, 1], object), np.array([[7], [1]], np.uint8)):
        np.testing.assert_array_equal(classes.encode("y", y), [2, 0])
    np.testing.assert_array_equal(Classes((False, True)).encode("y", ["True", "False"]), [1, 0])
    assert Classes((0, 1, 2)).plain and not classes.plain and not Classes(("0", "1")).plain
    with pytest.raises(ValueError, match="expected different ones"):
        Classes((1, 1.0))


@pytest.mark.parametrize(
    ("texts", "layout", "day"),
    [
        (["2020-03-01", "2021-01-31"], "y-m-d", 7365),
        (["2020-03-01T12:00", "2021-01-31 00:00:00"], "y-m-d time", 7365.5),
        (["2020/03/01", "2021/12/31"], "y/m/d", 7365),
        (["1.3.2020", "31.12.2021"], "d.m.y", 7365),
        (["03/01/2020", "12/31/2021"], "m/d/y", 7365),
        (["01/03/2020", "31/12/2021"], "d/m/y", 7365),
    ],
)
def test_dates(texts, layout, day):
    values = np.array([*texts, None], object)
    assert dates.layout_of(values) == layout
    seconds = dates.parse("X", values, layout)
    assert seconds[0] / dates.DAY == day and np.isnan(seconds[2])
    assert dates.numbers(seconds, layout).shape == (3, dates.width(layout)) == (3, len(dates.names(layout)))


def test_what_is_no_date():
    for texts in (["2020-02-30"], ["2020-13-01"], ["soon"], ["2020-01-01", "x"], ["1/2/3"], [None]):
        assert dates.layout_of(np.array(texts, object)) is None


CONFIGS = {
    "a kind": {"columns": [{"name": "a", "kind": "x"}]},
    "twice": {"columns": [{"name": "a", "kind": "number"}] * 2},
    "no width": {"columns": [{"name": "a", "kind": "unused"}]},
    "a layout": {"columns": [{"name": "a", "kind": "date", "layout": "d-m"}]},
    "a scale": {"target": {"mean": [0.0], "scale": [0.0]}},
    "lengths": {"target": {"mean": [0.0], "scale": [1.0, 2.0]}},
    "classes": {"target": {"classes": ["a", "a"]}},
    "class": {"target": {"classes": [None, "a"]}},
    "pairs": {"target": {"task": "labels", "classes": [["a"]]}},
    "a task": {"target": {"task": "x"}},
    "scaling": {"scaling": "x"},
    "more": {"colour": 1},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_strange_configs_are_refused(config):
    with pytest.raises((ValueError, TypeError)):
        Schema.from_config(config)


def test_config_is_what_it_was_made_from():
    columns = (
        Column("a", "number", fill=1.5),
        Column("b", "category", ("x", "y")),
        Column("c", "date", layout="d.m.y"),
    )
    target = Target(("p", "q"), "labels", (("no", "yes"), (0, 1)))
    for schema in (
        Schema(columns, True, target, "mse"),
        Schema(target=Target(task="numbers", mean=(1.0,), scale=(2.0,))),
    ):
        assert schema and Schema.from_config(json.loads(json.dumps(schema.config()))) == schema
    assert not Schema() and Schema().config() == {}


def test_a_model_without_a_schema_has_the_config_of_before():
    model = fr.Sequential([fr.Dense(2)])
    model.build(3)
    assert set(model.config()) == {"layers", "input_shape", "dtype", "output_transform"}


def test_frames_without_a_schema(rng):
    """The names of a frame's columns are kept, and later frames are matched by them."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60) * 10})
    y = (frame["a"] > 0).astype(int)
    model = fr.Sequential([fr.Dense(2)])
    trainer = fr.Trainer(model)
    trainer.fit(frame, y, epochs=2)
    assert model.schema.names == ("a", "b")
    expected = model.predict(frame)
    np.testing.assert_array_equal(model.predict(frame[["b", "a"]]), expected)
    np.testing.assert_array_equal(model.predict(frame.to_numpy()), expected)
    np.testing.assert_array_equal(model.predict(frame.assign(c=1.0)), expected)
    with pytest.raises(ValueError, match="X: has no column b, expected those of the model; it has a, c"):
        model.predict(frame[["a"]].assign(c=1.0))
    with pytest.raises(ValueError, match="X: has no column a, b"):
        trainer.fit(frame.rename(columns={"a": "x", "b": "z"}), y)


def test_tables_hold_their_targets(table):
    """fit, validation and evaluate find the targets in the table."""
    schema = fr.data.infer_schema(table, target="price")
    model = fr.Sequential([schema, fr.Dense(1)])
    trainer = fr.Trainer(model, "mse", fr.SGD(0.05))
    history = trainer.fit(table[:90], epochs=2, validation_data=table[90:])
    assert history["val_loss"][-1] == pytest.approx(trainer.evaluate(table[90:])["loss"])
    with pytest.raises(ValueError, match="y: got None, and X has no column price, expected targets"):
        trainer.evaluate(table.drop(["price"]))


def test_the_loss_follows_the_schema(table):
    schema = fr.data.infer_schema(table, target="price", loss="mae")
    model = fr.Sequential([schema, fr.Dense(1)])
    assert fr.Trainer(model).loss.name == "mae" and fr.Trainer(model, "mse").loss.name == "mse"
    with pytest.raises(ValueError, match="loss: got 'softmax_cross_entropy' for targets that are numbers"):
        fr.Trainer(model, "softmax_cross_entropy")
    with pytest.raises((ValueError, TypeError), match="y: "):  # names of classes are no numbers
        fr.Trainer(fr.Sequential([fr.Dense(1)]), "mse").fit(np.eye(4), ["a", "b", "a", "b"])


def test_names_after_numbers_are_refused(rng):
    X = rng.normal(size=(40, 2))
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]))
    trainer.fit(X, np.arange(40) % 2)
    with pytest.raises((ValueError, TypeError), match="y: "):
        trainer.fit(X, np.where(np.arange(40) % 2, "a", "b"))
    assert trainer.model.classes is None


def test_targets_in_a_frame_are_found_by_name():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    given = {"low": X[:, 0], "high": X[:, 1] + 5}
    other = {name: given[name] for name in ("high", "low")}
    for last in ([], [fr.data.TargetScaler().fit(np.stack(list(given.values()), axis=1))]):
        trainer = fr.Trainer(fr.Sequential([fr.Dense(2), *last]), "mse")
        trainer.fit(X, given, epochs=3, batch_size=10)
        assert trainer.evaluate(X, other) == trainer.evaluate(X, given)
    rows = {name: (X.argmax(axis=1) == j).astype(int) for j, name in enumerate(("rome", "oslo"))}
    turned = {name: rows[name] for name in ("oslo", "rome")}
    for first in ([], [fr.data.infer_schema(X, rows)]):
        trainer = fr.Trainer(fr.Sequential([*first, fr.Dense(2)]))
        trainer.fit(X, rows, epochs=3, batch_size=10)
        assert trainer.evaluate(X, turned) == trainer.evaluate(X, rows)


def test_one_hot_columns_of_a_table_are_a_target():
    X = np.random.default_rng(0).normal(size=(60, 2))
    table = {
        "a": X[:, 0],
        "b": X[:, 1],
        "rome": (X[:, 0] > X[:, 1]).astype(int),
        "oslo": (X[:, 0] <= X[:, 1]).astype(int),
    }
    schema = fr.data.infer_schema(table, target=["rome", "oslo"])
    trainer = fr.Trainer(fr.Sequential([schema, fr.Dense(2)]), optimizer="adam(lr=0.1)")
    trainer.fit(table, epochs=30, batch_size=10)
    assert (trainer.model.predict_labels({"b": X[:, 1], "a": X[:, 0]}) == "rome").mean() == pytest.approx(
        table["rome"].mean(), abs=0.05
    )


def test_codes_that_look_like_numbers_are_the_same_texts_in_rows_that_hold_no_other():
    codes = ["007", "3.0", "A12", "12"] * 5
    schema = fr.data.infer_schema({"code": codes}, np.arange(20.0))
    encoded = schema.inputs("X", {"code": codes})
    for rows, numbers in (([0, 4], [7, 7]), ([1, 3], [3.0, 12.0])):
        np.testing.assert_array_equal(schema.inputs("X", {"code": np.array(numbers)}), encoded[rows])


def test_the_schema_of_a_loaded_model_does_not_go_unscaled(tmp_path):
    X = np.random.default_rng(0).normal(50, 9, size=(40, 2))
    y = np.arange(40) % 2
    model = fr.Sequential([fr.data.infer_schema(X, y), fr.Dense(2)])
    fr.Trainer(model).fit(X, y)
    model.save(tmp_path / "m")
    loaded = fr.load(tmp_path / "m")
    with pytest.raises(ValueError, match="layers: got a schema without the numbers of its scaling"):
        fr.Sequential([loaded.schema, fr.Dense(2)])
    again = fr.Sequential([fr.data.fit_schema(loaded.schema, X, y), fr.Dense(2)])
    assert again.layers[0].mean == model.layers[0].mean


def test_dates_that_can_be_read_in_two_ways():
    values = np.array(["03/04/2020", "05/06/2021"], object)
    with pytest.warns(UserWarning, match="03/04/2020 are read with the month first"):
        assert dates.layout_of(values) == "m/d/y"


def test_predictions_of_large_numbers_keep_their_digits(rng):
    """float32 has steps of 128 at 1.7e9."""
    X = rng.normal(size=(300, 2))
    y = 1.7e9 + 3600 * X[:, 0]
    model = fr.Sequential([fr.Dense(1), fr.data.TargetScaler().fit(y)])
    trainer = fr.Trainer(model, "mse", fr.SGD(0.2), metrics=("rmse",))
    trainer.fit(X, y, epochs=20, batch_size=30)
    assert np.abs(model.predict(X)[:, 0] - y).max() < 1 and trainer.evaluate(X, y)["rmse"] < 1


@pytest.mark.parametrize("more", [{"scale": "none"}, {"loss": "poisson"}, {}])
@pytest.mark.parametrize("outputs", [1, 3])
def test_outputs_of_numbers_are_known_without_scaling(more, outputs):
    y = np.random.default_rng(0).random((40, outputs)) + 0.5
    schema = fr.data.infer_schema(np.ones((40, 2)), y if outputs > 1 else y[:, 0], **more, task="numbers")
    assert schema.outputs == outputs and "count" not in str(schema.config())
