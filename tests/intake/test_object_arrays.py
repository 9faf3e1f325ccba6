"""Arrays of objects and other arrays that are not plain numbers: converted exactly, or refused by place, with advice
that works. NumPy's own conversions judge the values."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import fastreg as fr
from fastreg.common import checking

X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.arange(12) % 3
HUGE = 10**400


def objects(*values) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((1, 2, 3), "i8"),
        ((1, np.int8(2), True), "i8"),
        ((2**62, -(2**63), 2**63 - 1), "i8"),
        ((2**70, 1, -(2**70)), "f8"),
        ((True, np.bool_(False), True), "u1"),
        ((1, 2.5, np.float32(0.1)), "f8"),
        ((Decimal("0.1"), Fraction(1, 3), HUGE), "f8"),
        ((np.float16(1.5), np.longdouble(2), np.uint64(2**64 - 1)), "f8"),
        ((1.5, None, 3), "f8"),
        ((1, None, True), "f8"),
        ((float("nan"), Decimal("NaN"), 0), "f8"),
    ],
)
def test_real_numbers_are_converted_exactly(values, dtype):
    as_float = {None: np.nan, HUGE: np.inf}
    expected = [int(v) if dtype != "f8" else as_float[v] if v is None or v is HUGE else float(v) for v in values]
    for array in (objects(*values), objects(*values * 2).reshape(2, 3), np.tile(objects(*values), 50_000)):
        found = checking.array("X", array)
        assert found.dtype == dtype and found.shape == array.shape
        np.testing.assert_array_equal(found.ravel()[:3], np.array(expected, dtype))


def test_an_order_of_columns_is_kept():
    found = checking.array("X", np.asfortranarray(X.astype(object)))
    np.testing.assert_array_equal(found, X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (objects([1], 2)[:, None], r"X: got \[1\] in row 0, column 0, expected real numbers$"),
        (np.array([[1, "a"], [2, 3]], object), r"X: got 'a' in row 0, column 1, expected real numbers; .*texts$"),
        (np.array([[1, 2], [3, b"b"]], object), r"X: got b'b' in row 1, column 1, expected real numbers; .*texts$"),
        (np.array([[1, 2], [3, 1j]], object), r"X: got 1j in row 1, column 1, expected real numbers$"),
        (np.array([[1, np.datetime64("2020-01-01")]], object), r"X: got np.datetime64.* column 1, .*encodes dates$"),
        (np.full((2, 2, 2), "a"), r"X: got 'a' at \(0, 0, 0\), expected real numbers"),
        (np.array([["1.5"]], np.dtypes.StringDType()), r"X: got '1\.5' in row 0, column 0, expected real numbers"),
        (np.array([["2020-01-01"]], "M8[D]"), r"X: got an array of datetime64\[D\], .*; .*encodes dates$"),
        (np.array([[1]], "m8[s]"), r"X: got an array of timedelta64\[s\], .*; X / np\.timedelta64\(1, 's'\) gives"),
        (np.array([[1j]]), r"X: got an array of complex128, expected real numbers; X\.real and X\.imag are$"),
        (
            np.zeros(3, [("a", "f4"), ("b", "i4")]),
            r"X: got an array of fields \(a, b\), expected real numbers; .*structured_to",
        ),
        (np.ma.masked_greater(X, 0), r"X: got an array with \d+ masked values, expected none; X\.filled"),
        ([[1, 2], [3]], r"X: got 2 values in row 0, but 1 in row 1, expected rows of one length$"),
        ([np.zeros(3), np.zeros(2)], r"X: got 3 values in row 0, but 2 in row 1, expected rows of one length$"),
        (
            np.array([[1.0, None]], object),
            r"X: row 0 holds a value that is not finite, nan in column 1, .*holes$",
        ),
        (X.astype(str), r"X: got '.*' in row 0, column 0, expected real numbers; X\.astype\(float\) makes them$"),
        (X.astype(str).astype(object), r"X: got '.*' in row 0, column 0, .*; X\.astype\(float\) makes them$"),
        ({"a", "b"}, r"X: got .*, expected an array of all rows"),
        ("text", r"X: got 'text', expected real numbers$"),
    ],
)
def test_what_is_no_number_is_refused_by_its_place(X, message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        checking.inputs("X", X)
    assert "\n" not in str(error.value)


def test_the_advice_works():
    fields = np.zeros(3, [("a", "f4"), ("b", "i4")])
    from numpy.lib import recfunctions

    assert checking.inputs("X", recfunctions.structured_to_unstructured(fields)).shape == (3, 2)
    assert checking.inputs("X", np.array([[1]], "m8[s]") / np.timedelta64(1, "s")).tolist() == [[1]]
    assert checking.inputs("X", np.array([[1j]]).imag).tolist() == [[1]]
    np.testing.assert_array_equal(checking.inputs("X", X.astype(str).astype(float)), X)
    assert checking.inputs("X", np.ma.masked_greater(X, 0).filled(0)).max() == 0
    texts = np.array([[1, "a"], [2, "b"], [3, "a"], [4, "b"]], object)
    schema = fr.data.infer_schema(texts, [0, 1, 0, 1])
    model = fr.Sequential([schema, fr.Dense(2)])
    fr.Trainer(model).fit(texts, [0, 1, 0, 1])
    assert model.predict(texts).shape == (4, 2)


# --- Shapes ------------------------------------------------------------------------------------------------------


def built(*shape) -> fr.Sequential:
    model = fr.Sequential([fr.Flatten(), fr.Dense(2)])
    model.build(shape)
    return model


def test_advice_about_shapes_works():
    """Each advice is carried out as it stands."""
    cases = [
        (built(5), np.zeros(5), "X[None] is one sample"),
        (built(5), [0.0] * 5, "[X] is one sample"),
        (built(4, 3), np.zeros((4, 3)), "X[None] is one sample"),
        (built(1), np.zeros(7), "X.reshape(-1, 1) is one column"),
        (built(1), [0.0] * 7, "np.reshape(X, (-1, 1)) is one column"),
        (built(12), np.zeros((7, 4, 3)), "X.reshape(-1, 12) has it"),
        (built(4, 3), np.zeros((7, 12)), "X.reshape(-1, 4, 3) has it"),
        (built(5), np.zeros((5, 8)), "X.T has it"),
    ]
    for model, X, advice in cases:
        with pytest.raises(ValueError, match=r"^X: got shape \(.*\), expected \(n, ") as error:
            model.predict(X)
        assert str(error.value).endswith(f"; {advice}")
        predictions = model.predict(eval(advice.partition(" is ")[0].partition(" has ")[0], {"X": X, "np": np}))
        assert predictions.shape[1] == 2


@pytest.mark.parametrize("X", [np.zeros(4), np.zeros((3, 6)), np.zeros((4, 5, 2)), 3.0], ids=str)
def test_no_advice_where_none_applies(X):
    with pytest.raises(ValueError, match=r"X: got shape .*, expected \(n, 5\)(: the shape the model was built for)?$"):
        built(5).predict(X)


# --- Labels ------------------------------------------------------------------------------------------------------


def test_texts_with_holes_and_bytes():
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]))
    with pytest.raises(ValueError, match=r"y: row 1 holds no label, expected one per row; leave such rows out"):
        trainer.fit(X, ["a", None, "b"] * 4)
    trainer.fit(X, np.array([b"a", b"b"] * 6))
    assert trainer.model.classes == ("a", "b")


def test_float64_data_are_not_rounded_before_the_first_fit():
    """A frame and an array give the same bits, whatever the dtype of a model that has none yet."""
    results = []
    for data in (X, {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2]}):
        trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), dtype="float64")
        trainer.fit(data, Y)
        results.append(trainer.model.state_dict()["0.weight"])
    np.testing.assert_array_equal(*results)


def test_class_weights_by_name():
    names = np.array(["cat", "dog", "fox"])
    one, two = fr.Trainer(fr.Sequential([fr.Dense(3)])), fr.Trainer(fr.Sequential([fr.Dense(3)]))
    one.fit(X, Y, class_weight={2: 3.0})
    two.fit(X, names[Y], class_weight={"fox": 3.0})
    np.testing.assert_array_equal(one.model.parameters["0.weight"], two.model.parameters["0.weight"])
    with pytest.raises(ValueError, match=r"class_weight: got 'elk', expected one of cat, dog, fox"):
        two.fit(X, names[Y], class_weight={"elk": 3.0})
