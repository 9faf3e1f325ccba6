"""Callbacks: when they are called, early stopping on made curves, and what progress prints."""

import csv
import math
import os
import stat

import numpy as np
import pytest
from trainers import classifier

import fastreg as fr
from fastreg.callbacks.base import Callback


class Record(Callback):
    def __init__(self):
        self.calls = []

    def on_train_begin(self):
        self.calls.append("train")

    def on_epoch_begin(self, epoch):
        self.calls.append(f"epoch {epoch}")

    def on_slice_end(self, batches, logs):
        assert math.isfinite(logs["loss"])
        self.calls.append(f"slice {batches}")

    def on_epoch_end(self, epoch, logs):
        assert tuple(logs) == self.plan.names
        self.calls.append(f"end {epoch}")

    def on_train_end(self):
        self.calls.append("done")


class RecordBatches(Record):
    def on_batch_begin(self, batch):
        self.calls.append(f"begin {batch}")

    def on_batch_end(self, batch, logs):
        self.calls.append(f"batch {batch}")


class Made(Callback):
    """Puts a made curve in place of the validation loss, and marks the weights with the epoch."""

    def __init__(self, curve):
        self.curve = curve

    def on_epoch_end(self, epoch, logs):
        logs["val_loss"] = self.curve[epoch - self.plan.first_epoch]
        self.model.parameters["0.bias"][...] = epoch


def train(callbacks, epochs=2, engine="native", batch_size=4, **settings):
    X = np.arange(12.0).reshape(12, 1) / 12
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse", optimizer=fr.SGD(0.01), engine=engine)
    data = {"validation_data": (X, X)} | settings
    return trainer, trainer.fit(X, X, epochs=epochs, batch_size=batch_size, callbacks=callbacks, **data)


# --- When --------------------------------------------------------------------------------------------------------


def test_the_order_of_calls(engine):
    record = Record()
    train([record], engine=engine)
    epochs = [[f"epoch {e}", "slice 3", f"end {e}"] for e in range(2)]
    assert record.calls == ["train", *epochs[0], *epochs[1], "done"]


@pytest.mark.parametrize(
    "name, told",
    [
        ("on_train_batch_end", "the nearest is 'on_batch_end'"),  # Keras
        ("on_train_epoch_start", "the nearest is 'on_epoch_begin'"),  # Lightning
        ("on_epoch_ends", "the nearest is 'on_epoch_end'"),
        ("on_test_end", "the values of held-back data are in the logs of on_epoch_end"),
        ("on_predict_end", "predict calls no hooks"),
    ],
)
def test_a_hook_that_does_not_exist_is_refused_where_the_class_is_made(name, told):
    with pytest.raises(TypeError, match=f"^Mine.{name}: there is no such hook, expected one of .*{told}$"):
        type("Mine", (Callback,), {name: lambda self, *_: None})
    with pytest.raises(TypeError, match=told):  # from a class that is no callback
        type("Mine", (type("Mixed", (), {name: print}), Callback), {})
    callback = Callback()
    setattr(callback, name, print)
    with pytest.raises(TypeError, match=told):
        train([callback])


def test_hooks_and_other_names_are_free():
    made = type("Mine", (Callback,), {"on_epoch_end": lambda self, epoch, logs=None: None, "once": 1, "_on_idle": 2})
    train([made()])


def test_verbose_auto_shows_progress(capsys):
    train([], verbose="auto")
    assert "epoch 2/2" in capsys.readouterr().out
    with pytest.raises(ValueError, match="verbose: got 'yes', expected 0, 1"):
        train([], verbose="yes")


def test_batch_hooks_make_slices_of_one_step(engine):
    record = RecordBatches()
    trainer, _ = train([record], epochs=1, engine=engine)
    batches = [call for b in range(3) for call in (f"begin {b}", f"batch {b}", f"slice {b + 1}")]
    assert record.calls == ["train", "epoch 0", *batches, "end 0", "done"]
    other, _ = train([], epochs=1, engine=engine)
    for name, value in trainer.model.parameters.items():
        np.testing.assert_array_equal(value, other.model.parameters[name])


