"""Settings changed after the constructor pass its checks; batches and steps may be larger than the data."""

import dataclasses
import pickle

import numpy as np
import pytest

import fastreg as fr

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12) % 3

SETTINGS = {
    "model": (3, r"model: got int, expected a Sequential"),
    "loss": ("ranking", r"loss: got 'ranking', expected one of softmax_cross_entropy"),
    "optimizer": (None, r"optimizer: got None, expected 'sgd'"),
    "l1": (-1, r"l1: got -1, expected a finite number of at least 0"),
    "l2": ("a", r"l2: got 'a', expected a number or a fastreg.L2"),
    "metrics": (3, r"metrics: got 3, expected a tuple of names"),
    "clip_norm": (float("nan"), r"clip_norm: got nan, expected a finite number"),
    "clip_value": (0, r"clip_value: got 0, expected a finite number above 0"),
    "accumulate": (2**63, r"accumulate: got 9223372036854775808, expected an integer from 1 to 9223372036854775807"),
    "engine": ("gpu", r"engine: got 'gpu', expected one of native, reference"),
    "dtype": ("float16", r"dtype: got 'float16', expected 'float32' or 'float64'"),
    "seed": (-1, r"seed: got -1, expected an integer from 0 to"),
    "threads": (10**6, r"threads: got 1000000, expected an integer from 1 to"),
    "step": (-1, r"step: got -1, expected an integer of at least 0"),
    "epoch": (0.5, r"epoch: got 0\.5, expected an integer"),
    "updates": (None, r"updates: got None, expected an integer"),
}
OF_MODELS = {
    "engine": SETTINGS["engine"],
    "threads": SETTINGS["threads"],
    "dtype": ("float64", r"dtype: got 'float64' for a model that has parameters, expected copy\(dtype='float64'\)"),
    "output_transform": ("cube", r"output_transform: got 'cube', expected one of linear, "),
}


def trained(engine: str = "native", **settings) -> fr.Trainer:
    layers = [fr.Dropout(rate=0.2), fr.Dense(5, activation="relu"), fr.Dense(3)]
    trainer = fr.Trainer(fr.Sequential(layers), engine=engine, l2=fr.L2(0.1, m="batch"), **settings)
    trainer.fit(X, Y, batch_size=5)
    return trainer


@pytest.mark.parametrize("name", SETTINGS)
def test_a_trainer_refuses_when_it_is_set(name):
    value, message = SETTINGS[name]
    trainer = trained()
    before = pickle.dumps(trainer)
    with pytest.raises((ValueError, TypeError), match=message) as error:
        setattr(trainer, name, value)
    assert "\n" not in str(error.value) and pickle.dumps(trainer) == before
    trainer.fit(X, Y)


@pytest.mark.parametrize("name", OF_MODELS)
def test_a_model_refuses_when_it_is_set(name):
    value, message = OF_MODELS[name]
    model = trained().model
    before = model.predict(X)
    with pytest.raises((ValueError, TypeError), match=message):
        setattr(model, name, value)
    np.testing.assert_array_equal(model.predict(X), before)


def test_what_is_set_is_what_the_constructor_would_have_made():
    """Names and NumPy's numbers work, too. Predictions and metrics follow the loss."""
    changed = fr.Trainer(fr.Sequential([fr.Dense(3)]))
    changed.loss, changed.optimizer, changed.l2, changed.seed = "mse", "adam", np.float32(0.5), np.int64(3)
    made = fr.Trainer(fr.Sequential([fr.Dense(3)]), loss="mse", optimizer="adam", l2=0.5, seed=3)
    assert changed.settings() == made.settings()
    targets = np.eye(3)[Y]
    for trainer in (changed, made):
        trainer.fit(X, targets, epochs=3)
    np.testing.assert_array_equal(changed.model.predict(X), made.model.predict(X))
    assert changed.evaluate(X, targets).keys() == {"loss"}


def test_a_loss_that_does_not_fit_the_model_is_refused_by_the_next_fit():
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3, "sigmoid")]), loss="mse")
    trainer.loss = "sigmoid_cross_entropy"
    with pytest.raises(ValueError, match=r"model: got 'sigmoid' in the last Dense"):
        trainer.fit(X, np.eye(3)[Y])
    assert not trainer.model.built and trainer.model.output_transform == "linear"


@pytest.mark.parametrize("batch_size", [13, 2**40, 2**63 - 1, np.int64(2**62)])
def test_a_batch_larger_than_the_data_is_all_of_them(engine, batch_size):
    """So is its memory: 2**40 rows would not fit."""
    exact, larger = trained(engine, accumulate=2), trained(engine, accumulate=2)
    exact.fit(X, Y, epochs=3, batch_size=len(X))
    larger.fit(X, Y, epochs=3, batch_size=batch_size)
    for name, value in exact.model.parameters.items():
        np.testing.assert_array_equal(larger.model.parameters[name], value)
    np.testing.assert_array_equal(larger.predict(X, batch_size=batch_size), exact.predict(X, batch_size=3))


@pytest.mark.parametrize("accumulate", [4, 2**62, 2**63 - 1])
def test_a_step_larger_than_an_epoch_is_all_of_it(engine, accumulate):
    exact, larger = trained(engine, accumulate=3), trained(engine, accumulate=accumulate)
    for trainer in (exact, larger):
        trainer.fit(X, Y, epochs=3, batch_size=4)
    assert larger.updates == exact.updates == 4
    for name, value in exact.model.parameters.items():
        np.testing.assert_array_equal(larger.model.parameters[name], value)


@pytest.mark.parametrize("batch_size", [2**63, 10**5000], ids=["2**63", "10**5000"])
@pytest.mark.parametrize("method", ["fit", "predict"])
def test_a_batch_beyond_64_bits(method, batch_size):
    trainer = trained()
    with pytest.raises(ValueError, match=r"batch_size: got .*, expected an integer from 1 to 9223372036854775807") as e:
        getattr(trainer, method)(X, *[Y][: method == "fit"], batch_size=batch_size)
    assert len(str(e.value)) < 300


@pytest.mark.parametrize("name", ["epoch", "step"])
def test_counters_may_be_beyond_32_bits(engine, name):
    """Draws use only their last 32 bits."""
    trainers = [trained(engine), trained(engine)]
    for trainer, beyond in zip(trainers, (0, 2**40), strict=True):
        setattr(trainer, name, 3 + beyond)
        trainer.fit(X, Y, batch_size=5)
        assert getattr(trainer, name) == 3 + beyond + (1 if name == "epoch" else 3)
    for one, other in zip(*(trainer.model.state_dict().values() for trainer in trainers), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_arguments_of_a_trainer_are_settings_and_stay_as_they_are_in_a_fit():
    trainer = fr.Trainer(fr.Sequential([fr.Dense(2)]))
    with pytest.raises(TypeError, match="arguments: got 'junk', expected the Settings of a trainer"):
        trainer.arguments = "junk"

    class Meddler(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            self.trainer.arguments = dataclasses.replace(self.trainer.arguments, seed=1)

    with pytest.raises(RuntimeError, match="arguments: the model is already being fitted"):
        trainer.fit(np.eye(2), [0, 1], callbacks=[Meddler()])
    trainer.arguments = dataclasses.replace(trainer.arguments, seed=1)
    assert trainer.seed == 1
