"""Trainer(precision="bfloat16"): what it changes, what it leaves, and that its bits are the same everywhere."""

import os

import numpy as np
import pytest
from graph_trainings import TRAININGS, answers, bits, new

import fastreg as fr
from fastreg.machine import _core, threads
from fastreg.program.ops import Dense, DenseDw, DenseDx

EPS = 2.0**-8  # of rounding an operand
WITH_CONVOLUTIONS = "convolutions", "stored"
NAMES = [name for name in TRAININGS if name not in WITH_CONVOLUTIONS]


def end(name: str, **settings) -> dict[str, bytes]:
    trainer, fit = new(name, precision="bfloat16", **settings)
    history = trainer.fit(epochs=2, **fit)
    losses = {key: repr(history[key]).encode() for key in history if key != "seconds"}
    return bits(trainer) | losses | answers(trainer, fit["X"])


def layers(activation="relu", **options):
    return [fr.Dense(70, activation, **options), fr.Dropout(rate=0.3), fr.Dense(3)]


def trained(points, *, engine="native", epochs=3, activation="relu", **settings):
    settings = {"precision": "bfloat16", "optimizer": fr.SGD(0.1, momentum=0.9)} | settings
    trainer = fr.Trainer(fr.Sequential(layers(activation)), engine=engine, seed=3, **settings)
    trainer.fit(*points, epochs=epochs, batch_size=64)
    return trainer


@pytest.fixture
def points(rng):
    X = rng.normal(size=(300, 20)).astype("f4")
    return X, (X[:, 0] + X[:, 1] ** 2 > 1).astype(int) + (X[:, 2] > 1)


@pytest.mark.parametrize("name", NAMES)
def test_same_bits_for_threads_and_targets(name, restore_target):
    expected: dict[bool, dict[str, bytes]] = {}
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        for count in (1, 2, 3):
            found = end(name, threads=count)
            first = expected.setdefault(target != "generic", found)
            assert {key for key in found if found[key] != first[key]} == set(), (target, count)


@pytest.mark.parametrize("name", NAMES)
def test_both_engines_train_alike(name):
    """To the few bits by which their updates and activations differ, and the roundings of operands that follow."""
    found = {}
    for engine in ("native", "reference"):
        trainer, fit = new(name, precision="bfloat16", engine=engine)
        trainer.fit(epochs=1, **fit)
        found[engine] = trainer.model.state_dict()
    for key, value in found["native"].items():
        np.testing.assert_allclose(value, found["reference"][key], rtol=0.05, atol=0.02, err_msg=key)


def test_the_trainings_have_every_product_and_rounding():
    kinds = set()
    for name in NAMES:
        trainer, fit = new(name, precision="bfloat16")
        trainer.fit(epochs=1, **fit)
        ops = [op for mode in ("train", "predict", "evaluate") for op in trainer.program(mode).ops]
        assert all(op.bf16 for op in ops if isinstance(op, (Dense, DenseDx, DenseDw)))
        kinds |= {type(op).__name__ for op in ops}
    assert {"Dense", "DenseDx", "DenseDw", "BiasDw", "Round"} <= kinds


def test_gradients_are_off_by_what_rounding_explains(rng):
    """Those of a dense layer under squares, against float64."""
    M, K, N = 50, 90, 7
    X, T = rng.normal(size=(M, K)), rng.normal(size=(M, N))
    W, b = rng.normal(size=(K, N)) / 9, rng.normal(size=N)
    model = fr.Sequential([fr.Dense(N)])
    model.build(K)
    model.load_state_dict({"0.weight": W, "0.bias": b})
    X, T, W, b = (np.float64(np.float32(a)) for a in (X, T, W, b))
    trainer = fr.Trainer(model, "mse", precision="bfloat16")
    found = trainer.gradients(X, T)
    dz = 2 * (X @ W + b - T) / (M * N)
    two = 2 * EPS + EPS**2 + (K + M) * 2.0**-23  # the relative error of a product, and sums in float32
    off = 2 * two * (np.abs(X) @ np.abs(W)) / (M * N) + 2.0**-20 * np.abs(dz)  # of dz
    assert (np.abs(found["0.bias"] - dz.sum(0)) <= off.sum(0)).all()
    bound = np.abs(X.T) @ (two * np.abs(dz) + (1 + two) * off)
    error = np.abs(found["0.weight"] - X.T @ dz)
    assert (error <= bound).all()
    plain = fr.Trainer(model, "mse").gradients(X, T)["0.weight"]
    assert np.abs(plain - X.T @ dz).max() < error.max() / 50  # the test can tell the two precisions apart


def test_digits_within_the_spread_of_seeds():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype("f4")
    train, test = slice(0, 1300), slice(1300, None)

    def accuracy(precision, seed):
        model = fr.Sequential([fr.Dense(128, "relu"), fr.Dropout(rate=0.3), fr.Dense(64, "relu"), fr.Dense(10)])
        trainer = fr.Trainer(model, optimizer=fr.SGD(0.05, momentum=0.9), seed=seed, precision=precision)
        trainer.fit(X[train], y[train], epochs=25, batch_size=64)
        return fr.Trainer(model).evaluate(X[test], y[test])["accuracy"]

    plain = [accuracy("float32", seed) for seed in range(5)]
    rounded = [accuracy("bfloat16", seed) for seed in range(5)]
    spread = max(plain) - min(plain)
    assert min(rounded) >= min(plain) - spread
    assert abs(np.mean(rounded) - np.mean(plain)) <= spread


