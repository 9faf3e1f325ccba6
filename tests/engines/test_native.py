"""The native engine, program by program: against the reference engine, and against itself for any number of threads,
any SIMD target with fused multiply-add, any handing-out of tiles, any batch in which a row sits."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from networks import ADAM, MOMENTUM, MORE, PLAIN, YOUNGER, Case, Network, assert_close

import fastreg as fr
from fastreg.engines.base import Tally
from fastreg.engines.native import NativeEngine
from fastreg.engines.reference import ReferenceEngine
from fastreg.layers import Dense, Dropout
from fastreg.machine import threads
from fastreg.program.rules import Rule

TARGETS = threads.simd()["available"]
FUSED = [name for name in TARGETS if name != "generic"]
NETWORKS = PLAIN | MORE | YOUNGER


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weighted", [False, True])
def test_against_the_reference(network, dtype, target, weighted, restore_target):
    threads.use_simd(target)
    case = Case(network, dtype)
    weights = np.random.default_rng(4).integers(0, 3, 150).astype(dtype) if weighted else None
    feed = case.feed(weights=weights)
    native, ours = case.train(NativeEngine, 2, feed=feed)
    reference, theirs = case.train(ReferenceEngine, feed=feed)
    assert_close(ours, theirs)
    eps = float(np.finfo(dtype).eps)
    for field in ("loss", "weight", "penalty", "hits"):
        assert getattr(native, field) == pytest.approx(getattr(reference, field), rel=200 * eps), field
    assert (native.batches, native.updates) == (reference.batches, reference.updates)
    assert native.updates == 2 * -(-3 // network.accumulate)


def test_same_bits_for_any_number_of_threads(network, dtype):
    case = Case(network, dtype)
    expected, tally = case.bits(1)
    for options in ({}, {"n_threads": 2}, {"n_threads": 3}, {"n_threads": 7}, {"n_threads": 3, "scramble": 77}):
        options = {"n_threads": 1} | options
        got, other = case.bits(**options)
        assert got == expected, options
        assert other == tally, options


def test_same_bits_for_every_fused_target(network, dtype, restore_target):
    if len(FUSED) < 2:
        pytest.skip("needs two SIMD targets with fused multiply-add")
    case = Case(network, dtype)
    results = []
    for target in FUSED:
        threads.use_simd(target)
        results.append(case.bits(2))
    assert all(result == results[0] for result in results)


def test_the_padding_of_a_parameter_stays_zero(network, dtype):
    case = Case(network, dtype)
    case.train(NativeEngine, 2)
    for name, array in case.arrays().items():
        memory = array
        while memory.base is not None:
            memory = memory.base
        array[...] = 0
        assert not memory.any(), name


def test_same_bits_whether_rows_or_columns_are_shared(network, dtype):
    expected = Case(network, dtype).bits(1)
    for small in (0, 100, 10**9):
        for n_threads, scramble in ((2, 0), (3, 5), (200, 0)):  # more threads than rows, too
            assert Case(network, dtype, small=small).bits(n_threads, scramble) == expected


@pytest.mark.parametrize("scramble", [1, 2, 3])
def test_large_layers_hand_out_tiles(scramble):
    """Ops long enough for tiles from a counter, sums long enough for several goes and chains."""
    layers = [Dense(300, "relu"), Dropout(keep_prob=0.5), Dense(5)]
    case = Case(Network(4200, layers, "softmax_cross_entropy", ADAM), "float32", rows=300, batch=300)
    expected = case.bits(1)
    assert case.bits(2) == expected
    assert case.bits(3, scramble) == expected


SHARED = [  # every kind of epilogue behind columns that do not fill panels
    *(Dropout(keep_prob=0.8), Dense(200, "sigmoid"), Dropout(keep_prob=0.5)),
    *(Dense(335, "gelu", preactivation_noise=0.1), Dropout(rate=0.3, kind="gaussian"), Dense(129, "tanh")),
    *(Dense(250, "relu"), Dropout(keep_prob=0.7), Dense(10)),
]


# Adam's eps is large because it divides the rounding of a gradient by its size
RULES = [Rule("sgd"), replace(ADAM, eps=0.1), replace(MOMENTUM, max_norm=0.8)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@pytest.mark.slow
def test_shares_end_between_any_columns(rule, dtype):
    """Whole units of columns for each worker, and units that several share, with and without sums over the columns."""
    case = Case(Network(70, SHARED, "softmax_cross_entropy", rule), dtype, small=0)
    expected = case.bits(1)
    for options in ({"n_threads": 2}, {"n_threads": 3}, {"n_threads": 5}, {"n_threads": 3, "scramble": 7}):
        assert case.bits(**options) == expected, options
    _, ours = case.train(NativeEngine, 3)
    _, theirs = case.train(ReferenceEngine)
    assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 127])
def test_awkward_numbers_of_rows(rows):
    for network in NETWORKS.values():
        case = Case(network, "float64", rows=rows)
        _, ours = case.train(NativeEngine, 2)
        _, theirs = case.train(ReferenceEngine)
        assert_close(ours, theirs, 5000)


@pytest.mark.parametrize("source", ["u1", "i1", "u2", "i2", "i4", "i8", "f4", "f8", "f2", ">f8", "?"])
def test_inputs_of_every_dtype(source, dtype):
    case = Case(PLAIN["classify"], dtype)
    X = np.random.default_rng(6).integers(0, 2 if source == "?" else 100, case.X.shape).astype(source)
    expected, _ = case.bits(1, feed=case.feed(X.astype(dtype)))
    got, _ = case.bits(2, feed=case.feed(X))
    assert got == expected


def test_inputs_of_all_strides(tmp_path, dtype):
    case = Case(PLAIN["classify"], dtype)
    X = case.X
    expected, _ = case.bits(1)
    wide = np.zeros((300, 74), dtype)
    wide[::2, ::2] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    images = np.asfortranarray(X.reshape(150, 37, 1))
    channels_last = np.ascontiguousarray(X.reshape(150, 1, 37).transpose(0, 2, 1)).transpose(0, 2, 1)
    for same in (wide[::2, ::2], X[::-1].copy()[::-1], np.asfortranarray(X), frozen, mapped, images, channels_last):
        got, _ = case.bits(2, feed=case.feed(same))
        assert got == expected
    broadcast = np.broadcast_to(X[:1], X.shape)
    assert case.bits(2, feed=case.feed(broadcast)) == case.bits(1, feed=case.feed(broadcast.copy()))


def test_a_bad_row_is_named_and_nothing_is_learnt(dtype):
    case = Case(PLAIN["classify"], dtype)
    X = case.X.copy()
    X[41, 3], X[97, 0] = np.inf, np.nan
    feed = case.feed(X)
    first = min(np.flatnonzero(np.isin(feed.order, (41, 97))))
    for n in (1, 2, 3):
        engine, tally = case.engine(NativeEngine, n), Tally()
        before = {name: array.copy() for name, array in case.params.items()}
        reached = engine.run(feed, tally, first // 64, feed.batches)
        assert tally.bad_row == feed.order[first]
        assert reached == first // 64
        for name, array in case.params.items():
            np.testing.assert_array_equal(array, before[name])


def test_a_batch_of_zero_weight_takes_no_step(dtype):
    for network in PLAIN.values():
        case = Case(network, dtype)
        weights = np.ones(150, dtype)
        weights[64:128] = 0
        tally, whole = case.train(NativeEngine, 2, feed=case.feed(weights=weights, order=None))
        assert tally.updates == 4 and tally.weight == 2 * 86
        _, theirs = case.train(ReferenceEngine, feed=case.feed(weights=weights, order=None))
        assert_close(whole, theirs)


def test_slices_give_the_bits_of_one_run(network, dtype):
    case = Case(network, dtype)
    expected, _ = case.bits(2)
    engine, feed, tally = case.engine(NativeEngine, 2), case.feed(), Tally()
    for _ in range(2):
        batch = 0
        while batch < feed.batches:
            batch = engine.run(feed, tally, batch, feed.batches, seconds=1e-9)  # one batch a slice
    assert b"".join(a.tobytes() for a in case.arrays().values()) == expected


def test_a_new_engine_goes_on_with_the_same_bits(dtype):
    """Adam's powers of beta follow from the number of updates alone."""
    case = Case(PLAIN["regress"], dtype)
    expected, _ = case.bits(1)
    engine, feed, tally = case.engine(NativeEngine, 1), case.feed(), Tally()
    engine.run(feed, tally, 0, feed.batches)
    other = NativeEngine(engine.program, case.params, case.state, case.batch, dtype, 2)
    other.run(feed, Tally(updates=tally.updates), 0, feed.batches)
    assert b"".join(a.tobytes() for a in case.arrays().values()) == expected


