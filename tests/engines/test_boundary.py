"""What is passed to C: its sizes are checked, and no array whose address C has can move."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.engines.base import Feed, Tally
from fastreg.machine import _core

X = np.random.default_rng(0).standard_normal((20, 4)).astype("f4")
Y = np.arange(20) % 3


def model():
    return fr.Sequential([fr.Dense(5, "tanh"), fr.Dense(3)])


def feed(rows=10, batch_size=4, sources=(X[:10],), labels=Y[:10], shares=None, weights=None, out=None, **more):
    heads = [(labels, None if shares is None else _core.Source(shares), weights, out)]
    named = {"order": None, "rates": np.ones(3)} | more
    order, rates = named.pop("order"), named.pop("rates")
    return _core.Feed(rows, batch_size, 0, 0, [_core.Source(one) for one in sources], heads, order, rates, **named)


def order(*rows):
    return np.array([*rows, *range(10 - len(rows))], np.int64)


SHORT = {
    "rates": ({"rates": np.ones(2)}, r"rates: got shape \(2,\), expected at least 3 rows"),
    "decays": ({"decays": np.ones(2)}, r"decays: got shape \(2,\)"),
    "order": ({"order": np.arange(9)}, r"order: got shape \(9,\), expected at least 10 rows"),
    "row of another": ({"order": order(10)}, "a source: got 10 rows, expected at least 11"),
    "row beyond all": ({"order": order(2**63 - 1)}, "order: got rows 0 to 9223372036854775807"),
    "row below": ({"order": order(-1)}, "order: got rows -1 to 8"),
    "labels": ({"labels": Y[:9]}, "labels: got shape"),
    "weights": ({"weights": np.ones(9, "f4")}, "weights: got shape"),
    "shares": ({"labels": None, "shares": np.ones((9, 3))}, "a source: got 9 rows"),
    "out": ({"out": np.ones((9, 3), "f4")}, "out: got shape"),
    "inputs": ({"sources": (X[:9],)}, "a source: got 9 rows, expected at least 10"),
    "no rows": ({"rates": np.array(1.0)}, r"rates: got shape \(\)"),
    "batch size": ({"batch_size": 0}, "got 10 rows in batches of 0"),
}


@pytest.mark.parametrize("case", SHORT)
def test_what_is_too_short_is_refused(case):
    change, message = SHORT[case]
    feed()
    with pytest.raises(ValueError, match=message):
        feed(**change)


def test_rates_cannot_be_resized_by_a_callback():
    class Resizes(fr.Callback):
        def on_rates(self, epoch, rates):
            rates.resize(1, refcheck=False)

    trainer = fr.Trainer(model())
    with pytest.raises(ValueError, match="resize"):
        trainer.fit(X, Y, epochs=2, batch_size=4, callbacks=[Resizes()])
    assert len(trainer.fit(X, Y, epochs=2, batch_size=4)["loss"]) == 2


def test_rates_of_another_shape_are_refused():
    class Reshapes(fr.Callback):
        def on_rates(self, epoch, rates):
            rates.shape = (1, 5)

    trainer = fr.Trainer(model())
    with pytest.raises(ValueError, match=r"rates: got shape \(1, 5\), expected at least 5 rows"):
        trainer.fit(X, Y, batch_size=4, callbacks=[Reshapes()])
    assert len(trainer.fit(X, Y, batch_size=4)["loss"]) == 1


def bases(array):
    """An array and what it is a view of."""
    while isinstance(array, np.ndarray):
        yield array
        array = array.base


def test_nothing_that_c_reads_can_move():
    """Each array that a callback or a layer in Python can reach, and what it is a view of."""
    x = X.copy()
    tried = []

    def move(*arrays):
        for owner in (owner for array in arrays for owner in bases(array)):
            tried.append(owner)
            with pytest.raises(ValueError, match="resize"):
                owner.resize(10**6, refcheck=False)

    class Resizes(fr.Callback):
        def on_slice_end(self, batches, logs):
            move(x, *self.trainer.model.parameters.values(), *self.trainer.optimizer_state.values())

    expected, trainer = fr.Trainer(model(), optimizer="adam"), fr.Trainer(model(), optimizer="adam")
    told = expected.fit(X, Y, epochs=3, batch_size=4)
    history = trainer.fit(x, Y, epochs=3, batch_size=4, callbacks=[Resizes()])
    assert history["loss"] == told["loss"] and len(tried) > 30
    with trainer._session("train", 4, 20, True) as session:
        engine = session.engine
        move(engine.clip, session.parameters.flat, *engine.buffers.values(), *engine.gradients.values())


@pytest.mark.parametrize("label", [3, 10**9, 2**62])
@pytest.mark.parametrize("settings", [{}, {"mixup": 0.5}, {"loss": "categorical_hinge"}, {"loss": "softmax_focal"}])
def test_labels_that_are_no_classes_are_not_used_as_places(label, settings):
    """A fit checks labels and copies them. A callback can still change the copy."""
    trainer = fr.Trainer(model(), **settings)
    trainer.fit(X, Y, batch_size=4)
    with trainer._session("train", 4, 20, True) as session:
        engine = session.engine
    tally = Tally()
    engine.run(Feed(X, 4, np.full(20, label), rates=np.full(5, 0.1)), tally, 0, 5)
    assert tally.diverged != bool(settings.get("mixup"))  # mixed with another, such a label is no class at all


def test_a_run_checks_what_it_is_asked_for():
    trainer = fr.Trainer(model())
    trainer.fit(X, Y, batch_size=4)
    with trainer._session("train", 4, 20, True) as session:
        engine = session.engine
    data = Feed(X, 4, Y.astype(np.int64), rates=np.zeros(5))
    for first, stop in ((0, 6), (-1, 3)):
        with pytest.raises(ValueError, match="which there are not"):
            engine.run(data, Tally(), first, stop)
    with pytest.raises(TypeError, match="an array of float32 was expected, got float64"):
        engine.run(Feed(X, 4, Y.astype(np.int64), np.ones(20), rates=np.zeros(5)), Tally(), 0, 5)
    assert engine.run(data, Tally(), 0, 5) == 5


def overlapping(dtype="f4", shape=(4, 32), strides=(64, 4)):
    return np.lib.stride_tricks.as_strided(np.ones(1000, dtype), shape, strides)


@pytest.mark.parametrize("module", [fr.kernels, fr.reference], ids=["kernels", "reference"])
def test_overlapping_rows_are_read_but_not_written(module):
    x, w = overlapping(), np.eye(32, dtype="f4")
    np.testing.assert_array_equal(module.dense(x, w), np.ones((4, 32)))
    with pytest.raises(ValueError, match=r"out: got overlapping rows \(strides \(64, 4\) for shape \(4, 32\)\)"):
        module.dense(np.ones((4, 32), "f4"), w, out=overlapping())
    with pytest.raises(ValueError, match="w: got overlapping rows"):
        module.sgd_update(overlapping(), np.ones((4, 32), "f4"), 0.1)
    every = overlapping(strides=(4, 16))  # columns of 4 rows each: interleaved, without any overlap
    module.sgd_update(every, np.ones((4, 32), "f4"), 0.5)
    np.testing.assert_array_equal(every, np.full((4, 32), 0.5, "f4"))
    crossed = overlapping(shape=(3, 2), strides=(8, 12))  # places 0, 12, 8, 20, 16, 28 of 4 bytes: strange, but apart
    module.sgd_update(crossed, np.ones((3, 2), "f4"), 0.5)
    np.testing.assert_array_equal(crossed, np.full((3, 2), 0.5, "f4"))
