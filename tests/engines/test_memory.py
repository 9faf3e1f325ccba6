"""The arrays that kernels work on: aligned, padded, zero, and otherwise like any array."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastreg.engines.memory import CACHE_LINE, LANES, padded, padded_width

dtypes = st.sampled_from(["float32", "float64"])


@given(st.tuples(st.integers(0, 20), st.integers(1, 600)), dtypes)
def test_rows_begin_on_cache_lines_and_have_room_for_whole_vectors(shape, dtype):
    array = padded(shape, dtype)
    assert array.shape == shape and array.dtype == dtype
    step, item = array.strides
    assert item == array.itemsize and array.ctypes.data % CACHE_LINE == 0
    assert step % (LANES * item) == 0 and step >= shape[1] * item and step % 512
    whole = np.lib.stride_tricks.as_strided(array, (shape[0], step // item))
    assert not whole.any()


@given(st.integers(1, 600), dtypes)
def test_a_vector_is_a_row(columns, dtype):
    array = padded((columns,), dtype)
    assert array.shape == (columns,) and array.dtype == dtype and array.flags.c_contiguous
    assert array.ctypes.data % CACHE_LINE == 0 and not array.any()


@given(st.integers(1, 10**6), st.sampled_from([4, 8]))
def test_padding_is_at_most_two_vectors(columns, itemsize):
    assert columns <= padded_width(columns, itemsize) < columns + 2 * LANES