def test_predictions_do_not_depend_on_the_batch(dtype):
    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(333, 20)), rng.integers(0, 7, 333)
    model = fr.Sequential([fr.Dense(70, "relu"), fr.Dropout(keep_prob=0.5), fr.Dense(33, "gelu"), fr.Dense(7)])
    trainer = fr.Trainer(model, optimizer=fr.Adam(1e-2), dtype=dtype)
    trainer.fit(X, y, epochs=2)
    whole = model.predict(X, batch_size=333)
    for batch in (1, 2, 7, 64, 100, 1000):
        assert model.predict(X, batch_size=batch).tobytes() == whole.tobytes()
    assert np.concatenate([model.predict(X[i : i + 1]) for i in range(333)]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("updates", [0, 1, 7, 3000, 800_000, 2**60])
@pytest.mark.parametrize("optimizer", [fr.Adam(0.01, beta2=0.99), fr.SGD(0.01, momentum=0.9)])
def test_any_number_of_updates_may_have_been_made(optimizer, updates):
    """Powers of beta are products, step by step, until a step changes nothing. So a huge count from a damaged file
    costs no more time."""
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=optimizer)
    trainer.updates = updates
    X = np.eye(2)
    trainer.fit(X, np.arange(2))
    assert trainer.updates == updates + 1
    with trainer._session("train", 2, 2, True) as session:
        betas = (0.9, 0.99, 0.0) if isinstance(optimizer, fr.Adam) else (0.0, 0.0, 0.0)
        for power, beta in zip(session.engine._powers, betas, strict=True):
            expected = math.prod([beta] * min(updates + 1, 100_000), start=1.0)
            assert power == (expected if expected >= sys.float_info.min else 0)
