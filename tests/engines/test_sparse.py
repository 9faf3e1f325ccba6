"""Sparse matrices give the bits of the dense arrays with the same values, and are never made dense as a whole."""

import tracemalloc

import numpy as np
import pytest

import fastreg as fr
from fastreg.common import checking
from fastreg.common.sparse import SparseRows
from fastreg.machine import _core

sp = pytest.importorskip("scipy.sparse")

ROWS, COLUMNS = 70, 37
DENSE = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)) * (np.random.default_rng(1).random((ROWS, COLUMNS)) < 0.2)
Y = np.arange(ROWS) % 3
HELD_BACK = slice(50, None)


def trained(X, engine="native", dtype="float32", threads=1, layers=(), **fit):
    model = fr.Sequential([fr.Dropout(keep_prob=0.8), fr.GaussianNoise(0.1), fr.Dense(9, "relu"), *layers, fr.Dense(3)])
    trainer = fr.Trainer(model, optimizer=fr.Adam(0.01), engine=engine, dtype=dtype, threads=threads, l1=1e-4)
    history = trainer.fit(X, Y, epochs=2, batch_size=16, validation_data=(X[HELD_BACK], Y[HELD_BACK]), **fit)
    return trainer, history


def same(one, two):
    (a, first), (b, second) = one, two
    assert first["loss"] == second["loss"] and first["val_loss"] == second["val_loss"]
    for name, value in a.model.parameters.items():
        np.testing.assert_array_equal(value, b.model.parameters[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("fit", [{}, {"shuffle": False}, {"rows": np.arange(60, 3, -2)}], ids=["", "in order", "rows"])
def test_bits_are_those_of_the_dense_array(engine, dtype, threads, fit):
    if engine == "reference" and threads > 1:
        pytest.skip("it has one thread")
    one, two = (trained(X, engine, dtype, threads, **fit) for X in (DENSE, sp.csr_array(DENSE)))
    same(one, two)
    for rows in (None, [3, 3, 50]):
        expected, got = (
            t.predict(X, rows=rows) for (t, _), X in zip((one, two), (DENSE, sp.csr_array(DENSE)), strict=True)
        )
        np.testing.assert_array_equal(got, expected)
    assert one[0].evaluate(DENSE, Y) == two[0].evaluate(sp.csr_matrix(DENSE), Y)


# --- products that read the rows without their zeros ------------------------------------------------------------------

REGULARIZED = {"l1": 1e-4, "l2": 1e-3}
DIRECT = {
    "adam": {"optimizer": "adam(lr=0.01)", **REGULARIZED},
    "momentum": {"optimizer": "sgd(lr=0.05, momentum=0.9)", "l2": 1e-2},
    "clipped": {"optimizer": "adam(lr=0.01)", "clip_norm": 0.1, **REGULARIZED},
    "parts": {"optimizer": "adam(lr=0.01)", "accumulate": 3},
}
NETS = {
    "dense": lambda: [fr.Dense(70, "relu"), fr.Dropout(keep_prob=0.5), fr.Dense(3)],
    "linear": lambda: [fr.Dense(3, use_bias=False)],
    "max-norm": lambda: [fr.Dense(20, "relu", max_norm=0.5), fr.Dense(3)],
    "norm": lambda: [fr.Dense(20), fr.BatchNorm(activation="gelu"), fr.Dense(3)],
    "noisy": lambda: [fr.Dense(17, "tanh", preactivation_noise=0.1, weight_noise=0.1), fr.Dense(3)],
    "dropped": lambda: [fr.Dense(64, "relu"), fr.Dropout(keep_prob=0.5, per="unit", rows=8), fr.Dense(3)],
}


def plain(X, net="dense", y=Y, batch_size=16, rows=None, dtype="float32", threads=2, **settings):
    """A network whose first layer reads the rows as they are."""
    trainer = fr.Trainer(fr.Sequential(NETS[net]()), dtype=dtype, threads=threads, **settings)
    history = trainer.fit(X, y, epochs=2, batch_size=batch_size, rows=rows, validation_data=(X[-20:], y[-20:]))
    return trainer, history


def test_which_buffers_products_read_directly():
    def direct(*layers, **settings):
        trainer = fr.Trainer(fr.Sequential([*layers, fr.Dense(3)]), **settings)
        trainer.model.build(COLUMNS)
        return len(trainer.program("train", 16).direct)

    assert direct(fr.Dense(5)) == direct() == 1
    assert direct(fr.Dropout(keep_prob=0.5)) == direct(fr.GaussianNoise(0.1)) == direct(fr.BatchNorm()) == 0
    assert direct(precision="bfloat16") == direct(adversarial=fr.FGSM(0.1)) == 0


@pytest.mark.parametrize("settings", DIRECT)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("threads", "dtype"), [(1, "float32"), (3, "float32"), (2, "float64")])
def test_rows_without_their_zeros_give_the_bits_of_the_dense_array(net, settings, threads, dtype):
    if net == "norm" and settings == "parts":
        pytest.skip("a norm takes no parts of a batch")
    given = {"net": net, "threads": threads, "dtype": dtype, **DIRECT[settings]}
    same(plain(DENSE, **given), plain(sp.csr_array(DENSE), **given))


@pytest.mark.parametrize("rows", [None, np.arange(60, 3, -2)], ids=["all", "some"])
def test_on_every_target(rows, restore_target):
    for target in _core.simd_available():
        _core.simd_use(target)
        same(plain(DENSE, rows=rows, optimizer="adam"), plain(sp.csr_array(DENSE), rows=rows, optimizer="adam"))


def test_long_sums_are_cut_into_the_same_chains():
    """More columns, and more rows of a batch, than a chain of multiply-adds has terms."""
    rng = np.random.default_rng(2)
    wide = rng.normal(size=(40, 9000)) * (rng.random((40, 9000)) < 0.05)
    wide[3, 2000:7000] = wide[5] = 0
    tall = rng.normal(size=(9000, 20)) * (rng.random((9000, 20)) < 0.3)
    for X, batch_size in ((wide, 16), (tall, 8999)):
        y = np.arange(len(X)) % 3
        one, two = (plain(form, y=y, batch_size=batch_size, optimizer="adam") for form in (X, sp.csr_array(X)))
        same(one, two)
        np.testing.assert_array_equal(one[0].predict(X), two[0].predict(sp.csr_array(X)))


def test_with_units_that_products_with_dense_rows_leave_out():
    """Large enough for that to pay: see `pays_to_skip` in csrc/kernels/kept.h."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(130, 200)) * (rng.random((130, 200)) < 0.1)
    results = []
    for form in (X, sp.csr_array(X)):
        layers = [fr.Dense(128, "relu"), fr.Dropout(keep_prob=0.5, per="unit", rows=32), fr.Dense(3)]
        trainer = fr.Trainer(fr.Sequential(layers), optimizer="adam", threads=2)
        y = np.arange(130) % 3
        results.append((trainer, trainer.fit(form, y, epochs=3, batch_size=64, validation_data=(form, y))))
    same(*results)


def test_of_several_inputs_some_may_be_sparse():
    def net(first, second):
        one, two = fr.Input(COLUMNS, name="one"), fr.Input(COLUMNS, name="two")
        h = fr.Concatenate()([fr.Dense(5, "relu")(one), fr.Dense(6)(two)])
        trainer = fr.Trainer(fr.Model([one, two], fr.Dense(3)(h)), optimizer="adam", threads=2)
        return trainer, trainer.fit({"one": first, "two": second}, Y, epochs=2, batch_size=16, validation_split=0.2)

    other = DENSE[::-1].copy()
    expected = net(DENSE, other)
    for first, second in (
        (sp.csr_array(DENSE), other),
        (DENSE, sp.csr_array(other)),
        map(sp.csr_array, (DENSE, other)),
    ):
        same(expected, net(first, second))


def test_the_gradient_is_that_of_the_formula():
    """Of a linear model: X^T (Xw - t) * 2 / n."""
    X, t = sp.csr_array(DENSE), np.random.default_rng(3).normal(size=(ROWS, 1))
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1, use_bias=False)]), "mse", dtype="float64")
    trainer.model.build(COLUMNS, dtype="float64")
    (name, weight), *_ = trainer.model.parameters.items()
    expected = X.T @ (X @ weight - t) * 2 / ROWS
    np.testing.assert_allclose(trainer.gradients(X, t)[name], expected, rtol=1e-12)
    np.testing.assert_allclose(trainer.predict(X), X @ weight, rtol=1e-12)


def backwards() -> sp.csr_array:
    """Rows whose columns fall."""
    X = sp.csr_array(DENSE)
    for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        X.indices[a:b], X.data[a:b] = X.indices[a:b][::-1].copy(), X.data[a:b][::-1].copy()
    return X


def test_unsorted_rows_are_read_with_their_zeros():
    X = backwards()
    assert not checking.inputs("X", X).in_order and checking.inputs("X", sp.csr_array(DENSE)).in_order
    same(plain(DENSE), plain(X))


def test_values_that_are_not_finite_are_found_while_training():
    X = sp.csr_array(DENSE)

    class Breaks(fr.Callback):
        def on_epoch_begin(self, epoch):
            X.data[7] = np.inf

    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]))
    with pytest.raises(
        ValueError, match=rf"row {int(np.searchsorted(X.indptr, 7, side='right')) - 1} of the data holds"
    ):
        trainer.fit(X, Y, epochs=1, callbacks=[Breaks()])


def test_places_that_a_callback_moves_stay_in_range():
    X = sp.csr_array(DENSE)

    class Moves(fr.Callback):
        def on_epoch_begin(self, epoch):
            X.indices[::2] = (10**9, -(10**9))[epoch % 2]
            X.indices[1::4] = 0

    trainer = fr.Trainer(fr.Sequential(NETS["dense"]()))
    trainer.fit(X, Y, epochs=4, batch_size=16, callbacks=[Moves()])
    assert all(np.isfinite(value).all() for value in trainer.model.parameters.values())


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "i4", "i8", "f4", "f8", "?"])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_every_dtype_of_values_and_indices(engine, kind, index):
    dense = (np.abs(DENSE) * 50).astype(kind)
    X = sp.csr_array(dense)
    X.indptr, X.indices = X.indptr.astype(index), X.indices.astype(index)
    same(trained(dense.view("u1") if kind == "?" else dense, engine), trained(X, engine))


@pytest.mark.parametrize("form", ["csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csr_array], ids=["matrix", "array"])
def test_every_format(form, make):
    model = fr.Sequential([fr.Dense(2)])
    model.build(COLUMNS)
    np.testing.assert_array_equal(model.predict(make(DENSE).asformat(form)), model.predict(DENSE))


def unsorted() -> sp.csr_array:
    """Every column of row i twice, the halves apart, and the rows in no order."""
    X = sp.csr_array(DENSE)
    bounds = [slice(a, b) for a, b in zip(X.indptr[:-1], X.indptr[1:], strict=True)]
    indices = np.concatenate([np.r_[X.indices[b][::-1], X.indices[b]] for b in bounds])
    data = np.concatenate([np.r_[X.data[b][::-1] / 4, X.data[b] * 0.75] for b in bounds])
    return sp.csr_array((data, indices, X.indptr * 2), shape=X.shape)


def test_duplicates_are_summed_and_the_matrix_stays_as_it_is(engine):
    X = unsorted()
    before = X.data.copy()
    same(trained(X.toarray(), engine), trained(X, engine))
    np.testing.assert_array_equal(X.data, before)


def test_unsorted_rows_need_no_copy():
    X = backwards()
    rows = checking.inputs("X", X)
    assert np.shares_memory(rows.values, X.data) and np.shares_memory(rows.places, X.indices)
    np.testing.assert_array_equal(np.asarray(rows), DENSE)


@pytest.mark.parametrize("rows", [slice(None), slice(3, 9), slice(60, 2, -7), [5, 5, 0], slice(4, 4)], ids=str)
def test_rows_of_sparse_rows(rows):
    whole = checking.inputs("X", sp.csr_array(DENSE))
    np.testing.assert_array_equal(np.asarray(whole[rows]), DENSE[rows])
    np.testing.assert_array_equal(np.asarray(whole[2:][: len(DENSE) - 9][rows]), DENSE[2:][: len(DENSE) - 9][rows])


def test_standardization_on_the_way(engine):
    scaled = fr.data.Standardizer().fit(DENSE)
    results = []
    for X in (DENSE, sp.csc_array(DENSE)):
        trainer = fr.Trainer(fr.Sequential([scaled, fr.Dense(3)]), engine=engine)
        results.append((trainer, trainer.fit(X, Y, epochs=2, validation_data=(X, Y))))
    same(*results)


def test_small_and_negative_zeros_count_as_zero(engine):
    dense = np.array([[1e-310, -0.0, 1.0], [-0.0, 1e-40, 0.0]])
    X = sp.csr_array((dense.ravel(), np.tile([0, 1, 2], 2), [0, 3, 6]), shape=dense.shape)
    for dtype in ("float32", "float64"):
        results = []
        for data in (dense, X):
            trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]), engine=engine, dtype=dtype)
            trainer.fit(data, [0, 1], epochs=3)
            results.append(trainer.model.state_dict())
        for name, value in results[0].items():
            np.testing.assert_array_equal(value, results[1][name])


@pytest.mark.parametrize("network", [trained, plain], ids=["rows with zeros", "rows as they are"])
def test_questions_and_checks_take_it(network):
    X = sp.csr_array(DENSE)
    trainer, _ = network(DENSE, dtype="float64")
    for name, gradient in trainer.gradients(DENSE, Y).items():
        np.testing.assert_array_equal(trainer.gradients(X, Y)[name], gradient)
    np.testing.assert_array_equal(trainer.input_gradient(X, Y), trainer.input_gradient(DENSE, Y))
    assert fr.check_gradients(trainer, X[:20], Y[:20], step=0).ok
    assert fr.compare_engines(trainer, X, Y).worst == fr.compare_engines(trainer, DENSE, Y).worst
    assert fr.profile(trainer, X, Y).verdict


def test_class_weights_and_splits():
    parts = fr.data.split(sp.coo_array(DENSE), Y, (0.5, 0.5), stratify=True)
    expected = fr.data.split(DENSE, Y, (0.5, 0.5), stratify=True)
    for (X, y), (dense, labels) in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(X.toarray(), dense)
        np.testing.assert_array_equal(y, labels)
    same(trained(DENSE, class_weight="balanced"), trained(sp.csr_array(DENSE), class_weight="balanced"))


def broken(**parts):
    X = sp.csr_array(DENSE)
    for name, (place, value) in parts.items():
        getattr(X, name)[place] = value
    return X


BAD = {
    "indices": (broken(indices=(4, COLUMNS)), r"X\.indices: got column 37 in row 0, expected 0 to 36"),
    "negative": (broken(indices=(-1, -1)), r"X\.indices: got column -1 in row 69, expected 0 to 36"),
    "falling": (broken(indptr=(3, 1)), r"X\.indptr: got .*, expected 0 and then 70 numbers that never fall"),
    "start": (broken(indptr=(0, 1)), r"X\.indptr: got"),
    "too many": (broken(indptr=(-1, 10**6)), r"X: got \d+ indices and \d+ values, expected at least 1000000 of each"),
    "nan": (broken(data=(0, np.nan)), r"X: row 0 holds a value that is not finite, nan in column \d+"),
    "inf": (broken(data=(-1, np.inf)), r"X: row 69 holds a value that is not finite, inf in column \d+"),
    "too large": (broken(data=(0, 1e300)), r"X: row 0 holds a value that is not finite in float32, 1e\+300 in column"),
    "complex": (sp.csr_array(DENSE + 1j), r"X: got an array of complex128, expected real numbers"),
    "empty": (sp.csr_array((0, COLUMNS)), r"X: got shape \(0, 37\), expected at least one row"),
    "width": (sp.csr_array((ROWS, 5)), r"X: got shape \(70, 5\), expected \(n, 37\)"),
    "one row": (sp.coo_array(DENSE[0]), r"X: got a sparse array of shape \(37,\), expected two dimensions"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_together_is_refused(engine, case):
    X, message = BAD[case]
    trainer, _ = trained(DENSE, engine)
    before = trainer.model.state_dict()
    with pytest.raises((ValueError, TypeError), match=message):
        trainer.fit(X, Y)
    for name, value in before.items():
        np.testing.assert_array_equal(trainer.model.parameters[name], value)


def test_where_sparse_does_not_go():
    X = sp.csr_array(DENSE)
    with pytest.raises(TypeError, match=r"y: got a sparse matrix, expected an array; y\.toarray\(\) makes one"):
        fr.Trainer(fr.Sequential([fr.Dense(COLUMNS)]), "mse").fit(DENSE, X)
    with pytest.raises(TypeError, match=r"X: got a sparse matrix, .* dense"):
        fr.data.Standardizer().fit(X)


def test_a_table_of_which_inputs_read_columns_is_no_sparse_matrix(engine):
    one, two = fr.Input(columns=range(5), name="one"), fr.Input(columns=[7], name="two")
    trainer = fr.Trainer(fr.Model([one, two], fr.Dense(2)(fr.Concatenate()([one, two]))), engine=engine)
    told = "expected an array, of which the inputs of the model read columns"
    with pytest.raises(TypeError, match=rf"^X: got a sparse matrix, {told}; X\.toarray\(\) makes one$"):
        trainer.fit(sp.csr_array(DENSE), np.arange(ROWS) % 2)
    assert not trainer.model.built
    trainer.fit(DENSE, np.arange(ROWS) % 2)
    with pytest.raises(TypeError, match=r"^X: got a sparse matrix"):
        trainer.model.predict(sp.csr_array(DENSE))


def test_a_change_under_way_reads_nothing_out_of_range(engine):
    """Whatever a callback does to the matrix: the sparse rows have their own copy of where rows start."""
    X = sp.csr_array(DENSE)

    class Breaks(fr.Callback):
        def on_epoch_begin(self, epoch):
            X.indptr[:] = 10**9

    trained(X, engine, callbacks=[Breaks()])


def test_it_is_never_dense_as_a_whole():
    """The dense matrix would need 800 MB."""
    X = sp.random_array((2000, 50_000), density=0.001, format="csr", random_state=0)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]))
    tracemalloc.start()
    trainer.fit(X, np.arange(2000) % 2, batch_size=64, validation_data=(X, np.arange(2000) % 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6
    assert isinstance(trainer.arguments.checked(X, np.zeros(2000, int)).inputs, SparseRows)


def test_values_in_a_file_are_checked_as_they_are_read(engine, tmp_path):
    X = sp.csr_array(DENSE)
    values = np.memmap(tmp_path / "values", dtype=float, mode="w+", shape=X.data.shape)
    values[:] = X.data
    values[100] = np.nan
    X.data = values
    row = int(np.searchsorted(X.indptr, 100, side="right")) - 1
    trainer, _ = trained(DENSE, engine)
    before = trainer.model.state_dict()
    with pytest.raises(ValueError, match=rf"row {row} of the data holds a value that is not finite"):
        trainer.fit(X, Y)
    for name, value in before.items():
        np.testing.assert_array_equal(trainer.model.parameters[name], value)


@pytest.mark.parametrize(
    "parts",
    [
        (np.zeros(2), np.zeros(2, np.int32), np.zeros(1, np.int32)),
        (np.zeros(2), np.array([0, 3]), np.zeros(3, np.int32)),
        (np.zeros(3), np.array([0, 3]), np.zeros(2, np.int32)),
        (np.zeros(3), np.array([0, 3]), np.zeros(3, np.int16)),
        (np.zeros((3, 1)), np.array([0, 3]), np.zeros(3, np.int32)),
        (np.zeros(6)[::2], np.array([0, 3]), np.zeros(3, np.int32)),
    ],
)
def test_the_extension_refuses_parts_that_it_cannot_read(parts):
    with pytest.raises(ValueError, match="expected"):
        _core.Source(*parts, 5)
