"""NAdam and Lion: step by step against their formulas, and with everything that an optimizer can meet."""

import numpy as np
import pytest
from resumable import data

import fastreg as fr

DECAYED = {
    "nadam": fr.NAdam(0.02, beta1=0.8, momentum_decay=0.1, weight_decay=0.05),
    "lion": fr.Lion(0.01, beta1=0.8, weight_decay=0.05),
}


def make(optimizer, engine="native", dtype="float32", **settings):
    layers = [fr.Dense(9, "relu", max_norm=settings.pop("max_norm", None)), fr.Dropout(rate=0.3), fr.Dense(2)]
    return fr.Trainer(fr.Sequential(layers), optimizer=optimizer, engine=engine, dtype=dtype, seed=5, **settings)


def fit(trainer, epochs=4, **arguments):
    X, y, _ = data()
    trainer.fit(X.astype(trainer.dtype), y, epochs=epochs, batch_size=16, verbose=0, **arguments)
    return trainer.model.state_dict()


def test_lion_by_hand(engine):
    """Ten steps of least squares in NumPy, on one weight matrix."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    model = fr.Sequential([fr.Dense(2, use_bias=False)])
    trainer = fr.Trainer(
        model, "mse", fr.Lion(0.01, beta1=0.8, beta2=0.9, weight_decay=0.5), engine=engine, dtype="float64"
    )
    model.build(3, seed=1, dtype="float64")
    w, m = model.state_dict()["0.weight"], np.zeros((3, 2))
    trainer.fit(X, y, epochs=10, batch_size=8, shuffle=False)
    for _ in range(10):
        g = X.T @ (X @ w - y) * 2 / y.size
        w *= 1 - 0.01 * 0.5
        w -= 0.01 * np.sign(0.8 * m + 0.2 * g)
        m = 0.9 * m + 0.1 * g
    np.testing.assert_allclose(model.state_dict()["0.weight"], w, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"clip_norm": 0.1}])
@pytest.mark.parametrize("name", DECAYED)
def test_a_resumed_fit_has_the_bits_of_one_that_went_on(name, settings, engine, tmp_path):
    whole = fit(make(DECAYED[name], engine, l2=1e-3, **settings), 5)
    for epochs in range(1, 5):
        path = tmp_path / f"{epochs}.safetensors"
        fit(make(DECAYED[name], engine, l2=1e-3, **settings), epochs, callbacks=[fr.Checkpoint(path)])
        resumed = fit(make(DECAYED[name], engine, l2=1e-3, **settings), 5, resume=path)
        assert all(resumed[key].tobytes() == whole[key].tobytes() for key in whole)


@pytest.mark.parametrize("name", DECAYED)
def test_one_pass_and_two_give_the_same_bits(name):
    fused, stored = (fit(make(DECAYED[name], l1=0.01, l2=0.1, clip_norm=limit)) for limit in (None, 1e9))
    assert all(fused[key].tobytes() == stored[key].tobytes() for key in fused)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", DECAYED)
def test_engines_agree_with_penalties_and_limits(name, threads):
    """L1 with its zeros, L2, both ways to clip, max-norm."""
    settings = {"l1": 0.3, "l2": 0.1, "clip_value": 0.5, "clip_norm": 0.7, "max_norm": 0.8}
    native = fit(make(DECAYED[name], dtype="float64", threads=threads, **settings))
    reference = fit(make(DECAYED[name], "reference", "float64", **settings))
    for key, value in native.items():
        np.testing.assert_allclose(value, reference[key], rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(native["0.weight"], axis=0).max() <= 0.8 * (1 + 1e-6)


def test_l1_of_lion_counts_in_steps(engine):
    """The threshold is lr l1. If l1 is above 1 it outweighs each step, and all weights end at zero."""
    weights = fit(make(fr.Lion(0.1), engine, l1=1.5), 20)["0.weight"]
    assert not weights.any()
    assert np.mean(fit(make(fr.Lion(0.1), engine, l1=0.5), 20)["0.weight"] != 0) > 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nadam(lr=0.01)", fr.NAdam(0.01)),
        ("lion(3e-4, weight_decay=0.1)", fr.Lion(3e-4, weight_decay=0.1)),
        ("nadam", fr.NAdam()),
    ],
)
def test_specs(text, expected):
    assert fr.Trainer(fr.Sequential([fr.Dense(2)]), optimizer=text).optimizer == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fr.NAdam(momentum_decay=-1), r"momentum_decay: got -1, expected a finite number of at least 0"),
        (lambda: fr.NAdam(beta1=1), r"beta1: got 1, expected a finite number from 0 to below 1"),
        (lambda: fr.Lion(lr="a"), r"lr: got 'a'"),
        (lambda: fr.Lion(beta2=2), r"beta2: got 2, expected a finite number from 0 to below 1"),
    ],
)
def test_refusals(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


@pytest.mark.parametrize("name", DECAYED)
def test_engines_are_compared_op_by_op(name):
    X, y, _ = data()
    trainer = make(DECAYED[name], l2=0.1)
    assert fr.compare_engines(trainer, X, y).ok


def test_an_optimizer_says_where_its_rate_is_set():
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), "mse", fr.Adam(0.1))
    with pytest.raises(
        AttributeError, match=r"Adam.lr: an optimizer cannot be changed; trainer.lr = 0.3 sets the rate"
    ):
        trainer.optimizer.lr = 0.3
    with pytest.raises(AttributeError, match=r"trainer.optimizer = Adam\(...\) takes another one"):
        trainer.optimizer.beta1 = 0.5
    trainer.lr = 0.3
    assert trainer.optimizer.lr == 0.3
