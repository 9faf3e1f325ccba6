"""bf16 in NumPy, held against exact arithmetic: rounding, and products in the order of AMX."""

from fractions import Fraction

import numpy as np
import pytest

from fastreg.reference import bf16

LEAST, LARGEST = Fraction(2) ** -126, Fraction(2) ** 128


def nearest(x: Fraction, digits: int) -> float:
    """The nearest number of so many digits, of two the even one; 0 below the normal numbers, infinity above."""
    if x == 0:
        return 0.0
    exponent = abs(x).numerator.bit_length() - abs(x).denominator.bit_length()
    unit = Fraction(2) ** (exponent - (0 if abs(x) >= Fraction(2) ** exponent else 1) - digits + 1)
    found = round(x / unit) * unit
    if abs(found) >= LARGEST:
        return float("inf") if found > 0 else float("-inf")
    return float(found) if abs(found) >= LEAST else 0.0


def wide(rng, shape) -> np.ndarray:
    """Numbers of all sizes."""
    return (rng.normal(size=shape) * 2.0 ** rng.integers(-126, 127, shape)).astype(np.float32)


def test_rounding_is_to_the_nearest_even_number(rng):
    bits = rng.integers(0, 2**32, 5000, dtype=np.uint64).astype(np.uint32)
    ties = (bits[:2000] & 0xFFFF0000) | 0x8000
    x = np.concatenate([bits, ties]).view(np.float32)
    x = x[np.isfinite(x)]
    expected = [nearest(Fraction(float(v)), 8) if abs(v) >= LEAST else 0.0 for v in x]
    np.testing.assert_array_equal(bf16.rounded(x), np.array(expected, np.float32))


def test_rounding_of_what_is_not_an_ordinary_number():
    small = np.array([1, 0x007FFFFF, 0x80000001], np.uint32).view(np.float32)
    given = np.array([0.0, -0.0, np.inf, -np.inf, 3.4028235e38, *small], np.float32)
    np.testing.assert_array_equal(bf16.rounded(given), [0, 0, np.inf, -np.inf, np.inf, 0, 0, 0])
    nans = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0x7FC00000], np.uint32).view(np.float32)
    assert np.isnan(bf16.rounded(nans)).all()


def exact_product(a: list[Fraction], b: list[Fraction]) -> float:
    """One element of a product, by fused multiply-adds that are exact until they are rounded."""
    total = 0.0
    for first in range(0, len(a), 32):
        chains = []
        for start in (first, first + 1):
            chain = 0.0
            for k in range(start, min(first + 32, len(a)), 2):
                if not np.isfinite(chain):
                    break
                chain = nearest(a[k] * b[k] + Fraction(chain), 24)
            chains.append(chain)
        with np.errstate(invalid="ignore"):
            group = np.float64(chains[0]) + np.float64(chains[1])
            group = nearest(Fraction(float(group)), 24) if np.isfinite(group) else group
            total = np.float64(total) + group
        total = nearest(Fraction(float(total)), 24) if np.isfinite(total) else total
    return float(total)


@pytest.mark.parametrize("terms", [1, 2, 31, 32, 33, 65, 128])
@pytest.mark.parametrize("kind", ["usual", "wide", "small", "large"])
def test_products_are_those_of_exact_fused_multiply_adds(kind, terms, rng):
    shapes = (3, terms), (terms, 4)
    if kind == "usual":
        a, b = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    elif kind == "wide":
        a, b = (wide(rng, shape) for shape in shapes)
    else:  # products next to the smallest, or the largest number
        power = -63 if kind == "small" else 62
        a, b = ((rng.normal(size=shape) * 2.0**power).astype(np.float32) for shape in shapes)
    with np.errstate(all="ignore"):
        found = bf16.product(a, b)
    rows = [[Fraction(float(v)) for v in row] for row in bf16.rounded(a)]
    columns = [[Fraction(float(v)) for v in column] for column in bf16.rounded(b).T]
    expected = [[exact_product(row, column) for column in columns] for row in rows]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_a_fused_multiply_add_rounds_once_at_the_edge_of_the_small_numbers():
    """Just below the smallest normal number, what is nearer to it than to the next one below is not small."""
    least = 2.0**-126
    for part, expected in ((2.0**-151, least), (1.5 * 2.0**-151, 0.0), (2.0**-152, least)):
        a = np.array([[least, -part * 2.0**60]], np.float32)
        b = np.array([[1.0], [0.0], [2.0**-60]], np.float32)
        a3 = np.array([[a[0, 0], 0.0, a[0, 1]]], np.float32)  # both in the even chain
        assert bf16.product(a3, b)[0, 0] == np.float32(expected)


def test_infinity_and_nan_pass_through():
    a = np.array([[np.inf, 1.0, 0.0], [np.nan, 0.0, 0.0], [np.inf, 0.0, -np.inf]], np.float32)
    with np.errstate(invalid="ignore"):
        assert [str(v) for v in bf16.product(a, np.ones((3, 1), np.float32))[:, 0]] == ["inf", "nan", "nan"]
        assert np.isnan(bf16.product(a[:1], np.zeros((3, 1), np.float32))[0, 0])
