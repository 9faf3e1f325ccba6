"""Resuming with other settings, and from a file that is not there yet."""

import json
import math

import numpy as np
import pytest
from resumable import digest

import fastreg as fr
from fastreg.common.safetensors import read_tensors, write_tensors

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
HELD_BACK = X[:20], Y[:20]


def trainer(units=5, **settings):
    model = fr.Sequential([fr.Dense(units, "relu", **settings.pop("layer", {})), fr.Dense(2)])
    return fr.Trainer(model, **{"optimizer": fr.Adam(0.01), **settings})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def start(path, epochs=3, callbacks=None, **settings):
    first = trainer(**settings)
    callbacks = [fr.EarlyStopping(patience=2)] if callbacks is None else callbacks
    first.fit(X, Y, epochs=epochs, validation_data=HELD_BACK, callbacks=[*callbacks, fr.Checkpoint(path)])
    return first


def go(trained, path, changed=(), epochs=5, callbacks=None, **more):
    callbacks = [fr.EarlyStopping(patience=2)] if callbacks is None else callbacks
    arguments = {"X": X, "y": Y, "validation_data": HELD_BACK} | more
    return trained.fit(**arguments, epochs=epochs, callbacks=callbacks, resume=path, changed=changed)


# Each with what a checkpoint of the default training refuses without `changed`.
CHANGES = {
    "optimizer": ({"optimizer": fr.Adam(0.002)}, {}),
    "l2": ({"l2": 0.1}, {}),
    "seed": ({"seed": 3}, {}),
    "engine": ({"engine": "reference"}, {}),
    "accumulate": ({"accumulate": 2}, {}),
    "clip_norm": ({"clip_norm": 1.0}, {}),
    "layers": ({"layer": {"l2": 0.3}}, {}),
    "batch_size": ({}, {"batch_size": 16}),
    "shuffle": ({}, {"shuffle": False}),
    "rows": ({}, {"X": X[:50], "y": Y[:50]}),
    "sample_weight": ({}, {"sample_weight": np.ones(60)}),
    "class_weight": ({}, {"class_weight": {1: 2.0}}),
    "validation_data": ({}, {"validation_data": {"val": HELD_BACK, "test": (X, Y)}}),
    "metrics": ({"metrics": ("f1",)}, {}),
    "callbacks": ({}, {"callbacks": [fr.EarlyStopping(patience=3)]}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_named_may_change(path, what):
    settings, more = CHANGES[what]
    first = start(path)
    with pytest.raises(ValueError, match=rf"resume: .*; changed=\('{what}',\) goes on with what is given"):
        go(trainer(**settings), path, **more)
    other = [name for name in CHANGES if name != what and {name, what} != {"metrics", "validation_data"}]
    with pytest.raises(ValueError, match="resume: "):
        go(trainer(**settings), path, other, **more)
    resumed = trainer(**settings)
    history = go(resumed, path, what, **more)
    assert history.epochs == [0, 1, 2, 3, 4] and history["loss"][:3] == first.history["loss"] and resumed.epoch == 5


def test_another_rate_goes_on_from_the_state_of_the_optimizer(path):
    """As the trainer itself does if its optimizer is set between two fits."""
    one, other = start(path, callbacks=[]), trainer(optimizer=fr.Adam(0.002))
    one.optimizer = fr.Adam(0.002)
    one.fit(X, Y, epochs=2, validation_data=HELD_BACK)
    go(other, path, ("optimizer",), callbacks=[])
    assert digest(one, one.history) == digest(other, other.history)
    assert other.history["lr"] == [0.01] * 3 + [0.002] * 2


def test_another_optimizer_starts_with_an_empty_state_and_says_so(path):
    one = start(path, callbacks=[])
    one.optimizer = fr.SGD(0.1, momentum=0.9)
    one.fit(X, Y, epochs=2, validation_data=HELD_BACK)
    other = trainer(optimizer=fr.SGD(0.1, momentum=0.9))
    with pytest.warns(UserWarning, match=r"^resume: SGD starts with an empty state, in place of Adam$"):
        go(other, path, ("optimizer",), callbacks=[])
    assert digest(one, one.history) == digest(other, other.history)


def test_slots_that_differ_start_afresh(path):
    start(path, optimizer=fr.SGD(0.1))
    with pytest.warns(UserWarning, match=r"resume: the optimizer's .*0\.bias/v.* start afresh"):
        go(trainer(optimizer=fr.SGD(0.1, momentum=0.9)), path, "optimizer")
    frozen = trainer(optimizer=fr.SGD(0.1), layer={"trainable": False})
    saved = fr.load(path).state_dict()["0.weight"]
    go(frozen, path, "layers")
    np.testing.assert_array_equal(frozen.model.state_dict()["0.weight"], saved)


def test_more_patience_goes_on_behind_the_stop(path):
    stuck = {"optimizer": fr.SGD(0.0)}
    first = start(path, epochs=50, **stuck)
    assert first.epoch == 3  # the best epoch, and two without an improvement
    history = go(trainer(**stuck), path, "callbacks", 50, [fr.EarlyStopping(patience=5)])
    assert history.epochs == list(range(6))  # those two count


def test_callbacks_take_their_own_states(path):
    plateau = fr.ReduceOnPlateau("loss", factor=0.5, patience=0, smoothing=0, threshold=0.9)
    start(path, callbacks=[fr.EarlyStopping(patience=9), plateau])
    assert plateau.scale == 0.25
    again = fr.ReduceOnPlateau("loss", factor=0.5, patience=0, smoothing=0, threshold=0.99)
    with pytest.warns(UserWarning, match=r"^resume: the state of EarlyStopping in the file is not used$"):
        go(trainer(), path, "callbacks", callbacks=[again])
    assert again.scale == 0.25 / 4
    with pytest.warns(UserWarning, match=r"^resume: UP starts afresh; the state of ReduceOnPlateau in the file is not"):
        go(trainer(), path, "callbacks", callbacks=[fr.stopping.UP(9), fr.EarlyStopping(patience=9)])
    with pytest.warns(UserWarning, match=r"resume: EarlyStopping starts afresh; "):  # another monitor
        go(trainer(), path, "callbacks", callbacks=[fr.EarlyStopping("val_accuracy", 9), again])
    other = fr.ReduceOnPlateau("loss", factor=0.3, patience=0)  # the scale is no power of its factor
    with pytest.warns(
        UserWarning, match=r"ReduceOnPlateau\(.* starts afresh, since its state in the file does not fit"
    ):
        go(trainer(), path, "callbacks", callbacks=[other, fr.EarlyStopping(patience=9)])
    assert other.scale == 1


def test_columns_that_are_new_have_no_values_before(path):
    start(path)
    history = go(trainer(metrics=("accuracy", "f1")), path, "metrics")
    assert all(map(math.isnan, history["val_f1"][:3])) and not any(map(math.isnan, history["val_f1"][3:]))


REFUSED = {
    "a typo": (lambda p: go(trainer(), p, "optimiser"), r"changed: got 'optimiser', expected one of .*'optimizer'"),
    "no file": (lambda p: trainer().fit(X, Y, changed="l2"), r"changed: got 'l2' without resume"),
    "dtype": (lambda p: go(trainer(dtype="float64"), p, "dtype"), r"changed: got 'dtype', expected one of"),
    "units": (lambda p: go(trainer(6), p, "layers"), r"resume: 0\.weight: got \(4, 6\), expected \(4, 5\), as in"),
    "not names": (lambda p: go(trainer(), p, 3), r"changed: got 3, expected a tuple of names"),
    "a choice": (lambda p: trainer().fit(X, Y, resume=p, resume_missing=1), r"resume_missing: got 1, expected one of"),
    "missing": (lambda p: trainer().fit(X, Y, resume_missing="start"), r"resume_missing: got 'start' without resume"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(path, case):
    call, message = REFUSED[case]
    start(path)
    with pytest.raises((ValueError, TypeError), match=message):
        call(path)


def test_a_file_that_is_not_there_yet(path):
    def run(epochs):
        trained = trainer()
        history = trained.fit(X, Y, epochs=epochs, callbacks=fr.Checkpoint(path), resume=path, resume_missing="start")
        return trained, history

    assert run(2)[1].epochs == [0, 1]
    resumed, history = run(5)
    whole = trainer()
    assert digest(resumed, history) == digest(whole, whole.fit(X, Y, epochs=5))
    with pytest.raises(
        FileNotFoundError, match=r"\(resume_missing='start' begins without one\): '.*none\.safetensors'"
    ):
        trainer().fit(X, Y, resume=path.parent / "none.safetensors")


def test_the_history_of_earlier_fits_comes_back(path):
    first = trainer()
    first.fit(X, Y, epochs=2)
    first.fit(X, Y, epochs=2, validation_data=HELD_BACK, callbacks=fr.Checkpoint(path))
    resumed = trainer()
    history = resumed.fit(X, Y, epochs=6, validation_data=HELD_BACK, resume=path)
    assert history.epochs == [2, 3, 4, 5] and resumed.history.epochs == list(range(6))
    np.testing.assert_equal(resumed.history.copy().to_dict()["seconds"][:4], first.history["seconds"])
    assert math.isnan(resumed.history["val_loss"][0])


def test_a_counter_that_was_set_leaves_the_history_of_the_fit(path):
    first = trainer()
    first.fit(X, Y, epochs=2)
    first.epoch = 7
    first.fit(X, Y, epochs=2, callbacks=fr.Checkpoint(path))
    resumed = trainer()
    assert resumed.fit(X, Y, epochs=10, resume=path).epochs == [7, 8, 9] == resumed.history.epochs


def test_a_file_of_an_older_version(path):
    """It has no rates, and nothing about columns and earlier fits."""
    first = start(path)
    tensors, metadata = read_tensors(path)
    del metadata["fastreg.checksum"]
    header = json.loads(metadata["fastreg.checkpoint"])
    place = header.pop("columns").index("lr")
    del header["begun"]
    tensors["checkpoint/history"] = np.ascontiguousarray(np.delete(tensors["checkpoint/history"], place, axis=1))
    write_tensors(path, tensors, metadata | {"fastreg.checkpoint": json.dumps(header)})
    whole, resumed = trainer(), trainer()
    expected = whole.fit(X, Y, epochs=5, validation_data=HELD_BACK, callbacks=[fr.EarlyStopping(patience=2)])
    history = go(resumed, path)
    assert all(map(math.isnan, history["lr"][:3])) and history["lr"][3:] == [0.01] * 2
    assert history["loss"] == expected["loss"] and history["val_accuracy"] == expected["val_accuracy"]
    assert resumed.history.epochs == list(range(5)) and first.epoch == 3


@pytest.mark.parametrize(
    "damage", [{"columns": ["loss"]}, {"columns": 3}, {"begun": 9}, {"begun": -1}, {"begun": "a"}, {"columns": None}]
)
def test_damaged_columns(path, damage):
    start(path)
    tensors, metadata = read_tensors(path)
    del metadata["fastreg.checksum"]
    header = json.loads(metadata["fastreg.checkpoint"]) | damage
    write_tensors(path, tensors, metadata | {"fastreg.checkpoint": json.dumps(header)})
    with pytest.raises(fr.FileFormatError, match=r"run\.safetensors: "):
        go(trainer(), path)


def gain(y, p):
    return float(p[:, 1].mean())


def test_functions_as_metrics_are_resumed_by_name(path):
    start(path, metrics=("accuracy", gain))
    history = go(trainer(metrics=("accuracy", gain)), path)
    assert len(history["val_gain"]) == 5 and not any(map(math.isnan, history["val_gain"]))
    with pytest.raises(ValueError, match=r"resume: metrics: got .*changed=\('metrics',\)"):
        go(trainer(metrics=("accuracy", ("gain", fr.metrics.f1))), path)
