"""The numbers of a table's text, read in C: to the bit those of Python."""

import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastreg.machine._core import SEEN_HOLE, SEEN_LARGE, SEEN_POINT, SEEN_TEXT, read_fields


def bits(values):
    return [struct.pack("d", value) for value in values]


def written(seed, count):
    """Numbers as programs and people write them, and those that lie half-way between two floats."""
    draw = random.Random(seed)
    for _ in range(count):
        yield repr(struct.unpack("d", struct.pack("Q", draw.getrandbits(64)))[0])
        yield repr(draw.gauss(0, 1) * 10.0 ** draw.randint(-15, 15))
        yield str(((1 << 53) + 2 * draw.getrandbits(52) + 1) << draw.randint(0, 9))
        yield f"{draw.randint(0, 10 ** draw.randint(1, 19))}{draw.choice('eE')}{draw.randint(-30, 30):+}"
        digits = str(draw.randint(0, 10 ** draw.randint(1, 22)))
        point = draw.randint(0, len(digits))
        yield f"{draw.choice(['', '-', '+'])}{digits[:point]}.{digits[point:]}"


def test_numbers_are_those_of_python():
    fields = [field for field in written(1, 10_000) if field not in ("nan", "inf", "-inf")]
    values, lines, _, hard = read_fields("\n".join([*fields, ""]).encode(), b"", 1, ",", ".")
    assert lines.tolist() == list(range(len(fields)))
    left = set(hard[:, 1].tolist())
    assert 0 < len(left) < len(fields) / 2
    here = [i for i in range(len(fields)) if i not in left]
    assert bits(values[0, here]) == bits(float(fields[i]) for i in here)
    text = "\n".join(fields)
    for _, row, begin, end in hard.tolist():
        assert text[begin:end] == fields[row]


def test_what_was_seen():
    text = b"1,2.5,NA,x,-9007199254740992\n\n 3 , 4e0,5,,1\n"
    values, lines, seen, hard = read_fields(text, b"NA\n?\n", 5, ",", ".")
    np.testing.assert_array_equal(values, [[1, 3], [2.5, 4], [np.nan, 5], [np.nan, np.nan], [-(2.0**53), 1]])
    assert lines.tolist() == [0, 2] and not len(hard)
    assert seen.tolist() == [0, SEEN_POINT, SEEN_HOLE, SEEN_TEXT | SEEN_HOLE, SEEN_LARGE]


@pytest.mark.parametrize("text", ["1.", ".5", "+5", "-0", "007", "1e5", "1E-05", "0e999", "0.000"])
def test_numbers(text):
    values, _, _, hard = read_fields(f"{text}\n".encode(), b"", 1, ",", ".")
    assert not len(hard) and bits(values[0]) == bits([float(text)])


@pytest.mark.parametrize(
    "text", [".", "+", "-", "e5", "1e", "1e+", "1_0", "0x1", "1 2", "--1", "1.2.3", "inf", "nan", "٣"]
)
def test_no_numbers(text):
    values, _, seen, _ = read_fields(f"{text}\n".encode(), b"", 1, ",", ".")
    assert np.isnan(values).all() and seen.tolist() == [SEEN_TEXT]


def test_decimal_commas():
    values, *_ = read_fields(b"1,5;-2,25;.5\n", b"", 3, ";", ",")
    np.testing.assert_array_equal(values[:, 0], [1.5, -2.25, np.nan])


@given(st.text(st.sampled_from("1,.e-+aN \t\n"), max_size=60), st.integers(1, 5))
def test_any_text(text, width):
    """Each row has the fields that Python cuts, or the first that has not is named."""
    found = read_fields(f"{text}\n".encode(), b"NA\n", width, ",", ".")
    rows = [(i, line.split(",")) for i, line in enumerate(text.split("\n")) if line.strip()]
    odd = next(((i, len(row)) for i, row in rows if len(row) != width), None)
    assert odd is None or found == odd
    if odd is None:
        values, lines, _, hard = found
        assert lines.tolist() == [i for i, _ in rows] and values.shape == (width, len(rows))
        for i, (_, row) in enumerate(rows):
            for value, field in zip(values[:, i], row, strict=True):
                try:
                    assert float(field) == value or np.isnan([float(field), value]).all() or len(hard)
                except ValueError:
                    assert np.isnan(value)


@pytest.mark.parametrize(("text", "missing", "width"), [(b"1", b"", 1), (b"1\n", b"NA", 1), (b"1\n", b"", 0)])
def test_what_would_read_beyond_the_end_is_refused(text, missing, width):
    with pytest.raises(ValueError, match="a width of at least 1 and whole lines"):
        read_fields(text, missing, width, ",", ".")


def test_nothing():
    values, lines, seen, hard = read_fields(b"", b"", 2, ",", ".")
    assert values.shape == (2, 0) and not len(lines) and not seen.any() and not len(hard)
