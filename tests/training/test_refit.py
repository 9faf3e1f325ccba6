"""Refitting on all data, on made problems: restarting for a number of steps, and continuing to a target."""

import numpy as np
import pytest
from trainers import line, same, state

import fastreg as fr

RNG = np.random.default_rng(4)
X = RNG.normal(size=(70, 6))
Y = (X[:, 0] + RNG.normal(size=70) > 0).astype(int)
TRAIN, HELD = (X[:50], Y[:50]), (X[50:], Y[50:])


def fresh(engine="native", **more):
    layers = [fr.Dropout(rate=0.2), fr.Dense(30, "relu"), fr.Dense(2)]
    more = {"optimizer": fr.Adam(fr.schedules.Cosine(0.05, 40, per="step")), "seed": 3} | more
    return fr.Trainer(fr.Sequential(layers), engine=engine, **more)


def stopped(engine="native", **more):
    trainer = fresh(engine, **more)
    trainer.fit(*TRAIN, epochs=40, batch_size=8, validation_data=HELD, callbacks=[fr.EarlyStopping(patience=3)])
    assert trainer.best.epoch >= 1 and trainer.epoch < 40
    return trainer


class Stop(fr.Callback):
    """Training ends behind a batch of the trainer, with its weights noted."""

    def __init__(self, step):
        self.step = step

    def on_batch_end(self, batch, logs):
        if self.trainer.step == self.step:
            self.weights = self.model.state_dict()


