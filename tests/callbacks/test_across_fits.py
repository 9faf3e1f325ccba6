"""Callbacks over several fits of one trainer: as one fit that never stopped, or as their docstrings say."""

import csv
import math

import numpy as np
import pytest
from trainers import classifier

import fastreg as fr

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3


class Made(fr.Callback):
    """Puts a made curve in place of the validation loss."""

    def __init__(self, *curve):
        self.curve = curve

    def on_epoch_end(self, epoch, logs):
        logs["val_loss"] = self.curve[epoch]


class Rates(fr.Callback):
    def __init__(self):
        self.seen = []

    def on_rates(self, epoch, rates):
        self.seen.append(float(rates[0]))


def fits(parts, callbacks, trainer=None, **more):
    trainer = classifier() if trainer is None else trainer
    for epochs in parts:
        trainer.fit(X, Y, epochs=epochs, validation_data=(X, Y), callbacks=callbacks, **more)
    return trainer


def epoch_of(path):
    return int(fr.files.read_tensors(path)[0]["checkpoint/epochs"][-1])


@pytest.mark.parametrize("parts", [(6,), (2, 4), (1, 1, 1, 3)])
def test_the_best_checkpoint_is_that_of_all_fits(tmp_path, parts):
    checkpoint = fr.Checkpoint(tmp_path / "run.safetensors", save_best=True, keep=2)
    fits(parts, [Made(5, 1, 4, 3, 2, 6), checkpoint])
    assert epoch_of(tmp_path / "run.best.safetensors") == 1 and epoch_of(tmp_path / "run.safetensors") == 5
    assert {path.name for path in tmp_path.iterdir()} == {
        "run.safetensors",
        "run.best.safetensors",
        "run.5.safetensors",
    }


def test_a_new_callback_finds_the_best_checkpoint_of_an_earlier_fit(tmp_path):
    path = tmp_path / "run.safetensors"
    trained = fits((3,), [Made(5, 1, 4), fr.Checkpoint(path, save_best=True)])
    fits((1,), [Made(0, 0, 0, 3), fr.Checkpoint(path, save_best=True)], trained)
    assert epoch_of(tmp_path / "run.best.safetensors") == 1
    fits((1,), [Made(0, 0, 0, 0, 0.5), fr.Checkpoint(path, save_best=True)], trained)
    assert epoch_of(tmp_path / "run.best.safetensors") == 4
    trained.reset()  # another training, which replaces it
    fits((1,), [Made(9), fr.Checkpoint(path, save_best=True)], trained)
    assert epoch_of(tmp_path / "run.best.safetensors") == 0


def test_the_best_checkpoint_of_another_training_does_not_count(tmp_path):
    path = tmp_path / "run.safetensors"
    checkpoint = fr.Checkpoint(path, save_best=True)
    fits((2,), [Made(5, 1), checkpoint])
    fits((1,), [Made(7), checkpoint])  # another trainer
    assert epoch_of(tmp_path / "run.best.safetensors") == 0
    (tmp_path / "run.best.safetensors").write_bytes(b"damaged")
    trained = fits((1,), Made(3))
    fits((1,), [Made(3, 8), fr.Checkpoint(path, save_best=True)], trained)
    assert epoch_of(tmp_path / "run.best.safetensors") == 1


def test_the_best_checkpoint_after_a_resumed_second_fit(tmp_path):
    path = tmp_path / "run.safetensors"
    checkpoint = fr.Checkpoint(path, save_best=True)
    fits((2, 2), [Made(5, 1, 4, 3), checkpoint])
    fits((6,), [Made(0, 0, 0, 0, 2, 6), fr.Checkpoint(path, save_best=True)], resume=path)
    assert epoch_of(tmp_path / "run.best.safetensors") == 1


@pytest.mark.parametrize("parts", [(9,), (3, 6), (1, 4, 4)])
def test_the_plateau_goes_on(parts):
    plateau, rates = fr.ReduceOnPlateau(factor=0.5, patience=1, smoothing=0), Rates()
    trained = fits(parts, [Made(*[1.0] * 9), plateau, rates])
    assert np.array(rates.seen) == pytest.approx(0.1 * np.array([1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]))
    trained.reset()
    fits((1,), [Made(1.0), plateau, rates], trained)
    assert rates.seen[-1] == pytest.approx(0.1)
    fits((1,), [Made(1.0), plateau, rates])  # another trainer
    assert rates.seen[-1] == pytest.approx(0.1) and plateau.scale == 1


