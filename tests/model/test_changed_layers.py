"""What is set in a model and its trainers between fits: obeyed at once everywhere, or refused in one line."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import fastreg as fr

X = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
Y = np.arange(40) % 3


def layers(**first):
    return [fr.Dense(6, **{"activation": "relu", **first}), fr.Dropout(rate=0.3, name="drop"), fr.Dense(3)]


def fitted(optimizer="adam", **first):
    trainer = fr.Trainer(fr.Sequential(layers(**first)), optimizer=optimizer, engine="reference")
    trainer.fit(X, Y, epochs=2, batch_size=10)
    return trainer


# Each option, and what it changes in a model that is made with it.
OPTIONS = {
    (0, "trainable"): False,
    (0, "lr_scale"): 0.25,
    (0, "l1"): 0.01,
    (0, "l2"): fr.L2(0.3),
    (0, "penalty"): fr.ElasticNet(0.1, 0.5),
    (0, "max_norm"): 0.5,
    (0, "non_negative"): True,
    (0, "activation"): "tanh",
    (0, "preactivation_noise"): 0.2,
    (0, "weight_noise"): 0.2,
    (0, "activity_l1"): 0.1,
    ("drop", "rate"): 0.7,
    ("drop", "keep_prob"): 0.2,
    ("drop", "kind"): "standard",
}


@pytest.mark.parametrize(("place", "name"), OPTIONS)
def test_an_option_is_obeyed_by_all_that_use_the_model(tmp_path, place, name):
    """As in a model that was made with it and has the same parameters."""
    value = OPTIONS[place, name]
    changed, before = fitted("sgd"), fitted("sgd")
    changed.predict(X), changed.evaluate(X, Y), changed.model.predict(X)  # programs of the old options exist
    setattr(changed.model.layers[place], name, value)
    made = list(before.model.layers)
    index = {"drop": 1}.get(place, place)
    made[index] = made[index].changed(name, value)
    assert made[index] != before.model.layers[index] and changed.model.layers == tuple(made)
    fresh = fr.Trainer(fr.Sequential(made), optimizer="sgd", engine="reference")
    fresh.model.build(5)
    fresh.model.load_state_dict(before.model.state_dict())
    fresh.epoch, fresh.batches, fresh.updates = changed.epoch, changed.batches, changed.updates
    np.testing.assert_array_equal(changed.predict(X), fresh.predict(X))
    assert changed.evaluate(X, Y) == fresh.evaluate(X, Y)
    for trainer in (changed, fresh):
        trainer.fit(X, Y, epochs=2, batch_size=10)
    for parameter, array in fresh.model.parameters.items():
        np.testing.assert_array_equal(changed.model.parameters[parameter], array)
    changed.model.save(tmp_path / "m")
    loaded = fr.load(tmp_path / "m")
    assert loaded.layers == changed.model.layers
    np.testing.assert_array_equal(loaded.predict(X), changed.model.predict(X))
    assert loaded.summary() == changed.model.summary()


def test_all_layers_at_once_are_obeyed_too():
    trainer = fitted(trainable=False)
    start = trainer.model.state_dict()["0.weight"]
    own = trainer.model.layers
    trainer.model.layers = (dataclasses.replace(own[0], trainable=True), *own[1:])
    trainer.fit(X, Y, batch_size=10)
    assert (trainer.model.parameters["0.weight"] != start).any()


def test_freezing_and_thawing_keep_the_state_of_the_others():
    """The momentum of the layers that train all the time goes on, as by hand."""
    trainer = fitted(fr.SGD(0.1, momentum=0.9))
    model, state = trainer.model, trainer.optimizer_state
    frozen, kept = model.state_dict()["0.weight"], state["2.weight/v"].copy()
    model.layers[0].trainable = False
    model.layers["drop"].rate = 0.0
    before, gradient = model.state_dict()["2.weight"], trainer.gradients(X, Y)["2.weight"]
    trainer.fit(X, Y, batch_size=40)
    np.testing.assert_allclose(model.parameters["2.weight"], before - 0.1 * (0.9 * kept + gradient), rtol=1e-5)
    np.testing.assert_array_equal(model.parameters["0.weight"], frozen)
    assert trainer.optimizer_state.keys() == {"2.weight/v", "2.bias/v"}
    model.layers[0].trainable = True
    trainer.fit(X, Y, batch_size=40)
    assert (model.parameters["0.weight"] != frozen).any()


REFUSED = {
    "units": (
        lambda m: setattr(m.layers[0], "units", 7),
        r"layers: got \{'0.weight': \(5, 7\), .*fr.Sequential\(layers",
    ),
    "unknown": (lambda m: setattr(m.layers[0], "rate", 7), r"layer '0': Dense has no option 'rate', expected one of"),
    "value": (lambda m: setattr(m.layers[0], "l2", -1), r"l2: got -1, expected a finite number of at least 0"),
    "item": (
        lambda m: m.layers.__setitem__(0, fr.Dense(6)),
        r"layers\[0\]: a layer is not replaced alone; .*trainable",
    ),
    "text": (lambda m: setattr(m, "layers", "junk"), r"layers: got 'junk', expected a list of layers"),
    "others": (lambda m: setattr(m, "layers", [fr.Dense(3)]), r"layers: got .*fr.Sequential\(layers\) makes a new"),
    "no layer": (lambda m: m.layers["x"], r"layers: got 'x', expected one of 0, drop, 2"),
    "frozen": (
        lambda m: setattr(m, "trainable", False),
        r"Sequential.trainable: .*model.layers\[0\].trainable = False",
    ),
    "typo": (
        lambda m: setattr(m, "thread", 2),
        r"Sequential.thread: there is no such attribute; the nearest is 'threads'",
    ),
    "derived": (
        lambda m: setattr(m, "outputs", 2),
        r"Sequential.outputs: cannot be set; it follows from the last layer",
    ),
    "fit": (lambda m: m.fit, r"Sequential.fit: there is no such attribute; a trainer fits a model: fr.Trainer\("),
    "parameters": (lambda m: setattr(m, "parameters", {}), r"state: missing \['0.bias'"),
    "a parameter": (lambda m: m.parameters.update({"0.bias": 3}), r"'0.bias': got shape \(\), expected \(6,\)"),
    "a new one": (lambda m: m.parameters.update({"9.bias": 3}), r"'9.bias': got a new name, expected one of 0.weight"),
    "one less": (lambda m: m.parameters.pop("0.bias"), r"parameters: their names are fixed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_model_cannot_obey_is_refused(case):
    act, message = REFUSED[case]
    model = fitted().model
    before, config = model.predict(X), model.config()
    with pytest.raises((ValueError, TypeError, AttributeError, KeyError), match=message) as error:
        act(model)
    assert "\n" not in str(error.value)
    assert model.config() == config
    np.testing.assert_array_equal(model.predict(X), before)


OF_TRAINERS = {
    "batch_size": (16, r"Trainer.batch_size: there is no such attribute; it is an argument of fit"),
    "weight_decay": (0.1, r"Trainer.weight_decay: .*trainer.optimizer = fr.SGD"),
    "sed": (3, r"Trainer.sed: there is no such attribute; the nearest is 'seed'"),
    "metric_names": ((), r"Trainer.metric_names: cannot be set; it follows from metrics and loss"),
    "lr": (-1, r"lr: got -1, expected a finite number of at least 0"),
}


@pytest.mark.parametrize("name", OF_TRAINERS)
def test_what_a_trainer_cannot_obey_is_refused(name):
    value, message = OF_TRAINERS[name]
    trainer = fitted()
    before = repr(trainer)
    with pytest.raises((ValueError, AttributeError), match=message) as error:
        setattr(trainer, name, value)
    assert "\n" not in str(error.value) and repr(trainer) == before


def test_a_learning_rate_that_is_set_is_that_of_the_optimizer():
    trainers = fitted(fr.SGD(0.1, momentum=0.5)), fitted(fr.SGD(0.1, momentum=0.5))
    trainers[0].lr = 0.02
    trainers[1].optimizer = fr.SGD(0.02, momentum=0.5)
    assert trainers[0].learning_rate == trainers[0].lr == 0.02 and trainers[0].optimizer == trainers[1].optimizer
    for trainer in trainers:
        assert any(slot.any() for slot in trainer.optimizer_state.values())
        trainer.fit(X, Y)
    for one, other in zip(*(trainer.model.parameters.values() for trainer in trainers), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_changes_during_a_fit():
    class Meddler(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            act(self.model, self.trainer)

    trainer = fitted()
    for act, message in (  # noqa: B007
        (lambda m, t: setattr(m, "layers", m.layers), "layers: the model is already being fitted"),
        (lambda m, t: setattr(m.layers[0], "l2", 1), "layer '0': l2: the model is already being fitted"),
        (lambda m, t: setattr(t, "lr", 1.0), "lr: the model is being fitted; a callback sets rates in on_rates"),
    ):
        with pytest.raises(RuntimeError, match=message):
            trainer.fit(X, Y, callbacks=[Meddler()])


def test_parameters_that_are_set_are_those_of_the_engines():
    trainer = fitted()
    other = fitted("sgd")
    trainer.model.parameters = other.model.state_dict()
    np.testing.assert_array_equal(trainer.predict(X), other.predict(X))
    trainer.model.parameters["2.weight"] = np.zeros((6, 3))
    trainer.model.parameters["2.bias"] = np.arange(3.0)
    expected = np.exp(np.arange(3.0)) / np.exp(np.arange(3.0)).sum()
    np.testing.assert_allclose(trainer.predict(X), np.tile(expected, (40, 1)), rtol=1e-6)


def test_a_layer_outside_of_a_model_is_fixed():
    alone = fr.Dense(3)
    model = fr.Sequential([alone, fr.Dense(2)])
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"Dense.l2: a layer can be changed in its model only"):
        alone.l2 = 0.1
    model.layers[0].l2 = 0.1
    assert alone.l2 is None and model.layers[0].l2 == fr.L2(0.1)
    old = model.layers[0]
    model.layers = model.layers
    with pytest.raises(AttributeError, match=r"layer '0': its model has other layers by now; set model.layers\['0'\]"):
        old.l2 = 0.3


def test_before_it_is_built_a_model_takes_any_layers():
    model = fr.Sequential([fr.Dense(3, "relu"), fr.Dense(2)])
    model.layers[0].units = 7
    model.layers[0].activation = "tanh"
    assert model.layers[0] == fr.Dense(7, "tanh", name="0")  # its initial values are those of its activation
    model.build(4)
    assert model.parameters["0.weight"].shape == (4, 7)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies_have_layers_of_their_own(copied):
    trainer = fitted()
    other = copied(trainer)
    other.model.layers[0].trainable = False
    assert trainer.model.layers[0].trainable
    start = other.model.state_dict()["0.weight"]
    other.fit(X, Y)
    np.testing.assert_array_equal(other.model.parameters["0.weight"], start)


def test_derived_classes_have_attributes_of_their_own():
    class Mine(fr.Trainer):
        def __init__(self, model, seed):
            self.seed = seed  # an argument, before the constructor of the base takes it
            self.note = "mine"
            super().__init__(model)
            self.count = 0

    class Net(fr.Sequential):
        pass

    model = Net([fr.Dense(3)])
    model.note = "own"
    trainer = Mine(model, seed=7)
    trainer.count += 1
    assert (trainer.seed, trainer.note, trainer.count, model.note) == (7, "mine", 1, "own")
    plain = fr.Trainer(fr.Sequential([fr.Dense(3)]), seed=7)
    for each in (trainer, plain):
        each.fit(X, Y)
    np.testing.assert_array_equal(trainer.predict(X), plain.predict(X))

    class Twice(fr.Trainer):
        def __init__(self, model):
            self.seed = 3
            super().__init__(model, seed=4)

    with pytest.raises(ValueError, match=r"seed: got 4 in Trainer.__init__, and 3 as an attribute before it"):
        Twice(model)


def test_the_repr_of_a_trainer_tells_what_it_is():
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.SGD(0.1), l2=1e-3)
    assert repr(trainer).splitlines() == [
        "Trainer(Sequential([Dense(3)]),",
        "        loss=SoftmaxCrossEntropy(), optimizer=SGD(lr=0.1), l2=L2(0.001))",
        "        not trained yet",
    ]
    trainer.fit(X, Y, epochs=2, batch_size=20)
    assert repr(trainer).endswith("2 epochs trained, 4 steps of the optimizer")
