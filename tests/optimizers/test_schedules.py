"""Schedules against torch's, rates as the engines get them, and the reduction on a plateau."""

import math
from dataclasses import replace

import numpy as np
import pytest
from trainers import classifier, same, state

import fastreg as fr
from fastreg.callbacks.base import Plan
from fastreg.common.description import from_config
from fastreg.optimizers import schedules as S

N = 200


def torch_rates(make, steps=N, lr=0.3, after_step=lambda scheduler: scheduler.step()):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, rates = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        after_step(scheduler)
    return np.array(rates)


def sequential(factor, steps, after):
    def make(T, optimizer):
        warm = T.LinearLR(optimizer, start_factor=factor, total_iters=steps)
        return T.SequentialLR(optimizer, [warm, after(T, optimizer)], milestones=[steps])

    return make


CASES = {
    "constant": (S.Constant(0.3), lambda T, o: T.ConstantLR(o, factor=1.0)),
    "step": (S.Step(0.3, 7, 0.6), lambda T, o: T.StepLR(o, 7, 0.6)),
    "exponential": (S.Exponential(0.3, 0.97), lambda T, o: T.ExponentialLR(o, 0.97)),
    "cosine": (S.Cosine(0.3, N), lambda T, o: T.CosineAnnealingLR(o, N)),
    "cosine and back": (S.Cosine(0.3, 60, 0.01), lambda T, o: T.CosineAnnealingLR(o, 60, eta_min=0.01)),
    "one cycle": (S.OneCycle(0.3, N), lambda T, o: T.OneCycleLR(o, 0.3, total_steps=N, cycle_momentum=False)),
    "one cycle's options": (
        S.OneCycle(0.3, N + 1, pct_start=0.55, div_factor=10, final_div_factor=50),
        lambda T, o: T.OneCycleLR(
            o, 0.3, N + 1, pct_start=0.55, div_factor=10, final_div_factor=50, cycle_momentum=False
        ),
    ),
    "warm-up": (S.Warmup(5, 0.3), lambda T, o: T.LinearLR(o)),
    "warm-up, cosine": (
        S.Warmup(20, S.Cosine(0.3, 180), start_factor=0.1),
        sequential(0.1, 20, lambda T, o: T.CosineAnnealingLR(o, 180)),
    ),
    "warm-up, step": (
        S.Warmup(33, S.Step(0.3, 40), start_factor=0.5),
        sequential(0.5, 33, lambda T, o: T.StepLR(o, 40)),
    ),
}


@pytest.mark.filterwarnings("ignore:To get the last learning rate")
@pytest.mark.filterwarnings("ignore:The epoch parameter in")
@pytest.mark.parametrize("case", CASES)
def test_against_torch(case):
    schedule, make = CASES[case]
    np.testing.assert_allclose(schedule.rates(0, N), torch_rates(make), rtol=1e-11, atol=1e-16)


@pytest.mark.parametrize("case", CASES)
def test_a_rate_does_not_depend_on_the_range_it_is_asked_in(case):
    schedule = CASES[case][0]
    parts = [schedule.rates(start, start + 25) for start in range(0, N, 25)]
    np.testing.assert_array_equal(np.concatenate(parts), schedule.rates(0, N))
    assert schedule.rates(3, 3).shape == (0,) and schedule.rates(0, 1).dtype == np.float64


@pytest.mark.parametrize("case", CASES)
def test_a_schedule_is_a_description(case):
    schedule = CASES[case][0]
    assert from_config(schedule.config()) == schedule and eval(repr(schedule), vars(S)) == schedule
    assert from_config(fr.Adam(schedule).config()) == fr.Adam(schedule)


def test_the_ends_of_one_cycle():
    assert S.OneCycle(1.0, 10).rates(9, 14) == pytest.approx([1 / 25 / 1e4] * 5)
    assert S.OneCycle(1.0, 1, pct_start=0).rates(0, 2) == pytest.approx([1 / 25 / 1e4] * 2)
    assert S.OneCycle(1.0, 10, pct_start=0.1).at(0) == 1.0