def test_batch_logs_are_the_loss_of_the_batch(engine):
    class Losses(Callback):
        def on_train_begin(self):
            self.losses = []

        def on_batch_end(self, batch, logs):
            self.losses.append(logs["loss"])

    losses = Losses()
    _, history = train([losses], epochs=1, engine=engine, batch_size=5)
    assert history["loss"] == [pytest.approx(np.average(losses.losses, weights=[5, 5, 2]))]


def test_a_callback_can_stop_training():
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs):
            self.trainer.stop_training = epoch == 1

    trainer, history = train([Stop()], epochs=9)
    assert history.epochs == [0, 1] and trainer.epoch == 2
    assert len(trainer.fit(np.ones((4, 1)), np.ones(4), epochs=3)["loss"]) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_on_train_end_is_called_for_every_callback_after_an_error(error):
    class Fail(Callback):
        def on_epoch_end(self, epoch, logs):
            raise error

    records = [Record(), Record()]
    with pytest.raises(error):
        train([records[0], Fail(), records[1]])
    assert records[0].calls[-1] == records[1].calls[-1] == "done"


# --- Early stopping -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curve", "settings", "stops", "best"),
    [
        ([5, 4, 3, 3, 3, 3], {"patience": 2}, 5, 2),
        ([5, 4, 3, 4, 2, 3, 3, 1], {"patience": 2}, 7, 4),
        ([5, 6, 7], {"patience": 0}, 2, 0),
        ([5, 4, 3], {"patience": 1}, 3, 2),
        ([math.nan, 5, math.nan, 4, math.nan, math.nan, 1], {"patience": 2}, 6, 3),
        ([math.nan] * 5, {"patience": 3}, 3, None),
        ([5, 4.9, 4.7, 4.6, 4.5, 1], {"patience": 2, "min_delta": 0.25}, 5, 4),
        ([5, 4.9, 4.85, 4.8], {"patience": 2, "min_delta": 0.25}, 3, 2),
        ([1, 5, 4, 5, 5], {"patience": 2, "start_from_epoch": 1}, 5, 2),
        ([1, 2, 3, 2, 2], {"patience": 2, "mode": "max"}, 5, 2),
    ],
)
def test_early_stopping_on_made_curves(curve, settings, stops, best):
    """`stops` epochs run. The restored weights are those of epoch `best`."""
    stopping = fr.EarlyStopping(**settings)
    trainer, history = train([Made(curve), stopping], epochs=len(curve))
    assert len(history.epochs) == stops and stopping.best_epoch == best
    expected = stops - 1 if best is None else best
    assert trainer.model.parameters["0.bias"].item() == expected


def test_early_stopping_on_accuracy_keeps_the_largest(blobs):
    X, y = blobs
    stopping = fr.EarlyStopping(monitor="val_accuracy", patience=3)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.SGD(0.05))
    history = trainer.fit(X, y, epochs=40, validation_data=(X, y), callbacks=[stopping])
    assert stopping.best == max(history["val_accuracy"])
    assert trainer.evaluate(X, y)["accuracy"] == stopping.best


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_best_weights_come_back_however_training_ends(engine, error):
    class Cut(Callback):
        def on_batch_end(self, batch, logs):
            if self.trainer.epoch == 3:
                raise error

    X = np.ones((4, 1))
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse", engine=engine)
    callbacks = [Made([5, 1, 3, 3]), fr.EarlyStopping(patience=9), Cut()]
    with pytest.raises(error):
        trainer.fit(X, X, epochs=9, validation_data=(X, X), callbacks=callbacks)
    assert trainer.model.parameters["0.bias"].item() == 1


