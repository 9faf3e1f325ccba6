"""Handing out the parts of an op: each one exactly once, in whatever order workers ask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastreg.machine import _core

UNIT = 16  # columns that no share cuts

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
scrambles = st.just(0) | st.integers(1, 2**64 - 1)


@st.composite
def crews(draw, most=40):
    """A number of workers, and an order in which they ask."""
    workers = draw(st.integers(1, 8) | st.integers(9, most))
    return workers, draw(st.lists(st.integers(0, workers - 1), max_size=150))


def order_of(crew, parts):
    """At the end each worker asks often enough to get all parts, and then nothing."""
    workers, begin = crew
    return np.array([*begin, *range(workers)] + [id for id in range(workers) for _ in range(parts)], np.int32)


@given(crews(), shapes, st.integers(1, 8), st.integers(1, 8), st.booleans(), scrambles)
def test_every_tile_is_handed_out_once(crew, shape, weight, last, dynamic, scramble):
    count = shape[0] * shape[1]
    got = _core.hand_out_tiles(crew[0], order_of(crew, count), dynamic, scramble, *shape, weight, min(last, weight))
    assert sorted(got[got >= 0]) == list(range(count))


@given(crews(), shapes, st.integers(1, 8), st.integers(1, 8))
def test_shares_of_a_short_op_follow_each_other_and_weigh_the_same(crew, shape, weight, last):
    """In whatever order they ask, a worker has the same tiles in each batch."""
    (panels, groups), last, workers = shape, min(last, weight), crew[0]
    order = order_of(crew, panels * groups)
    got = _core.hand_out_tiles(workers, order, False, 0, panels, groups, weight, last)
    shares = [got[(order == id) & (got >= 0)] for id in range(workers)]
    assert list(np.concatenate(shares)) == list(range(panels * groups))
    weights = np.array([weight] * (panels - 1) * groups + [last] * groups)
    ideal = weights.sum() / workers
    assert all(abs(weights[share].sum() - ideal) <= weight for share in shares)


@given(crews(), shapes, st.integers(1, 8))
def test_a_long_op_begins_with_the_share_of_a_short_one(crew, shape, last):
    """A worker that asks alone first gets its own share, in order, then the rest of the others' shares."""
    workers, order = crew[0], np.zeros(shape[0] * shape[1] + 1, np.int32)
    short, long = (_core.hand_out_tiles(workers, order, dynamic, 0, *shape, 8, last) for dynamic in (False, True))
    own = short[short >= 0]
    np.testing.assert_array_equal(long[: len(own)], own)
    assert sorted(long[:-1]) == list(range(shape[0] * shape[1])) and long[-1] == -1


@pytest.mark.parametrize("cut", ["panels", "rows", "blocks", "columns"])
@given(crew=crews(), columns=st.integers(1, 700), groups=st.integers(1, 12), dynamic=st.booleans())
def test_pieces_cover_a_result_once(cut, crew, columns, groups, dynamic):
    parts = -(-columns // UNIT) * groups
    got = _core.hand_out_pieces(crew[0], order_of(crew, parts), dynamic, 0, columns, groups, cut)
    covered = np.zeros((groups, columns), int)
    for column, width, first, last in got[got[:, 1] > 0]:
        assert column % UNIT == 0 and width <= _core.PANEL and column + width <= columns and last <= groups
        assert width % UNIT == 0 or column + width == columns
        covered[first:last, column : column + width] += 1
    assert (covered == 1).all()


@given(crew=crews(), units=st.integers(1, 45), groups=st.integers(1, 12))
def test_shares_in_columns_are_equal(crew, units, groups):
    """They differ by at most one group of one unit."""
    order = order_of(crew, units * groups)
    got = _core.hand_out_pieces(crew[0], order, False, 0, units * UNIT, groups, "columns")
    sizes = np.bincount(order, got[:, 1] // UNIT * (got[:, 3] - got[:, 2]), crew[0])
    assert sizes.max() - sizes.min() <= 1