def test_growth_without_bound_is_infinite():
    assert S.Exponential(1.0, 1.5).at(10**6) == math.inf
    assert S.Exponential(0.0, 1.5).at(10**6) == S.Step(0.0, 1, 1e9).at(10**6) == 0.0


# --- In training ------------------------------------------------------------------------------------------------------


class Rates(fr.Callback):
    """Notes the rates of every epoch."""

    def __init__(self):
        self.epochs = []

    def on_rates(self, epoch, rates):
        self.epochs.append(rates.copy())


def fit(trainer, blobs, callbacks=(), epochs=3):
    return trainer.fit(*blobs, epochs=epochs, batch_size=50, callbacks=callbacks)


def test_epochs_and_steps_are_counted_from_fit_to_fit(blobs):
    for per, expected in (("epoch", np.repeat(np.arange(4), 3)), ("step", np.arange(12))):
        trainer, rates = classifier(optimizer=fr.SGD(S.Exponential(0.1, 0.5, per=per))), Rates()
        fit(trainer, blobs, [rates], epochs=2)
        fit(trainer, blobs, [rates], epochs=2)
        np.testing.assert_allclose(np.concatenate(rates.epochs), 0.1 * 0.5**expected)


def test_both_engines_step_by_the_rates(engine, blobs):
    """A rate of zero for the second half: the parameters stay."""
    trainer = classifier(engine, optimizer=fr.SGD(S.Step(0.1, 3, 0.0, per="step")))
    fit(trainer, blobs, epochs=1)
    before = state(trainer)
    fit(trainer, blobs, epochs=1)
    assert same(before, state(trainer)) and trainer.step == 6


@pytest.mark.parametrize("schedule", [S.Cosine(0.2, 3), S.OneCycle(0.2, 9), 0.2])
def test_the_callback_does_what_the_optimizers_schedule_does(engine, blobs, schedule):
    one, other = classifier(engine, optimizer=fr.Adam(schedule)), classifier(engine, optimizer=fr.Adam(7.0))
    fit(one, blobs)
    fit(other, blobs, [fr.LRScheduler(schedule)])
    assert same(state(one), state(other))


def test_rates_that_grow_without_bound_diverge(blobs):
    with pytest.raises(fr.DivergenceError):
        fit(classifier(optimizer=fr.SGD(S.Exponential(1.0, 1e300))), blobs, epochs=9)


# --- On a plateau -----------------------------------------------------------------------------------------------------


def plateau_rates(values, lr=0.3, **settings):
    callback, rates = fr.ReduceOnPlateau("loss", **settings), []
    callback.plan = Plan(0, len(values), 1, ("loss",))
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        rate = np.full(2, lr)
        callback.on_rates(epoch, rate)
        rates.append(rate[1])
        callback.on_epoch_end(epoch, {"loss": value})
    return np.array(rates)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("settings", [{}, {"patience": 3}, {"patience": 0, "factor": 0.7}, {"cooldown": 4}])
@pytest.mark.parametrize("min_lr", [0.0, 1e-3])
def test_reduce_on_plateau_without_smoothing_is_torchs(settings, min_lr, largest):
    noise = np.random.default_rng(0).normal(size=N)
    values = 2 + np.exp(-np.arange(N) / 30) + 0.05 * noise
    values = 5 - values if largest else values
    settings = {"patience": 5, "threshold": 1e-3, "min_lr": min_lr, **settings, "mode": "max" if largest else "min"}
    waiting = iter(values)
    expected = torch_rates(
        lambda T, o: T.ReduceLROnPlateau(o, **{"factor": 0.1, **settings}, eps=0),
        after_step=lambda scheduler: scheduler.step(next(waiting)),
    )
    np.testing.assert_allclose(plateau_rates(values, smoothing=0, **settings), expected, rtol=1e-12)
    assert expected[-1] < 0.3


