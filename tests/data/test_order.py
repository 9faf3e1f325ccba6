"""Orders of very many rows are made in pieces, and are those that NumPy makes at once."""

import numpy as np
import pytest

from fastreg.common.pieces import AT_ONCE, counted, taken
from fastreg.data import order
from fastreg.machine import _core

MANY = 2 * AT_ONCE + 12345


@pytest.mark.parametrize("count", [0, 1, 2, 1000, AT_ONCE, AT_ONCE + 1, AT_ONCE + 2, MANY])
def test_permutations(count):
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    np.testing.assert_array_equal(order.permutation(one, count), other.permutation(count))
    rows = np.arange(count) * 7
    np.testing.assert_array_equal(order.shuffled(one, rows), other.permutation(rows))
    assert one.bit_generator.state == other.bit_generator.state


CLASSES = {
    "int64": lambda rng: rng.integers(-3, 40, MANY),
    "uint8": lambda rng: rng.integers(0, 256, MANY, np.uint8),
    "bool": lambda rng: rng.random(MANY) < 0.01,
    "text": lambda rng: np.array(["a", "abc", "", "zebra"])[rng.integers(0, 4, MANY // 4)],
    "bytes": lambda rng: np.array([b"a", b"abc"])[rng.integers(0, 2, MANY)],
    "float": lambda rng: rng.integers(0, 9, MANY) / 2,
    "too many": lambda rng: rng.permutation(AT_ONCE + 5),
    "more than numbers of two bytes": lambda rng: rng.integers(0, 70000, MANY),
    "few": lambda rng: rng.integers(0, 3, 100),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_and_their_rows(kind):
    values = CLASSES[kind](np.random.default_rng(0))
    found, codes = order.coded(values)
    classes, expected, counts = np.unique(values, return_inverse=True, return_counts=True)
    np.testing.assert_array_equal(found, classes)
    assert found.dtype == classes.dtype
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(counted(codes, len(found)), counts)
    np.testing.assert_array_equal(order.by_code(codes, len(found)), np.argsort(expected, kind="stable"))


def test_rows_apart_and_together(rng):
    rows = rng.permutation(MANY)[: MANY // 3]
    others, chosen = order.apart(MANY, rows)
    np.testing.assert_array_equal(others, np.setdiff1d(np.arange(MANY), rows))
    np.testing.assert_array_equal(chosen, np.sort(rows))
    np.testing.assert_array_equal(order.joined([rows[:5], others, rows[:0]]), np.concatenate([rows[:5], others]))
    table = rng.random((MANY // 3, 3))
    np.testing.assert_array_equal(taken(table, rows % len(table)), table[rows % len(table)])


@pytest.mark.parametrize(("last", "partners"), [(5, [0]), (4, [5]), (4, [0, 4]), (4, [-1]), (1, [0, 0, 0])])
def test_exchanges_stay_within_the_order(last, partners):
    with pytest.raises(ValueError, match=r"^got .*partner"):
        _core.exchange(np.arange(5), last, np.array(partners))
