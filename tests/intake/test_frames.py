"""Frames of pandas, Polars and PyArrow, dicts and records: their columns, and trainings with them. pandas and Polars
judge the values; the same training with NumPy's arrays judges the results."""

import datetime
import tracemalloc
from decimal import Decimal

import numpy as np
import pytest

import fastreg as fr
from fastreg.common import checking
from fastreg.intake import frames

N = 40
RNG = np.random.default_rng(0)
AGE, WAGE, IS_NEW = RNG.normal(40, 9, N), RNG.integers(0, 9, N), RNG.random(N) < 0.5
TOWN = RNG.choice(["oslo", "rome"], N)
X = np.stack([AGE, WAGE, IS_NEW], axis=1)
Y = np.arange(N) % 2
COLUMNS = {"age": AGE, "wage": WAGE, "new": IS_NEW}


@pytest.fixture
def pd():
    return pytest.importorskip("pandas")


@pytest.fixture
def pl():
    return pytest.importorskip("polars")


@pytest.fixture
def pa():
    return pytest.importorskip("pyarrow")


def trained(X, y=Y, **fit) -> dict:
    trainer = fr.Trainer(fr.Sequential([fr.Dense(4, "tanh"), fr.Dense(2)]), dtype="float64")
    trainer.fit(X, y, epochs=2, batch_size=7, **fit)
    return trainer.model.state_dict()


def same(one: dict, two: dict) -> None:
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name])


# --- What is a frame, and what its columns are -------------------------------------------------------------------