def test_one_lucky_value_does_not_spoil_the_baseline():
    """Slow progress with one lucky value. Without smoothing, no value in time is as good, and the rate falls."""
    values = 1 - 0.01 * np.arange(40)
    values[8] -= 0.12
    assert plateau_rates(values, patience=8, smoothing=0)[-1] < 0.3
    assert plateau_rates(values, patience=8)[-1] == 0.3


def test_noise_around_a_plateau_lowers_the_rate():
    values = 1 + 0.1 * np.random.default_rng(1).normal(size=100)
    assert plateau_rates(values, patience=10)[-1] <= 0.03


def test_the_smoothed_mean_is_what_the_docstring_says():
    callback = fr.ReduceOnPlateau("accuracy", smoothing=0.75)
    callback.plan = Plan(0, 9, 1, ("accuracy",))
    callback.on_train_begin()
    for value in (math.nan, 0.5, 0.9, math.inf, 0.7):
        callback.on_epoch_end(0, {"accuracy": value})
    assert callback.mean == callback.best == pytest.approx(0.75 * (0.75 * 0.5 + 0.25 * 0.9) + 0.25 * 0.7)


def test_a_plateau_in_training_lowers_the_rate_down_to_min_lr(engine, blobs):
    rates, plateau = Rates(), fr.ReduceOnPlateau("loss", factor=0.5, patience=1, min_lr=0.2)
    scheduler = fr.LRScheduler(S.Constant(1.0))
    trainer = fr.Trainer(fr.Sequential([fr.Dense(3)]), optimizer=fr.SGD(0.0), engine=engine)
    trainer.fit(*blobs, epochs=2, callbacks=[plateau, rates])
    assert np.concatenate(rates.epochs).tolist() == [0.0] * 4  # a rate below min_lr is not raised to it

    class Stuck(fr.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["loss"] = 1.0

    rates.epochs.clear()
    trainer.reset()  # else the plateau goes on where it was
    trainer.fit(*blobs, epochs=9, batch_size=150, callbacks=[Stuck(), scheduler, plateau, rates])
    assert np.concatenate(rates.epochs).tolist() == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [1e-320, 1e-312, 1e-60, 1e-42, 3e-39, 1e-36])
@pytest.mark.parametrize(
    "optimizer", [fr.SGD(momentum=0.9), fr.RMSprop(momentum=0.9), fr.SGD(momentum=0.5, nesterov=True)]
)
def test_a_rate_of_almost_zero_changes_and_breaks_nothing(engine, dtype, optimizer, rate, rng):
    """L1's proximal step divides by the rate, and an exponential schedule gets that small in the end."""
    X, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 5))
    first, then = S.Step(0.1, 1, 0.0), S.Step(0.1, 1, rate / 0.1)
    trainers = []
    for schedule in (first, then):
        model = fr.Sequential([fr.Dense(4, "tanh", lr_scale=1e-3), fr.Dense(5)])
        settings = {"l1": 1e-3, "engine": engine, "dtype": dtype}
        trainers.append(fr.Trainer(model, "mse", replace(optimizer, lr=schedule), **settings))
        trainers[-1].fit(X, y, epochs=3, batch_size=10)
    stopped, faded = trainers
    assert all(np.isfinite(slot).all() for slot in faded.optimizer_state.values())
    for name, value in state(faded).items():
        np.testing.assert_allclose(value, state(stopped)[name], rtol=1e-6)