def test_the_best_weights_come_back_after_divergence():
    X = np.full((4, 1), 3.0)
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse", optimizer=fr.SGD(0.95))
    stopping = fr.EarlyStopping(patience=99)
    with pytest.raises(fr.DivergenceError):
        trainer.fit(X, X, epochs=99, batch_size=1, validation_data=(X, X), callbacks=[stopping])
    assert stopping.best_epoch == 0
    assert trainer.evaluate(X, X)["loss"] == pytest.approx(stopping.best)


def test_early_stopping_starts_afresh_with_every_fit():
    stopping = fr.EarlyStopping(patience=1)
    X = np.ones((4, 1))
    trainer, _ = train([Made([1, 2]), stopping])
    trainer.fit(X, X, epochs=2, validation_data=(X, X), callbacks=[Made([9, 8]), stopping])
    assert stopping.best == 8 and trainer.model.parameters["0.bias"].item() == 3


# --- CSVLogger and TerminateOnNaN ---------------------------------------------------------------------------------


def test_csv_logger_writes_the_history(tmp_path, engine):
    path = tmp_path / "log.csv"
    path.write_text("old")
    for _ in range(2):  # a new fit starts afresh
        _, history = train([fr.CSVLogger(path)], engine=engine)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["epoch", *history]
    assert rows[1:] == [[str(epoch), *map(str, row.values())] for epoch, row in history.rows()]


def test_csv_logger_goes_on_with_a_resumed_fit(tmp_path):
    log, path = fr.CSVLogger(str(tmp_path / "log.csv")), tmp_path / "run.safetensors"
    train([log, fr.Checkpoint(path, every=2)], epochs=2)
    with open(log.path, "a") as file:
        file.write("2,0.5,0")  # cut off in the middle by a kill
    _, history = train([log], epochs=4, resume=path)
    rows = list(csv.reader(log.path.read_text().splitlines()))
    assert [row[0] for row in rows] == ["epoch", "0", "1", "2", "3"]
    assert [float(row[1]) for row in rows[1:]] == history["loss"]
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".tmp"] == []


def test_csv_logger_without_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"CSVLogger path: got '.*nowhere.*', expected a file in a folder that exists"):
        train([fr.CSVLogger(tmp_path / "nowhere" / "log.csv")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_csv_logger_refuses_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"CSVLogger path: got '.*pipe', not a regular file, expected a file"):
        train([fr.CSVLogger(tmp_path / "pipe")])
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


@pytest.mark.parametrize("monitor", [None, "val_loss"])
def test_terminate_on_nan(monitor):
    made = Made([3.0, math.inf, 1.0])
    with pytest.warns(RuntimeWarning, match="training stops after epoch 2: val_loss is inf"):
        _, history = train([made, fr.TerminateOnNaN(monitor)], epochs=3)
    assert history.epochs == [0, 1]
    train([Made([3.0, math.nan]), fr.TerminateOnNaN("loss")], epochs=2)


# --- History ------------------------------------------------------------------------------------------------------


def test_history_is_lists_of_equal_length():
    _, history = train([], epochs=3)
    assert list(history) == ["loss", "penalty", "seconds", "lr", "val_loss"]
    assert {len(column) for column in history.values()} == {3} == {len(history.epochs)}
    assert history[-1] == {name: column[-1] for name, column in history.items()}
    assert all(seconds > 0 for seconds in history["seconds"])
    assert "3 epochs" in repr(history)
    with pytest.raises(KeyError, match=r"val_accuracy.*expected one of loss"):
        history["val_accuracy"]
    with pytest.raises(ValueError, match="row"):
        history.append(3, {"loss": 1.0})


def test_an_error_in_on_train_end_does_not_hide_the_one_that_ended_the_fit(blobs):
    class Fail(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            raise OSError("the disk is full")

        def on_train_end(self):
            raise RuntimeError("the end failed, too")

    with pytest.raises(RuntimeError) as error:
        classifier().fit(*blobs, callbacks=[Fail(), fr.EarlyStopping("loss")])
    assert str(error.value.__context__) == "the disk is full"
