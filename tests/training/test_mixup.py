"""Mixup: its draws against the beta distribution, its batches against rows mixed by hand; engines, threads, resume."""

import numpy as np
import pytest
import resumable
from trainers import same, state

import fastreg as fr
from fastreg.data import augment as A
from fastreg.machine import _core, threads
from fastreg.program.riders import Mix

RNG = np.random.default_rng(0)
M = 26
X, Y = RNG.normal(size=(M, 5)), RNG.integers(0, 3, M)
ALPHA, SEED = 0.4, 7
LOSSES = {
    "softmax_cross_entropy": ("softmax_cross_entropy", Y),
    "smoothed": (fr.losses.SoftmaxCrossEntropy(0.1), Y),
    "shares": ("softmax_cross_entropy", RNG.dirichlet(np.ones(3), M)),
    "sigmoid_cross_entropy": ("sigmoid_cross_entropy", np.eye(3)[Y]),
    "mse": ("mse", RNG.normal(size=(M, 3))),
    "huber": ("huber", RNG.normal(size=(M, 3))),
    "custom": (fr.losses.Custom(lambda z, t: (np.log(np.cosh(z - t)).mean(axis=1), np.tanh(z - t) / 3)), np.eye(3)[Y]),
}


def trainer(engine="native", loss="softmax_cross_entropy", layers=None, mixup=ALPHA, **settings):
    layers = layers or [fr.Dense(6, "tanh"), fr.Dense(3)]
    settings = {"optimizer": fr.SGD(0.2, momentum=0.9), "dtype": "float64", "seed": SEED} | settings
    return fr.Trainer(fr.Sequential(layers), loss, engine=engine, mixup=mixup, **settings)


def drawn(step, rows=M, alpha=ALPHA, seed=SEED):
    share, shift = _core.draw_mixture(Mix(alpha), seed, step, rows)
    return share, (np.arange(rows) + shift) % rows


def mixed(rows, step, **how):
    share, other = drawn(step, len(rows), **how)
    return share * rows + (1 - share) * rows[other]


def as_shares(y):
    return np.eye(3)[y] if y.ndim == 1 else y


# --- The draws -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 3.0, 50.0])
def test_shares_are_of_the_beta_distribution(alpha):
    stats = pytest.importorskip("scipy.stats")
    shares = np.array([drawn(step, alpha=alpha)[0] for step in range(4000)])
    assert ((shares >= 0) & (shares <= 1)).all()
    inside = stats.beta(alpha, alpha)
    for low in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        expected = inside.cdf(low)
        assert abs((shares < low).mean() - expected) < 4 * (max(expected * (1 - expected), 1e-4) / 4000) ** 0.5 + 1e-3
    assert abs(np.corrcoef(shares[:-1], shares[1:])[0, 1]) < 0.06


def test_shifts_are_uniform_and_never_0():
    shifts = [drawn(step, rows=6)[1][0] for step in range(3000)]
    counts = np.bincount(shifts, minlength=6)
    assert counts[0] == 0 and abs(counts[1:] - 600).max() < 5 * 600**0.5
    assert drawn(3, rows=1) == (1.0, [0])
    assert drawn(3)[0] != drawn(4)[0] != drawn(3, seed=8)[0]


# --- The batches ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_rows_mixed_by_hand(engine, loss):
    name, y = LOSSES[loss]
    soft = as_shares(y) if name != "mse" else y
    for step in (0, 5):
        got = trainer(engine, name)
        got.model.build(5, dtype="float64", seed=SEED)
        plain = trainer(engine, name, mixup=None)
        plain.model.build(5, dtype="float64", seed=SEED)
        wanted = plain.gradients(mixed(X, step), mixed(soft, step))
        for key, value in got.gradients(X, y, step=step).items():
            np.testing.assert_allclose(value, wanted[key], rtol=1e-10, atol=1e-13)
        objective = plain.objective(mixed(X, step), mixed(soft, step))
        assert got.objective(X, y, step=step) == pytest.approx(objective, rel=1e-12)
        assert got.objective(X, y) == plain.objective(X, y)  # without a step nothing is mixed