@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf])
def test_a_rate_that_is_not_finite_or_negative_is_refused_before_the_epoch(engine, blobs, rate):
    class Change(fr.Callback):
        def on_rates(self, epoch, rates):
            if epoch == 1:
                rates[2] = rate

    trainer, twin = classifier(engine), classifier(engine)
    message = rf"learning rate: got {rate} for batch 3 of epoch 2, expected a finite number of at least 0"
    with pytest.raises(ValueError, match=message):
        fit(trainer, blobs, [Change()])
    fit(twin, blobs, epochs=1)
    assert same(state(trainer), state(twin)) and trainer.step == twin.step and trainer.epoch == 1
    fit(trainer, blobs)


@pytest.mark.parametrize("make", [lambda per: S.Step(0.3, 2, per=per), lambda per: S.OneCycle(0.3, 9, per=per)])
def test_updates_are_the_steps_of_the_optimizer(make):
    assert make("update") == make("step") and make("update") != make("epoch")


def test_a_schedule_of_a_user_may_count_updates():
    class Harmonic(S.Schedule):
        per = "update"

        def at(self, time):
            return 1 / (1 + time)

    rates = np.empty(5)
    S.fill(rates, Harmonic(), epoch=7, step=1, accumulate=2)
    np.testing.assert_array_equal(rates, [1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 4])


# --- Steps of zero weight ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("given", ["optimizer", "callback", "decay"])
def test_steps_of_zero_weight_use_no_rate(engine, blobs, accumulate, given):
    """They are not taken. So a training with such steps is one without their rows, to the bit, rates included."""
    X, y = blobs
    rows = 10 * accumulate  # of a step
    weights = np.ones(len(y))
    for step in (0, 2, 3, 6):
        weights[step * rows : (step + 1) * rows] = 0
    if accumulate == 2:
        weights[2 * rows : 2 * rows + 1] = 0.5  # of two batches, the first one has a weight
    kept = np.repeat([weights[first : first + rows].any() for first in range(0, len(y), rows)], rows)[: len(y)]
    schedule = S.Exponential(0.1, 0.8, per="step")
    found = []
    for some in (slice(None), kept):
        optimizer = {"optimizer": fr.SGD(schedule), "decay": fr.SGD(0.1, weight_decay=schedule)}.get(given, fr.SGD(1.0))
        model = fr.Sequential([fr.Dense(8, "relu"), fr.Dense(3)])
        trainer = fr.Trainer(model, optimizer=optimizer, accumulate=accumulate, engine=engine)
        fit = {"batch_size": 10, "shuffle": False, "sample_weight": weights[some], "epochs": 3}
        history = trainer.fit(X[some], y[some], callbacks=[fr.LRScheduler(schedule)] * (given == "callback"), **fit)
        found.append((state(trainer), trainer.updates, history["lr"], history["loss"]))
    assert same(found[0][0], found[1][0]) and found[0][1:] == found[1][1:]
    if given != "decay":
        assert found[0][2] == pytest.approx([0.1 * 0.8 ** (epoch * found[0][1] // 3 - 1) for epoch in (1, 2, 3)])


def test_steps_are_known_in_any_order(blobs):
    """Shuffled, on chosen rows, with heads of which each has weights: held against the steps that are taken."""
    X, y = blobs
    rng = np.random.default_rng(3)
    x = fr.Input(4)
    model = fr.Model(x, {"a": fr.Dense(3)(x), "b": fr.Dense(3)(x)})
    weights = {name: (rng.random(150) < 0.06).astype(float) for name in "ab"}
    rows = rng.integers(0, 150, 133)
    taken = []

    class Counts(fr.Callback):
        def on_rates(self, epoch, rates):
            self.expected = self.trainer.updates + np.array([0, *np.cumsum(self.trainer._taken)])

        def on_batch_end(self, batch, logs):
            taken.append(self.trainer.updates == self.expected[batch + 1])

    trainer = fr.Trainer(model, "softmax_cross_entropy")
    trainer.fit(X, {"a": y, "b": y}, batch_size=4, rows=rows, sample_weight=weights, epochs=3, callbacks=[Counts()])
    assert all(taken) and len(taken) == 3 * 34 and trainer.updates < 100
