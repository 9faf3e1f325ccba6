"""The native engine on what makes a step: two passes, accumulation, clipping, max-norm, frozen layers, calls. That the
programs agree with the reference, for all threads and targets, is in test_native.py."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from networks import ADAM, CLASSIFY, LABELS, MORE, NESTEROV, PLAIN, REGRESS, RMSPROP, Case, Network, assert_close

from fastreg import kernels
from fastreg.engines.base import Tally
from fastreg.engines.native import NativeEngine
from fastreg.engines.reference import ReferenceEngine
from fastreg.layers import Dense, Function
from fastreg.machine import _core
from fastreg.program.riders import PURPOSE_DROPOUT, Noise, Penalty, stream
from fastreg.program.rules import Rule

ENGINES = {"native": NativeEngine, "reference": ReferenceEngine}
RULES = {
    **{name: network.rule for name, network in PLAIN.items()},
    **{name: MORE[name].rule for name in ("rmsprop", "rmsprop_momentum")},
    "adam, everything": replace(
        ADAM,
        penalty=replace(ADAM.penalty, l1=1e-3, l1_per_row=True),
        **{"weight_decay": 0.01, "clip_value": 1e-2, "max_norm": 0.9},
    ),
    "nesterov, everything": replace(
        NESTEROV, penalty=Penalty(1e-3, 1e-2), non_negative=True, max_norm=0.9, max_frobenius=1.5
    ),
}

CONSTRAINTS = {"rule": {"max_frobenius": 3.0}}, {"rule": {"non_negative": True}}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


@pytest.mark.parametrize("network", [CLASSIFY, REGRESS, LABELS], ids=["classify", "regress", "labels"])
def test_the_second_pass_has_the_bits_of_the_fused_one(network, rule, dtype):
    """Also after a clipping that does not clip."""
    fused = replace(network, rule=rule)
    expected, tally = Case(fused, dtype).bits(2)
    for options in ({"two_passes": True}, {"clip_norm": 1e30}):
        got, other = Case(replace(fused, **options), dtype).bits(2)
        assert got == expected, options
        assert other.penalty == pytest.approx(tally.penalty, rel=1e-14)  # added in another order of the parameters
        assert replace(other, penalty=0) == replace(tally, penalty=0), options


@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_accumulated_batches_are_one_large_one(rule, accumulate):
    """Without dropout, whose masks belong to the rows of a batch. The last step is smaller, and rows are weighted."""
    layers = [layer for layer in CLASSIFY.layers if isinstance(layer, Dense)]
    network = replace(CLASSIFY, layers=layers, rule=rule, clip_norm=0.5)
    weights = np.random.default_rng(4).random(150)
    small, large = Case(replace(network, accumulate=accumulate), "float64", 150, 16), Case(network, "float64")
    large.batch = 16 * accumulate
    tally, ours = small.train(NativeEngine, 2, feed=small.feed(weights=weights))
    expected, theirs = large.train(NativeEngine, 2, feed=large.feed(weights=weights))
    assert_close(ours, theirs, 1e5)
    assert (tally.batches, tally.updates) == (expected.batches, expected.updates)
    assert tally.penalty == pytest.approx(expected.penalty, rel=1e-10)
    assert tally.weight == pytest.approx(expected.weight, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 31, 33, 47, 97])
def test_ragged_epochs(rows, weighted):
    """Any number of batches in the last step. Some steps and batches have no weight."""
    for accumulate in (1, 2, 3, 4):
        case = Case(replace(CLASSIFY, rule=replace(ADAM, eps=1e-3), accumulate=accumulate), "float64", rows, 8)
        weights = np.random.default_rng(rows).integers(0, 2, rows).astype(float) if weighted else None
        if weighted:
            weights[8:24] = 0
        feed = case.feed(weights=weights, order=None)
        tally, ours = case.train(NativeEngine, 2, feed=feed)
        expected, theirs = case.train(ReferenceEngine, feed=feed)
        assert_close(ours, theirs, 1e4)
        assert (tally.batches, tally.updates) == (expected.batches, expected.updates)
        assert (tally.loss, tally.penalty) == pytest.approx((expected.loss, expected.penalty), rel=1e-10)


def test_a_slice_may_end_within_a_step(dtype):
    case = Case(CLASSIFY.but(accumulate=3, clip_norm=0.1), dtype, 150, 16)
    expected, _ = case.bits(2)
    engine, feed, tally = case.engine(NativeEngine, 2), case.feed(), Tally()
    for _ in range(2):
        for batch in range(feed.batches):
            assert engine.run(feed, tally, batch, feed.batches, seconds=1e-9) == batch + 1
    assert b"".join(a.tobytes() for a in case.arrays().values()) == expected


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("units", [1, 10, 64, 130])
def test_no_column_is_ever_over_the_limit(kind, units, accumulate, dtype):
    rule, limit = Rule("momentum", momentum=0.9, max_norm=0.75), 0.75
    network = Network(200, [Dense(units, "relu"), Dense(3)], "mse", rule, accumulate=accumulate)
    case = Case(network, dtype, batch=16)
    engine, tally = case.engine(ENGINES[kind]), Tally()
    feed = case.feed(rates=np.full(10, 0.5))
    reached = 0
    for batch in range(feed.batches):
        engine.run(feed, tally, batch, batch + 1)
        if tally.updates == 0:
            continue
        for name in ("0.weight", "1.weight"):
            norms = np.linalg.norm(case.params[name].astype(np.float64), axis=0)
            assert norms.max() <= limit * (1 + 1e-6)
            reached += np.count_nonzero(norms > limit * (1 - 1e-6))
    assert reached > 0


def test_clipping_does_clip(dtype):
    """The parity tests would pass even if it did not."""
    plain = Case(CLASSIFY, dtype).bits(1)[0]
    for options in ({"rule": {"clip_value": 1e-3}}, {"clip_norm": 0.05}, {"rule": {"max_norm": 0.8}}, *CONSTRAINTS):
        assert Case(CLASSIFY.but(**options), dtype).bits(1)[0] != plain
    case = Case(CLASSIFY.but(clip_norm=0.05), dtype)
    engine = case.engine(NativeEngine, 2)
    engine.run(case.feed(), Tally(), 0, 1)
    assert 0 < engine.clip[0] < 0.5
    squares = sum(np.square(g, dtype=np.float64).sum() for g in engine.gradients.values())
    assert engine.clip[0] == pytest.approx(0.05 / (np.sqrt(squares) + 1e-6), rel=1e-5)


def test_frozen_layers_stay(dtype):
    for frozen in (("1", "3"), ("7",), ("3",)):
        case = Case(CLASSIFY.but(frozen=frozen), dtype)
        case.engine()
        before = {name: w.copy() for name, w in case.params.items()}
        _, after = case.train(NativeEngine, 2)
        for name, w in before.items():
            assert np.array_equal(after[name], w) == (name.split(".")[0] in frozen), name


def test_penalties_count_under_stored_gradients(dtype):
    """Both engines add up the penalty of a program that only looks at gradients."""
    network = CLASSIFY.but({"kind": "gradient", "penalty": CLASSIFY.rule.penalty.in_gradient})
    tallies = [Case(network, dtype).train(kind)[0] for kind in ENGINES.values()]
    assert tallies[0].penalty == pytest.approx(tallies[1].penalty, rel=1e-5)
    assert tallies[0].penalty > 0 and tallies[0].updates == tallies[1].updates == 0


def test_noise_belongs_to_the_global_step(dtype):
    """The draws inside a program are those of fill_draws, in each batch."""
    case = Case(MORE["noise"], dtype)
    engine, feed = case.engine(NativeEngine, 2), case.feed(order=None)
    elementwise = next(op for op in engine.program.ops if getattr(op, "noise", None) and op.mask)  # the input's
    assert elementwise.noise == Noise(0.3, stream(3, 1)) and elementwise.mask.stream == stream(PURPOSE_DROPOUT, 2)
    for batch in range(3):
        engine.run(feed, Tally(), batch, batch + 1)
        rows = slice(64 * batch, min(64 * batch + 64, 150))
        count = rows.stop - rows.start
        draws = np.empty((count, 37), dtype)
        _core.fill_draws(draws, feed.seed, (feed.step + batch) % 2**32, elementwise.noise.stream)
        mean, scale = (np.array(case.params[f"0.{name}"]) for name in ("mean", "scale"))
        expected = (case.X[rows] - mean) * scale + np.asarray(0.3, dtype) * draws
        got = engine.buffers["inputs"][:count]
        kept = got != 0
        assert 0.7 < kept.mean() < 0.9
        scaled = expected * np.asarray(elementwise.mask.scale, dtype)
        np.testing.assert_allclose(got[kept], scaled[kept], rtol=0, atol=20 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("kind", ENGINES)
def test_a_run_that_diverges_returns_the_batch_that_did(kind, dtype):
    case = Case(CLASSIFY, dtype)
    engine, tally = case.engine(ENGINES[kind]), Tally()
    assert engine.run(case.feed(rates=np.array([1e300, 0.1, 0.1])), tally, 0, 3) == 1
    assert tally.diverged and tally.bad_row == -1


# --- calls ---------------------------------------------------------------------------------------------------------


class Failing:
    """A layer that fails from its n-th call on, forward or back."""

    def __init__(self, error, after=2, where="forward"):
        self.error, self.left, self.where = error, after, where

    def _tick(self, where):
        if where == self.where:
            self.left -= 1
            if self.left < 0:
                raise self.error

    @property
    def layer(self):
        def forward(x):
            self._tick("forward")
            return x * 2

        def backward(dy, x, y):
            self._tick("backward")
            return dy * 2

        return Function(forward, backward)


def within(seconds, function):
    """Runs it with a time limit: an engine that hangs fails the test, not the whole run."""
    result = []

    def guarded():
        try:
            result.append(function())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "the engine hangs"
    return result[0]


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_an_exception_of_a_call_comes_out_and_the_next_run_works(kind, where, error):
    options = () if kind == "reference" else (3,)
    network = Network(6, [Dense(9, "tanh"), None, Dense(70), None, Dense(3)], "mse", ADAM)
    failing = Failing(error, where=where)
    network.layers[1] = network.layers[3] = failing.layer
    case = Case(network, "float32", batch=16)
    engine, feed, tally = case.engine(ENGINES[kind], *options), case.feed(), Tally()
    assert within(60, lambda: engine.run(feed, tally, 0, feed.batches)) is error
    assert tally.batches == tally.updates == 1  # two calls a batch
    failing.left = 10**9
    other = Case(network, "float32", batch=16)
    other.engine()
    for name, array in case.arrays().items():  # from the start, with the engine that failed
        array[...] = other.arrays()[name]
    tally = Tally()
    for _ in range(2):
        assert within(60, lambda: engine.run(feed, tally, 0, feed.batches)) == feed.batches
    assert (tally.batches, tally.updates) == (20, 20)
    _, expected = other.train(ENGINES[kind], *options)
    for name, array in case.arrays().items():
        np.testing.assert_array_equal(array, expected[name])


def test_a_call_that_fails_right_after_another_does_not_hang():
    """Workers that reach the barrier before the call late must not take its failure for that of an earlier op."""
    slow = Function(lambda x: time.sleep(0.001) or x, lambda dy, x, y: dy)
    network = Network(6, [Dense(3), slow, Failing(RuntimeError("mine"), after=0).layer], "mse", ADAM)
    for n in (2, 3, 5):
        case = Case(network, "float32", batch=16)
        engine, feed = case.engine(NativeEngine, n), case.feed()
        for _ in range(100):
            assert isinstance(within(60, lambda: engine.run(feed, Tally(), 0, feed.batches)), RuntimeError)  # noqa: B023


def test_a_call_runs_on_the_thread_of_the_caller_and_may_use_fastreg():
    """The pool is busy, so kernels within a call run on one thread."""
    threads_seen, w = set(), np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)

    def forward(x):
        threads_seen.add(threading.current_thread())
        return kernels.dense(x, w)

    layer = Function(forward, lambda dy, x, y: kernels.dense_backward(dy, x, w, y)[0])
    network = Network(6, [Dense(9, "tanh"), layer, Dense(3)], "mse", RMSPROP)
    plain = Function(lambda x: x @ w, lambda dy, x, y: dy @ w.T)
    _, ours = Case(network, "float32").train(NativeEngine, 2)
    _, theirs = Case(replace(network, layers=[Dense(9, "tanh"), plain, Dense(3)]), "float32").train(NativeEngine, 2)
    assert threads_seen == {threading.current_thread()}
    assert_close(ours, theirs)


def test_calls_see_the_rows_of_the_batch():
    shapes = []
    spy = Function(lambda x: shapes.append(x.shape) or x, lambda dy, x, y: shapes.append((dy.shape, x.shape)) or dy)
    for kind in ENGINES.values():
        shapes.clear()
        Case(Network(6, [Dense(9), spy, Dense(3)], "mse", ADAM), "float32", rows=20, batch=16).train(kind)
        epoch = [(16, 9), ((16, 9), (16, 9)), (4, 9), ((4, 9), (4, 9))]
        assert shapes == 2 * epoch
