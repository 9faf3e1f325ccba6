"""History: of a fit, and of a trainer over all its fits, whatever ends them."""

import math
import pickle
import signal
import threading

import numpy as np
import pytest
from trainers import classifier, line

import fastreg as fr

X = np.random.default_rng(0).normal(size=(60, 4))
Y = np.arange(60) % 3


class Add(fr.Callback):
    """Adds a value from the second epoch on, and changes another."""

    def on_epoch_end(self, epoch, logs):
        if epoch > 0:
            logs["gain"] = np.float32(epoch)
        logs["penalty"] = True
        logs["note"] = "text is not kept"


def test_the_history_of_the_trainer_is_that_of_all_fits(engine):
    trained = classifier(engine)
    first = trained.fit(X, Y, epochs=2)
    second = trained.fit(X, Y, epochs=3, validation_data=(X, Y))
    assert first.epochs == [0, 1] and second.epochs == [2, 3, 4]
    whole = trained.history
    assert whole.epochs == list(range(5)) and whole["loss"] == first["loss"] + second["loss"]
    assert all(map(math.isnan, whole["val_loss"][:2])) and whole["val_loss"][2:] == second["val_loss"]
    assert "val_loss" not in first
    trained.reset()
    assert trained.history.epochs == [] and whole.epochs == list(range(5))


def test_it_is_there_while_training_runs():
    seen = []

    class Look(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(list(self.trainer.history.epochs))

    trained = classifier()
    trained.fit(X, Y, epochs=1)
    trained.fit(X, Y, epochs=2, callbacks=Look())
    assert seen == [[0, 1], [0, 1, 2]]


def test_the_rate_is_that_of_the_last_batch(engine):
    schedule = fr.schedules.Cosine(0.1, 30, per="step")
    trained, seen = classifier(engine, optimizer=fr.SGD(schedule)), []

    class Rates(fr.Callback):
        def on_rates(self, epoch, rates):
            rates[...] *= 0.5
            seen.append(rates.copy())

    history = trained.fit(X, Y, epochs=2, batch_size=16, callbacks=Rates())
    assert history["lr"] == [rates[-1] for rates in seen] and history["lr"][0] > history["lr"][1] > 0


def test_divergence_leaves_what_was_finished():
    trained = line("native", lr=1.2, dtype="float32")
    x = np.linspace(0.5, 2, 8)[:, None]
    with pytest.raises(fr.DivergenceError) as error:
        trained.fit(x, x, epochs=10**4, batch_size=8)
    assert error.value.history.epochs == trained.history.epochs == list(range(trained.epoch))
    assert trained.epoch > 3 and trained.history["loss"][-1] > 1e9


def test_ctrl_c_leaves_what_was_finished():
    trained = classifier()
    timer = threading.Timer(0.15, signal.raise_signal, (signal.SIGINT,))

    class Start(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 0:
                timer.start()

    with pytest.raises(KeyboardInterrupt) as error:
        trained.fit(X, Y, epochs=10**7, callbacks=[Start()])
    timer.join()
    assert trained.epoch > 0
    assert trained.history.epochs == list(range(trained.epoch)) == error.value.history.epochs
    assert trained.fit(X, Y).epochs == [trained.epoch - 1] and trained.history.epochs == list(range(trained.epoch))


def test_what_callbacks_add_is_kept():
    trained = classifier()
    history = trained.fit(X, Y, epochs=3, callbacks=Add())
    assert math.isnan(history["gain"][0]) and history["gain"][1:] == [1.0, 2.0] == trained.history["gain"][1:]
    assert history["penalty"] == [1.0] * 3 and "note" not in history


def test_rows_columns_and_copies():
    history = fr.History()
    history.record(4, {"loss": 2.0, "val_f1": 0.5})
    history.record(5, {"loss": 1.0, "val_f1": 0.25, "other": 1})
    assert history[-1] == {"loss": 1.0, "val_f1": 0.25, "other": 1.0} and history[0]["loss"] == 2.0
    assert history.to_dict()["epoch"] == [4, 5] and list(history.to_dict()) == ["epoch", "loss", "val_f1", "other"]
    assert history[:1] == [history[0]] and history.history["loss"] == [2.0, 1.0]
    for wrong, error in ((2, IndexError), (-3, IndexError), (1.0, TypeError), ("f1", KeyError)):
        with pytest.raises(error, match="history: got"):
            history[wrong]
    again = pickle.loads(pickle.dumps(history))
    assert again.to_dict()["loss"] == [2.0, 1.0] and again.epochs == [4, 5]
    part = history.copy(1)
    part.record(6, {"loss": 0.0})
    assert part.epochs == [5, 6] and history.epochs == [4, 5]
    lines = repr(history).splitlines()
    assert lines[0] == "History of 2 epochs, 5 to 6"
    assert [line.split() for line in lines[3:]] == [
        ["loss", "1", "1", "6"],
        ["val_f1", "0.25", "0.5", "5"],
        ["other", "1"],
    ]
    assert repr(fr.History()) == "History of no epochs"


def test_a_copy_of_a_trainer_has_its_own_history():
    trained = classifier()
    trained.fit(X, Y, epochs=2)
    other = trained.copy()
    other.fit(X, Y)
    assert trained.history.epochs == [0, 1] and other.history.epochs == [0, 1, 2]


def test_refit_from_the_start_begins_a_new_history_but_a_refused_one_keeps_it():
    trained = classifier()
    trained.fit(X, Y, epochs=4, callbacks=fr.EarlyStopping("loss"))
    before = trained.history
    with pytest.raises(ValueError, match="monitor"):
        trained.refit(X, Y, callbacks=[fr.EarlyStopping("cost")])
    assert trained.history is before and before.epochs
    history = trained.refit(X, Y)
    assert trained.history.epochs == history.epochs