def test_a_resumed_fit_has_the_same_bits(points, tmp_path):
    path = str(tmp_path / "run.ckpt")
    straight = trained(points, epochs=4)
    begun = fr.Trainer(
        fr.Sequential(layers()), seed=3, precision="bfloat16", optimizer=fr.SGD(0.1, momentum=0.9), threads=2
    )
    begun.fit(*points, epochs=2, batch_size=64, callbacks=[fr.Checkpoint(path)])
    again = fr.Trainer(fr.Sequential(layers()), seed=3, precision="bfloat16", optimizer=fr.SGD(0.1, momentum=0.9))
    again.fit(*points, epochs=4, batch_size=64, callbacks=[fr.Checkpoint(path)], resume=path)
    for key, value in straight.model.state_dict().items():
        np.testing.assert_array_equal(value, again.model.state_dict()[key])
    other = fr.Trainer(fr.Sequential(layers()), seed=3, optimizer=fr.SGD(0.1, momentum=0.9))
    with pytest.raises(ValueError, match="resume: precision: got 'float32', expected 'bfloat16'"):
        other.fit(*points, epochs=6, batch_size=64, callbacks=[fr.Checkpoint(path)], resume=path)
    other.fit(*points, epochs=6, batch_size=64, callbacks=[fr.Checkpoint(path)], resume=path, changed="precision")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on_with_the_same_bits(points, restore_target):
    """The child's threads are new ones, which must be ready for such products, too."""
    for target in threads.simd()["available"]:
        threads.use_simd(target)
        trainer = trained(points, threads=2)
        straight = trainer.copy()
        straight.fit(*points, epochs=2, batch_size=64)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                trainer.fit(*points, epochs=2, batch_size=64)
                code = int(bits(trainer) != bits(straight))
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, target
        trainer.fit(*points, epochs=2, batch_size=64)
        assert bits(trainer) == bits(straight), target


def test_setting_it_between_fits_counts_from_the_next_one(points):
    first = trained(points, epochs=1, precision="float32")
    first.precision = "bfloat16"
    assert first.precision == "bfloat16" and "precision='bfloat16'" in repr(first)
    first.fit(*points, epochs=1, batch_size=64)
    plain = trained(points, epochs=2, precision="float32")
    assert not np.array_equal(first.model.parameters["0.weight"], plain.model.parameters["0.weight"])


def test_the_trainer_asks_in_its_precision_and_the_model_in_float32(points):
    X, y = points
    trainer = trained(points, metrics=("accuracy", "log_loss"))
    model = trainer.model
    plain = fr.Trainer(model, metrics=("accuracy", "log_loss"))
    assert np.array_equal(model.predict(X), plain.predict(X))
    inner, outer = trainer.predict(X), model.predict(X)
    assert not np.array_equal(inner, outer)
    np.testing.assert_allclose(inner, outer, atol=0.05)
    told = trainer.evaluate(X, y)
    assert told["loss"] == pytest.approx(told["log_loss"], rel=1e-5) != plain.evaluate(X, y)["loss"]
    assert told["loss"] == pytest.approx(trainer.row_losses(X, y).mean(), rel=1e-6)
    reference = fr.Trainer(model, precision="bfloat16", engine="reference")
    np.testing.assert_allclose(reference.predict(X), inner, atol=0.01)


def test_what_has_no_products_in_bf16_is_refused(points):
    with pytest.raises(ValueError, match="precision: got 'float16', expected one of float32, bfloat16"):
        fr.Trainer(fr.Sequential(layers()), precision="float16")
    with pytest.raises(ValueError, match="precision: got 'bfloat16' with dtype='float64', expected dtype='float32'"):
        fr.Trainer(fr.Sequential(layers()), precision="bfloat16", dtype="float64")
    trainer = fr.Trainer(fr.Sequential(layers()), precision="bfloat16")
    trainer.dtype = "float64"
    with pytest.raises(ValueError, match="precision: got 'bfloat16' with dtype='float64'"):
        trainer.fit(*points)
    images = fr.Sequential([fr.Conv2D(3, 2, name="first"), fr.Flatten(), fr.Dense(2)])
    with pytest.raises(ValueError, match="precision: got 'bfloat16' for a model with layer 'first', a Conv2D"):
        fr.Trainer(images, precision="bfloat16")


def test_a_weight_that_overflows_in_bf16_diverges_as_any_other():
    model = fr.Sequential([fr.Dense(2)])
    model.build(2)
    model.load_state_dict({"0.weight": np.full((2, 2), 3.4e38), "0.bias": np.zeros(2)})
    X = np.full((8, 2), 1e-3, "f4")
    assert np.isfinite(fr.Trainer(model, "mse").predict(X)).all()
    assert np.isinf(fr.Trainer(model, "mse", precision="bfloat16").predict(X)).all()
    with pytest.raises(fr.DivergenceError):
        fr.Trainer(model, "mse", precision="bfloat16").fit(X, np.zeros((8, 2)), epochs=1)


def test_engines_know_the_size_of_a_group():
    assert _core.BF16_GROUP == 32
