"""The rows and the step of a batch in the reference engine, for any number of rows, batch size and accumulation."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastreg.engines.base import Feed, Tally
from fastreg.engines.batch import batch_at


@st.composite
def epochs(draw):
    """The batches of an epoch, their number per step, the order of the rows, and the weights."""
    rows, size, accumulate = draw(st.integers(1, 60)), draw(st.integers(1, 70)), draw(st.integers(1, 9))
    random = np.random.default_rng(draw(st.integers(0, 100)))
    order = draw(st.sampled_from([None, random.permutation(rows)]))
    weights = draw(st.sampled_from([None, random.integers(0, 4, rows).astype(float)]))
    feed = Feed(np.zeros((rows, 1)), size, targets=np.zeros((rows, 1)), order=order, weights=weights)
    batches = [batch_at(i, feed, Tally(), accumulate, np.dtype("float64")) for i in range(feed.batches)]
    return batches, accumulate, np.arange(rows) if order is None else order, weights


@given(epochs())
def test_batches_are_the_rows_in_order(epoch):
    batches, _, order, weights = epoch
    data = np.arange(len(order))
    np.testing.assert_array_equal(np.concatenate([data[batch.rows] for batch in batches]), order)
    assert [batch.position for batch in batches] == [0, *np.cumsum([batch.count for batch in batches])[:-1]]
    expected = np.ones(len(order)) if weights is None else weights[order]
    np.testing.assert_array_equal(np.concatenate([batch.weights[0] for batch in batches]), expected)
    for batch in batches:
        assert [batch.row_of_data(i) for i in range(batch.count)] == list(data[batch.rows])


@given(epochs())
def test_a_step_is_a_group_of_batches(epoch):
    batches, accumulate, _, _ = epoch
    steps = [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]
    for step in steps:
        assert [batch.opens for batch in step] == [True] + [False] * (len(step) - 1)
        assert [batch.closes for batch in step] == [False] * (len(step) - 1) + [True]
        assert {batch.step_rows for batch in step} == {sum(batch.count for batch in step)}
        assert {batch.step_weights[0] for batch in step} == {sum(batch.weights[0].sum() for batch in step)}