def test_the_loss_of_labels_is_the_mixed_loss_of_both(engine):
    got, plain = trainer(engine), trainer(engine, mixup=None)
    for each in (got, plain):
        each.model.build(5, dtype="float64", seed=SEED)
    share, other = drawn(2)
    losses = [plain.row_losses(mixed(X, 2), labels) for labels in (Y, Y[other])]
    np.testing.assert_allclose(got.row_losses(X, Y, step=2), share * losses[0] + (1 - share) * losses[1], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_training_is_that_on_mixed_batches(engine, dtype):
    """Each batch has its own draw, also the last, smaller one; and the batches of a step."""
    got, shown = (trainer(engine, dtype=dtype, mixup=a, accumulate=1) for a in (ALPHA, None))
    got.fit(X, Y, epochs=3, batch_size=8, shuffle=False)
    for batch in range(12):
        rows = slice(batch % 4 * 8, min(batch % 4 * 8 + 8, M))
        shown.fit(mixed(X[rows], batch), mixed(np.eye(3)[Y[rows]], batch), batch_size=8, shuffle=False)
    exact = 1e-11 if dtype == "float64" else 1e-4
    for name, value in state(got).items():
        np.testing.assert_allclose(value, state(shown)[name], rtol=exact, atol=exact)


def test_images_are_augmented_and_standardized_first(engine):
    images = RNG.integers(0, 256, (M, 6, 6), np.uint8)
    scaled = fr.data.Standardizer().fit(images.astype(float) + RNG.normal(size=images.shape))
    layers = [scaled, fr.Flatten(), fr.Dense(3)]
    turned = A.Compose([A.Rotate(20), A.Cutout(3)])
    got = trainer(engine, layers=layers, augment=turned)
    shown = trainer(engine, layers=layers, mixup=None)
    got.fit(images, Y, epochs=2, batch_size=M, shuffle=False)
    for epoch in range(2):
        views = turned.apply(images, seed=SEED, epoch=epoch, engine=engine, dtype="float64")
        shown.fit(mixed(views, epoch), mixed(np.eye(3)[Y], epoch), batch_size=M, shuffle=False)
    for name, value in state(got).items():
        np.testing.assert_allclose(value, state(shown)[name], rtol=1e-9, atol=1e-11)


def test_accuracy_counts_the_class_of_the_larger_share(engine):
    trained = trainer(engine, optimizer=fr.SGD(0.0))
    history = trained.fit(X, Y, epochs=4, batch_size=M, shuffle=False)
    for epoch in range(4):
        share, other = drawn(epoch)
        larger = Y if share > 0.5 else Y[other]
        found = trained.predict(mixed(X, epoch)).argmax(axis=1) == larger
        assert history["accuracy"][epoch] == pytest.approx(found.mean())


def test_a_row_has_its_own_sample_weight(engine):
    weights = RNG.uniform(0, 2, M)
    weights[3] = 0
    got, plain = trainer(engine), trainer(engine, mixup=None)
    got.fit(X, Y, batch_size=M, shuffle=False, sample_weight=weights)
    plain.fit(mixed(X, 0), mixed(np.eye(3)[Y], 0), batch_size=M, shuffle=False, sample_weight=weights)
    for name, value in state(got).items():
        np.testing.assert_allclose(value, state(plain)[name], rtol=1e-12, atol=1e-13)


def test_only_training_is_mixed(engine):
    trained = trainer(engine)
    history = trained.fit(X, Y, validation_data=(X, Y))
    plain = trained.copy()
    plain.mixup = 0
    assert plain.mixup is None and trained.mixup == ALPHA
    assert trained.evaluate(X, Y) == plain.evaluate(X, Y) and history["val_loss"][0] == plain.evaluate(X, Y)["loss"]
    assert np.array_equal(trained.predict(X), plain.predict(X))
    one, none = trainer(engine), trainer(engine, mixup=None)
    for each in (one, none):
        each.fit(X, Y, batch_size=1)
    assert same(state(one), state(none))  # a batch of one row has nobody to mix with


def test_several_inputs_and_heads_are_mixed_alike(engine):
    def made(mixup):
        a, b = fr.Input(5, name="a"), fr.Input(4, name="b")
        h = fr.Concatenate()([fr.Dense(4, "tanh")(a), fr.Dense(3, "tanh")(b)])
        model = fr.Model([a, b], {"kind": fr.Dense(3, name="kind")(h), "size": fr.Dense(1, name="size")(h)})
        losses = {"kind": "softmax_cross_entropy", "size": "mse"}
        return fr.Trainer(model, losses, fr.SGD(0.1), engine=engine, dtype="float64", seed=SEED, mixup=mixup)

    Z, t = RNG.normal(size=(M, 4)), RNG.normal(size=(M, 1))
    got, plain = made(ALPHA), made(None)
    got.fit({"a": X, "b": Z}, {"kind": Y, "size": t}, batch_size=M, shuffle=False)
    inputs = {"a": mixed(X, 0), "b": mixed(Z, 0)}
    plain.fit(inputs, {"kind": mixed(np.eye(3)[Y], 0), "size": mixed(t, 0)}, batch_size=M, shuffle=False)
    for name, value in state(got).items():
        np.testing.assert_allclose(value, state(plain)[name], rtol=1e-11, atol=1e-13)


# --- Engines, threads, resume --------------------------------------------------------------------------------------

WAYS = {
    "dropout": [fr.Dropout(rate=0.2), fr.Dense(6, "relu"), fr.Dropout(rate=0.3), fr.Dense(3)],
    "noise": [fr.GaussianNoise(0.1), fr.Dense(3)],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", LOSSES)
def test_engines_agree(way, loss):
    name, y = LOSSES[loss]
    trained = [trainer(engine, name, WAYS[way]) for engine in ("native", "reference")]
    for each in trained:
        each.fit(X, y, epochs=3, batch_size=8)
    for key, value in state(trained[0]).items():
        np.testing.assert_allclose(value, state(trained[1])[key], rtol=1e-8, atol=1e-10)
    assert fr.compare_engines(trained[0], X, y).ok
    assert fr.check_gradients(trained[0], X, y, step=1).ok


def test_sparse_rows_are_those_of_the_dense_array(engine):
    sparse = pytest.importorskip("scipy.sparse")
    thin = np.where(RNG.random((M, 40)) < 0.2, RNG.normal(size=(M, 40)), 0)
    trained = [trainer(engine) for _ in range(2)]
    for each, data in zip(trained, (thin, sparse.csr_matrix(thin)), strict=True):
        each.fit(data, Y, epochs=2, batch_size=8)
    assert same(*map(state, trained))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_threads_and_targets_mix_to_the_same_bits(dtype):
    before, found = threads.simd(), set()
    images, labels = RNG.integers(0, 256, (60, 12, 12), np.uint8), RNG.integers(0, 3, 60)
    try:
        for target in [name for name in before["available"] if name != "generic"]:
            for count in (1, 2, 3, 7):
                threads.use_simd(target)
                trained = trainer(layers=[fr.Flatten(), fr.Dense(40, "relu"), fr.Dense(3)], dtype=dtype)
                trained.augment, trained.threads, trained.lr = "rotate(10)", count, 1e-5
                trained.fit(images, labels, epochs=2, batch_size=16)
                found.add(b"".join(v.tobytes() for v in state(trained).values()))
    finally:
        threads.use_simd(before["current"])
    assert len(found) <= 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_resumed_fit_has_the_same_bits(engine, dtype, tmp_path):
    path, how = tmp_path / "run.safetensors", {"mixup": 0.3, "dtype": dtype}
    resumable.fit(resumable.trainer(engine, **how), path, epochs=5)
    again = resumable.trainer(engine, **how)
    assert resumable.digest(again, resumable.fit(again, resume=path)) == resumable.whole(engine, **how)
    with pytest.raises(ValueError, match=r"resume: mixup: got None, expected 0\.3"):
        resumable.fit(resumable.trainer(engine, dtype=dtype), resume=path)


def test_a_bad_row_of_a_memory_map_is_named(engine, tmp_path):
    bad = X.copy()
    bad[17, 2] = np.nan
    np.save(tmp_path / "X.npy", bad)
    with pytest.raises(ValueError, match="row 17 of the data holds a value that is not finite"):
        trainer(engine).fit(np.load(tmp_path / "X.npy", mmap_mode="r"), Y, batch_size=8)


REFUSED = {
    "negative": ({"mixup": -1}, r"mixup: got -1, expected a finite number from 0 to 1000"),
    "text": ({"mixup": "0.2"}, r"mixup: got '0\.2', expected a number"),
    "adversarial": ({"adversarial": fr.FGSM(0.1)}, r"mixup: got 0\.4 with adversarial, expected one of the two"),
    "missing": ({"missing_targets": True}, r"mixup: got 0\.4 with missing_targets, expected a target in every row"),
    "labels": ({"loss": "categorical_hinge"}, r"mixup: got 0\.4 under categorical_hinge, whose labels do not mix"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    settings, message = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        trainer(**settings).fit(X, Y)
    assert "\n" not in str(caught.value)
