"""Stopping rules on made curves, against epochs worked out by hand; NaN, the best weights, and resumed fits."""

import math

import numpy as np
import pytest
from resumable import callbacks, data, digest, trainer

import fastreg as fr
from fastreg.callbacks.stopping import GL, PQ, UP

NAN = math.nan


class Made(fr.Callback):
    """Puts made curves in place of the losses, and marks the weights with the epoch."""

    def __init__(self, errors, losses=None):
        self.errors, self.losses = errors, losses

    def on_epoch_end(self, epoch, logs):
        logs["val_loss"] = self.errors[epoch]
        logs["loss"] = self.losses[epoch] if self.losses else 1.0
        self.model.parameters["0.bias"][...] = epoch


def run(rule, errors, losses=None, engine="native"):
    X = np.arange(12.0).reshape(12, 1) / 12
    trainer = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse", optimizer=fr.SGD(0.01), engine=engine)
    history = trainer.fit(
        X, X, epochs=len(errors), batch_size=4, validation_data=(X, X), callbacks=[Made(errors, losses), rule]
    )
    return trainer, len(history.epochs)


# GL: errors 2, 1, 1.04, 1.06 are 0, 0, 4 and 6 percent above the best one so far.
# PQ: of a strip 3, 2 the mean is 2.5, so P = 1000 (2.5 / 2 - 1) = 250 per mille; of 2, 1.6: 125; of 1, 1: 0.
FALLING = [3, 2, 2, 1.6, 1, 1]
CASES = {
    "GL 5": (lambda: GL(5), [2, 1, 1.04, 1.06, 1, 1], None, 4, 1),
    "GL 3.9": (lambda: GL(3.9), [2, 1, 1.04, 1.06, 1, 1], None, 3, 1),
    "GL 0": (lambda: GL(0), [2, 2, 2.1, 1], None, 3, 0),
    "GL follows the best": (lambda: GL(10), [1, 1.09, 0.5, 0.56, 9], None, 4, 2),
    "GL of NaN": (lambda: GL(100), [2, 1, NAN, 0.5], None, 3, 1),
    "GL of infinity": (lambda: GL(100), [2, math.inf, 0.5], None, 2, 0),
    "GL of nothing but NaN": (lambda: GL(100), [NAN, NAN], None, 1, None),
    "GL from 0": (lambda: GL(1e9), [1, 0, 0, 1e-9, 5], None, 4, 1),
    "GL below 0": (lambda: GL(5), [-1, -2, -1.95, -1.8, -3], None, 4, 1),
    # GL behind the strips: 0, 100 (1.1 - 1), 100 (1.2 - 1): 0 / 250, 10 / 125 = 0.08 and 20 / 0
    "PQ 0.05": (lambda: PQ(0.05, 2), [2, 1, 1, 1.1, 1, 1.2], FALLING, 4, 1),
    "PQ 0.1": (lambda: PQ(0.1, 2), [2, 1, 1, 1.1, 1, 1.2], FALLING, 6, 1),
    "PQ without a loss": (lambda: PQ(0, 2), [3, 2, 1, 1, 1, 1], FALLING, 6, 2),
    "PQ in a strip": (lambda: PQ(0.01, 5), [1, 9, 9, 9, 1, 1], FALLING, 6, 0),
    "PQ of NaN": (lambda: PQ(1e6, 2), [2, 1, 1, NAN, 1, 1], FALLING, 4, 1),
    "PQ, losses down to 0": (lambda: PQ(1e6, 2), [2, 1, 9, 9, 9, 9], [3, 2, 1, 0, 0, 0], 6, 1),
    # ends of strips: 1, 1.5, 1.4, 1.5, 1.6
    "UP 1": (lambda: UP(1, 2), [9, 1, 9, 1.5, 9, 1.4, 9, 1.5, 9, 1.6, 1], None, 4, 1),
    "UP 2": (lambda: UP(2, 2), [9, 1, 9, 1.5, 9, 1.4, 9, 1.5, 9, 1.6, 1], None, 10, 1),
    "UP 3": (lambda: UP(3, 1), [1, 2, 3, 3, 4, 5, 6, 7], None, 7, 0),
    "UP of NaN": (lambda: UP(2, 1), [1, 2, NAN, 1], None, 3, 0),
    "UP of NaN twice": (lambda: UP(3, 1), [1, NAN, NAN, NAN, 0], None, 4, 0),
    "UP after NaN": (lambda: UP(2, 1), [1, NAN, 5, 6, 4], None, 5, 0),
    "UP of five": (lambda: UP(1), [1, 2, 3, 4, 5, 6, 7, 8, 9, 5.5, 1], None, 10, 0),
    "four checks without gain": (lambda: fr.EarlyStopping(patience=4), [3, 2, 2, NAN, 4, 2, 1], None, 6, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_rules_on_made_curves(case, engine):
    """`stops` epochs run. The restored weights are those of epoch `best`."""
    make, errors, losses, stops, best = CASES[case]
    rule = make()
    trained, epochs = run(rule, errors, losses, engine)
    assert (epochs, rule.best_epoch) == (stops, best)
    assert trained.model.parameters["0.bias"].item() == (stops - 1 if best is None else best)
    if best is not None:
        assert rule.best == errors[best]
        assert (trained.best.epoch, trained.best.updates) == (best, 3 * (best + 1))
        assert trained.best.loss == (losses[best] if losses else 1.0)
        assert (trained.best.batch_size, trained.best.shuffle) == (4, True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("make", [lambda: GL(1e9), lambda: PQ(1e9), lambda: UP(99)])
def test_the_best_weights_come_back_however_training_ends(make, error):
    class Cut(fr.Callback):
        def on_batch_end(self, batch, logs):
            if self.trainer.epoch == 3:
                raise error

    X = np.ones((4, 1))
    trained = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse")
    with pytest.raises(error):
        trained.fit(X, X, epochs=9, validation_data=(X, X), callbacks=[Made([5, 1, 3, 3]), make(), Cut()])
    assert trained.model.parameters["0.bias"].item() == 1 and trained.best.epoch == 1


def test_a_rule_starts_afresh_with_every_fit():
    for make in (lambda: GL(10), lambda: PQ(0.01, 1), lambda: UP(1, 2)):
        rule = make()
        for _ in range(2):
            _, epochs = run(rule, [1, 1, 1, 1.2, 1], [1.0] * 5)
            assert (epochs, rule.best) == (4, 1)


RULES = {
    "GL": lambda: GL(1e6),
    "PQ": lambda: PQ(1e6, 3),
    "UP": lambda: UP(2, 2),
    "patience": lambda: fr.EarlyStopping(patience=3),
}


@pytest.mark.parametrize("stop", [1, 4, 5])
@pytest.mark.parametrize("rule", RULES)
def test_a_resumed_fit_stops_where_the_whole_one_does(rule, stop, tmp_path, engine):
    """With all else the same, it ends with the same bits and the same `trainer.best`."""
    X, y, validation = data()

    def fit(epochs, path, resume=None):
        trained = trainer(engine)
        rules = [RULES[rule](), *callbacks(path)]
        history = trained.fit(
            X, y, epochs=epochs, batch_size=16, validation_data=validation, callbacks=rules, resume=resume
        )
        return digest(trained, history), trained.best

    whole = fit(12, tmp_path / "whole.safetensors")
    fit(stop, tmp_path / "part.safetensors")
    assert fit(12, tmp_path / "part.safetensors", tmp_path / "part.safetensors") == whole


def test_a_resumed_fit_repeats_the_rule(tmp_path):
    path = tmp_path / "run.safetensors"
    X = np.ones((4, 1))

    def fit(rule, **more):
        trained = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse")
        trained.fit(X, X, epochs=2, validation_data=(X, X), callbacks=[rule, fr.Checkpoint(path)], **more)

    fit(GL(5))
    with pytest.raises(ValueError, match=r"resume: callbacks: got .*alpha=6.* expected .*alpha=5"):
        fit(GL(6), resume=path)


def test_best_is_kept_by_copies_and_forgotten_by_reset():
    trained, _ = run(GL(5), [2, 1, 2])
    assert trained.copy().best == trained.best is not None
    trained.reset()
    assert trained.best is None


BAD = {
    "GL": (lambda: GL(-1), r"alpha: got -1, expected a finite number of at least 0"),
    "GL text": (lambda: GL("5"), r"alpha: got '5', expected a number"),
    "PQ": (lambda: PQ(NAN), r"alpha: got nan, expected a finite number"),
    "PQ strip": (lambda: PQ(1, strip=0), r"strip: got 0, expected an integer of at least 1"),
    "UP": (lambda: UP(0), r"s: got 0, expected an integer of at least 1"),
    "UP strip": (lambda: UP(1, 2.5), r"strip: got 2\.5, expected an integer"),
    "monitor": (lambda: GL(1, monitor=3), r"monitor: got 3, expected a name in the history"),
    "accuracy": (lambda: UP(2, monitor="val_accuracy"), r"monitor: got 'val_accuracy', expected an error such as"),
}


@pytest.mark.parametrize("case", BAD)
def test_rules_refuse(case):
    make, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_a_monitor_that_is_not_there():
    X = np.ones((4, 1))
    trained = fr.Trainer(fr.Sequential([fr.Dense(1)]), loss="mse")
    with pytest.raises(ValueError, match=r"GL monitor: got 'val_loss', expected one of loss, .*validation_data"):
        trained.fit(X, X, callbacks=[GL(5)])