def every_frame():
    """A frame of each kind, with the columns of COLUMNS."""
    pd, pl, pa = (pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow"))
    yield pd.DataFrame(COLUMNS)
    yield pd.DataFrame(COLUMNS).convert_dtypes()
    yield pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow")
    yield pd.DataFrame(COLUMNS, index=[f"row {i}" for i in range(N)], dtype=object)
    yield pd.DataFrame({name: pd.arrays.SparseArray(values) for name, values in COLUMNS.items()})
    yield pd.DataFrame({name: pd.Categorical(values) for name, values in COLUMNS.items()})
    yield pl.DataFrame(COLUMNS)
    yield pl.DataFrame(COLUMNS).lazy()
    yield pa.table(COLUMNS)
    yield pa.table(COLUMNS).to_batches()[0]
    yield pa.table({name: pa.array(values).dictionary_encode() for name, values in COLUMNS.items()})
    yield fr.data.Table(COLUMNS)
    yield COLUMNS
    yield {name: values.tolist() for name, values in COLUMNS.items()}
    yield [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]


def test_every_kind_of_frame_is_one_array_and_trains_alike():
    expected = trained(X)
    for frame in every_frame():
        kind = type(frame).__module__, type(frame).__name__
        assert frames.is_frame(frame), kind
        assert frames.names(frame) == tuple(COLUMNS), kind
        assert frames.length(frame) == N, kind
        for values, column in zip(COLUMNS.values(), frames.columns(frame), strict=True):
            assert column.ndim == 1 and column.dtype.kind in "biuf", kind
            np.testing.assert_array_equal(column, values)
        np.testing.assert_array_equal(frames.numbers("X", frame), X)
        same(expected, trained(frame))
        part = frames.take(frame, np.array([5, 0, 5]))
        np.testing.assert_array_equal(frames.numbers("X", part), X[[5, 0, 5]])


def test_what_is_no_frame():
    for value in (X, Y, X.tolist(), 3, None, "text", [], {}, {"a": 1}, {"a": "text"}, [{}, 3], np.ma.array(X)):
        assert not frames.is_frame(value), value


def test_columns_of_pandas(pd):
    day = pd.to_datetime(["2020-01-01", None, "2021-05-05"])
    frame = pd.DataFrame(
        {
            "Int64": pd.array([1, None, 3], "Int64"),
            "UInt8": pd.array([1, 2, 255], "UInt8"),
            "Float32": pd.array([1.5, None, 2.5], "Float32"),
            "boolean": pd.array([True, None, False], "boolean"),
            "whole boolean": pd.array([True, True, False], "boolean"),
            "string": pd.array(["a", None, "b"], "string"),
            "object": np.array(["a", np.nan, None], object),
            "codes": np.array(["1", 2, 3.0], object),
            "category": pd.Categorical(["x", None, "y"]),
            "numbers": pd.Categorical([7, None, 5]),
            "day": day,
            "moment": day.tz_localize("Europe/Oslo"),
            "dates": np.array([datetime.date(2020, 1, 1), None, datetime.date(2021, 5, 5)], object),
            "decimal": np.array([Decimal("1.5"), None, Decimal(2)], object),
            "arrow": pd.array([1, None, 3], pd.ArrowDtype(pytest.importorskip("pyarrow").int32())),
            "arrow day": pd.Series(day).astype("timestamp[us][pyarrow]"),
            "nothing": np.array([None, pd.NA, np.nan], object),
        }
    )
    nan, none = np.nan, None
    moments = ["2020-01-01", "NaT", "2021-05-05"]
    expected = {
        "Int64": [1, nan, 3],
        "UInt8": [1, 2, 255],
        "Float32": [1.5, nan, 2.5],
        "boolean": [1, nan, 0],
        "whole boolean": [True, True, False],
        "string": ["a", none, "b"],
        "object": ["a", none, none],
        "codes": ["1", "2", "3"],
        "category": ["x", none, "y"],
        "numbers": [7, nan, 5],
        "day": np.array(moments, "M8[us]"),
        "moment": np.array(["2019-12-31T23:00", "NaT", "2021-05-04T22:00"], "M8[us]"),
        "dates": np.array(moments, "M8[us]"),
        "decimal": [1.5, nan, 2],
        "arrow": [1, nan, 3],
        "arrow day": np.array(moments, "M8[us]"),
        "nothing": [nan, nan, nan],
    }
    for name, values, column in zip(expected, expected.values(), frames.columns(frame), strict=True):
        kind = "O" if isinstance(values[0], str) else np.asarray(values).dtype.kind
        assert column.dtype.kind == kind or (kind == "i" and column.dtype.kind == "u"), name
        assert column.dtype.str[1:] != "O" or column.tolist() == values, name
        if kind != "O":
            np.testing.assert_array_equal(column, np.asarray(values), err_msg=name)


def test_columns_of_polars(pl):
    frame = pl.DataFrame(
        {
            "int": pl.Series([1, None, 3], dtype=pl.Int32),
            "bool": [True, None, False],
            "text": ["a", None, "b"],
            "category": pl.Series(["x", None, "y"], dtype=pl.Categorical),
            "day": [datetime.date(2020, 1, 1), None, datetime.date(2021, 5, 5)],
            "moment": [datetime.datetime(2020, 1, 1), None, datetime.datetime(2021, 5, 5)],
            "decimal": pl.Series(["1.5", None, "2"]).cast(pl.Decimal(10, 2)),
            "nothing": [None, None, None],
        }
    )
    found = dict(zip(frame.columns, frames.columns(frame), strict=True))
    np.testing.assert_array_equal(found["int"], [1, np.nan, 3])
    np.testing.assert_array_equal(found["bool"], [1, np.nan, 0])
    assert found["text"].tolist() == ["a", None, "b"] and found["category"].tolist() == ["x", None, "y"]
    for name in ("day", "moment"):
        np.testing.assert_array_equal(found[name], np.array(["2020-01-01", "NaT", "2021-05-05"], "M8[us]"))
    np.testing.assert_array_equal(found["decimal"], [1.5, np.nan, 2])
    assert np.isnan(found["nothing"]).all()


def test_columns_of_arrow(pa):
    day = [datetime.date(2020, 1, 1), None]
    table = pa.table(
        {
            "int": [1, None],
            "bool": [True, None],
            "text": ["a", None],
            "day": day,
            "float": pa.array([1.5, 2], pa.float32()),
        }
    )
    found = dict(zip(table.schema.names, frames.columns(table), strict=True))
    np.testing.assert_array_equal(found["int"], [1, np.nan])
    np.testing.assert_array_equal(found["bool"], [1, np.nan])
    assert found["text"].tolist() == ["a", None] and found["float"].dtype == np.float32
    np.testing.assert_array_equal(found["day"], np.array(["2020-01-01", "NaT"], "M8[D]"))


def test_names(pd):
    assert not frames.has_names(pd.DataFrame(X)) and frames.names(pd.DataFrame(X)) == ("0", "1", "2")
    assert not frames.has_names(pd.DataFrame(X, columns=["a", "a", "b"]))
    assert frames.has_names(pd.DataFrame(COLUMNS)) and frames.has_names(pd.Series(Y, name="y"))
    assert not frames.has_names(pd.Series(Y))
    twice = pd.DataFrame(X, columns=["a", "a", "b"])
    np.testing.assert_array_equal(frames.numbers("X", twice), X)
    same(trained(X), trained(twice))


# --- One array ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i2", "i8"])
def test_columns_of_one_dtype_keep_it(pd, dtype):
    frame = pd.DataFrame(X[:, :2].astype(dtype), columns=["a", "b"])
    assert frames.numbers("X", frame).dtype == dtype
    assert frames.numbers("X", {"a": frame["a"], "b": frame["b"].to_numpy()}).dtype == dtype


def test_an_array_inside_a_frame_is_not_copied(pd):
    frame = pd.DataFrame(X, columns=list("abc"))
    assert np.shares_memory(frames.numbers("X", frame), frame.to_numpy())


def test_other_dtypes(pd):
    one, two = np.arange(3, dtype="i4"), np.array([1, 2, 2**60], "i8")
    assert frames.numbers("X", {"a": one, "b": two}).dtype == np.int64
    assert frames.numbers("X", {"a": one, "b": [True, False, True]}).dtype == np.int64
    assert frames.numbers("X", {"a": one, "b": one.astype("f4")}).dtype == np.float64
    assert frames.numbers("X", {"a": np.array([2**64 - 1], "u8")}).tolist() == [[2.0**64]]
    assert frames.numbers("X", pd.DataFrame({"a": [True, False]})).dtype == np.uint8


def test_a_frame_is_copied_once(pd):
    rows = 100_000
    frame = pd.DataFrame({f"c{i}": pd.array(np.arange(rows), "Int64" if i % 2 else "float64") for i in range(16)})
    tracemalloc.start()
    array = frames.numbers("X", frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert array.nbytes == 16 * rows * 8 and peak < 1.3 * array.nbytes


REFUSED = {
    "text": (
        {"town": TOWN},
        r"X: column 'town' holds '\w+' in row 0, expected real numbers; .*infer_schema.*texts",
    ),
    "late text": ({"a": AGE, "b": [*WAGE[:-1], "no"]}, r"X: column 'b' holds '\d' in row 0, expected real numbers"),
    "dates": ({"day": np.array(["NaT", "2020-01-02"], "M8[D]")}, r"X: column 'day' holds 2020-01-02 in row 1, .*dates"),
    "lists": ({"a": [[1], [2]]}, r"X: column 'a': row 0 holds \[1\] \(list\), expected a number, a text or a date"),
    "complex": ({"a": AGE + 1j}, r"X: column 'a': got an array of complex128, expected numbers, texts or dates"),
    "lengths": ({"a": [1, 2], "b": [1]}, r"X: column 'b' has 1 rows, expected 2, as the first column has"),
    "written numbers": ({"a": WAGE.astype(str)}, r"X: column 'a' holds '\d' .*; X\['a'\]\.astype\(float\) makes them$"),
    "matrix": ({"a": X}, r"X: column 'a': got an array of shape \(40, 3\), expected one column"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_number_is_refused_by_column_and_row(case):
    frame, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message) as error:
        checking.inputs("X", frame)
    assert "\n" not in str(error.value)


def test_holes_are_refused_by_column_and_row(pd):
    frame = pd.DataFrame({"age": AGE, "wage": pd.array([1, 2, None] + [3] * (N - 3), "Int64")})
    message = r"X: row 2 holds a value that is not finite, nan in column 'wage', .*infer_schema.* fills holes"
    with pytest.raises(ValueError, match=message):
        checking.inputs("X", frame)
    with pytest.raises(ValueError, match=r"X: column 'wage' holds nan in row 2, .*infer_schema.* fills holes"):
        trained(frame)


def test_columns_of_different_lengths_are_refused_in_a_fit():
    with pytest.raises(ValueError, match=r"X: column 'b' has 1 rows, expected 40, as the first column has"):
        trained({"a": AGE, "b": [1.0]})


# --- Series, and the other arguments -----------------------------------------------------------------------------


def test_every_argument_takes_a_series(pd, pl):
    weight = np.linspace(0.5, 2, N)
    arrays = {"rows": np.arange(3, 30), "sample_weight": weight, "class_weight": {0: 2.0, 1: 1.0}}
    expected = trained(X, Y, validation_data=(X, Y, weight), **arrays)
    for series in (pd.Series, pl.Series):
        given = {name: series(value) for name, value in arrays.items() if name != "class_weight"}
        given["class_weight"] = pd.Series({0: 2.0, 1: 1.0})
        held_back = (pd.DataFrame(X), series(Y), series(weight))
        same(expected, trained(pd.DataFrame(X), series(Y), validation_data=held_back, **given))


def test_labels_in_every_form(pd, pl):
    expected = trained(X)
    text = np.array(["no", "yes"])[Y]
    forms = [Y[:, None], Y.astype(float), Y.astype(bool), Y.astype(object), Y.tolist(), np.eye(2)[Y], text.tolist()]
    forms += [pd.Series(Y), pd.DataFrame({"y": Y}), pd.Series(Y, dtype="Int64"), pd.Series(Y, dtype="category")]
    forms += [pd.Series(text), pd.Series(text, dtype="category"), pd.Series(text, dtype="string"), text.astype(object)]
    forms += [pl.Series(Y), pl.DataFrame({"y": Y}), pl.Series(text), text.astype("T"), text[:, None], {"y": Y}]
    for form in forms:
        same(expected, trained(X, form))


def test_holes_in_labels_are_refused(pd):
    with pytest.raises((ValueError, TypeError), match=r"y: row 1 "):
        trained(X[:3], pd.Series([0, None, 1], dtype="Int64"))


def test_split_keeps_the_kind(pd):
    frame, labels = pd.DataFrame(COLUMNS).assign(town=TOWN), pd.Series(np.array(["no", "yes"])[Y], name="y")
    parts = fr.data.split(frame, labels, (0.5, 0.5), stratify=True)
    arrays = fr.data.split(X, labels.to_numpy(), (0.5, 0.5), stratify=True)
    for (part, y), (rows, names) in zip(parts, arrays, strict=True):
        assert list(part.columns) == list(frame.columns) and y.name == "y"
        np.testing.assert_array_equal(part[["age", "wage", "new"]].to_numpy(float), rows)
        assert y.tolist() == names.tolist()
