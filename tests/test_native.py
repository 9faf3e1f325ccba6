"""The native engine, program by program: against the reference engine, and against itself for any number of threads,
any SIMD target with fused multiply-add, any handing-out of tiles, any batch in which a row sits."""

from dataclasses import replace

import numpy as np
import pytest

import fastreg as fr
from fastreg import threads
from fastreg.engines import Feed, Tally
from fastreg.engines.native import NativeEngine
from fastreg.engines.reference import ReferenceEngine
from fastreg.layers import Dense, Dropout
from fastreg.lowering import lower
from fastreg.memory import padded
from fastreg.program import Rule

TARGETS = threads.simd()["available"]
FUSED = [name for name in TARGETS if name != "generic"]

MOMENTUM = Rule("momentum", momentum=0.9, l1=1e-3, l2=1e-2)
ADAM = Rule("adam", beta1=0.9, beta2=0.999, eps=1e-8, l2=1e-2, l2_per_row=True)
NESTEROV = Rule("nesterov", momentum=0.5, weight_decay=0.01)
SGD = Rule("sgd", l1=0.02, proximal=False)

# inputs, layers, loss, rule: dropout everywhere it can stand, also twice in a row and on the output
NETWORKS = {
    "classify": (
        37,
        [Dropout(keep_prob=0.8), Dense(65, "relu"), Dropout(keep_prob=0.5), Dense(129, "tanh"), Dropout(keep_prob=0.7)]
        + [Dense(64, "gelu"), Dropout(keep_prob=0.9), Dense(10)],
        "softmax_cross_entropy",
        MOMENTUM,
    ),
    "regress": (
        5,
        [Dense(64, "gelu_tanh"), Dense(7, "sigmoid"), Dropout(keep_prob=0.7), Dropout(keep_prob=0.6)]
        + [Dense(3, "relu"), Dropout(keep_prob=0.9)],
        "mse",
        ADAM,
    ),
    "labels": (131, [Dense(1, "leaky_relu"), Dropout(keep_prob=0.5), Dense(2)], "sigmoid_cross_entropy", NESTEROV),
    "twice": (6, [Dropout(keep_prob=0.5), Dropout(keep_prob=0.5), Dense(4, use_bias=False)], "mse", SGD),
}


class Case:
    """One network with its data; `engine` makes an engine on fresh parameters that are the same every time."""

    def __init__(self, name: str, dtype: str, rows: int = 150, batch: int = 64):
        self.n_inputs, layers, self.loss, self.rule = NETWORKS[name]
        self.layers = [replace(layer, name=str(i)) for i, layer in enumerate(layers)]
        self.dtype, self.batch = dtype, batch
        rng = np.random.default_rng(1)
        self.X = rng.normal(size=(rows, self.n_inputs)).astype(dtype)
        outputs = [layer.units for layer in layers if isinstance(layer, Dense)][-1]
        if self.loss == "softmax_cross_entropy":
            self.y = rng.integers(0, outputs, rows)
        else:
            self.y = (rng.random((rows, outputs)) > 0.5).astype(dtype)

    def engine(self, kind=NativeEngine, *options, rule=None, **named):
        rng = np.random.default_rng(2)
        self.params, self.state, rules = {}, {}, {}
        width = self.n_inputs
        for layer in self.layers:
            if not isinstance(layer, Dense):
                continue
            shapes = {"weight": (width, layer.units)} | ({"bias": (layer.units,)} if layer.use_bias else {})
            for part, shape in shapes.items():
                name = f"{layer.name}.{part}"
                self.params[name] = padded(shape, self.dtype)
                self.params[name][...] = rng.normal(size=shape) / np.sqrt(width)
                own = rule or self.rule
                rules[name] = own if part == "weight" else replace(own, l1=0.0, l2=0.0, weight_decay=0.0)
                self.state[name] = tuple(padded(shape, self.dtype) for _ in rules[name].slots)
            width = layer.units
        program = lower(self.layers, self.n_inputs, loss=self.loss, rules=rules, dropout=True)
        return kind(program, self.params, self.state, self.batch, self.dtype, *options, **named)

    def feed(self, X=None, **given):
        X = self.X if X is None else X
        order = np.random.default_rng(3).permutation(len(X))
        given = {"order": order, "rates": np.full(9, 0.05)} | given
        return Feed(X, self.batch, targets=self.y, seed=2**40 + 7, step=2**32 - 2, **given)

    def train(self, kind=NativeEngine, *options, feed=None, **named):
        """Two epochs; the tally, and all parameters and state as one dictionary."""
        engine, feed, tally = self.engine(kind, *options, **named), feed or self.feed(), Tally()
        for _ in range(2):
            assert engine.run(feed, tally, 0, feed.batches) == feed.batches
        arrays = dict(self.params)
        arrays |= {f"{name}/{i}": slot for name, slots in self.state.items() for i, slot in enumerate(slots)}
        return tally, {name: array.copy() for name, array in arrays.items()}

    def bits(self, *options, **named):
        tally, arrays = self.train(NativeEngine, *options, **named)
        return b"".join(a.tobytes() for a in arrays.values()), tally