def test_a_plateau_of_two_fits_is_resumed(tmp_path):
    path, curve = tmp_path / "run.safetensors", Made(*[1.0] * 9)

    def callbacks():
        plateau, rates = fr.ReduceOnPlateau(factor=0.5, patience=0, smoothing=0), Rates()
        return [curve, plateau, rates, fr.Checkpoint(path)]

    whole = callbacks()
    fits((9,), whole)
    first = callbacks()
    fits((4, 1), first)
    resumed = callbacks()
    trained = fits((9,), resumed, resume=path)
    assert first[2].seen + resumed[2].seen == whole[2].seen
    assert trained.history.epochs == list(range(9))


def test_the_log_goes_on(tmp_path):
    log = fr.CSVLogger(tmp_path / "log.csv")
    trained = fits((2,), log)
    trained.fit(X, Y, epochs=2, callbacks=log)  # without validation
    fits((1,), [Made(*[0.5] * 5), log], trained)
    rows = list(csv.reader(log.path.read_text().splitlines()))
    assert rows[0] == ["epoch", "loss", "accuracy", "penalty", "seconds", "lr", "val_loss", "val_accuracy"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "2", "3", "4"]
    for row, (_, values) in zip(rows[1:], trained.history.rows(), strict=True):
        np.testing.assert_equal([float(value) for value in row[1:]], [values[name] for name in rows[0][1:]])
    assert rows[3][-1] == "nan" and rows[5][-2] == "0.5"
    trained.reset()
    fits((1,), log, trained)
    assert [line.split(",")[0] for line in log.path.read_text().splitlines()] == ["epoch", "0"]


def test_a_log_that_begins_later_has_the_epochs_since_then(tmp_path):
    trained = fits((3,), ())
    log = fr.CSVLogger(tmp_path / "log.csv")
    fits((1, 1), log, trained)
    assert [line.split(",")[0] for line in log.path.read_text().splitlines()] == ["epoch", "3", "4"]


def test_the_log_has_what_later_callbacks_add(tmp_path):
    class Add(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 1:
                logs["gain"] = 3

    log = fr.CSVLogger(tmp_path / "log.csv")
    trained = classifier()
    trained.fit(X, Y, epochs=3, callbacks=[log, Add()])
    rows = list(csv.reader(log.path.read_text().splitlines()))
    assert rows[0][-1] == "gain" and [row[-1] for row in rows[1:]] == ["nan", "3.0", "nan"]


def test_early_stopping_starts_afresh():
    """As its docstring says: best value, weights and patience are those of one fit."""
    stopping = fr.EarlyStopping(patience=2)
    trained = fits((2,), [Made(1, 2), stopping])
    assert stopping.best == 1
    fits((3,), [Made(0, 0, 9, 8, 7), stopping], trained)
    assert (stopping.best, stopping.best_epoch, trained.epoch) == (7, 4, 5)


@pytest.mark.parametrize("name", ["EarlyStopping", "Checkpoint", "CSVLogger", "ReduceOnPlateau", "LRScheduler",
                                  "LayerStatistics", "TerminateOnNaN"])  # fmt: skip
def test_each_says_what_it_keeps(name):
    text = getattr(fr, name).__doc__
    assert "urther fits of the same trainer" in text or "Each fit" in text or "from one fit to the next" in text


def test_a_users_callback_can_ask(tmp_path):
    class Count(fr.Callback):
        def on_train_begin(self):
            if not self.continues():
                self.epochs = 0

        def on_epoch_end(self, epoch, logs):
            self.epochs += 1

    count = Count()
    trained = fits((2, 3), count)
    assert count.epochs == 5
    trained.reset()
    fits((1,), count, trained)
    assert count.epochs == 1
    fits((1,), count)
    assert count.epochs == 1 and not math.isnan(count.epochs)
