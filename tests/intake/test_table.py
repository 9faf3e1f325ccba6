"""Table: named columns of numbers and text, with holes."""

import copy
import datetime
import decimal
import pickle

import numpy as np
import pytest

import fastreg as fr
from fastreg.data import Table

NAN = float("nan")
TABLE = Table({"town": ["rome", None, "oslo"], "rooms": [3, 2, 4], "price": [310.5, NAN, 250]})


def test_columns():
    assert TABLE.names == ("town", "rooms", "price") and TABLE.kinds == ("text", "integer", "number")
    assert len(TABLE) == 3 and TABLE.shape == (3, 3) and TABLE.ndim == 2 and TABLE.size == 9
    assert TABLE["town"].tolist() == ["rome", None, "oslo"] and TABLE["rooms"].dtype == np.int64
    np.testing.assert_array_equal(TABLE["price"], [310.5, NAN, 250])
    assert "town" in TABLE and "city" not in TABLE
    assert TABLE.has_holes and not TABLE.select(["rooms"]).has_holes
    assert not TABLE.is_numeric and TABLE.drop(["town"]).is_numeric


def test_rows():
    assert TABLE[0] == ("rome", 3, 310.5) and TABLE[-1] == ("oslo", 4, 250.0)
    for rows in ([0, 2], slice(0, 3, 2), np.array([True, False, True]), [-3, -1]):
        part = TABLE[rows]
        assert isinstance(part, Table) and part.tolist() == [("rome", 3, 310.5), ("oslo", 4, 250.0)] == list(part)
    assert TABLE[[]].shape == (0, 3) and TABLE[[1, 1]].shape == (2, 3)
    assert [row[1] for row in TABLE] == [3, 2, 4]


def test_a_matrix_of_it():
    assert np.asarray(TABLE).dtype == object and np.asarray(TABLE)[1, 0] is None
    numbers = np.asarray(TABLE.drop(["town"]))
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, [[3, 310.5], [2, NAN], [4, 250]])
    assert np.asarray(TABLE.select(["rooms"]), np.float32).dtype == np.float32


def test_it_does_not_change():
    source = np.array([1.0, 2.0])
    table = Table({"a": source})
    source[0] = 9
    assert table["a"].tolist() == [1, 2]
    for part in (table, table[:1], table.select(["a"])):
        with pytest.raises(ValueError, match="read-only"):
            part["a"][0] = 9
    with pytest.raises(TypeError):
        table["a"] = source
    with pytest.raises(AttributeError):
        table.other = 1


def test_equality_and_copies():
    assert pickle.loads(pickle.dumps(TABLE)) == TABLE == copy.deepcopy(TABLE) != TABLE[:2]
    assert TABLE.select(["rooms", "town", "price"]) != TABLE and TABLE != "table"


def test_repr():
    wide = Table({f"c{i}": range(20) for i in range(12)})
    assert repr(wide).startswith("Table of 20 rows and 12 columns\n") and all(len(x) < 100 for x in repr(wide).split())
    assert repr(Table({})) == "Table of 0 rows and 0 columns"
    assert repr(Table({"a": ["x" * 99]})).split("\n")[-1] == "x" * 21 + "..."


def test_conversions():
    day = datetime.date(2020, 2, 29)
    cases = {
        "booleans": (np.array([True, False]), [1, 0]),
        "small integers": (np.array([1, 2], "u1"), [1, 2]),
        "large integers": (np.array([2**60 + 1, 5], "u8"), [2**60 + 1, 5]),
        "objects": (np.array([1, 2.5, None], object), [1, 2.5, NAN]),
        "decimals": ([decimal.Decimal("1.5"), 2], [1.5, 2]),
        "text": (np.array(["a", "b"]), ["a", "b"]),
        "text with holes": (["a", NAN, None], ["a", None, None]),
        "days": (np.array([day, "NaT"], "M8[ns]"), ["2020-02-29", None]),
        "times": (np.array(["2020-02-29T12:30"], "M8[s]"), ["2020-02-29T12:30:00"]),
        "none at all": ([None, None], [NAN, NAN]),
        "strings of NumPy": (np.array(["a", "bc"], np.dtypes.StringDType()), ["a", "bc"]),
    }
    for name, (values, right) in cases.items():
        np.testing.assert_array_equal(Table({"a": values})["a"], right, err_msg=name)


def test_of_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "a": pandas.array([1, None], "Int64"),
            "b": pandas.Categorical(["u", "v"]),
            "c": pandas.array(["x", None], "string"),
            "d": pandas.to_datetime(["2020-01-02", None]),
            5: [1.5, 2],
        }
    )
    table = Table.of(frame)
    assert table.named and table.names == ("a", "b", "c", "d", "5")
    assert repr(table.tolist()) == "[(1.0, 'u', 'x', '2020-01-02', 1.5), (nan, 'v', None, None, 2.0)]"
    assert not Table.of(pandas.DataFrame(np.zeros((2, 2)))).named
    with pytest.raises(ValueError, match="columns: got the name 'a' twice"):
        Table.of(pandas.DataFrame(np.zeros((2, 2)), columns=["a", "a"]))
    assert Table.of(table) is table


def test_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, None], "b": ["x", None], "d": [datetime.date(2020, 1, 2), None]})
    assert repr(Table.of(frame).tolist()) == "[(1.0, 'x', '2020-01-02'), (nan, None, None)]"


REFUSED = {
    "name: got 'rom', expected a column: town, rooms, price; the nearest is 'rooms'": lambda: TABLE["rom"],
    "name: got 5, expected a column": lambda: TABLE.select([5]),
    r"rows: got \[0.5\], expected a slice, a mask of 3 rows or an array of integers": lambda: TABLE[[0.5]],
    r"rows: got \['town'\], expected .*; select\(names\) takes columns": lambda: TABLE[["town"]],
    "row: got 3, expected one of 3 rows": lambda: TABLE[3],
    r"columns: got \[1\], expected a mapping": lambda: Table([1]),
    "columns: got the name 1, expected a string": lambda: Table({1: [2]}),
    r"columns: got lengths \{'a': 1, 'b': 2\}, expected one length": lambda: Table({"a": [1], "b": [1, 2]}),
    "column 'a', row 1: got 'x', expected numbers alone or text alone": lambda: Table({"a": [1, "x"]}),
    "column 'a', row 0: got b'x', expected a number or text": lambda: Table({"a": [b"x"]}),
    "column 'a': got an array of complex128, expected": lambda: Table({"a": np.zeros(2, complex)}),
    r"column 'a': got shape \(1, 2\), expected one dimension": lambda: Table({"a": np.zeros((1, 2))}),
    "column 'a': got 3, expected a list or an array": lambda: Table({"a": 3}),
    "named: got 1, expected True or False": lambda: Table({}, named=1),
    "data: got 3, expected a frame": lambda: Table.of(3),
}


@pytest.mark.parametrize(("message", "call"), REFUSED.items(), ids=REFUSED)
def test_refused(message, call):
    with pytest.raises((ValueError, TypeError, IndexError), match=rf"\A{message}[^\n]*\Z"):
        call()


def test_split_takes_a_table():
    (first, _), (second, _) = fr.data.split(TABLE[[0, 1, 2, 0]], np.arange(4.0), (0.5, 0.5))
    assert isinstance(first, Table) and sorted([*first["rooms"], *second["rooms"]]) == [2, 3, 3, 4]
