"""The epoch loop alone, with a stand-in of a few lines for the trainer."""

from types import SimpleNamespace

import numpy as np
import pytest

import fastreg as fr
from fastreg.machine import _core
from fastreg.model.dataset import Data, Labels
from fastreg.training.epochs import make_plan, run_epochs

LOSSES = [3.0, 2.0, 4.0, 1.0, 5.0]


class FakeEngine:
    """Takes a step for every batch, and says the loss of the epoch, which may not be finite."""

    def __init__(self, losses):
        self.losses, self.rates = losses, []

    def run(self, feed, tally, first, stop, seconds, look):
        self.rates += feed.rates[first:stop].tolist()
        loss = self.losses[feed.epoch]
        tally.add(0, (stop - first) * loss, stop - first, 0)
        tally.diverged = not np.isfinite(loss)
        tally.updates, tally.batches = tally.updates + stop - first, tally.batches + stop - first
        return stop - tally.diverged


def fit(callbacks=(), losses=LOSSES):
    """Ten rows in batches of four, as many epochs as there are losses."""
    training = SimpleNamespace(
        **{"epoch": 0, "batches": 0, "updates": 0, "stop_training": False, "best": None, "metric_names": ()},
        **{"_counted_metrics": (), "_means": lambda tally: tally.means(()), "_loss_since": lambda *_: 0.0},
        **{"model": SimpleNamespace(layers=[]), "optimizer": fr.SGD(0.5), "accumulate": 1},
        **{"dtype": "float32", "seed": 0, "_evaluate_data": lambda data, names: {"loss": -1.0}},
    )
    calls = []
    session = SimpleNamespace(engine=FakeEngine(losses), rates=None, averages=None)
    session.parameters = SimpleNamespace(flat=np.zeros(3))

    def all_or_nothing(act, owner, counters, kept=None, appends=False):
        try:
            return _core.append(*act()) if appends else act()
        except BaseException:
            calls.append("back")
            vars(owner).update(counters)
            raise

    session.save, session.all_or_nothing, session.calls = lambda: calls.append("save"), all_or_nothing, calls
    data = Data(np.zeros((10, 2)), {"output": Labels(np.zeros((10, 1)), None)})
    plan = make_plan(training, data, data, len(losses), 4, False, list(callbacks))
    return (lambda: run_epochs(training, session, data, data, plan, None)), training, session


def test_counts_and_logs():
    run, training, session = fit()
    history = run()
    assert history["loss"] == LOSSES and history["val_loss"] == [-1.0] * 5 and history.epochs == list(range(5))
    assert (training.epoch, training.batches, training.updates) == (5, 15, 15)
    assert session.engine.rates == [0.5] * 15


def test_callbacks_see_the_training_and_may_stop_it():
    class Stop(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            self.trainer.stop_training = logs["loss"] > 3

    stop = Stop()
    run, training, _ = fit([stop])
    history = run()
    assert stop.trainer is training and history["loss"] == LOSSES[:3]


def test_a_callback_may_name_the_last_update():
    class Last(fr.Callback):
        last_update = 7

    run, training, _ = fit([Last()])
    history = run()
    assert training.updates == training.batches == 7 and len(history.epochs) == 3


def test_an_epoch_that_diverges_does_not_count():
    run, training, session = fit(losses=[1.0, float("nan")])
    with pytest.raises(fr.DivergenceError, match=r"training diverged in epoch 2: the loss of batch 3 of 3"):
        run()
    assert (training.epoch, training.batches, training.updates) == (1, 3, 3)
    assert session.calls == ["save", "save", "back"]