@pytest.fixture(params=NETWORKS)
def network(request):
    return request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def restore_target():
    before = threads.simd()["current"]
    yield
    threads.use_simd(before)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weighted", [False, True])
def test_against_the_reference(network, dtype, target, weighted, restore_target):
    threads.use_simd(target)
    case = Case(network, dtype)
    weights = np.random.default_rng(4).integers(0, 3, 150).astype(dtype) if weighted else None
    feed = case.feed(weights=weights)
    native, ours = case.train(NativeEngine, 2, feed=feed)
    reference, theirs = case.train(ReferenceEngine, feed=feed)
    eps = float(np.finfo(dtype).eps)
    for name, expected in theirs.items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours[name], expected, rtol=0, atol=2000 * eps * scale, err_msg=name)
    for field in ("loss", "weight", "penalty", "hits"):
        assert getattr(native, field) == pytest.approx(getattr(reference, field), rel=200 * eps), field
    assert (native.batches, native.updates) == (reference.batches, reference.updates) == (6, 6)


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


@pytest.mark.parametrize("scramble", [1, 2, 3])
def test_large_layers_hand_out_tiles(scramble):
    """Ops long enough for tiles from a counter, sums long enough for several goes and chains."""
    NETWORKS["large"] = (4200, [Dense(300, "relu"), Dropout(keep_prob=0.5), Dense(5)], "softmax_cross_entropy", ADAM)
    case = Case("large", "float32", rows=300, batch=300)
    del NETWORKS["large"]
    expected = case.bits(1)
    assert case.bits(2) == expected
    assert case.bits(3, scramble) == expected


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 127])
def test_awkward_numbers_of_rows(rows):
    for network in NETWORKS:
        case = Case(network, "float64", rows=rows)
        _, ours = case.train(NativeEngine, 2)
        _, theirs = case.train(ReferenceEngine)
        for name, expected in theirs.items():
            np.testing.assert_allclose(ours[name], expected, rtol=0, atol=1e-12 * max(np.abs(expected).max(), 1))


@pytest.mark.parametrize("source", ["u1", "i1", "u2", "i2", "i4", "i8", "f4", "f8", "f2", ">f8", "?"])
def test_inputs_of_every_dtype(source, dtype):
    case = Case("classify", dtype)
    X = np.random.default_rng(6).integers(0, 2 if source == "?" else 100, case.X.shape).astype(source)
    expected, _ = case.bits(1, feed=case.feed(X.astype(dtype)))
    got, _ = case.bits(2, feed=case.feed(X))
    assert got == expected


def test_inputs_of_all_strides(tmp_path, dtype):
    case = Case("classify", dtype)
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
    case = Case("classify", dtype)
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
    for network in NETWORKS:
        case = Case(network, dtype)
        weights = np.ones(150, dtype)
        weights[64:128] = 0
        tally, whole = case.train(NativeEngine, 2, feed=case.feed(weights=weights, order=None))
        assert tally.updates == 4 and tally.weight == 2 * 86
        _, theirs = case.train(ReferenceEngine, feed=case.feed(weights=weights, order=None))
        for name, expected in theirs.items():
            np.testing.assert_allclose(whole[name], expected, rtol=0, atol=1e-4 * max(np.abs(expected).max(), 1))


def test_slices_give_the_bits_of_one_run(network, dtype):
    case = Case(network, dtype)
    expected, _ = case.bits(2)
    engine, feed, tally = case.engine(NativeEngine, 2), case.feed(), Tally()
    for _ in range(2):
        batch = 0
        while batch < feed.batches:
            batch = engine.run(feed, tally, batch, feed.batches, seconds=1e-9)  # one batch a slice
    arrays = [*case.params.values(), *(slot for slots in case.state.values() for slot in slots)]
    assert b"".join(a.tobytes() for a in arrays) == expected


def test_a_new_engine_goes_on_with_the_same_bits(dtype):
    """Adam's powers of beta follow from the number of updates alone."""
    case = Case("regress", dtype)
    expected, _ = case.bits(1)
    engine, feed, tally = case.engine(NativeEngine, 1), case.feed(), Tally()
    engine.run(feed, tally, 0, feed.batches)
    other = NativeEngine(engine.program, case.params, case.state, case.batch, dtype, 2)
    other.run(feed, Tally(updates=tally.updates), 0, feed.batches)
    arrays = [*case.params.values(), *(slot for slots in case.state.values() for slot in slots)]
    assert b"".join(a.tobytes() for a in arrays) == expected


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