class Cut(fr.Callback):
    """Training ends behind a step of the optimizer."""

    def __init__(self, updates):
        self.last_update = updates


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_restart_is_a_new_trainer_for_the_best_steps(engine, accumulate):
    """7 batches per epoch in the first fit, 9 in the second: steps are counted, and the last epoch is cut."""
    trainer = stopped(engine, accumulate=accumulate)
    steps = trainer.best.updates
    assert steps == -(-7 // accumulate) * (trainer.best.epoch + 1)
    history = trainer.refit(X, Y)
    assert trainer.updates == steps and len(history.epochs) == -(-steps // -(-9 // accumulate))
    whole, last = divmod(steps, -(-9 // accumulate))
    at = Stop(9 * whole + min(9, last * accumulate))
    fresh(engine, accumulate=accumulate).fit(X, Y, epochs=whole + 1, batch_size=8, callbacks=[at])
    assert same(state(trainer), at.weights) and trainer.step == at.step


def test_a_fit_without_a_best_epoch_leaves_none(engine):
    """Not even that of the previous fit, whose weights are gone."""

    class NoNumber(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["val_loss"] = np.nan

    trainer = stopped(engine)
    for watched in (fr.EarlyStopping(patience=1), fr.stopping.GL(5)):
        trainer.fit(*TRAIN, epochs=2, validation_data=HELD, callbacks=[NoNumber(), watched])
        assert trainer.best is None
        with pytest.raises(ValueError, match="refit: got a trainer without a best epoch"):
            trainer.refit(X, Y)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("by", ["sample_weight", "class_weight"])
def test_a_restart_takes_the_best_steps_past_batches_of_zero_weight(engine, by, accumulate):
    """Three of nine batches have no weight: the steps are as many as without them, and those of a long enough fit."""
    trainer = stopped(engine, accumulate=accumulate)
    steps = trainer.best.updates
    order = np.argsort(Y, kind="stable")  # at least 24 rows of class 0 first
    weighted = {"class_weight": {0: 0.0}} if by == "class_weight" else {"sample_weight": np.arange(70) // 24 * 1.0}
    trainer.refit(X[order], Y[order], shuffle=False, **weighted)
    assert trainer.updates == steps
    other, at = fresh(engine, accumulate=accumulate), Cut(steps)
    other.fit(X[order], Y[order], epochs=steps, batch_size=8, shuffle=False, callbacks=[at], **weighted)
    assert same(state(trainer), state(other))


def test_a_restart_can_be_repeated(engine):
    trainer = stopped(engine)
    best = trainer.best
    trainer.refit(X, Y)
    first = state(trainer)
    trainer.refit(X, Y)
    assert same(first, state(trainer)) and trainer.best == best


def test_slices_and_weights_do_not_change_the_count():
    """Batches of zero weight are not steps."""
    weights = np.where(np.arange(70) < 30, 0.0, 1.0)
    trainer = stopped()
    history = trainer.refit(X, Y, sample_weight=weights, batch_size=10, shuffle=False, callbacks=[Stop(0)])
    assert trainer.updates == trainer.best.updates
    assert len(history.epochs) == -(-trainer.updates // 4)  # of 7 batches an epoch 4 have weight


def test_frozen_layers_keep_their_parameters():
    model = fr.Sequential([fr.data.Standardizer().fit(X), fr.Dense(5, "relu", trainable=False), fr.Dense(2)])
    trainer = fr.Trainer(model, optimizer=fr.Adam(0.05))
    trainer.evaluate(X, Y)
    model.parameters["1.weight"][...] *= 2
    kept = model.state_dict()
    trainer.fit(*TRAIN, epochs=3, validation_data=HELD, callbacks=[fr.EarlyStopping(patience=3)])
    trainer.refit(X, Y)
    for name in ("0.mean", "0.scale", "1.weight", "1.bias"):
        np.testing.assert_array_equal(model.parameters[name], kept[name])


def test_going_on_until_the_loss_is_under_that_of_training(engine):
    """The first fit saw only y = 0, and now there is y = 1: b moves from 0.4 to their mean, 0.1 0.8^t short of it."""
    held = np.zeros((4, 1)), np.ones(4)
    x, t = np.zeros((4, 1)), np.zeros(4)
    trainer = line(engine, lr=0.1, b=0.5)  # b <- b - 0.1 * 2 (b - t)
    rule = fr.EarlyStopping(patience=0)
    trainer.fit(x, t, epochs=1, batch_size=4, validation_data=held, callbacks=[rule])
    # in the epoch the loss was 0.5^2, then b = 0.4 and the validation loss (1 - 0.4)^2
    assert trainer.best.loss == pytest.approx(0.25) and rule.best == pytest.approx(0.36)
    together = np.zeros((8, 1)), np.concatenate([t, np.ones(4)])
    with pytest.warns(RuntimeWarning, match=r"the validation loss is 0\.25\d* after 12 epochs, not below 0\.25"):
        # towards the mean 1/2: (1 - b)^2 goes to 1/4 from above and never falls under it
        history = trainer.refit(*together, "continue", validation_data=held, max_epochs=12, batch_size=8)
    b = 0.5 - 0.1 * 0.8 ** np.arange(1, 13)
    np.testing.assert_allclose(history["val_loss"], (1 - b) ** 2, rtol=1e-6)


def test_going_on_stops_after_the_first_epoch_under_the_target(engine):
    held = np.zeros((4, 1)), np.ones(4)
    trainer = line(engine, lr=0.1, b=0.5)
    trainer.fit(np.zeros((4, 1)), np.zeros(4), batch_size=4, validation_data=held, callbacks=[fr.EarlyStopping()])
    history = trainer.refit(*held, "continue", validation_data=held, max_epochs=30)
    # 1 - b: 0.6, 0.48, ...: squares 0.36, 0.2304 < 0.25
    assert history["val_loss"] == [pytest.approx(0.48**2)]
    history = trainer.refit(*held, "continue", validation_data=held, max_epochs=30, target=0.1)
    np.testing.assert_allclose(history["val_loss"], [(0.48 * 0.8) ** 2, (0.48 * 0.64) ** 2], rtol=1e-6)
    before = state(trainer)
    assert not trainer.refit(*held, "continue", validation_data=held, max_epochs=3).epochs  # already under it
    assert same(before, state(trainer))


BAD = {
    "strategy": ({"strategy": "again"}, r"strategy: got 'again', expected one of restart, continue"),
    "max_epochs": ({"max_epochs": 3}, r"max_epochs: got 3, expected None"),
    "target": ({"target": 3}, r"target: got 3, expected None"),
    "no maximum": (
        {"strategy": "continue", "validation_data": HELD},
        r"max_epochs: got None, expected",
    ),
    "no validation": ({"strategy": "continue", "max_epochs": 3}, r"validation_data: got None, expected the data"),
    "validation": (
        {"strategy": "continue", "max_epochs": 3, "validation_data": 3},
        r"validation_data: got int, expected",
    ),
    "a bad target": (
        {"strategy": "continue", "max_epochs": 3, "validation_data": HELD, "target": "low"},
        r"target: got 'low', expected a number",
    ),
    "batch_size": ({"batch_size": 0}, r"batch_size: got 0, expected an integer of at least 1"),
    "shuffle": ({"shuffle": 1}, r"shuffle: got 1, expected True or False"),
    "callbacks": ({"callbacks": 3}, r"callbacks: got 3, expected a list of callbacks"),
    "a callback": ({"callbacks": [3]}, r"callbacks: got 3, expected objects of fastreg.Callback"),
    "a monitor": ({"callbacks": [fr.EarlyStopping("val_loss")]}, r"EarlyStopping monitor: got 'val_loss'"),
    "weights": ({"sample_weight": np.ones(3)}, r"sample_weight: got shape \(3,\), expected \(70,\)"),
    "labels": ({"y": Y[:3]}, r"y: got shape \(3,\), expected 70 rows"),
}


CONTINUE = {"strategy": "continue", "validation_data": HELD, "max_epochs": 2}
UNDER = CONTINUE | {"target": 99.0}  # where the loss is already
BAD |= {
    f"{case}, {name}": (how | change, message)
    for name, how in (("to continue", CONTINUE), ("under the target", UNDER))
    for case, (change, message) in {
        "a callback": ({"callbacks": [3]}, r"callbacks: got 3, expected objects of fastreg.Callback"),
        "a spec": ({"callbacks": ["early"]}, r"callbacks: got 'early', .*the nearest is 'early_stopping'"),
        "a monitor": ({"callbacks": [fr.EarlyStopping("cost")]}, r"EarlyStopping monitor: got 'cost'"),
        "classes": ({"class_weight": "nope"}, r"class_weight: got 'nope', expected one of balanced"),
        "weights": ({"sample_weight": [1.0]}, r"sample_weight: got shape \(1,\), expected \(70,\)"),
        "verbose": ({"verbose": "x"}, r"verbose: got 'x', expected 0, 1"),
        "labels": ({"y": Y[:3]}, r"y: got shape \(3,\), expected 70 rows"),
        "validation": ({"validation_data": (X, Y[:3])}, r"validation_data\[1\]: got shape"),
        "a pair": ({"validation_data": X}, r"validation_data: got ndarray, expected \(X, y\)"),
    }.items()
}


def test_already_under_the_target_nothing_changes(engine):
    trainer = stopped(engine)
    before = state(trainer), {k: v.copy() for k, v in trainer.optimizer_state.items()}, trainer.best, trainer.updates
    rules = [fr.EarlyStopping(patience=1), fr.stopping.GL(2), fr.ReduceOnPlateau(), fr.LayerStatistics()]
    assert not trainer.refit(X, Y, **UNDER, callbacks=rules).epochs
    assert same(state(trainer), before[0]) and same(trainer.optimizer_state, before[1])
    assert (trainer.best, trainer.updates) == before[2:]


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused_changes_nothing(case):
    changes, message = BAD[case]
    trainer = stopped()
    before = state(trainer), {k: v.copy() for k, v in trainer.optimizer_state.items()}, trainer.best, trainer.updates
    with pytest.raises((ValueError, TypeError), match=message):
        trainer.refit(**{"X": X, "y": Y} | changes)
    assert same(state(trainer), before[0]) and same(trainer.optimizer_state, before[1])
    assert (trainer.best, trainer.updates) == before[2:]


def test_without_a_stopping_rule():
    trainer = fresh()
    trainer.fit(X, Y)
    with pytest.raises(ValueError, match="refit: got a trainer without a best epoch"):
        trainer.refit(X, Y)
